"""Which events are wanted, and how one looks to people."""

from __future__ import annotations

import time
from collections import deque
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from k1ctl.errors import UsageError
from k1ctl.events import read
from k1ctl.units import parse_duration, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterable


class Choice:
    """Which events are wanted: any of the ``globs`` (none: all), this ``run``, this ``workspace``."""

    def __init__(self, globs: tuple[str, ...] = (), run: str | None = None, workspace: str | None = None) -> None:
        self.globs, self.run, self.workspace = globs, run, workspace

    def matches(self, event: dict[str, Any]) -> bool:
        if self.globs and not any(fnmatchcase(str(event.get("event", "")), glob) for glob in self.globs):
            return False
        if self.run is not None and event.get("run") != self.run:
            return False
        return self.workspace is None or event.get("workspace") == self.workspace


def select(folder: str, choice: Choice, *, since: str = "", limit: int | None = None) -> Iterable[dict[str, Any]]:
    """The wanted events under ``folder`` from the time ``since`` (RFC 3339 UTC) on; the last ``limit`` of them."""
    found = (event for event in read(folder, since=since) if choice.matches(event))
    return found if limit is None else deque(found, limit)


def parse_since(text: str) -> str:
    """An age (``1h``) or a time (ISO 8601, UTC unless it says otherwise) as RFC 3339 UTC. Raises UsageError."""
    if not text:
        return ""
    try:
        return rfc3339(max(time.time() - parse_duration(text), 0.0))
    except ValueError:
        pass
    from datetime import UTC, datetime

    try:
        moment = datetime.fromisoformat(text)
        return rfc3339((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise UsageError(
            f"--since {text!r} is neither an age nor a time", hint="write 90s, 1h, 2d or 2026-01-31T10:00Z"
        )
