"""The events that prove a reason: the newest with these names and fields."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.events_find import Wanted, newest
from k1ctl.jsontext import dumps
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.workspace import Workspace

_DAYS = 7.0  # how far back events are looked for that are of no run: each is a search through all of them
_DAY = 86400.0  # s
_EARLIER = 60.0  # s that the event of a run may be older than its id: clocks are set


class Events:
    """The events of a root, as `k1ctl.reasons.Subject.find` gives them.

    ``counts`` {event: number since ever} spares the search for what never happened.
    """

    def __init__(self, workspace: Workspace, counts: Callable[[], dict[str, int]]) -> None:
        self.folder, self.counts = workspace.ops_path("events"), counts

    def find(self, *names: str, limit: int = 3, **fields: Any) -> list[dict[str, Any]]:
        """The newest events of these names whose fields have these values, newest last."""
        known = self.counts()
        wanted = [name for name in names if name in known]
        if not wanted or any(value in ("", None) for value in fields.values()):
            return []
        run = str(fields.get("run", ""))
        since = time_of(run) or rfc3339(time.time() - _DAYS * _DAY)
        return [*newest(self.folder, _Fields(wanted, fields), limit=limit, since=since)][::-1]


class _Fields(Wanted):
    """Events of these names with these fields; a document counts by its name (``device``), ``holds`` is a resource
    among those that the event names, ``whose`` the workspace or the agent that it is of."""

    __slots__ = ("fields",)

    def __init__(self, names: list[str], fields: dict[str, Any]) -> None:
        super().__init__(names)
        self.fields = fields
        self._every = [dumps(value).encode() for value in fields.values() if str(value).isascii()]

    def matches(self, event: dict[str, Any]) -> bool:
        if not super().matches(event):
            return False
        for key, value in self.fields.items():
            if key == "holds":
                if value not in (event.get("resources") or {}):
                    return False
                continue
            if key == "whose":
                if value not in (event.get("workspace"), event.get("agent")):
                    return False
                continue
            there = event.get(key)
            if isinstance(there, dict):
                there = there.get("name")
            if there != value:
                return False
        return True


def time_of(run: str) -> str:
    """The time in a run's id, a little earlier, as RFC 3339; "" for another id."""
    import calendar

    stamp = run.partition(".")[0]
    try:
        began = calendar.timegm(time.strptime(stamp, "%Y%m%d-%H%M%S"))
    except ValueError:
        return ""
    return rfc3339(began - _EARLIER)
