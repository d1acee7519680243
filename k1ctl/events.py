"""The append-only record of every decision: ``ops/events/YYYY-MM-DD.jsonl``, one line an event."""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError
from k1ctl.files import LINE_LIMIT, append_line
from k1ctl.jsontext import dumps, loads
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.workspace import Workspace

_FIELD_LIMIT = 400  # characters a field keeps when the line would grow past one atomic write


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else dumps(value)
    return text[:_FIELD_LIMIT] + "..." if len(text) > _FIELD_LIMIT else value


def emit(workspace: Workspace, event: str, **fields: Any) -> None:
    """Append one event; ``event`` is ``noun.verb`` (``queue.granted``), fields are JSON-able, units in their names.

    A line longer than one atomic write has its long fields cut, then dropped; the run's log has the rest. Failing to
    write an event never fails the work it tells of: disk full or read-only ``ops/`` lose the event, not the run.
    """
    now = rfc3339()
    head = {"at": now, "event": event, "workspace": workspace.name}
    line = dumps({**head, **fields})
    if len(line) >= LINE_LIMIT:
        line = dumps({**head, **{k: _cut(v) for k, v in fields.items()}, "cut": True})
    if len(line) >= LINE_LIMIT:
        line = dumps({**head, "run": _cut(fields.get("run", "")), "cut": True})
    try:
        append_line(workspace.ops_path("events", now[:10] + ".jsonl"), line)
    except (OSError, ConfigError):
        pass


def read(folder: str, *, since: str = "") -> Iterator[dict[str, Any]]:
    """The events under ``folder`` (``ops/events``) in order, from the RFC 3339 time ``since`` on.

    A line that is not JSON (a disk that was full in the middle of it) is passed over.
    """
    try:
        names = sorted(n for n in os.listdir(folder) if n.endswith(".jsonl"))
    except FileNotFoundError:
        return
    for name in names:
        if since and name[:10] < since[:10]:
            continue
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as f:
            for line in f:
                event = parse(line)
                if event is not None and event.get("at", "") >= since:
                    yield event


def parse(line: str) -> dict[str, Any] | None:
    """One line as an event; None when it is torn or foreign."""
    try:
        event = loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
