"""Is what this worktree built last still what its sources say?"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.artifacts import newest_build
from k1ctl.builds import SourceState
from k1ctl.units import format_duration, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.workspace import Workspace


def warnings(workspace: Workspace, target: str, settings: Mapping[str, Any]) -> list[str]:
    """A sentence when commit or changes differ from those of this worktree's newest build; none where git cannot tell.

    It is a warning and no refusal: what differs may be a comment.
    """
    built = newest_build(workspace, target)
    if not built.get("commit"):
        return []
    state = SourceState(workspace.path, os.path.normpath(os.path.join(workspace.path, str(settings["path"]))))
    now = state.document()
    then = {"commit": built["commit"], "dirty": built.get("dirty")}
    if not now["commit"] or (now == then and state.fingerprint() == (built.get("sources") or "")):
        return []
    return [
        f"the sources of {target} are not those that were built: sent is {built['id']}, built {_age(str(built['at']))} "
        f"ago from {_words(then)}; the worktree is at {_words(now)} (--build sends that)"
    ]


def _words(state: Mapping[str, Any]) -> str:
    return f"{state['commit'][:12]}{' with uncommitted changes' if state['dirty'] else ''}"


def _age(at: str) -> str:
    return format_duration(max(0.0, time.time() - parse_rfc3339(at)))
