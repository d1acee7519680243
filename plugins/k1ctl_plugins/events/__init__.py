"""``k1ctl events``: what happened, and what happens now."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, emit_jsonl, flush, json_option, put

if TYPE_CHECKING:
    from k1ctl.checks import Check
    from k1ctl.config import Config
    from k1ctl.events_find import Wanted
    from k1ctl.events_follow import Follower
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
      k1ctl events stats wait_seconds --by workspace --since 7d
      k1ctl events compact --dry-run
    """


def filters(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that choose events, the same for every subcommand."""
    options = (
        click.option("--event", "globs", multiple=True, metavar="GLOB", help="Only these (queue.*); repeatable."),
        click.option("--run", metavar="ID", help="Only events of this run."),
        click.option("--workspace", metavar="NAME", help="Only events of this workspace."),
    )
    for option in reversed(options):
        function = option(function)
    return function


def times(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say from when to when."""
    function = click.option("--until", metavar="AGE|TIME", default="", help="Before then; as --since.")(function)
    help_since = "1h, 2d, or a time such as 2026-01-31T10:00Z."
    return click.option("--since", metavar="AGE|TIME", default="", help=help_since)(function)


jsonl_option = click.option("--jsonl", "as_jsonl", is_flag=True, help="Print one JSON document a line.")


@events.command("list")
@times
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the last N of what matches.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come, until ^C.")
@filters
@click.option("--ticket", type=click.IntRange(min=1), metavar="N", help="Only events of this ticket.")
@jsonl_option
@json_option
@pass_context
def list_events(
    ctx: Context,
    since: str,
    until: str,
    limit: int | None,
    follow: bool,
    globs: tuple[str, ...],
    run: str | None,
    workspace: str | None,
    ticket: int | None,
    as_jsonl: bool,
    as_json: bool,
) -> None:
    """Print past events, oldest first; compressed days too.

    \b
    Example:
      k1ctl events list --since 1h --workspace oslo --json
      k1ctl events list --since 2d --until 1d --event build.finished --jsonl
    """
    from k1ctl.errors import UsageError
    from k1ctl.events_find import Wanted
    from k1ctl_plugins.events.choose import parse_time, select

    if follow and (as_json or until):
        raise UsageError(f"--follow has no end, and {'--json is one document' if as_json else '--until is one'}")
    wanted = Wanted(globs, run=run, workspace=workspace, ticket=ticket)
    folder, begin, end = ctx.workspace.ops_path("events"), parse_time(since), parse_time(until, "--until")
    if follow:
        _list_and_follow(folder, wanted, begin, limit, as_jsonl)
        return
    found = select(folder, wanted, since=begin, until=end, limit=limit)
    if as_json:
        emit_json(list(found))
    else:
        _print(found, as_jsonl)


def _list_and_follow(folder: str, wanted: Wanted, since: str, limit: int | None, as_jsonl: bool) -> None:
    from collections import deque

    from k1ctl.events_follow import Follower

    follower = Follower(folder)
    if limit is not None and not since:
        _print(follower.last(limit, wanted.matches, wanted.may), as_jsonl)
    else:
        follower.begin(since)
        past = (e for e in follower.news() if str(e.get("at", "")) >= since and wanted.matches(e))
        _print(past if limit is None else deque(past, limit), as_jsonl)
    _follow(follower, wanted, as_jsonl)


@events.command()
@click.option("-f", "--follow", is_flag=True, help="Go on with new events as they come, until ^C.")
@click.option("-n", "--lines", "count", type=click.IntRange(min=0), default=10, show_default=True, metavar="N")
@filters
@jsonl_option
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
    from k1ctl.events_find import Wanted
    from k1ctl.events_follow import Follower

    wanted = Wanted(globs, run=run, workspace=workspace)
    follower = Follower(ctx.workspace.ops_path("events"))
    _print(follower.last(count, wanted.matches, wanted.may), as_jsonl)
    if follow:
        _follow(follower, wanted, as_jsonl)


def _follow(follower: Follower, wanted: Wanted, as_jsonl: bool) -> None:
    from k1ctl.events_follow import wait_for_news

    try:
        while wait_for_news():
            _print((e for e in follower.news() if wanted.matches(e)), as_jsonl)
    except KeyboardInterrupt:
        return


@events.command(short_help="Print percentiles of any figure in the events.")
@click.argument("what", metavar="FIELD|EVENT")
@click.option("--by", metavar="FIELD", default="", help="Told apart by event, workspace, target or any other field.")
@times
@filters
@json_option
@pass_context
def stats(
    ctx: Context,
    what: str,
    by: str,
    since: str,
    until: str,
    globs: tuple[str, ...],
    run: str | None,
    workspace: str | None,
    as_json: bool,
) -> None:
    """Print count, min, p50, p95, p99, max and sum of a figure: of a FIELD in all events that have it, or of each
    *seconds and *bytes of an EVENT (a name with a dot, or a glob). Percentiles are exact: the smallest value that
    so many are at most.

    \b
    Example:
      k1ctl events stats wait_seconds --event queue.granted --by workspace --since 7d
      k1ctl events stats build.finished --by target
    """
    from k1ctl.events_find import Wanted
    from k1ctl.output import clean, say, table
    from k1ctl_plugins.events.choose import parse_time
    from k1ctl_plugins.events.figures import QUANTILES, look, shown

    wanted = Wanted(globs, run=run, workspace=workspace)
    begin, end = parse_time(since), parse_time(until, "--until")
    found = look(ctx.workspace.ops_path("events"), what, by=by, since=begin, until=end, wanted=wanted)
    rows = [figures.document() for figures in found]
    if as_json:
        emit_json({"what": what, "by": by, "since": begin, "until": end, "figures": rows})
        return
    if not rows:
        say(f"no event has {what}" if "." not in what else f"no {what} with seconds or bytes")
        return
    names = ("min", *(name for _, name in QUANTILES), "max", "sum")
    cells = [
        (clean(row["field"]), clean(row["of"]) or "-", row["count"], *(shown(row["field"], row[n]) for n in names))
        for row in rows
    ]
    put(table(cells, ("field", by or "of", "count", *names)))


@events.command(short_help="Compress past days, remove what is older than is kept.")
@click.option("--older", metavar="AGE", help="Compress days that ended so long ago (default: events.compress, 2d).")
@click.option("--keep", metavar="AGE", help="Remove days that ended so long ago (default: events.keep, 0: none).")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def compact(ctx: Context, older: str | None, keep: str | None, dry_run: bool, as_json: bool) -> None:
    """Compress the events of past days, and remove those that are older than what is kept; today's stay as they are.

    No event is lost: a file that a writer still has open stays. What was compressed is read as before (zcat shows it
    to other programs), and what was removed is still counted by `k1ctl metrics` and `k1ctl slo`. `k1ctl hook weekly`
    does it each week.

    \b
    Example:
      k1ctl events compact --dry-run
      k1ctl events compact --keep 400d --json
    """
    from k1ctl.events import emit
    from k1ctl.events_compact import compact as work
    from k1ctl.output import say, table
    from k1ctl.units import format_size
    from k1ctl_plugins.events.choose import parse_age

    age = parse_age("--older", older, ctx.config.get("events", "compress"))
    limit = parse_age("--keep", keep, ctx.config.get("events", "keep"))
    rows = work(ctx.workspace, older=age, keep=limit or None, dry_run=dry_run)
    if rows and not dry_run:
        facts = {f"{word}_files": sum(row.action == word for row in rows) for word in ("compressed", "removed", "held")}
        freed = sum(row.before_bytes - row.after_bytes for row in rows)
        emit(ctx.workspace, "events.compacted", **facts, freed_bytes=freed)
    if as_json:
        emit_json({"dry_run": dry_run, "files": [row.document() for row in rows]})
        return
    cells = [
        (row.file, row.action, format_size(row.before_bytes), "" if dry_run else format_size(row.after_bytes))
        for row in rows
    ]
    if cells:
        put(table(cells, ("file", "would be" if dry_run else "is", "size", "then")))
    else:
        say("nothing to compress, nothing to remove")


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


@hookimpl
def k1ctl_checks(workspace: Workspace, config: Config) -> list[Check]:
    from k1ctl_plugins.events.checks import checks

    return checks(workspace, config)
