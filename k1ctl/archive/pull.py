"""Bring an archive from a store back into ``.git/k1ctl/archive``, in this clone or another of the repository.

It is made whole beside its place (``.pull-<id>``), the ref is set, the manifest is written last and the folder
renamed. A pull that was killed is taken up by the next; what it got is not got again. An archive that is here and
damaged is repaired: its ref, its objects and its tar files, but for secrets, of which no copy exists elsewhere.

Nobody promises that what lies in a store is what was sent: names, sizes and digests are checked
(`k1ctl.archive.foreign`), and what git would run of it is refused (`k1ctl.archive.gitruns`).
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies, foreign, gitruns
from k1ctl.archive.copies import BUNDLE, MANIFEST
from k1ctl.archive.deletion import delete_folder
from k1ctl.archive.folder import Archive, archives_folder, list_archives
from k1ctl.archive.gitruns import misplaced
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.verify import digest, files, keep_copy, objects, tar_problems, verify
from k1ctl.errors import BusyError, WrongDataError
from k1ctl.events import emit
from k1ctl.files import open_locked, write_json
from k1ctl.git import call, output
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

PULLED, REPAIRED, HERE, PLANNED = "pulled", "repaired", "here", "would-pull"
_WORK, _LOCK = ".pull-", "lock"  # the folder of a pull, and a file in it: who holds it works there
_LEFT_BEHIND = 7 * 86400.0  # s: what a pull that failed has got is nobody's any more


def pull(
    workspace: Workspace,
    config: Config,
    store: Store,
    name: str,
    reference: str,
    *,
    trust: bool = False,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Get the archive that ``reference`` names (an id or its beginning) of the repository ``name``; with ``trust`` also
    one of which git would run something.

    Returns {archive, store, outcome (pulled, repaired, here, would-pull), bytes, secrets_count, seconds}. Raises
    ArchiveNotFoundError, WrongDataError (damaged-copy, missing-commits, runs-commands, archive-damaged: what no copy
    could mend), BusyError (disk-full; another pull of it), StoreError, GitError.
    """
    from k1ctl.disk import check_room

    begun = time.monotonic()
    copy = copies.find(store, name, reference)
    row: dict[str, Any] = {"archive": copy.id, "store": store.name, "outcome": HERE, "bytes": copy.bytes}
    row |= {"secrets_count": None, "seconds": 0.0}
    here = _here(workspace, copy.id)
    if here is not None and not verify(workspace, here, trash=False):
        return row
    base = archives_folder(workspace)
    check_room(config, base, 2 * copy.bytes, f"archive {copy.id}")
    if dry_run:
        return {**row, "outcome": PLANNED}
    _sweep(base)
    with _Work(base, copy.id) as work:
        manifest = _fetch_all(store, name, copy, work)
        if here is None and not trust:
            _check_runs(copy.id, manifest, work)
        row["secrets_count"] = manifest["copy"]["secrets_count"]
        _check_commits(workspace, copy.id, manifest)
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
        self.id, self.folder = archive_id, os.path.join(base, f"{_WORK}{archive_id}")

    def __enter__(self) -> str:
        os.makedirs(self.folder, 0o700, exist_ok=True)
        fd = open_locked(os.path.join(self.folder, _LOCK), blocking=False, mode=0o600)
        if fd is None:
            raise BusyError(f"archive {self.id} is being pulled by another call", code="archive-busy")
        os.utime(fd)
        self.fd = fd
        return self.folder

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def _here(workspace: Workspace, archive_id: str) -> Archive | None:
    """The archive on this host, whole or not. Raises WrongDataError when it is being purged."""
    here = next((archive for archive in list_archives(workspace) if archive.id == archive_id), None)
    if here is not None and here.state["state"] == "purging":
        raise WrongDataError(
            f"archive {archive_id} is being purged here", hint="k1ctl archive purge finishes it", code="archive-purging"
        )
    return here


def _fetch_all(store: Store, name: str, copy: copies.Copy, work: str) -> dict[str, Any]:
    """Get the files into ``work`` and return the manifest. Raises WrongDataError when one is not what it should be."""
    manifest = copies.read_manifest(store, name, copy, work)
    wrong = foreign.problem(manifest, copy.id, copy.files)
    for file, about in manifest["files"].items() if not wrong else ():
        path = os.path.join(work, file)
        if not (os.path.isfile(path) and digest(path) == about["sha256"]):
            _fetch(store, f"{copies.prefix(name, copy.id)}{file}", path)
            if digest(path) != about["sha256"]:
                os.unlink(path)
                wrong = f"{file} is damaged: its SHA-256 is not the manifest's"
                break
        problems = (tar_problems(path) or misplaced(path)) if file.endswith(".tar") else []
        if problems:
            wrong = f"{file}: {problems[0]}"
            break
    if wrong:
        raise WrongDataError(f"the copy of {copy.id} in {store.name}: {wrong}", code="damaged-copy")
    return dict(manifest)


def _check_runs(archive_id: str, manifest: dict[str, Any], work: str) -> None:
    """Raises WrongDataError when git would run something of what was got."""
    told = gitruns.found(work, manifest)
    if told:
        more = f", and {len(told) - 1} more" if len(told) > 1 else ""
        raise WrongDataError(
            f"archive {archive_id} has what git could run once it is restored: {told[0]}{more}",
            hint="when you know who pushed it: --trust",
            code="runs-commands",
            found=told[:50],
        )


def _fetch(store: Store, key: str, path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)
    try:
        store.get(key, path)
    except KeyError:
        raise WrongDataError(f"{key} is gone from the store {store.name}", code="damaged-copy") from None


def _sweep(base: str) -> None:
    """Delete what pulls that failed long ago have left."""
    for name in os.listdir(base) if os.path.isdir(base) else ():
        lock = os.path.join(base, name, _LOCK)
        if name.startswith(_WORK) and os.path.isfile(lock) and time.time() - os.stat(lock).st_mtime > _LEFT_BEHIND:
            fd = open_locked(lock, blocking=False)
            if fd is not None:
                delete_folder(os.path.join(base, name))
                os.close(fd)


def _check_commits(workspace: Workspace, archive_id: str, manifest: dict[str, Any]) -> None:
    """Raises WrongDataError naming commits that the bundle builds on and this clone has not, and when it cannot have
    any of them: a repository has objects of one kind of digest."""
    kind = output(["rev-parse", "--show-object-format"], workspace.git_dir).strip()
    if (kind == "sha256") != (len(manifest["commit"]) == 64):
        raise WrongDataError(
            f"archive {archive_id} is of a repository with other digests than {kind}", code="other-repository"
        )
    needed = manifest["copy"]["prerequisites"]
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
        if _here(workspace, archive_id) is not None:
            raise BusyError(f"archive {archive_id} came here meanwhile", hint="call it again", code="archive-busy")
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
        if _here(workspace, archive.id) is None:
            raise BusyError(f"archive {archive.id} was purged meanwhile", code="archive-busy")
        output(["update-ref", archive.ref, manifest["commit"]], workspace.git_dir)
        for file, facts in files(archive).items():
            place, copy = os.path.join(archive.folder, file), os.path.join(work, file)
            if manifest["files"].get(file) != facts or (os.path.isfile(place) and digest(place) == facts["sha256"]):
                continue
            os.replace(copy, place)
        gone = os.path.join(os.path.dirname(work), f".tmp-pulled-{archive.id}")
        os.rename(work, gone)
        delete_folder(gone)
        problems = verify(workspace, archive, trash=False)
    if problems:
        raise WrongDataError(
            f"archive {archive.id} was mended but for this: {problems[0]}",
            hint="what the copy does not have cannot be mended from it; restoring leaves it out or refuses",
            code="archive-damaged",
        )
