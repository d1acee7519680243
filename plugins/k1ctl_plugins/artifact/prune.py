"""``k1ctl artifact prune``: remove what nothing keeps, the oldest first, until the limit is kept."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import UsageError
from k1ctl.output import clean, emit_json, json_option, put, say, table
from k1ctl.units import format_size, parse_size


@click.command(short_help="Remove the oldest artifacts that nothing keeps, down to the limit.")
@click.option("--limit", metavar="SIZE", help="Default: artifact.limit (100M). 0: all that nothing keeps.")
@click.option("--dry-run", is_flag=True, help="Remove nothing; tell what would go.")
@json_option
@pass_context
def prune(context: Context, limit: str | None, dry_run: bool, as_json: bool) -> int:
    """Remove artifacts until all of ops/artifacts takes at most the limit: damaged ones first, then the oldest of those
    that nothing keeps (`k1ctl artifact list` says what keeps which). What killed calls left always goes.

    Builds do this by themselves when they pass the limit. A reader who has a file open reads on. Where what is kept
    takes more than the limit alone, that is told on stderr, and the exit code is 0: nothing is wrong, and what to do
    about it is a person's choice. Exit code 1: something could not be removed.

    \b
    Example:
      k1ctl artifact prune --dry-run
      k1ctl artifact prune --limit 40M --json
    """
    from k1ctl import retention

    try:
        wanted = parse_size(limit) if limit is not None else int(context.config.get("artifact", "limit")) or None
    except ValueError as exc:
        raise UsageError(f"--limit: {exc}") from exc
    done = retention.prune(context.workspace, context.config, limit=wanted, dry_run=dry_run)
    if as_json:
        emit_json({"ok": not done.failed, **done.document()})
    elif done.removed:
        cells = [(row["target"], row["id"], format_size(row["bytes"])) for row in done.removed]
        put(table(cells, ("TARGET", "WOULD GO" if dry_run else "REMOVED", "SIZE")))
    if not as_json:
        would = "would take" if dry_run and done.removed else "takes"
        say(f"ops/artifacts {would} {format_size(done.after)}")
    if done.over:
        say(f"warning: {done.sentence()}")
    for row in done.failed:
        say(f"cannot be removed: {clean(row['path'])}: {row['why']}")
    return 1 if done.failed else 0
