"""`k1ctl queue`: run commands one at a time, in order; see who holds and who waits; act on it; look back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from k1ctl import lane
from k1ctl.cli import Context, pass_context, purpose
from k1ctl.durations import DURATION
from k1ctl.errors import BusyError, UsageError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, say, table
from k1ctl_plugins.queue.back import history, stats
from k1ctl_plugins.queue.scripts import acquire, ticket

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.capacity.need import Need
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.reasons import Reason, Subject
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace


@purpose("Share", example="k1ctl queue run device:k1 --timeout 5m -- ./flash.sh")
@click.group(short_help="Stand in line for what there is only one of, or only N of.")
def queue() -> None:
    """Share what there is only one of: stand in line for it, in order, whoever dies.

    \b
    Example:
      k1ctl queue run device:k1 --timeout 5m -- ./flash.sh
      k1ctl queue list
    """


_CALLER_EXIT = click.option(
    "--on-caller-exit",
    type=click.Choice(lane.CHOICES["caller"]),
    default="stop",
    show_default=True,
    help="What happens to the running command when this call is killed.",
)


def _need(_context: click.Context, _option: click.Parameter, text: str | None) -> Need | None:
    return None if text is None else lane.parse_need(text)


def _run_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `run` and `submit` have in common."""
    backoffs = click.Choice(lane.CHOICES["backoff"])
    options = (
        click.argument("words", metavar="RESOURCE[=N]... -- CMD...", nargs=-1, type=click.UNPROCESSED),
        click.option("--wait", type=DURATION, metavar="D", help="Wait in line at most D; then 75, the place is kept."),
        click.option("--timeout", type=DURATION, metavar="D", help="Stop the command after D: TERM, grace, KILL; 124."),
        _priority_option("Who goes first."),
        click.option("--retries", type=click.IntRange(min=0), default=0, metavar="N", help="Try again up to N times."),
        click.option("--backoff", type=backoffs, default="fixed", help="How --delay grows."),
        click.option("--delay", type=DURATION, default=0.0, metavar="D", help="Wait D before trying again."),
        click.option("--key", default="", metavar="K", help="Whose place this is (default: workspace, what, command)."),
        click.option("--label", default="", metavar="T", help="What others see instead of the command."),
        click.option(
            "--result", default="", metavar="FILE", help="Write the result as JSON: whose code it is, and why."
        ),
        click.option(
            "--need", metavar="N", callback=_need, help="Have the host promise it, as mem=4G,cpu=2 (75: none)."
        ),
    )
    for option in reversed(options):
        function = option(function)
    return function


def _priority_option(about: str) -> Callable[..., Any]:
    choice = click.Choice(lane.CHOICES["priority"])
    return click.option("--priority", type=choice, default="normal", show_default=True, help=about)


_WORDS = {"ignore_unknown_options": False, "allow_interspersed_args": True}


@queue.command(context_settings=_WORDS)
@_run_options
@_CALLER_EXIT
@pass_context
def run(context: Context, /, words: tuple[str, ...], **options: Any) -> int:
    """Run CMD when every RESOURCE has room, and exit with its status.

    Resources are granted all together, by priority and then in the order of asking. A call that is killed while it
    waits keeps its place for 15 minutes: the same call takes it up again.

    \b
    Example:
      k1ctl queue run device:k1 -- pio device monitor
      k1ctl queue run build:fw=2 port:3000 --wait 9m --retries 2 --delay 10s -- make
      k1ctl queue run test:web --need mem=4G,cpu=2 -- npm test
    """
    resources, command = _split(words)
    return lane.run({**lane.DEFAULTS, **options}, resources, command, context.workspace)


@queue.command(context_settings=_WORDS)
@_run_options
@json_option
@pass_context
def submit(context: Context, /, words: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Put CMD in line and print its run id at once; `queue wait RUN` tells how it ended.

    The run waits and works without this call, with no input, and prints into its log. Nothing but `queue cancel` and
    its own limits end it.

    \b
    Example:
      run=$(k1ctl queue submit device:k1 -- ./flash.sh)
      while k1ctl queue wait "$run" --timeout 9m; [ $? -eq 75 ]; do :; done
    """
    resources, command = _split(words)
    submitted = lane.submit({**lane.DEFAULTS, **options}, resources, command, context.workspace)
    if as_json:
        emit_json({"ok": True, **submitted.document()})
        return
    if submitted.resumed:
        say(f"took the kept place {submitted.ticket} over")
    put(submitted.run)


def _split(words: tuple[str, ...]) -> tuple[list[str], list[str]]:
    """click drops the ``--``; what the caller typed still has it, and may have others as an option's value."""
    import sys

    for i, word in enumerate(sys.argv):
        command = sys.argv[i + 1 :]
        at = len(words) - len(command)
        if word == "--" and command and at >= 0 and list(words[at:]) == command:
            return list(words[:at]), command
    raise UsageError("no command: write it behind --", hint="k1ctl queue run device:k1 -- ./flash.sh")


def _folder(context: Context) -> str:
    from k1ctl.queue.folder import queue_folder

    return queue_folder(context.workspace, context.config)


@queue.command("list")
@json_option
@click.option("--resource", metavar="R", help="Only tickets for this resource.")
@pass_context
def list_(context: Context, as_json: bool, resource: str | None) -> None:
    """Show who holds what and who waits, in the order of service.

    \b
    Example:
      k1ctl queue list --json | jq '.tickets[] | select(.state == "waiting")'
    """
    from k1ctl.process.view import describe_pause
    from k1ctl.queue import choice, names
    from k1ctl.queue.service import out_of_service
    from k1ctl.queue.view import entries, paused

    folder = _folder(context)
    wanted = names.lines(choice.settled({resource: 1}, context.config)) if resource else []
    rows = [e for e in entries(folder) if not wanted or not set(wanted).isdisjoint(names.lines(e["resources"]))]
    stopped = paused(folder)
    if as_json:
        emit_json({"ok": True, "tickets": rows, "paused": stopped, "out_of_service": out_of_service(folder)})
        return
    for name, reason in stopped.items():
        say(describe_pause(name, reason))
    if not rows:
        say("nobody holds anything and nobody waits")
        return
    from k1ctl_plugins.queue.inspect import HEADERS, cells

    put(table(map(cells, rows), HEADERS))


@queue.command()
@click.argument("wanted", metavar="ID")
@json_option
@pass_context
def show(context: Context, wanted: str, as_json: bool) -> None:
    """Show one ticket or run: where it stands, who is ahead, or how it ended.

    ID is a ticket number or a run id.

    \b
    Example:
      k1ctl queue show 12
      k1ctl queue show 20260103-101500.123-9f3c --json
    """
    from k1ctl_plugins.queue.inspect import inspect, readable_facts

    facts = inspect(context.workspace, context.config, _folder(context), wanted)
    if as_json:
        emit_json({"ok": True, **facts})
        return
    facts = readable_facts(facts)
    width = max(len(k) for k in facts)
    for key, value in facts.items():
        if value not in (None, "", [], {}):
            put(f"{key.ljust(width)}  {value}")


@queue.command()
@click.argument("wanted", metavar="ID")
@json_option
@click.option("--dry-run", is_flag=True, help="Say what would be cancelled.")
@pass_context
def cancel(context: Context, wanted: str, as_json: bool, dry_run: bool) -> None:
    """Take a ticket out of the line, or stop its command (TERM, grace, KILL). A flash under way is refused.

    \b
    Example:
      k1ctl queue cancel 12
    """
    from k1ctl_plugins.queue.inspect import cancel_ticket

    done = cancel_ticket(context.workspace, _folder(context), wanted, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, **done})
    else:
        say(f"{'would cancel' if dry_run else 'cancelled'} ticket {done['ticket']} ({done['state']})")


@queue.command(short_help="Wait until a run is over and exit with its status.")
@click.argument("run_id", metavar="RUN")
@click.option("--timeout", type=DURATION, metavar="D", help="Wait at most D; then exit 75: call again.")
@click.option("--quiet", is_flag=True, help="Show neither the wait nor what the command prints.")
@json_option
@pass_context
def wait(context: Context, run_id: str, timeout: float | None, quiet: bool, as_json: bool) -> int:
    """Wait until a run is over and exit with its status, its log passed on from the beginning.

    Exit code 75 means only this: not over yet, call again, the run keeps its place. A run that itself ended with 75
    (cancelled in line, its own --wait over) is told as 1.

    \b
    Example:
      k1ctl queue wait 20260103-101500.123-9f3c --timeout 9m
    """
    from k1ctl_plugins.queue.inspect import wait_for

    try:
        kept = wait_for(context.workspace, context.config, run_id, timeout, quiet=quiet, stream=not (quiet or as_json))
    except BrokenPipeError:
        return 141  # what SIGPIPE would have come to
    if as_json:
        emit_json({"ok": kept["exit_code"] == 0, **kept})
    elif kept["exit_code"]:
        say(f"run {run_id}: {kept['message']}")
    if kept["exit_code"] == BusyError.exit_code:
        say("the run is over; this call exits with 1, as 75 would mean: call again")
        return 1
    return int(kept["exit_code"])


@queue.command()
@click.argument("wanted", metavar="ID")
@click.option("--priority", type=click.Choice(lane.CHOICES["priority"]), help="Into this one, at its number's place.")
@click.option("--reason", default="", help="Why; others see it in the events.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def bump(context: Context, wanted: str, priority: str | None, reason: str, dry_run: bool, as_json: bool) -> None:
    """Move a waiting ticket before all others of its priority, or into another priority.

    ID is a ticket number or a run id. All others stay in their order.

    \b
    Example:
      k1ctl queue bump 12 --reason "blocks the release"
      k1ctl queue bump 12 --priority low
    """
    from k1ctl_plugins.queue.inspect import bump_ticket

    done = bump_ticket(context.workspace, _folder(context), wanted, priority or "", reason, dry_run=dry_run)
    if as_json:
        emit_json({"ok": True, **done})
        return
    verb = ("would be" if dry_run else "is") if done["changed"] else "was already"
    say(f"ticket {done['ticket']} {verb} at position {done['position']} (priority {done['priority']})")


@queue.command()
@click.argument("resource")
@click.option("--reason", default="", help="What others see.")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def pause(context: Context, resource: str, reason: str, dry_run: bool, as_json: bool) -> None:
    """Let nobody new have RESOURCE; who runs goes on, who waits keeps the place.

    \b
    Example:
      k1ctl queue pause device:k1 --reason "cable is out"
    """
    from k1ctl import events
    from k1ctl.queue import names, view
    from k1ctl_plugins.queue.inspect import check_single

    names.check_resource(resource)
    check_single(context.config, resource)
    new = resource not in view.pauses(_folder(context)) if dry_run else view.pause(_folder(context), resource, reason)
    if new and not dry_run:
        events.emit(context.workspace, "queue.paused", resource=resource, reason=reason)
    _said(as_json, {"resource": resource, "paused": True, "changed": new, "dry_run": dry_run})


@queue.command()
@click.argument("resource")
@click.option("--dry-run", is_flag=True, help="Say what would be done.")
@json_option
@pass_context
def resume(context: Context, resource: str, dry_run: bool, as_json: bool) -> None:
    """Undo a pause.

    \b
    Example:
      k1ctl queue resume device:k1
    """
    from k1ctl import events
    from k1ctl.queue import names, view

    names.check_resource(resource)
    folder = _folder(context)
    was = resource in view.pauses(folder) if dry_run else view.resume(folder, resource)
    if was and not dry_run:
        events.emit(context.workspace, "queue.resumed", resource=resource)
    left = view.paused(folder).get(resource, "")
    _said(as_json, {"resource": resource, "paused": False, "changed": was, "dry_run": dry_run})
    if left.startswith(names.OUT_OF_SERVICE):
        say(f"{resource} is {left}; k1ctl device enable {resource.partition(':')[2]} ends that")


def _said(as_json: bool, facts: dict[str, Any]) -> None:
    if as_json:
        emit_json({"ok": True, **facts})
        return
    state = "paused" if facts["paused"] else "not paused"
    verb = "would be" if facts["dry_run"] and facts["changed"] else "is" if facts["changed"] else "was already"
    say(f"{facts['resource']} {verb} {state}")


for _command in (history, stats, ticket, acquire):
    queue.add_command(_command)


@hookimpl
def k1ctl_command() -> click.Command:
    return queue


@hookimpl
def k1ctl_samples(workspace: Workspace, config: Config) -> list[Family]:
    from k1ctl_plugins.queue.samples import samples

    return samples(workspace, config)


@hookimpl
def k1ctl_reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    from k1ctl_plugins.queue.reasons import reasons

    return reasons(workspace, config, subject)


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.queue.checks import checks

    return checks(workspace, config)
