"""``k1ctl archive purge``: delete archives for good, past their retention, after a person confirmed."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import K1ctlError, UsageError
from k1ctl.output import clean, emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl.archive.purge import Plan


@click.command(short_help="Delete archives for good, past their retention; asks a person.")
@click.argument("archives", metavar="[ID]...", nargs=-1)
@click.option("--older-than", type=DURATION, metavar="D", help="Only older ones; no shorter than archive.keep.")
@click.option("--dry-run", is_flag=True, help="Show the plan; delete nothing.")
@json_option
@pass_context
def purge(context: Context, archives: tuple[str, ...], older_than: float | None, dry_run: bool, as_json: bool) -> int:
    """Delete archives for good (none named: all that may go): those whose last change is archive.keep ago.

    It shows its plan and asks for a word that belongs to just this plan, on a terminal; there is no option that
    answers for you. That guards against accidents and overeager scripts, and no more: whoever may write to this
    repository can also delete its files. Copies in stores stay. One that was killed is finished by the next.
    Exit codes: 2 no terminal, or not confirmed; 75 the plan changed meanwhile.

    \b
    Example:
      k1ctl archive purge --dry-run
      k1ctl archive purge oslo --older-than 60d
    """
    from k1ctl.archive import purge as purging
    from k1ctl.archive.folder import find, list_archives
    from k1ctl.units import format_duration
    from k1ctl_plugins.archive.settle import settle

    keep = float(context.config.get("archive", "keep"))
    if older_than is not None and older_than < keep:
        raise UsageError(
            f"--older-than {format_duration(older_than)} is less than archive.keep, {format_duration(keep)}",
            hint="an archive is kept that long in any case",
        )
    settle(context.workspace, context.config)
    named = [find(context.workspace, reference) for reference in archives]
    found = named or list_archives(context.workspace)
    plan = purging.plan(context.config, found, older_than or 0.0, named=bool(named))
    done: list[dict[str, Any]] = []
    if plan.goes and not dry_run:
        _confirm(plan)
        done = purging.purge(context.workspace, context.config, plan, older_than or 0.0, named=bool(named))
    failed = [row for row in done if row["message"]]
    if as_json:
        emit_json({"ok": not failed, "dry_run": dry_run, "plan": [r.document() for r in plan.rows], "archives": done})
        return 1 if failed else 0
    if dry_run or not plan.goes:
        _show(plan, bool(archives) or dry_run)
    for row in done:
        put(f"{row['archive']}: {row['outcome']}{': ' if row['message'] else ''}{row['message']}")
    return 1 if failed else 0


def _show(plan: Plan, each: bool) -> None:
    for row in plan.rows:
        if not row.why_not:
            put(line(row))
        elif each:
            put(f"{row.archive.id}: stays: {row.why_not}")
    if not plan.goes:
        say("nothing may be purged")


def line(row: Any) -> str:
    """What goes with one archive."""
    from k1ctl.units import format_duration, format_size
    from k1ctl_plugins.archive import report

    about = report.row(row.archive)
    age = format_duration(row.age_seconds)
    what = f"{about['workspace']}, {about['state']}, untouched for {age}, {format_size(row.bytes)}"
    what += f", with the worktree in {' and '.join(row.trash)}" if row.trash else ""
    what += ", and what was written there while it was taken, which no archive holds" if row.held else ""
    what += f"; copies stay in {', '.join(row.copies)}" if row.copies else "; there is no copy of it"
    secrets = about["counts"]["secrets"] - about["secrets_missing_count"]
    what += f", and none of its {report.plural(secrets, 'secret')}" if row.copies and secrets > 0 else ""
    return clean(f"{row.archive.id}: {what}")


def _confirm(plan: Plan) -> None:
    """Let a person type the plan's word. Raises UsageError (no-terminal), K1ctlError (not-confirmed)."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(
            f"deleting {len(plan.goes)} archives for good needs a person at a terminal to confirm it",
            hint="k1ctl archive purge --dry-run shows the plan",
            code="no-terminal",
        )
    say("These archives will be gone for good:")
    for row in plan.goes:
        say(f"  {line(row)}")
    say(f"Type {plan.word} to delete {len(plan.goes)} of them, anything else to keep them all:")
    if sys.stdin.readline().strip() != plan.word:
        raise _Kept("not confirmed; nothing was deleted", code="not-confirmed")


class _Kept(K1ctlError):
    exit_code = 2
