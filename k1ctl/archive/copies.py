"""Copies of archives off this host: where they lie in a store, what is there, and which the host knows of.

``<repository>/<id>/`` in a store holds ``snapshot.bundle`` (what the archive's ref reaches and no remote has), the
archive's tar files but never ``secrets.tar``, and last ``manifest.json``: without it, a push that is not over. The
manifest names size and SHA-256 of each file, and the commits that the bundle builds on: a clone has to have them.
Of secrets it says how many stayed behind, and nothing else.
"""

from __future__ import annotations

import os

from k1ctl.archive.folder import list_archives
from k1ctl.errors import UsageError
from k1ctl.files import read_json, write_json
from k1ctl.stores import key_part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.archive.folder import Archive
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

FORMAT = 1
BUNDLE, MANIFEST = "snapshot.bundle", "manifest.json"
RECORD = "copies.json"  # in the archive's folder: {store: what was pushed}
_BEFORE, _AFTER = len("YYYYMMDD-HHMMSS-"), len("-xxxxxx")  # of an id, around the workspace's name
_LARGEST = 64 << 20  # bytes of a manifest


class Copy:
    """An archive in a store: its ``id``, ``files`` {name: bytes}, and ``whole``, whether its push was finished."""

    __slots__ = ("files", "id", "whole")

    def __init__(self, archive_id: str, files: dict[str, int]) -> None:
        self.id, self.files, self.whole = archive_id, files, MANIFEST in files

    @property
    def bytes(self) -> int:
        return sum(self.files.values())


def repository(workspace: Workspace) -> str:
    """What the repository is called in stores, alike in every clone: by its remote ``origin``, else by its folder.

    Raises GitError.
    """
    from k1ctl.git import call

    url = call(["config", "--get", "remote.origin.url"], workspace.git_dir).stdout.strip()
    name = url.rstrip("/").removesuffix("/.git").replace(":", "/").rpartition("/")[2].removesuffix(".git")
    if not name or "@" in name:  # a host's name, maybe with a login before it
        name = os.path.basename(workspace.root)
    return key_part(name)


def prefix(name: str, archive_id: str) -> str:
    """What the keys of an archive begin with in the repository ``name``."""
    return f"{name}/{archive_id}/"


def listed(store: Store, name: str) -> list[Copy]:
    """What ``store`` holds of the repository ``name``, the newest first. Raises StoreError."""
    found: dict[str, dict[str, int]] = {}
    for key, size in store.list(f"{name}/"):
        parts = key.split("/")
        if len(parts) == 3:
            found.setdefault(parts[1], {})[parts[2]] = size
    return [Copy(archive_id, found[archive_id]) for archive_id in sorted(found, reverse=True)]


def find(store: Store, name: str, reference: str) -> Copy:
    """The whole copy that ``reference`` names: an id or its beginning, else a workspace's name for the newest of it.

    Raises ArchiveNotFoundError, UsageError, StoreError.
    """
    from k1ctl.archive.folder import ArchiveNotFoundError

    known = listed(store, name)
    fitting = [c for c in known if c.id == reference] or [c for c in known if reference and c.id.startswith(reference)]
    fitting = fitting or [c for c in known if c.whole and c.id[_BEFORE:-_AFTER] == reference][:1]
    if len(fitting) > 1:
        raise UsageError(f"archive {reference} may be {' or '.join(c.id for c in fitting[:5])}", hint="give more of it")
    if not fitting or not fitting[0].whole:
        what = f"there is no archive {reference} of {name} in the store {store.name}"
        if fitting:
            what = f"the copy of {fitting[0].id} in the store {store.name} is not whole: its push was interrupted"
        hint = "push it again from where it was made" if fitting else f"k1ctl archive list --store {store.name}"
        raise ArchiveNotFoundError(what, hint=hint)
    return fitting[0]


def read_manifest(store: Store, name: str, copy: Copy, folder: str) -> Any:
    """What ``store`` has as the manifest of ``copy``, got by way of ``folder``; None when it is none, or gone. Nobody
    promises that it is what was sent once. Raises StoreError."""
    if copy.files.get(MANIFEST, 0) > _LARGEST:
        return None
    path = os.path.join(folder, f"{MANIFEST}.there")
    if os.path.lexists(path):
        os.unlink(path)
    try:
        store.get(f"{prefix(name, copy.id)}{MANIFEST}", path)
        return read_json(path)
    except (KeyError, RecursionError):  # too deep for any of ours
        return None
    finally:
        if os.path.lexists(path):
            os.unlink(path)


def of(archive: Archive) -> dict[str, dict[str, Any]]:
    """{store: {at, bytes, prerequisites_count, ...}} of the copies that this host pushed, or got the archive from."""
    facts = read_json(os.path.join(archive.folder, RECORD))
    return facts if isinstance(facts, dict) else {}


def note(archive: Archive, store: str, **facts: Any) -> None:
    """Remember a copy in ``store``. Raises OSError."""
    write_json(os.path.join(archive.folder, RECORD), {**of(archive), store: facts}, fsync=True)


def here(workspace: Workspace) -> set[str]:
    """The ids of the archives on this host."""
    return {archive.id for archive in list_archives(workspace)}
