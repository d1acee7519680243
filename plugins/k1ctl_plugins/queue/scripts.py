"""`k1ctl queue ticket` and `acquire`: a lease that a script holds by a descriptor of its own."""

from __future__ import annotations

import click

from k1ctl import lane
from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, json_option, put


@click.command(short_help="Make a ticket for a script and print its path.")
@click.argument("words", metavar="RESOURCE[=N]...", nargs=-1, required=True)
@click.option(
    "--priority",
    type=click.Choice(lane.CHOICES["priority"]),
    default="normal",
    show_default=True,
    help="Who goes first.",
)
@click.option("--key", default="", metavar="K", help="Whose place this is (default: this ticket's own).")
@click.option("--label", default="", metavar="T", help="What others see.")
@json_option
@pass_context
def ticket(context: Context, words: tuple[str, ...], priority: str, key: str, label: str, as_json: bool) -> None:
    """Make a ticket for a script and print its path; it stands in line only once `acquire` is called.

    The script opens it on a descriptor of its own, and has the lease from `acquire` until that descriptor is closed
    everywhere: by the script, by its end, by kill -9. Children inherit it; give a daemon 9>&-.

    \b
    Example:
      exec 9<>"$(k1ctl queue ticket device:k1)" || exit
      k1ctl queue acquire --fd 9 || exit
      ./flash.sh; ./measure.sh
      exec 9>&-
    """
    from k1ctl.queue import choice, names, offer
    from k1ctl.queue.folder import queue_folder

    needs = names.parse_needs(words)
    settled = choice.settled(needs, context.config)
    names.check_slots(settled, context.config.slots)
    workspace, folder = context.workspace, queue_folder(context.workspace, context.config)
    kept = names.stable_key(workspace.path, *(f"{r}={n}" for r, n in sorted(needs.items())), key) if key else ""
    device = choice.only_one(needs, settled)
    path = offer.create(folder, settled, names.PRIORITIES[priority], kept, label, device)
    if as_json:
        emit_json({"ok": True, "path": path, "resources": settled, "priority": priority})
    else:
        put(path)


@click.command()
@click.option("--fd", required=True, type=click.IntRange(min=3), metavar="N", help="The descriptor of the ticket.")
@click.option("--wait", type=DURATION, metavar="D", help="Wait in line at most D; then exit 75, the place is kept.")
@json_option
@pass_context
def acquire(context: Context, fd: int, wait: float | None, as_json: bool) -> int:
    """Wait until the ticket that the calling script has open as descriptor N is let in.

    With exit code 0 the script holds the lease, until that descriptor is closed everywhere. With any other it must
    close the descriptor or call again. Where the ticket is for any device of a group, the one it got is printed.

    \b
    Example:
      k1ctl queue acquire --fd 9 --wait 10m || exit
    """
    from k1ctl.process import script
    from k1ctl.process.view import View

    outcome, found = script.acquire(context.workspace, context.config, fd, wait, View())
    if outcome.ending.exit_code:
        raise outcome.ending.as_error()
    device = str(found.facts().get("device", ""))
    if as_json:
        about = {"device": device} if device else {}
        emit_json({"ok": True, "ticket": found.name.seq, "resources": found.name.needs, **about, "path": found.path})
    elif device:
        put(device)
    return 0
