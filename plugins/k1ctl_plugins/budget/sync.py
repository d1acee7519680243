"""``k1ctl budget sync``: what agents really used, from their own transcripts, into the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.budget.sync import Report


_DAYS = 7  # that are shown where nobody says since when


@click.command(short_help="Book what agents really used, from their own transcripts.")
@click.option("--since", metavar="TIME", help="Only what was written since: 2h, 7d, or a date (2026-11-21).")
@click.option("--from", "folders", metavar="FOLDER", multiple=True, help="Read this folder instead; may be repeated.")
@click.option("--offline", is_flag=True, help="Use the prices that are here. There is no other mode.")
@click.option("--dry-run", is_flag=True, help="Read and tell; book nothing, remember nothing.")
@json_option
@pass_context
def sync(
    context: Context, since: str | None, folders: tuple[str, ...], offline: bool, dry_run: bool, as_json: bool
) -> None:
    """Book what agents really used: read what Claude Code and Codex wrote down, each message once.

    Files are read on from where the last call ended. What was used in a worktree of this repository is its workspace's
    and settles the hold that was made there, whatever its agent is called; what was settled otherwise is not booked
    again, but for what exceeds it. All else is booked under "elsewhere". Dollars are imputed, by the list prices in the
    package (budget.prices: a file of your own over it).

    \b
    Example:
      k1ctl budget sync
      k1ctl budget sync --since 7d --dry-run
      k1ctl budget sync --from ~/.claude --json | jq '.usage[]'
    """
    from k1ctl.budget.sync import Sync, readers

    found, said = readers(context.plugins)
    for text in said:
        say(f"k1ctl: {text}")
    start = None if since is None else _instant(since)
    report = Sync(context.workspace, context.config, found, folders=folders, since=start, dry_run=dry_run).run()
    document = report.document()
    if as_json:
        emit_json(document)
    else:
        _print(report, document)
    if report.refused:
        raise SystemExit(65)


def _instant(text: str) -> float:
    """Seconds since 1970 of a date (in the host's zone), an RFC 3339 time, or so long ago. Raises UsageError."""
    import time
    from datetime import datetime

    from k1ctl.errors import UsageError
    from k1ctl.units import parse_duration

    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() - parse_duration(text)
    except ValueError:
        raise UsageError(f"--since {text!r} is no time", hint="as in --since 2h, 7d or 2026-11-21") from None


def _print(report: Report, document: dict[str, Any]) -> None:
    import time

    from k1ctl.budget.limits import dollars
    from k1ctl.units import format_size, format_tokens

    names = ("input", "output", "cache_write", "cache_read")
    first = time.strftime("%Y-%m-%d", time.localtime(time.time() - _DAYS * 86400))
    shown = [use for use in document["usage"] if report.since is not None or use["day"] >= first]
    rows = [
        [
            *(use["day"], use["workspace"], use["model"] or "-"),
            *(format_tokens(use[name]) for name in names),
            _cents(use["micro_usd"]),
        ]
        for use in shown
    ]
    if rows:
        headers = ("DAY", "WORKSPACE", "MODEL", "INPUT", "OUTPUT", "CACHE WRITE", "CACHE READ", "IMPUTED")
        put(table(rows, headers))
    if len(shown) < len(document["usage"]):
        say(f"k1ctl: days before {first} are left out; --since shows them")
    booked, files = report.booked, report.files
    tokens = sum(booked[name] for name in names)
    verb = "would be booked" if report.dry_run else "booked"
    known = sum(told["explained_tokens"] for told in report.explained.values())
    of_them = f" ({format_tokens(known)} of them settled or held before)" if known else ""
    put(
        f"{verb}: {booked['messages']} messages, {format_tokens(tokens)} tokens{of_them},"
        f" {dollars(booked['micro_usd'])};"
        f" {files['read']} files read ({format_size(report.bytes)}), {files['unchanged']} unchanged"
    )
    verb = "would settle" if report.dry_run else "settled"
    for settled in report.settled:
        hold, over = settled["hold"], settled["overrun_tokens"]
        beyond = f", {format_tokens(over)} more than it held" if over else ""
        put(f"{verb}: {hold['id']} of {hold['agent']}: {format_tokens(settled['booked_tokens'])} tokens{beyond}")
    for told in report.explained.values():
        put(_explained(told))
    _warn(report)


def _explained(told: dict[str, Any]) -> str:
    """What was used under a hold that its owner settles, or settled."""
    from k1ctl.units import format_tokens

    hold, more, most = told["hold"], told["exceeded_tokens"], told["too_much_tokens"]
    known = f"{format_tokens(hold['tokens'])} held" if hold["state"] == "open" else "settled"
    text = f"{format_tokens(told['used_tokens'])} tokens used, {format_tokens(told['booked_tokens'])} booked"
    text += f", {format_tokens(more)} of them now, beyond what was {known}" if more else f", {known}"
    if most:
        text += f"; {format_tokens(most)} were not used"
    return f"explained: {hold['id']} of {hold['agent']}: {text}"


def _cents(micro_usd: int) -> str:
    return f"${micro_usd / 1_000_000:,.2f}" if micro_usd >= 10_000 or not micro_usd else "<$0.01"


def _warn(report: Report) -> None:
    for reader, counts in report.unknown.items():
        for kind, times in sorted(counts.items()):
            say(f"k1ctl: {reader}: not understood and left out: {times} x {kind}")
    for model, told in report.unpriced.items():
        say(
            f"k1ctl: no price is known of {model or 'a message without a model'}: priced as the dearest"
            f" ({told['messages']} messages); set budget.prices"
        )
    for path, models in sorted((clean(path), models) for path, models in report.refused.items()):
        say(
            f"k1ctl: refused, not booked: {path} has {', '.join(models)}, of which no price is known; set budget.prices"
        )
    for path, why in report.failed.items():
        say(f"k1ctl: not read: {clean(path)}: {why}")
