"""``k1ctl events``: what happened, and what happens now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, emit_jsonl, flush, json_option, put

if TYPE_CHECKING:
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace


@purpose("Look", example="k1ctl events tail -f --jsonl | jq .event")
@click.group(short_help="Read the record of every decision, as it comes if wanted.")
def events() -> None:
    """Read the record of every decision: ops/events, one JSON line an event.

    \b
    Examples:
      k1ctl events list --since 1h --event 'queue.*'
      k1ctl events tail -f --jsonl | jq .event
    """


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose events, the same for every subcommand."""
    options = (
        click.option("--event", "globs", multiple=True, metavar="GLOB", help="Only these (queue.*); repeatable."),
        click.option("--run", metavar="ID", help="Only events of this run."),
        click.option("--workspace", metavar="NAME", help="Only events of this workspace."),
        click.option("--jsonl", "as_jsonl", is_flag=True, help="Print one JSON document a line."),
    )
    for option in reversed(options):
        function = option(function)
    return function


@events.command("list")
@click.option("--since", metavar="AGE|TIME", default="", help="1h, 2d, or a time such as 2026-01-31T10:00Z.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the last N of what matches.")
@filters
@json_option
@pass_context
def list_events(
    ctx: Context,
    since: str,
    limit: int | None,
    globs: tuple[str, ...],
    run: str | None,
    workspace: str | None,
    as_jsonl: bool,
    as_json: bool,
) -> None:
    """Print past events, oldest first.

    Example: k1ctl events list --since 1h --workspace oslo --json
    """
    from k1ctl_plugins.events.choose import Choice, parse_since, select

    choice = Choice(globs, run, workspace)
    found = select(ctx.workspace.ops_path("events"), choice, since=parse_since(since), limit=limit)
    if as_json:
        emit_json(list(found))
    else:
        _print(found, as_jsonl)


@events.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come, until ^C.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=10, show_default=True, metavar="N")
@filters
@pass_context
def tail(
    ctx: Context,
    follow: bool,
    count: int,
    globs: tuple[str, ...],
    run: str | None,
    workspace: str | None,
    as_jsonl: bool,
) -> None:
    """Print the last events and, with -f, those that come.

    Example: k1ctl events tail -f -n 0 --event 'upload.*' --jsonl
    """
    from k1ctl.events_follow import Follower, wait_for_news
    from k1ctl_plugins.events.choose import Choice

    choice = Choice(globs, run, workspace)
    follower = Follower(ctx.workspace.ops_path("events"))
    _print(follower.last(count, choice.matches), as_jsonl)
    try:
        while follow and wait_for_news():
            _print((e for e in follower.news() if choice.matches(e)), as_jsonl)
    except KeyboardInterrupt:
        return


def _print(found: Iterable[dict[str, Any]], as_jsonl: bool) -> None:
    from k1ctl.events_text import line_for_people

    if as_jsonl:
        emit_jsonl(found)
        return
    for event in found:
        put(line_for_people(event))
    flush()


@hookimpl
def k1ctl_command() -> click.Command:
    return events


@hookimpl
def k1ctl_samples(workspace: Workspace) -> list[Family]:
    from k1ctl_plugins.events.samples import samples

    return samples(workspace)
