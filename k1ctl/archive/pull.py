"""Bring an archive from a store back into ``.git/k1ctl/archive``, in this clone or another of the repository.

It is made whole beside its place (``.pull-<id>``), the ref is set, the manifest is written last and the folder
renamed. A pull that was killed is taken up by the next; what it got is not got again.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies
from k1ctl.archive.copies import BUNDLE, MANIFEST
from k1ctl.archive.folder import FORMAT as ARCHIVE_FORMAT
from k1ctl.archive.folder import Archive, archives_folder
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.verify import SECRETS, digest, keep_copy, objects, tar_problems
from k1ctl.errors import BusyError, WrongDataError
from k1ctl.events import emit
from k1ctl.files import open_locked, read_json, write_json
from k1ctl.git import call, output
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.stores import Store
    from k1ctl.workspace import Workspace

PULLED, HERE, PLANNED = "pulled", "here", "would-pull"


def pull(
    workspace: Workspace, config: Config, store: Store, name: str, reference: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Get the archive that ``reference`` names (an id or its beginning) of the repository ``name``.

    Returns {archive, store, outcome (pulled, here, would-pull), bytes, secrets_count, seconds}. Raises
    ArchiveNotFoundError, WrongDataError (damaged-copy, missing-commits), BusyError (disk-full; another pull of it),
    StoreError, GitError.
    """
    from k1ctl.disk import check_room

    begun = time.monotonic()
    copy = copies.find(store, name, reference)
    row: dict[str, Any] = {"archive": copy.id, "store": store.name, "outcome": HERE, "bytes": copy.bytes}
    row |= {"secrets_count": None, "seconds": 0.0}
    if copy.id in copies.here(workspace):
        return row
    base = archives_folder(workspace)
    check_room(config, base, 2 * copy.bytes, f"archive {copy.id}")
    if dry_run:
        return {**row, "outcome": PLANNED}
    os.makedirs(base, 0o700, exist_ok=True)
    work = os.path.join(base, f".pull-{copy.id}")
    os.makedirs(work, 0o700, exist_ok=True)
    fd = open_locked(os.path.join(work, "lock"), blocking=False, mode=0o600)
    if fd is None:
        raise BusyError(f"archive {copy.id} is being pulled by another call", code="archive-busy")
    try:
        manifest = _fetch_all(store, copies.prefix(name, copy.id), copy.id, work)
        count = manifest["copy"]["secrets_count"]
        _check_commits(workspace, copy.id, manifest["copy"]["prerequisites"])
        bundle = os.path.join(work, BUNDLE)
        output(["bundle", "unbundle", bundle], workspace.git_dir, keep=(fd,))
        problems = objects(workspace.git_dir, manifest["commit"])
        if problems:
            raise WrongDataError(f"the copy of {copy.id} is damaged: {problems[0]}", code="damaged-copy")
        _publish(workspace, store, manifest, work)
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
    emit(workspace, "archive.pulled", archive=copy.id, store=store.name, bytes=copy.bytes, secrets_count=count)
    row["secrets_count"] = count
    return {**row, "outcome": PULLED, "seconds": round(time.monotonic() - begun, 3)}


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
        int(manifest["copy"]["secrets_count"]), [about["sha256"] for about in manifest["files"].values()]
    except (TypeError, KeyError, AttributeError, ValueError):
        return "its manifest cannot be read"
    return ""


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
        ref = Archive(folder, manifest).ref
        output(["update-ref", ref, manifest["commit"]], workspace.git_dir)
        archive = Archive(work, manifest)
        archive.set_state("archived", pulled=origin["store"])
        copies.note(archive, store.name, at=about["at"], bytes=total, repository=about["repository"])
        os.unlink(os.path.join(work, BUNDLE))
        write_json(os.path.join(work, MANIFEST), manifest, mode=0o600, fsync=True)
        os.rename(work, folder)
        os.unlink(os.path.join(folder, "lock"))
    keep_copy(workspace, Archive(folder, manifest))
