"""``k1ctl archive schedule``: have cron or launchd archive what is idle, once a week or once a day."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say

if TYPE_CHECKING:
    from k1ctl_plugins.archive.schedule.plan import Schedule


@click.command(short_help="Have cron or launchd archive what is idle, once a week.")
@click.option("--print", "action", flag_value="print", help="Print the entry; change nothing.")
@click.option("--install", "action", flag_value="install", help="Put the entry in place, or change the one there.")
@click.option("--remove", "action", flag_value="remove", help="Take the entry of this repository away.")
@click.option("--cron", "kind", flag_value="cron", help="The user's crontab (default, but on macOS).")
@click.option("--launchd", "kind", flag_value="launchd", help="A launch agent (default on macOS).")
@click.option(
    "--at", metavar="[DAY] TIME", default="03:00", show_default=True, help='As in "Sat 03:00"; without a day: Sunday.'
)
@click.option(
    "--every", type=click.Choice(("weekly", "daily")), default="weekly", show_default=True, help="How often it runs."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; show the entry that would be there.")
@json_option
@pass_context
def schedule(
    context: Context, action: str | None, kind: str | None, at: str, every: str, dry_run: bool, as_json: bool
) -> int:
    """Start ops/hooks/weekly-archive of this repository regularly: `k1ctl archive run` with the configured settings,
    then `k1ctl artifact prune`. Without an option: whether it is installed, when it runs, and how it ended last.

    The entry names the repository, so several stand beside each other; every other line of a crontab stays as it is,
    byte for byte. Installed again, it is changed. Times are the host's own; TIME alone is on Sunday.

    \b
    Example:
      k1ctl archive schedule --install --at "Sun 03:00"
      k1ctl archive schedule --print --launchd --every daily --at 04:30
      k1ctl archive schedule --remove
    """
    from k1ctl_plugins.archive.schedule import launchd, times
    from k1ctl_plugins.archive.schedule.plan import CRON, LAUNCHD, Schedule

    when = times.parse(at, every)
    chosen = Schedule(context.workspace, kind or (LAUNCHD if launchd.preferred() else CRON))
    if action == "print" or (action == "install" and dry_run):
        return _show(chosen, chosen.entry(when), dry_run=dry_run, as_json=as_json)
    changed = False
    if action == "install":
        changed = chosen.install(when)
    elif action == "remove":
        changed = bool(chosen.there()) if dry_run else chosen.remove()
    status = chosen.status()
    if as_json:
        emit_json({"ok": True, "dry_run": dry_run, "changed": changed, **status})
        return 0
    if action == "remove":
        would = "would be " if dry_run else ""
        say(f"{would}removed from {chosen.kind}" if changed else f"there is no entry in {chosen.kind}")
    elif action == "install" and not changed:
        say("nothing to do: the entry is there")
    if action != "remove":
        _tell(status)
    return 0


def _show(chosen: Schedule, entry: bytes, *, dry_run: bool, as_json: bool) -> int:
    text = entry.decode(errors="replace")
    if as_json:
        facts = {"kind": chosen.kind, "root": chosen.root, "script": chosen.script, "entry": text}
        emit_json({"ok": True, "dry_run": dry_run, **facts})
    else:
        put(text.rstrip("\n"))
    return 0


def _tell(status: dict[str, Any]) -> None:
    from k1ctl.units import parse_rfc3339

    last = status["last"]
    if not status["installed"]:
        there = " (its property list is there, but launchd has not loaded it)" if status["entry"] else ""
        put(f"installed  no{there}: k1ctl archive schedule --install")
    else:
        put(f"installed  in {status['kind']}, {status['every'] or 'at times of its own'} {status['at'] or ''}".rstrip())
        put(f"runs       {status['script']}")
    if status["next_at"]:
        put(f"next       {time.strftime('%a %Y-%m-%d %H:%M', time.localtime(parse_rfc3339(status['next_at'])))}")
    if last:
        word = "well" if not last.get("exit_code") else f"exit {last['exit_code']}"
        put(clean(f"last       {str(last.get('at'))[:16].replace('T', ' ')} UTC: {word}"))
    if status["installed"] and not status["script_there"]:
        say(f"warning: {status['script']} is not there any more: k1ctl archive schedule --install writes it")
