"""``k1ctl capacity list``: what is promised to whom, and what of it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, table

if TYPE_CHECKING:
    from k1ctl.capacity.promises import Promise


@click.command(short_help="List what is promised to whom on this host, and what of it is seen.")
@json_option
@pass_context
def list(context: Context, as_json: bool) -> None:
    """List the promises of this host, of all repositories: held by runs, reserved, and those who wait for one.

    A promise of a run ends with it. A reservation ends at its deadline, with its owner, with its worktree, or by
    `k1ctl capacity release ID`. SEEN is what its processes use now; the larger of both counts.

    \b
    Example:
      k1ctl capacity list
      k1ctl capacity list --json | jq '.promises[] | select(.seen_bytes > .need.mem_bytes)'
    """
    from k1ctl.capacity import facts, limits, promises
    from k1ctl_plugins.capacity import place

    found, still = promises.held(waiting=True), _standing_still()
    host = facts.read()
    most = limits.of(place.settings(context)[1], host)
    if as_json:
        emit_json(
            {
                "ok": True,
                "promises": [promise.document() | {"suspended": promise.run in still} for promise in found],
                "promised_bytes": sum(p.memory for p in found if not p.waiting),
                "limit_bytes": most.memory,
                "reserve_bytes": most.reserve,
                "memory_bytes": host.memory,
                "used_bytes": host.used,
            }
        )
        return
    if found:
        rows = [_row(promise, promise.run in still) for promise in found]
        put(table(rows, ("ID", "STATE", "NEED", "SEEN", "FOR", "UNTIL", "WHO")))
    from k1ctl.units import format_size

    count = sum(p.memory for p in found if not p.waiting)
    put(f"promised {format_size(count)} of {format_size(most.memory)}; in use {format_size(host.used)}")


def _standing_still() -> set[str]:
    """Runs whose command is suspended for want of memory; a folder that cannot be read tells of none."""
    from k1ctl.capacity import watched

    try:
        return {command.spec["id"].rpartition("-")[0] for command in watched.standing_still()}  # RUN-ATTEMPT
    except OSError:
        return set()


def _row(promise: Promise, still: bool) -> tuple[str, ...]:
    from k1ctl.capacity.promises import age
    from k1ctl.output import clean
    from k1ctl.units import format_duration, format_size, rfc3339

    until = promise.owner or ("its end" if promise.place else "")
    if promise.until is not None:
        until = rfc3339(promise.until)[11:19] + "Z" + (f" or {promise.owner} ends" if promise.owner else "")
    return (
        promise.id,
        "suspended" if still else promise.state,
        str(promise.need),
        format_size(promise.seen_bytes) if promise.seen_bytes else "-",
        format_duration(age(promise)) if promise.since else "-",
        until,
        clean(f"{promise.workspace}: {promise.what}"),
    )
