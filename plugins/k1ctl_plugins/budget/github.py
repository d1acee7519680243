"""``k1ctl budget github``: what is left of GitHub's limits, and when the next write may be made."""

from __future__ import annotations

from typing import Any

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say, table


@click.command(short_help="Show what is left of GitHub's limits; pace writes to it.")
@click.option("--from-headers", "headers", metavar="FILE", default="", help="Learn from answers' headers; - is stdin.")
@click.option("--refresh", is_flag=True, help="Ask /rate_limit, with the token in the variable github.token_env.")
@click.option("--pace", is_flag=True, help="Reserve the next request that creates content, and wait for its moment.")
@click.option("--wait", type=DURATION, metavar="D", default=0.0, help="With --pace, wait at most D; then 75.")
@click.option("--resource", metavar="R", default="core", show_default=True, help="With --pace, whose limit it is of.")
@click.option("--dry-run", is_flag=True, help="With --pace, tell only whether it would go now.")
@json_option
@pass_context
def github(
    context: Context,
    headers: str,
    refresh: bool,
    pace: bool,
    wait: float,
    resource: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Show GitHub's limits as its answers told them, to any agent of this repository: limit, what is left, reset.

    Nothing is asked of GitHub but with --refresh. --pace keeps all agents together below its secondary limits, of
    which no header tells: 80 requests a minute and 500 an hour that create content, a second apart. Exit 75: not within
    --wait; the time is told.

    \b
    Example:
      gh api -i repos/OWNER/REPO | k1ctl budget github --from-headers -
      k1ctl budget github --pace --wait 2m --resource graphql && gh pr comment 7 --body done
    """
    from k1ctl.budget import github as limits
    from k1ctl.budget.github_kept import GitHub, text_of

    if not pace and (wait or dry_run):
        raise UsageError("--wait and --dry-run are for --pace")
    here = GitHub(context.workspace, context.config)
    if headers:
        here.record(limits.parse(text_of(headers)))
    if refresh:
        here.refresh()
    waited = here.pace(wait, resource=resource, dry_run=dry_run) if pace else None
    document = here.document()
    if as_json:
        emit_json({"ok": True, **document, "waited_seconds": waited})
    elif not pace:
        _show(document)


def _show(document: dict[str, Any]) -> None:
    from k1ctl.units import format_duration

    rows = []
    for each in document["resources"]:
        reset = "over" if each["is_past"] else f"in {format_duration(each['reset_seconds'])}"
        rows.append((each["resource"], each["limit"], each["remaining"], f"{each['reset']} ({reset})", each["told_at"]))
    if rows:
        put(table(rows, ("RESOURCE", "LIMIT", "LEFT", "RESET", "TOLD")))
    else:
        say("k1ctl: nothing is known of GitHub's limits yet; give it headers of its answers, or --refresh")
    writes, second = document["writes"], document["secondary"]
    put(
        f"writes: {writes['last_minute']} of {writes['per_minute']} this minute,"
        f" {writes['last_hour']} of {writes['per_hour']} this hour; next: {writes['next_at'] or 'now'}"
    )
    if second["limited"]:
        put(f"secondary limit until {second['until']}")
