"""Bring an archive from a store back into ``.git/k1ctl/archive``, in this clone or another of the repository.

It is made whole beside its place (``.pull-<id>``), the ref is set, the manifest is written last and the folder
renamed. A pull that was killed is taken up by the next; what it got is not got again. An archive that is here and
damaged is repaired: its ref, its objects and its tar files, but for secrets, of which no copy exists elsewhere.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies
from k1ctl.archive.copies import BUNDLE, MANIFEST
from k1ctl.archive.deletion import delete_folder
from k1ctl.archive.folder import FORMAT as ARCHIVE_FORMAT
from k1ctl.archive.folder import Archive, archives_folder, list_archives
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.verify import SECRETS, digest, files, keep_copy, objects, tar_problems, verify
from k1ctl.errors import BusyError, WrongDataError
from k1ctl.events import emit
from k1ctl.files import open_locked, read_json, write_json
from k1ctl.git import call, output
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

PULLED, REPAIRED, HERE, PLANNED = "pulled", "repaired", "here", "would-pull"
_LOCK = "lock"  # in the folder of a pull: who holds it works there


def pull(
    workspace: Workspace, config: Config, store: Store, name: str, reference: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Get the archive that ``reference`` names (an id or its beginning) of the repository ``name``.

    Returns {archive, store, outcome (pulled, repaired, here, would-pull), bytes, secrets_count, seconds}. Raises
    ArchiveNotFoundError, WrongDataError (damaged-copy, missing-commits, archive-damaged: what no copy could mend),
    BusyError (disk-full; another pull of it), StoreError, GitError.
    """
    from k1ctl.disk import check_room

    begun = time.monotonic()
    copy = copies.find(store, name, reference)
    row: dict[str, Any] = {"archive": copy.id, "store": store.name, "outcome": HERE, "bytes": copy.bytes}
    row |= {"secrets_count": None, "seconds": 0.0}
    here = next((archive for archive in list_archives(workspace) if archive.id == copy.id), None)
    if here is not None and not verify(workspace, here):
        return row
    if here is not None and here.state["state"] == "purging":
        raise WrongDataError(
            f"archive {copy.id} is being purged here", hint="k1ctl archive purge finishes it", code="archive-purging"
        )
    base = archives_folder(workspace)
    check_room(config, base, 2 * copy.bytes, f"archive {copy.id}")
    if dry_run:
        return {**row, "outcome": PLANNED}
    with _Work(base, copy.id) as work:
        manifest = _fetch_all(store, copies.prefix(name, copy.id), copy.id, work)
        row["secrets_count"] = manifest["copy"]["secrets_count"]
        _check_commits(workspace, copy.id, manifest["copy"]["prerequisites"])
        output(["bundle", "unbundle", os.path.join(work, BUNDLE)], workspace.git_dir)
        problems = objects(workspace.git_dir, manifest["commit"])
        if problems:
            raise WrongDataError(f"the copy of {copy.id} is damaged: {problems[0]}", code="damaged-copy")
        if here is not None:
            _repair(workspace, here, manifest, work)
        else:
            _publish(workspace, store, manifest, work)
    row["outcome"] = PULLED if here is None else REPAIRED
    facts = {key: row[key] for key in ("archive", "store", "outcome", "bytes", "secrets_count")}
    emit(workspace, "archive.pulled", **facts)
    return {**row, "seconds": round(time.monotonic() - begun, 3)}


class _Work:
    """``with _Work(base, id) as folder:`` the folder in which one pull at a time works. Raises BusyError."""

    def __init__(self, base: str, archive_id: str) -> None:
        self.id, self.folder = archive_id, os.path.join(base, f".pull-{archive_id}")

    def __enter__(self) -> str:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        fd = open_locked(os.path.join(self.folder, _LOCK), blocking=False, mode=0o600)
        if fd is None:
            raise BusyError(f"archive {self.id} is being pulled by another call", code="archive-busy")
        self.fd = fd
        return self.folder

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def _fetch_all(store: Store, prefix: str, archive_id: str, work: str) -> dict[str, Any]:
    """Get the files into ``work`` and return the manifest. Raises WrongDataError when one is not what it should be."""
    path = os.path.join(work, f"{MANIFEST}.there")
    _fetch(store, f"{prefix}{MANIFEST}", path)
    manifest = read_json(path)
    os.unlink(path)
    wrong = _manifest_problem(manifest, archive_id)
    if wrong:
        raise WrongDataError(f"the copy of {archive_id} in {store.name}: {wrong}", code="damaged-copy")
    for file, about in manifest["files"].items():
        path = os.path.join(work, file)
        if not (os.path.isfile(path) and digest(path) == about["sha256"]):
            _fetch(store, f"{prefix}{file}", path)
            if digest(path) != about["sha256"]:
                os.unlink(path)
                what = f"{file} is damaged: its SHA-256 is not the manifest's"
                raise WrongDataError(f"the copy of {archive_id} in {store.name}: {what}", code="damaged-copy")
        problems = tar_problems(path) if file.endswith(".tar") else []
        if problems:
            raise WrongDataError(
                f"the copy of {archive_id} in {store.name}: {file}: {problems[0]}", code="damaged-copy"
            )
    return dict(manifest)


def _fetch(store: Store, key: str, path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    try:
        store.get(key, path)
    except KeyError:
        raise WrongDataError(f"{key} is gone from the store {store.name}", code="damaged-copy") from None


def _manifest_problem(manifest: Any, archive_id: str) -> str:
    """Why the manifest of a copy cannot be used; "". It came from outside: its names become paths here."""
    try:
        if manifest["format"] != ARCHIVE_FORMAT or manifest["copy"]["format"] != copies.FORMAT:
            return "its format is another than this k1ctl knows"
        if manifest["id"] != archive_id:
            return f"its manifest is of {manifest['id']!r}"
        names, hexadecimal = set(manifest["files"]), set("0123456789abcdef")
        commits = [manifest["commit"], *manifest["copy"]["prerequisites"]]
        if BUNDLE not in names or SECRETS in names or not all(_plain(name) for name in names):
            return "its manifest names files that no copy has"
        if not all(len(c) >= 40 and hexadecimal.issuperset(c) for c in commits):
            return "its manifest names no commits"
        if not all(_inside(path) for path in _paths(manifest)):
            return "its manifest names paths that lead elsewhere"
        int(manifest["copy"]["secrets_count"]), [about["sha256"] for about in manifest["files"].values()]
    except (TypeError, KeyError, AttributeError, ValueError):
        return "its manifest cannot be read"
    return ""


def _paths(manifest: dict[str, Any]) -> list[Any]:
    """What a restore takes for paths below the worktree."""
    lists = [manifest.get(key) or [] for key in ("empty_folders", "special", "regenerable", "nested", "submodules")]
    return [*(path for paths in lists for path in paths), *(row[0] for row in manifest.get("modes") or [])]


def _inside(path: str) -> bool:
    return bool(path) and all(part not in ("", ".", "..") for part in path.rstrip("/").split("/"))


def _plain(name: str) -> bool:
    return name in (BUNDLE, "git.tar", "files.tar")


def _check_commits(workspace: Workspace, archive_id: str, needed: list[str]) -> None:
    """Raises WrongDataError naming commits that the bundle builds on and this clone has not."""
    asked = call(
        ["cat-file", "--batch-check=%(objectname)"], workspace.git_dir, stdin="".join(f"{c}\n" for c in needed)
    )
    missing = [line.split(" ")[0] for line in asked.stdout.splitlines() if line.endswith(" missing")]
    if missing:
        raise WrongDataError(
            f"archive {archive_id} builds on {len(missing)} commits that this clone has not, as {missing[0]}",
            hint="git fetch --all gets what was on a remote when it was pushed; then pull again",
            code="missing-commits",
            missing=missing[:50],
        )


def _publish(workspace: Workspace, store: Store, manifest: dict[str, Any], work: str) -> None:
    """Pin the commit and give the folder its name; from then on the archive is here."""
    about, archive_id = manifest.pop("copy"), str(manifest["id"])
    origin = {"store": store.name, "at": rfc3339(), "host": about["host"], "secrets_count": about["secrets_count"]}
    own = {file: facts for file, facts in manifest["files"].items() if file != BUNDLE}
    total = sum(facts["bytes"] for facts in own.values())
    manifest |= {"files": own, "bytes": total, "pulled": origin}
    folder = os.path.join(os.path.dirname(work), archive_id)
    with ArchiveLock(workspace):
        if os.path.lexists(folder):  # it has no manifest any more: what is in it may still be of use to a person
            os.rename(folder, f"{folder}.damaged-{os.urandom(3).hex()}")
        ref = Archive(folder, manifest).ref
        output(["update-ref", ref, manifest["commit"]], workspace.git_dir)
        archive = Archive(work, manifest)
        archive.set_state("archived", pulled=origin["store"])
        copies.note(archive, store.name, at=about["at"], bytes=total, repository=about["repository"])
        for name in os.listdir(work):  # the bundle, and halves of files that a killed pull was writing
            if name not in (*own, _LOCK, "state.json", copies.RECORD):
                os.unlink(os.path.join(work, name))
        write_json(os.path.join(work, MANIFEST), manifest, mode=0o600, fsync=True)
        os.rename(work, folder)
        os.unlink(os.path.join(folder, _LOCK))
    keep_copy(workspace, Archive(folder, manifest))


def _repair(workspace: Workspace, archive: Archive, manifest: dict[str, Any], work: str) -> None:
    """Put what the copy has in the place of what is damaged here. Raises WrongDataError for the rest of it."""
    if manifest["commit"] != archive.manifest["commit"]:
        raise WrongDataError(f"the copy of {archive.id} is of another commit than the archive", code="damaged-copy")
    with ArchiveLock(workspace):
        output(["update-ref", archive.ref, manifest["commit"]], workspace.git_dir)
        for file, facts in files(archive).items():
            place, copy = os.path.join(archive.folder, file), os.path.join(work, file)
            if manifest["files"].get(file) != facts or (os.path.isfile(place) and digest(place) == facts["sha256"]):
                continue
            os.replace(copy, place)
        gone = os.path.join(os.path.dirname(work), f".tmp-pulled-{archive.id}")
        os.rename(work, gone)
        delete_folder(gone)
        problems = verify(workspace, archive)
    if problems:
        raise WrongDataError(
            f"archive {archive.id} was mended but for this: {problems[0]}",
            hint="what the copy does not have cannot be mended from it; restoring leaves it out or refuses",
            code="archive-damaged",
        )
