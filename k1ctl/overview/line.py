"""When each of those who wait may start, told for all of them in one pass over the line."""

from __future__ import annotations

from k1ctl.queue import history
from k1ctl.queue.names import alternatives

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.overview.parts import Sources


def expected(sources: Sources) -> dict[int, float | None]:
    """{number of a waiting ticket: seconds until all it needs has room, if each hold is as long as the typical one};
    None where that is not known: a resource without a record of holds, one that is paused, or held by who waits for
    room on the host itself."""
    line = _Line(sources)
    return {row["ticket"]: line.serve(row) for row in sources.tickets if row["state"] == "waiting"}


class _Line:
    """The times at which the slots of each resource become free, in seconds from now."""

    def __init__(self, sources: Sources) -> None:
        self.sources, self.times = sources, dict[str, "list[float] | None"]()
        self.typical: dict[str, float] = {}
        running = [row for row in sources.tickets if row["state"] == "running"]
        self.held = [(row["resources"], sources.ago(row.get("granted_at")) or 0.0) for row in running]
        self.unknown = {r for row in running if row.get("waits_for") for r in row["resources"]}

    def serve(self, row: dict[str, Any]) -> float | None:
        """Serve this ticket as soon as it can be; when that is."""
        starts: list[float | None] = []
        taken: list[str] = []
        for resource in row["resources"]:
            open_ones = [r for r in alternatives(resource) if r not in self.sources.paused]
            known = [(times[0], r) for r in open_ones if (times := self._frees(r)) is not None]
            starts.append(min(known)[0] if known else None)
            taken += [min(known)[1]] if known else []
        for resource in taken:
            times = self.times[resource]
            assert times is not None
            times[0] += self.typical[resource]
            times.sort()
        found = [start for start in starts if start is not None]
        return round(max(found), 3) if len(found) == len(starts) else None

    def _frees(self, resource: str) -> list[float] | None:
        if resource not in self.times:
            typical = None if resource in self.unknown else history.typical(self.sources.queue, resource)
            self.times[resource] = None if typical is None else self._free_times(resource, typical)
        return self.times[resource]

    def _free_times(self, resource: str, typical: float) -> list[float]:
        self.typical[resource] = typical
        slots = max(1, self.sources.config.slots(resource))
        times = [max(0.0, typical - age) for needs, age in self.held for _ in range(needs.get(resource, 0))]
        return sorted([0.0] * (slots - len(times)) + times)[-slots:]
