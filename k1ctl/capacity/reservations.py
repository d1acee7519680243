"""Reservations: promises without a process, as rows with a deadline, an owner or a worktree (``reservations.json``).

For what lives between two commands: room for an agent whose worktree is there, memory for a script that has only begun.
"""

from __future__ import annotations

import os
import time

from k1ctl.capacity.need import Need, from_document
from k1ctl.capacity.promises import Promise
from k1ctl.errors import K1ctlError
from k1ctl.files import Locked, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Any

FILE = "reservations.json"
_BACK = 86400.0  # s: a row from so far in the future was written under a wrong clock


class ReservationNotFoundError(K1ctlError):
    """No reservation has this id."""

    code = "no-such-reservation"


def add(
    place: str,
    need: Need,
    *,
    units: dict[str, int],
    until: float | None,
    owner: int = 0,
    worktree: str = "",
    id: str = "",
    **words: str,
) -> Promise:
    """Write a reservation down; it is there when this returns, also after a loss of power.

    ``units`` {resource: units} it counts for (`limits.units`); ``until`` in seconds since 1970 (None: no deadline);
    ``owner`` a process whose end frees it; ``worktree`` a folder whose removal does. A reservation of the same ``id``
    is replaced. ``words``: what, kind, workspace, root; ``of`` the run whose promise it takes the place of: while that
    one is held as well, it alone counts. Raises OSError.
    """
    from k1ctl import groups

    row = {
        "id": id or f"r{os.urandom(4).hex()}",
        "need": need.document(),
        "units": units,
        "since": time.time(),
        "until": until,
        "owner": {"pid": owner, **groups.stamp()} if owner else None,
        "worktree": worktree,
        **words,
    }
    os.makedirs(place, 0o700, exist_ok=True)
    with Locked(os.path.join(place, "reservations.lock")):
        rows = [r for r in _rows(place) if r["id"] != row["id"]]
        write_json(os.path.join(place, FILE), [*rows, row], fsync=True)
    return _promise(row)


def release(place: str, wanted: str, *, dry_run: bool = False) -> Promise:
    """Take a reservation away, or with ``dry_run`` only find it. Raises ReservationNotFoundError, OSError."""
    with Locked(os.path.join(place, "reservations.lock")):
        rows = _rows(place)
        found = next((r for r in rows if r["id"] == wanted), None)
        if found is None and wanted.isdecimal():
            raise ReservationNotFoundError(
                f"{wanted} is no reservation", hint="a run's promise ends with it: k1ctl queue cancel RUN ends the run"
            )
        if found is None:
            raise ReservationNotFoundError(
                f"there is no reservation {wanted!r} (any more)", hint="k1ctl capacity list shows them"
            )
        if not dry_run:
            write_json(os.path.join(place, FILE), [r for r in rows if r is not found], fsync=True)
    return _promise(found)


def held(place: str, now: float | None = None, *, beside: Collection[str] = ()) -> list[Promise]:
    """The reservations that hold: in time, the owner alive, the worktree there. Those that take the place of a promise
    of the runs ``beside`` are left out. Takes no lock."""
    return [_promise(row) for row in _rows(place, now) if not (row.get("of") and row["of"] in beside)]


def for_worktree(path: str) -> str:
    """The id of a worktree's one reservation: set up again it takes no second one."""
    from k1ctl.queue.names import stable_key

    return f"w{stable_key(os.path.realpath(path))[:12]}"


def stamp(place: str) -> tuple[int, int] | None:
    """What changes when a reservation comes or goes by a call (not when one ends by itself)."""
    try:
        there = os.stat(os.path.join(place, FILE))
    except OSError:
        return None
    return there.st_ino, there.st_mtime_ns


def _rows(place: str, now: float | None = None) -> list[dict[str, Any]]:
    found = read_json(os.path.join(place, FILE))
    now = time.time() if now is None else now
    return [row for row in found if _holds(row, now)] if isinstance(found, list) else []


def _holds(row: Any, now: float) -> bool:
    try:
        until, owner, worktree = row["until"], row["owner"], row["worktree"]
        if not isinstance(row["id"], str) or row["since"] > now + _BACK or (until is not None and now >= until):
            return False
        from_document(row["need"])
        if not all(isinstance(n, int) and n > 0 for n in row["units"].values()):
            return False
        if worktree and not os.path.isdir(worktree):
            return False
        return owner is None or _lives(owner)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False  # a damaged row promises nothing


def _lives(owner: dict[str, Any]) -> bool:
    from k1ctl import groups

    return groups.still(int(owner["pid"]), owner)


def _promise(row: dict[str, Any]) -> Promise:
    owner = f"worktree {row['worktree']}" if row["worktree"] else ""
    owner = f"process {row['owner']['pid']}" if row["owner"] else owner
    words: dict[str, Any] = {key: str(row.get(key) or "") for key in ("what", "kind", "workspace", "root", "class_")}
    pid = int(row["owner"]["pid"]) if row["owner"] else 0
    return Promise(
        row["id"],
        from_document(row["need"]),
        units=dict(row["units"]),
        pid=pid,
        since=float(row["since"]),
        until=row["until"],
        owner=owner,
        **words,
    )
