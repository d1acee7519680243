"""Put the files of a worktree, and git's record of it, together again from an archive."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.archive import withheld
from k1ctl.archive.snapshot import Scratch
from k1ctl.archive.tar import Folder
from k1ctl.files import read_bytes
from k1ctl.git import GitError

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.archive.calls import Calls
    from k1ctl.archive.folder import Archive
    from k1ctl.workspace import Workspace

WAS_LOCKED = "k1ctl-was-locked"  # the reason of `git worktree lock`, kept while the restore itself has it locked
_NAMED = 8
_WORKERS = 4  # they mostly wait for the disk


class Build(NamedTuple):
    """``files`` becomes ``target``, ``record`` becomes ``final``, the worktree's own git folder."""

    workspace: Workspace
    archive: Archive
    files: str
    record: str
    target: str
    final: str


def fill(calls: Calls, build: Build, scratch: str) -> None:
    """Write files and record; the index is as it was saved, its stat data too. Raises GitError, WrongDataError."""
    manifest = build.archive.manifest
    raw = Scratch(scratch, build.workspace.git_dir, build.files, sha256=len(manifest["tree"]) == 64)
    side_by_side = ("-c", f"checkout.workers={_WORKERS}")  # since git 2.32, where there are many files
    checkout = calls.start(*side_by_side, "read-tree", "--reset", "-u", manifest["tree"], env=raw.env)
    _extract(build.archive, "git.tar", build.record, lambda name: name)
    _extract(build.archive, "secrets.tar", build.record, _below("git/"))
    _write(os.path.join(build.record, "gitdir"), os.path.join(build.target, ".git") + "\n")
    _write(os.path.join(build.record, "commondir"), "../..\n")
    locked = os.path.join(build.record, "locked")
    if os.path.lexists(locked):
        os.rename(locked, os.path.join(build.record, WAS_LOCKED))
    blobs = os.path.join(scratch, "blobs")
    os.mkdir(blobs)
    _extract(build.archive, "secrets.tar", blobs, _below(withheld.BLOB))
    withheld.put_back(calls, blobs)
    for text in manifest.get("tags", ()):
        calls.start("hash-object", "-w", "-t", "tag", "--stdin", stdin=os.fsencode(text)).data()
    checkout.data()
    _extract(build.archive, "files.tar", build.files, lambda name: name)
    _extract(build.archive, "secrets.tar", build.files, _below("tree/"))
    _write(os.path.join(build.files, ".git"), f"gitdir: {build.final}\n")
    into = Folder(build.files)
    try:
        for folder in manifest["empty_folders"]:
            into.make(folder)
        for path, mode in manifest["modes"]:
            into.set_mode(path, int(mode, 8), folder=False)
    finally:
        into.close()
    _link_modules(calls, build)


def refresh(calls: Calls, build: Build, scratch: str) -> list[str]:
    """Give the index the stat data of the new files, so that nothing looks changed that is not; returns a warning when
    git cannot, as for a filter that is missing."""
    if not os.path.exists(os.path.join(build.record, "index")):
        return []
    env = {"GIT_DIR": build.record, "GIT_COMMON_DIR": build.workspace.git_dir, "GIT_WORK_TREE": build.files}
    if build.archive.manifest["plain_index"]:
        # What the checkout has just noted of files holds for those that are as in the index; the others are changed.
        shutil.copy2(os.path.join(scratch, "raw", "index"), os.path.join(build.record, "index"))
        calls.start("read-tree", "-m", "-i", build.archive.manifest["index_commit"], env=env).data()
        if not build.archive.manifest["modes"]:  # nothing was touched since
            return []
    refreshing = calls.start("update-index", "-q", "--unmerged", "--refresh", env=env)
    try:
        refreshing.data(accept=(0, 1))  # 1: something is changed, as it was
    except GitError as exc:
        return [f"git cannot compare the files with the index: {exc.message}"]
    return []


def set_folder_modes(build: Build) -> None:
    """Last, since nothing can be written into a read-only folder."""
    into = Folder(build.files)
    try:
        for path, mode in sorted(build.archive.manifest["modes"], reverse=True):
            into.set_mode(path, int(mode, 8), folder=True)
    finally:
        into.close()
    os.chmod(build.files, int(build.archive.manifest["mode"], 8))


def not_kept(archive: Archive) -> list[str]:
    """What the archive left out, as sentences."""
    manifest = archive.manifest
    told = []
    if manifest["regenerable"]:
        names = manifest["regenerable"]
        named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
        told.append(f"not kept, as it can be made again: {named}; k1ctl worktree setup makes it")
    if (manifest.get("pulled") or {}).get("secrets_count"):
        count = manifest["pulled"]["secrets_count"]
        told.append(f"{count} files with secrets stayed on the host that saved it, {manifest['pulled'].get('host')}")
    if manifest.get("not_pinned"):
        named = ", ".join(oid[:12] for oid in manifest["not_pinned"][:_NAMED])
        told.append(f"its reflog names commits that had lost a part of their history, and may be gone: {named}")
    if manifest["special"]:
        told.append(f"sockets and devices cannot be kept: {', '.join(manifest['special'][:_NAMED])}")
    return told


def remove_tree(path: str) -> None:
    """Remove a folder and all below it; no link is followed, and a folder without write permission is no obstacle."""
    if not os.path.isdir(path) or os.path.islink(path):
        return
    for folder, names, _ in os.walk(path):
        os.chmod(folder, 0o700)
        for name in names:
            inner = os.path.join(folder, name)
            if not os.path.islink(inner):
                os.chmod(inner, 0o700)
    shutil.rmtree(path)


def _extract(archive: Archive, tar: str, folder: str, place: Callable[[str], str | None]) -> None:
    if tar not in archive.manifest["files"]:
        return
    into = Folder(folder)
    try:
        into.extract(os.path.join(archive.folder, tar), place)
        into.finish()
    finally:
        into.close()


def _below(prefix: str) -> Callable[[str], str | None]:
    return lambda name: name[len(prefix) :] if name.startswith(prefix) else None


def _write(path: str, text: str) -> None:
    with open(path, "wb") as f:
        f.write(os.fsencode(text))


def _link_modules(calls: Calls, build: Build) -> None:
    """Submodules know their git folder, and that one them, by paths: they follow where the worktree has moved."""
    manifest = build.archive.manifest
    old = os.path.join(manifest.get("git_dir", build.workspace.git_dir), "worktrees", manifest["entry"])
    if (old, manifest["path"]) == (build.final, build.target):
        return
    for folder in manifest["nested"]:
        link = os.path.join(build.files, folder, ".git")
        if os.path.realpath(link) != os.path.join(os.path.realpath(build.files), folder, ".git"):
            continue
        text = read_bytes(link) if os.path.isfile(link) and not os.path.islink(link) else None
        if text is None or not text.startswith(b"gitdir:"):
            continue
        named = os.fsdecode(text[7:].strip(b" \t\r\n"))
        before = os.path.normpath(os.path.join(manifest["path"], folder, named))
        if not before.startswith(old + "/"):
            continue
        inside = before[len(old) + 1 :]
        now, there = os.path.join(build.final, inside), os.path.join(build.target, folder)
        _write(link, f"gitdir: {now if os.path.isabs(named) else os.path.relpath(now, there)}\n")
        config = os.path.join(build.record, inside, "config")
        if os.path.isfile(config):
            calls.start("config", "-f", config, "core.worktree", os.path.relpath(there, now)).data()
