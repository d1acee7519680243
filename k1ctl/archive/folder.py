"""Where archives lie, and what is known of each.

``<common git folder>/k1ctl/archive/<id>/`` (0700) holds one archive, so that ``git clean`` in the root cannot reach it:

- ``manifest.json``   what was saved, with size and SHA-256 of each file below; written last: without it, a leftover
- ``state.json``      how far it is: saved, removing, archived, restored, purging (`STATES`); replaced at each step
- ``git.tar``         the worktree's own git folder: HEAD, index, reflogs, a rebase under way, submodules' repositories
- ``files.tar``       what git ignores and is precious, nested repositories, what a commit cannot hold; modes and times
- ``secrets.tar``     0600: what of all this has a secret's name (``archive.secrets``); it never leaves the host
- ``trash/``          the worktree itself, renamed, where it lies on the same filesystem

``refs/k1ctl/archive/<id>`` pins a commit whose tree is the working tree byte for byte, and whose parents are HEAD, the
index as a commit, and everything that only the worktree's own refs and reflogs reached. A copy of the manifest stands
under ``ops/archive/<id>/`` for people.
"""

from __future__ import annotations

import os

from k1ctl.errors import K1ctlError, UsageError
from k1ctl.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

FORMAT = 1
STATES = ("saved", "removing", "archived", "restored", "purging")
REF = "refs/k1ctl/archive/"


class ArchiveNotFoundError(K1ctlError):
    """No archive has this id."""

    code = "no-such-archive"


class Archive:
    """One archive: ``id``, its ``folder``, and the ``manifest``."""

    __slots__ = ("folder", "id", "manifest")

    def __init__(self, folder: str, manifest: dict[str, Any]) -> None:
        self.folder, self.manifest = folder, manifest
        self.id = str(manifest["id"])

    @property
    def ref(self) -> str:
        """The ref that pins its commit."""
        return REF + self.id

    @property
    def state(self) -> dict[str, Any]:
        """How far it is: ``state`` is one of `STATES`, ``at`` since when, ``trash`` and more as the step left it."""
        facts = read_json(os.path.join(self.folder, "state.json"))
        return facts if isinstance(facts, dict) else {"state": "saved", "at": self.manifest["at"]}

    def set_state(self, state: str, **facts: Any) -> None:
        """Replace the state; it survives a power cut. Raises OSError."""
        from k1ctl.units import rfc3339

        value = {"state": state, "at": rfc3339(), **facts}
        write_json(os.path.join(self.folder, "state.json"), value, fsync=True)

    def document(self) -> dict[str, Any]:
        """The archive as JSON."""
        return {**self.manifest, "folder": self.folder, "ref": self.ref, "state": self.state["state"]}


def archives_folder(workspace: Workspace) -> str:
    """The folder of all archives of the repository."""
    return os.path.join(workspace.git_dir, "k1ctl", "archive")


def restores_folder(workspace: Workspace) -> str:
    """The folder of what a restore has made and not renamed into place yet; in it while it is under way, or killed."""
    return os.path.join(workspace.git_dir, "k1ctl", "restore")


def restoring(workspace: Workspace) -> bool:
    """Whether a restore is under way, or was killed."""
    folder = restores_folder(workspace)
    return os.path.isdir(folder) and bool(os.listdir(folder))


def list_archives(workspace: Workspace) -> list[Archive]:
    """Every whole archive, the newest first; a folder without a manifest is a leftover and not shown."""
    base = archives_folder(workspace)
    names = os.listdir(base) if os.path.isdir(base) else []
    found = [archive for name in names if (archive := _load(os.path.join(base, name))) is not None]
    # An id tells the second only: a worktree that changed while it was archived has two archives in one.
    return sorted(found, key=lambda archive: (str(archive.manifest.get("at")), archive.id), reverse=True)


def find(workspace: Workspace, reference: str) -> Archive:
    """The archive that ``reference`` names: an id or its beginning, else a workspace's name for the newest of it.

    Raises ArchiveNotFoundError, UsageError when the beginning fits several.
    """
    known = list_archives(workspace)
    exact = [a for a in known if a.id == reference]
    fitting = exact or [a for a in known if reference and a.id.startswith(reference)]
    if len(fitting) > 1:
        raise UsageError(f"archive {reference} may be {' or '.join(a.id for a in fitting[:5])}", hint="give more of it")
    named = fitting or [a for a in known if a.manifest.get("workspace") == reference][:1]
    if not named:
        raise ArchiveNotFoundError(f"there is no archive {reference}", hint="k1ctl archive list shows them")
    return named[0]


def _load(folder: str) -> Archive | None:
    manifest = read_json(os.path.join(folder, "manifest.json"))
    if not isinstance(manifest, dict) or manifest.get("id") != os.path.basename(folder):
        return None
    return Archive(folder, manifest)
