"""What ``k1ctl doctor`` is told by each plugin: a check, what it found, why that matters, and how it is mended."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OK, NOTE, WARNING, ERROR = "ok", "note", "warning", "error"
LEVELS = (OK, NOTE, WARNING, ERROR)  # each worse than those before it


class Check:
    """``code`` tells it from all others of its plugin (``stale-lock``); ``level`` is one of `LEVELS`; ``what`` was
    found, ``why`` that matters and ``fix``, what to do: one command that can be typed as it stands and destroys
    nothing, or sentences with their commands in `backquotes`; the last two may be "" where all is well."""

    __slots__ = ("code", "fix", "level", "what", "why")

    def __init__(self, code: str, level: str, what: str, *, why: str = "", fix: str = "") -> None:
        self.code, self.level, self.what, self.why, self.fix = code, level, what, why, fix

    def document(self) -> dict[str, Any]:
        """The check as JSON."""
        return {name: getattr(self, name) for name in ("code", "level", "what", "why", "fix")}
