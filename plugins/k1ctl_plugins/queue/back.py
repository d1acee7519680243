"""`k1ctl queue history` and `stats`: the commands that look back."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import emit_json, emit_jsonl, json_option, put, say, table


@click.command(short_help="Show the runs that are over, newest first.")
@click.argument("resource", required=False, default="")
@click.option("--workspace", "of", default="", metavar="W", help="Only runs of this workspace.")
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="At most N.")
@click.option("--jsonl", "as_jsonl", is_flag=True, help="Print one JSON document a line.")
@json_option
@pass_context
def history(context: Context, resource: str, of: str, limit: int, as_jsonl: bool, as_json: bool) -> None:
    """Show the runs that are over, newest first: what they waited, how long they ran, how they ended.

    They come from ops/runs, where the last ones are kept ([process] keep_runs).

    \b
    Example:
      k1ctl queue history device:k1 --limit 10
      k1ctl queue history --workspace oslo --jsonl | jq .outcome
    """
    from itertools import islice

    from k1ctl_plugins.queue.past import HEADERS, cells, runs

    rows = islice(runs(context.workspace, resource=resource, of=of), limit)
    if as_jsonl:
        emit_jsonl(rows)
    elif as_json:
        emit_json({"ok": True, "runs": list(rows)})
    elif found := list(rows):
        put(table(map(cells, found), HEADERS))
    else:
        say("no run is recorded")


@click.command(short_help="Show what runs waited and took, by resource and by workspace.")
@click.option("--since", type=DURATION, metavar="D", help="Only runs that were queued in the last D, as in 1d.")
@json_option
@pass_context
def stats(context: Context, since: float | None, as_json: bool) -> None:
    """Show what runs waited and how long they ran, by resource and by workspace: median, 95th percentile, longest.

    A device is a resource as any other; a run that took one of a group counts for that one. BUSY is how much of the
    time since the first run (or of the last D) its slots were held. Counted are the runs recorded in ops/runs; older
    ones than the last 1000 ([process] keep_runs) are not in it.

    \b
    Example:
      k1ctl queue stats --since 1d
      k1ctl queue stats --json | jq '.resources[] | {resource, wait_p95_seconds}'
    """
    import time

    from k1ctl_plugins.queue.past import runs, since_text, span, totals, totals_table

    now = time.time()
    begin = since_text(since, now)
    rows = list(runs(context.workspace, since=begin))
    found = totals(rows, span(rows, since, now), context.config.slots)
    kept = context.config.get("process", "keep_runs")
    if as_json:
        emit_json({"ok": True, "source": "ops/runs", "runs": len(rows), "kept_at_most": kept, "since": begin, **found})
        return
    for title, group in found.items():
        if group:
            put(table(*totals_table(title, group)))
            put()
    say(
        f"{len(rows)} run{'s' * (len(rows) != 1)} recorded in ops/runs, where the last {kept} are kept"
        if rows
        else "no run is recorded"
    )
