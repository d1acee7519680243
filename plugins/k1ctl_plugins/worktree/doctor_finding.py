"""What ``k1ctl worktree doctor`` finds: one thing that is wrong, why it matters, and what to do about it."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

LEVELS = ("error", "warning", "note")


class Finding(NamedTuple):
    """``code`` names the kind; ``level`` is one of `LEVELS` (error: work or builds are in danger now); ``worktree`` is
    a path, "" for what concerns the repository; ``what``, ``why`` and ``fix`` are sentences, ``details`` JSON."""

    code: str
    level: str
    worktree: str
    what: str
    why: str
    fix: str
    details: dict[str, Any] = {}

    def document(self) -> dict[str, Any]:
        return self._asdict()


def listing(folder: str) -> list[str]:
    """The names in a folder, in order; [] when it is not there, or not ours to read."""
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def listed(names: list[str], limit: int = 3) -> str:
    """Names for a sentence: the first ones, and how many more."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
