"""How an event looks to people: one line, without control characters."""

from __future__ import annotations

from k1ctl.jsontext import dumps
from k1ctl.output import clean

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HEAD = ("at", "event", "workspace")


def line_for_people(event: dict[str, Any]) -> str:
    """``at  event  workspace  key=value ...`` on one line, without control characters."""
    rest = [f"{key}={_short(value)}" for key, value in event.items() if key not in _HEAD]
    words = [str(event.get("at", "-")), str(event.get("event", "-")).ljust(18), str(event.get("workspace", "-")), *rest]
    return clean("  ".join(words[:3]) + "  " + " ".join(words[3:])).rstrip()


def _short(value: object) -> str:
    text = value if isinstance(value, str) else dumps(value)
    return dumps(text) if not text or " " in text else text
