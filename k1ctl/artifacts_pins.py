"""Pins: artifacts that people want kept until they say otherwise; ``pinned.json`` in the artifact's folder."""

from __future__ import annotations

import os

from k1ctl import events
from k1ctl.artifacts import PIN
from k1ctl.errors import WrongDataError
from k1ctl.files import Locked, read_json, write_json
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.artifacts import Artifact
    from k1ctl.workspace import Workspace


def read(folder: str) -> dict[str, Any] | None:
    """The pin of the artifact in ``folder``: ``at``, ``by``, ``reason``; None without one.

    A pin that cannot be read is one, too: nobody took it away.
    """
    path = os.path.join(folder, PIN)
    found = read_json(path)
    if found is None and not os.path.exists(path):
        return None
    told = found if isinstance(found, dict) else {}
    return {key: text if isinstance(text := told.get(key), str) else "" for key in ("at", "by", "reason")}


def pin(workspace: Workspace, artifact: Artifact, reason: str = "") -> bool:
    """Keep ``artifact`` until `unpin`; a ``reason`` replaces an earlier one. It survives a power cut.

    Returns whether anything changed. Raises WrongDataError (no-artifact) when it was removed meanwhile, OSError.
    """
    with _Lock(artifact):
        found = read(artifact.folder)
        if found is not None and reason in ("", found["reason"]):
            return False
        value = {"at": rfc3339(), "by": workspace.caller(), "reason": reason}
        write_json(os.path.join(artifact.folder, PIN), value, fsync=True)
    events.emit(workspace, "artifact.pinned", target=artifact.target, artifact=artifact.id, reason=reason)
    return True


def unpin(workspace: Workspace, artifact: Artifact) -> bool:
    """Take the pin away; False when there was none. Raises as `pin`."""
    with _Lock(artifact):
        try:
            os.unlink(os.path.join(artifact.folder, PIN))
        except FileNotFoundError:
            return False
    events.emit(workspace, "artifact.unpinned", target=artifact.target, artifact=artifact.id)
    return True


class _Lock(Locked):
    """The lock of the artifact's target, under which no other call removes it."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(os.path.join(os.path.dirname(artifact.folder), ".lock"))
        self.artifact = artifact

    def __enter__(self) -> Locked:
        held = super().__enter__()
        if not os.path.isdir(self.artifact.folder):
            os.close(self.fd)
            raise WrongDataError(
                f"artifact {self.artifact.id} of {self.artifact.target} was removed meanwhile",
                hint=f"k1ctl build {self.artifact.target}",
                code="no-artifact",
            )
        return held
