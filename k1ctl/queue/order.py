"""The rules of the line by themselves: who has room, and what waiting gains."""

from __future__ import annotations

from k1ctl.queue import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from k1ctl.queue.names import Name


def eligible(waiting: Iterable[Name], running: list[Name], paused: set[str], slots: Callable[[str], int]) -> list[Name]:
    """Who of those ``waiting`` (in the order of service) has room, each one ahead keeping what he asks for."""
    free: dict[str, int] = {}
    found = []
    for name in waiting:
        if not paused.isdisjoint(name.needs):
            continue
        for resource in name.needs:
            if resource not in free:
                free[resource] = slots(resource) - sum(n.needs.get(resource, 0) for n in running)
        if fits(name.needs, free):
            found.append(name)
        for resource, need in name.needs.items():
            free[resource] -= need
    return found


def fits(needs: dict[str, int], left: dict[str, int]) -> bool:
    """Whether what is left covers the needs."""
    return all(left[r] >= n for r, n in needs.items())


def risen(rank: int, since: float, ageing: float, now: float) -> tuple[int, float]:
    """(rank, since when) of a ticket that has had ``rank`` since ``since``: one priority higher for each ``ageing``
    seconds, up to `names.AGED`; with ``ageing`` 0 never.
    """
    while ageing and rank > names.AGED and now >= since + ageing:
        rank, since = names.above(rank), since + ageing
    return rank, since
