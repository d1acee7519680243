"""What runs, waits and fails, in one look at the files of ``ops/`` and of the host's folder.

Nothing is asked, started, or waited for: no device, no git, no lock. Each part is made by itself; one that cannot be
made says why and hides no other.
"""

from __future__ import annotations

from importlib import import_module

from k1ctl.overview.parts import Part, Sources, reason
from k1ctl.overview.verdict import next_step, problems
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.tally.fold import Tally
    from k1ctl.workspace import Workspace

__all__ = ["PARTS", "Overview", "Part", "look"]

# each is made by `look` in the module of its name in this package; rows of a table, or facts
PARTS = ("workspaces", "slots", "waiting", "devices", "builds", "uploads", "budget", "host", "alerts")


class Overview:
    """One look, at ``at`` (RFC 3339), at the root of ``workspace``: a `Part` of each name of `PARTS`; ``problems``:
    what is not well, the worst first ({level: error or warning, part, text} each)."""

    workspaces: Part
    slots: Part
    waiting: Part
    devices: Part
    builds: Part
    uploads: Part
    budget: Part
    host: Part
    alerts: Part

    def __init__(self, workspace: Workspace, at: float, parts: dict[str, Part]) -> None:
        self.workspace, self.at, self.parts = workspace, rfc3339(at), parts
        for name, part in parts.items():
            setattr(self, name, part)
        self.problems = problems(self)

    @property
    def errors(self) -> dict[str, str]:
        """{part that could not be made: why}."""
        return {name: part.error for name, part in self.parts.items() if part.error}

    def document(self) -> dict[str, Any]:
        """What ``k1ctl status --json`` prints."""
        return {
            "ok": True,
            "at": self.at,
            "root": self.workspace.root,
            "workspace": self.workspace.name,
            **{name: part.document() for name, part in self.parts.items()},
            "problems": self.problems,
            "next": next_step(self) or None,
            "errors": self.errors,
        }


def look(
    workspace: Workspace, config: Config, *, parts: Sequence[str] = PARTS, tally: Callable[[], Tally] | None = None
) -> Overview:
    """The overview now, of these ``parts`` (the others are empty). Never raises for what the files hold.

    ``tally``: gives what all events come to, for who looks again and again (`k1ctl.tally.resident.Resident.look`).
    """
    sources = Sources(workspace, config, tally)
    found = {name: _made(name, sources) if name in parts else Part() for name in PARTS}
    return Overview(workspace, sources.now, found)


def _made(name: str, sources: Sources) -> Part:
    try:
        part = import_module(f"{__name__}.{name}").look(sources)
        assert isinstance(part, Part)
        return part
    except Exception as exc:  # a damaged file that nobody thought of hides its own part only
        return Part(error=reason(exc))
