"""``ops/alerts/state.json``: each alert with its state. Replaced whole, so that anybody may read it at any time.

A file that is missing or damaged is a fresh one: what is pending begins anew, and what fires is told once more.
"""

from __future__ import annotations

from k1ctl.files import read_json
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

    State = dict[str, Any]
    Entry = dict[str, Any]

INACTIVE, PENDING, FIRING = "inactive", "pending", "firing"
STATES = (INACTIVE, PENDING, FIRING)
WARNING, CRITICAL = "warning", "critical"
VERSION = 1
ENTRY: Entry = {
    "name": "",  # the rule
    "subject": "",  # of what
    "level": WARNING,
    "state": INACTIVE,
    "since": 0.0,  # wall seconds: since when it is in this state
    "held": 0.0,  # s of being wrong that were seen
    "calm": 0,  # 1: it still fires, and was well when it was last looked at
    "well": 0.0,  # s for which it was
    "seen": None,  # Moment of the last look that told anything
    "value": None,
    "limit": None,
    "unit": "",
    "text": "",
    "hint": "",
    "told_by": "",  # who else tells people of it
    "episode": 0,  # since when it fires, in milliseconds; a new one where it became critical; no other of it has it
    "began": 0,  # the first episode of its firing
    "told": 0,  # the episode that people were told of
    "told_at": 0.0,
    "over": 0,  # the episode whose end they still have to hear of
}


class Alert:
    """``key`` tells it from all others: ``name`` of the rule, and ``subject``, of what (a resource, a device, an
    objective; "" where there is one only). ``state``: inactive, pending or firing, ``since`` (RFC 3339, "" for never).
    ``value`` in ``unit`` with its ``limit``, None where no figure decides; ``text``: what is wrong, ``hint``: what to
    do. ``level``: warning or critical. ``told``: whether people were told. ``silenced`` until (RFC 3339, "" for not);
    ``told_by``: who else tells people of it ("" for nobody)."""

    __slots__ = (
        *("hint", "key", "level", "limit", "name", "silenced", "since", "state", "subject", "text", "told", "told_by"),
        *("unit", "value"),
    )

    def __init__(self, key: str, entry: Entry, silenced: str = "") -> None:
        self.key, self.name, self.subject, self.level = key, entry["name"], entry["subject"], entry["level"]
        self.state, self.since = entry["state"], rfc3339(entry["since"]) if entry["since"] else ""
        self.value, self.limit, self.unit = entry["value"], entry["limit"], entry["unit"]
        self.text, self.hint, self.told_by = entry["text"], entry["hint"], entry["told_by"]
        self.told = self.state == FIRING and entry["told"] == entry["episode"]
        self.silenced = silenced

    def document(self) -> dict[str, Any]:
        """The alert as JSON."""
        return {name: getattr(self, name) for name in sorted(self.__slots__)}


def path_of(workspace: Workspace) -> str:
    """``ops/alerts/state.json``."""
    return workspace.ops_path("alerts", "state.json")


def fresh() -> State:
    """What is so before the first check."""
    return {"version": VERSION, "checked": None, "rare": 0, "alerts": {}, "silences": {}, "message": None}


def load(workspace: Workspace) -> State:
    """What was kept last; a fresh state where nothing is, or what is there is damaged."""
    found = read_json(path_of(workspace))
    return found if sound(found) else fresh()


def usable(workspace: Workspace) -> State:
    """As `load`, for who says what is so, or changes it. Raises ConfigError (alerts-newer) for the state of a newer
    k1ctl: each of the two would throw away what the other one kept, and people would be told anew each time."""
    from k1ctl.errors import ConfigError

    found = read_json(path_of(workspace))
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, int) and version > VERSION:
        said = f"{path_of(workspace)} was written by a newer k1ctl (its version {version}, this one knows {VERSION})"
        raise ConfigError(said, hint="update k1ctl here; the file is left as it is", code="alerts-newer")
    return found if sound(found) else fresh()


def state(workspace: Workspace, now: float | None = None) -> list[Alert]:
    """Every alert that was ever wrong here and is not forgotten yet: firing ones first, then pending and inactive ones.

    Reads one small file; never raises for what is in it.
    """
    import time

    return alerts_of(load(workspace), time.time() if now is None else now)


def alerts_of(kept: State, now: float) -> list[Alert]:
    """The alerts of a state, as `state` has them."""
    from k1ctl.alerts.silences import silenced

    alerts = []
    for key, entry in kept["alerts"].items():
        until = silenced(kept, key, entry["name"], now)
        alerts.append(Alert(key, entry, rfc3339(until) if until else ""))
    return sorted(alerts, key=lambda a: (-STATES.index(a.state), a.level != CRITICAL, a.key))


def checked_at(workspace: Workspace) -> float | None:
    """When `k1ctl alert check` looked last, in seconds since 1970; None for never."""
    checked = load(workspace)["checked"]
    return None if checked is None else float(checked["wall"])


def sound(found: Any) -> bool:
    """Whether a document is a state of ours, in all that is relied on."""
    try:
        whole = found["version"] == VERSION and isinstance(found["rare"], int)
        whole = whole and _is_moment(found["checked"]) and (found["message"] is None or _is_message(found["message"]))
        entries = all(
            all(_alike(entry[field], default) for field, default in ENTRY.items())
            and entry["state"] in STATES
            and _is_moment(entry["seen"])
            and all(entry[field] is None or _is_figure(entry[field]) for field in ("value", "limit"))
            for entry in found["alerts"].values()
        )
        silences = all(_is_silence(each) for each in found["silences"].values())
    except (TypeError, KeyError, AttributeError, ValueError):
        return False
    return bool(whole and entries and silences)


def _alike(value: Any, default: Any) -> bool:
    if default is None:
        return True
    return _is_number(value) if isinstance(default, int | float) else isinstance(value, str)


def _is_figure(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e15


def _is_number(value: Any) -> bool:
    return _is_figure(value) and value >= 0


def _is_moment(value: Any) -> bool:
    return value is None or (_is_number(value["wall"]) and _is_number(value["monotonic"]))


def _is_silence(value: Any) -> bool:
    return _is_number(value["at"]) and _is_number(value["until"]) and isinstance(value["reason"], str)


def _is_message(value: Any) -> bool:
    from k1ctl.notify import Notification

    told = all(isinstance(what + key, str) and _is_number(episode) for what, key, episode in value["items"])
    tried = _is_number(value["tries"]) and _is_number(value["tried"])
    return told and tried and value["document"].keys() == {*Notification.__slots__}
