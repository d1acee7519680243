"""The rules of the line by themselves: who has room and for what, and what waiting gains."""

from __future__ import annotations

from k1ctl.queue import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from k1ctl.queue.names import Name


class Room(dict[str, int]):
    """Free slots by resource; ``count`` is asked for those of a resource when somebody first wants it."""

    def __init__(self, count: Callable[[str], int]) -> None:
        super().__init__()
        self.count = count

    def __missing__(self, resource: str) -> int:
        self[resource] = free = self.count(resource)
        return free


def claims(name: Name, left: Room, paused: AbstractSet[str]) -> dict[str, int]:
    """What a ticket that no pause holds back claims of what is ``left``.

    Of a choice that is the first alternative that has room, else the one that has most, so that it is the same for
    all who look.
    """
    if not name.choice:
        return name.needs
    wants: dict[str, int] = {}
    for resource, need in name.needs.items():
        taken = resource
        if names.CHOICE in resource:
            open_ones = [r for r in name.choice if r not in paused]
            taken = next((r for r in open_ones if left[r] >= need), "") or max(open_ones, key=left.__getitem__)
        wants[taken] = wants.get(taken, 0) + need
    return wants


def eligible(
    waiting: Iterable[Name],
    left: Room,
    paused: AbstractSet[str],
    alive: Callable[[Name], bool],
    passed: Collection[int] = (),
) -> list[tuple[Name, dict[str, int]]]:
    """Who of those ``waiting`` (in the order of service) has room, and what each gets.

    Those ahead keep what they claim; only one whose claim takes something is asked whether it is ``alive``. The
    numbers in ``passed`` claim nothing. ``left`` is used up.
    """
    found = []
    for name in waiting:
        if name.held_back(paused) or name.seq in passed:
            continue
        wants = claims(name, left, paused)
        takes, fit = False, True
        for resource, need in wants.items():
            there = left[resource]
            takes, fit = takes or there > 0, fit and there >= need
        if takes and not alive(name):
            continue
        if fit:
            found.append((name, wants))
        for resource, need in wants.items():
            left[resource] -= need
    return found


def related(mine: Name, ahead: Iterable[Name]) -> list[Name]:
    """Those ``ahead`` on whom it depends what is left for ``mine``: a choice ties the lines of its alternatives."""
    there, found = list(ahead), set(mine.lines)
    while True:
        tied = [n.choice for n in there if not found.isdisjoint(n.choice) and not found.issuperset(n.choice)]
        if not tied:
            return [n for n in there if not found.isdisjoint(n.lines)]
        found.update(*tied)


def fits(needs: Mapping[str, int], left: Mapping[str, int]) -> bool:
    """Whether what is left covers the needs."""
    return all(left[r] >= n for r, n in needs.items())


def risen(rank: int, since: float, ageing: float, now: float) -> tuple[int, float]:
    """(rank, since when) of a ticket that has had ``rank`` since ``since``: one priority higher for each ``ageing``
    seconds, up to `names.AGED`; with ``ageing`` 0 never.
    """
    while ageing and rank > names.AGED and now >= since + ageing:
        rank, since = names.above(rank), since + ageing
    return rank, since
