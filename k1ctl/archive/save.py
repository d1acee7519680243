"""Save a worktree: make an archive of all that would be lost with it, and change nothing in it.

An archive is built in ``.tmp-<id>`` beside the others. The ref that pins its commit is set, the manifest written, and
the folder renamed: a call that is killed leaves a whole archive, or what the next call clears away.
"""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.archive import contents, nested
from k1ctl.archive.calls import Calls
from k1ctl.archive.files import Look, UnreadableError, look
from k1ctl.archive.folder import REF, Archive, archives_folder, list_archives
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.patterns import Globs
from k1ctl.archive.planning import Plan, ScratchFolder, check, check_room, make_plan
from k1ctl.archive.tar import ChangedError
from k1ctl.errors import BusyError, K1ctlError
from k1ctl.files import read_json, sync_folders, write_json
from k1ctl.git import GitError
from k1ctl.units import format_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

TMP = ".tmp-"
SEEN = "seen.json"  # the digest of the look at which the worktree was what the archive holds
_ATTEMPTS = 3
_PAUSE = 0.1  # seconds before the second attempt


class Saved(NamedTuple):
    """``archive`` holds the worktree as it is, as it was ``look``ed at; ``reused``: one that was there already."""

    archive: Archive
    reused: bool
    look: Look


def save(
    workspace: Workspace, config: Config, entry: Entry, *, reason: str, watch: Callable[[str], None] | None = None
) -> Saved:
    """Save the worktree ``entry``; ``reason`` is who wants it, ``watch`` is told what is being done.

    When the newest archive of the path holds the same already, that one is returned. Raises K1ctlError: over-limit,
    unreadable, nested-worktree, disk-full, worktree-busy (it kept changing); then nothing is left of this call.
    """
    own = check(workspace, entry)
    nested.check_no_worktree_below(entry.path, workspace.git_dir)
    base = archives_folder(workspace)
    with ArchiveLock(workspace) as lock:
        os.makedirs(base, mode=0o700, exist_ok=True)
        clear_leftovers(workspace)
        for attempt in range(_ATTEMPTS):
            if attempt:
                time.sleep(_PAUSE * attempt)
            try:
                return _attempt(workspace, config, entry, own, lock, reason, watch or (lambda text: None))
            except ChangedError as exc:
                changed = exc
    raise BusyError(
        f"{entry.path} changes while it is saved: {changed.message}",
        hint="stop what works in it, and try again",
        code="worktree-busy",
    )


def unchanged(workspace: Workspace, config: Config, entry: Entry, archive: Archive) -> Look | None:
    """What is in the worktree when that still is what ``archive`` holds, by everything that a change of it would leave;
    else None."""
    try:
        own = check(workspace, entry)
    except (K1ctlError, OSError):
        return None
    return unchanged_at(workspace, config, archive, entry.path, own)


def unchanged_at(
    workspace: Workspace, config: Config, archive: Archive, top: str, own: str, before: Look | None = None
) -> Look | None:
    """As `unchanged`, of a worktree that was moved to ``top``; ``own`` is its own git folder, ``before`` what was seen
    where it was."""
    seen = read_json(os.path.join(archive.folder, SEEN))
    regenerable = Globs(config.get("archive", "regenerable"))
    try:
        with ScratchFolder(workspace) as folder, Calls(top, folder) as calls, _Within(top):
            calls.env |= {"GIT_DIR": own, "GIT_WORK_TREE": top}  # else git would note the new place in its entry
            now = look(calls, ".", own, regenerable, before)
    except (K1ctlError, OSError):
        return None
    return now if isinstance(seen, dict) and seen.get("digest") == now.digest and not now.denied else None


class _Within:
    """Be in a folder: where it was moved to, names of files below it may be longer than a path can be."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __enter__(self) -> None:
        self.back = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir(self.folder)
        except BaseException:
            os.close(self.back)
            raise

    def __exit__(self, *exc: object) -> None:
        os.fchdir(self.back)
        os.close(self.back)


def clear_leftovers(workspace: Workspace) -> None:
    """Take away what calls that were killed have left; under the ArchiveLock."""
    base = archives_folder(workspace)
    for name in os.listdir(base):
        if name.startswith(TMP):
            _abandon(workspace, os.path.join(base, name))


def _abandon(workspace: Workspace, building: str) -> None:
    """Remove an archive that was not finished, its ref first."""
    from k1ctl.git import call

    name = os.path.basename(building).removeprefix(TMP)
    if not os.path.isdir(os.path.join(os.path.dirname(building), name)):
        call(["update-ref", "-d", REF + name], workspace.git_dir, env={"GIT_DIR": workspace.git_dir})
    shutil.rmtree(building, ignore_errors=True)


def _attempt(
    workspace: Workspace,
    config: Config,
    entry: Entry,
    own: str,
    lock: int,
    reason: str,
    watch: Callable[[str], None],
) -> Saved:
    begun = time.monotonic()
    name = _new_id(os.path.basename(entry.path))
    building = os.path.join(archives_folder(workspace), TMP + name)
    os.mkdir(building, 0o700)
    scratch = os.path.join(building, "scratch")
    os.mkdir(scratch)
    try:
        with Calls(entry.path, scratch, keep=(lock,)) as calls:
            watch(f"looking at {entry.path}")
            task = make_plan(calls, config, workspace, entry, own)
            check_room(config, building, task)
            watch(f"saving {format_size(task.bytes)} of {entry.path}")
            facts = contents.write(calls, task, workspace, building, name)
            synced = _sync(building, facts["files"])
            _look_again(calls, config, task)
            reused = _same(calls, workspace, entry.path, facts["fingerprint"])
            if reused is not None:
                _abandon(workspace, building)
                write_json(os.path.join(reused.folder, SEEN), {"digest": task.found.digest}, mode=0o600)
                if reused.state["state"] != "saved":
                    reused.set_state("saved")
                return Saved(reused, True, task.found)
            manifest = contents.manifest(workspace, task, name, reason, facts)
            calls.start("update-ref", REF + name, manifest["commit"]).data()
            synced()
            manifest["save_seconds"] = round(time.monotonic() - begun, 3)
        shutil.rmtree(scratch)
        return Saved(_publish(workspace, building, name, manifest, task), False, task.found)
    except PermissionError as exc:
        _abandon(workspace, building)
        raise UnreadableError(
            f"{exc.filename} of {entry.path} cannot be read, so it cannot be kept", hint="chmod u+r, or move it away"
        ) from exc
    except BaseException as exc:
        _abandon(workspace, building)
        if isinstance(exc, FileNotFoundError | NotADirectoryError | IsADirectoryError | GitError):
            _raise_changed(config, workspace, task if "task" in locals() else None, exc)
        raise


def _raise_changed(config: Config, workspace: Workspace, task: Plan | None, exc: Exception) -> None:
    """A file that went away, or git failing on one, is a change when the worktree is not what it was."""
    if isinstance(exc, OSError):
        raise ChangedError(f"{exc.filename} went away while it was saved") from exc
    if task is None:
        return
    with ScratchFolder(workspace) as folder, Calls(task.entry.path, folder) as calls:
        now = look(calls, task.entry.path, task.own, Globs(config.get("archive", "regenerable")))
    if now.digest != task.found.digest:
        raise ChangedError("files changed while git read them") from exc


def _sync(folder: str, names: Iterable[str]) -> Callable[[], None]:
    """Start making files survive a power cut; what is returned waits for it, and raises OSError when it failed."""
    from threading import Thread

    files = [os.open(os.path.join(folder, name), os.O_RDONLY | os.O_CLOEXEC) for name in names]
    failed: list[OSError] = []

    def work() -> None:
        for fd in files:
            try:
                os.fsync(fd)
            except OSError as exc:
                failed.append(exc)
            os.close(fd)

    def wait() -> None:
        thread.join()
        if failed:
            raise failed[0]

    thread = Thread(target=work)
    thread.start()
    return wait


def _look_again(calls: Calls, config: Config, task: Plan) -> None:
    now = look(calls, task.entry.path, task.own, Globs(config.get("archive", "regenerable")), task.found)
    if now.digest != task.found.digest:
        raise ChangedError(_difference(task.found, now))


def _difference(before: Look, now: Look) -> str:
    """Names a file that changed."""

    def state(found: Look, path: str) -> tuple[int, ...]:
        facts = found.files.get(path)
        return (facts.st_ino, facts.st_mode, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns) if facts else ()

    names = sorted(path for path in {*before.files, *now.files} if state(before, path) != state(now, path))
    return f"{names[0]} changed" if names else "its git folder or a repository inside it changed"


def _same(calls: Calls, workspace: Workspace, path: str, fingerprint: str) -> Archive | None:
    """The newest archive of the path when it has this fingerprint, is whole, and has no trash of its own."""
    newest = next((a for a in list_archives(workspace) if a.manifest.get("path") == path), None)
    if newest is None or newest.manifest.get("fingerprint") != fingerprint:
        return None
    state = newest.state
    free = state["state"] == "saved" or (state["state"] == "restored" and not state.get("trash"))
    return newest if free and _is_whole(calls, newest) else None


def _is_whole(calls: Calls, archive: Archive) -> bool:
    """Whether it can be restored: a file of it may have been damaged since, or its ref deleted, and gc been there."""
    from k1ctl.archive.verify import digest

    # What other refs reach is whole by git's own care: a walk of all of it would take long.
    walk = calls.start("rev-list", "--objects", archive.ref, "--not", f"--exclude={REF}*", "--all", "--")
    try:
        found = all(
            digest(os.path.join(archive.folder, n)) == f["sha256"] for n, f in archive.manifest["files"].items()
        )
        return walk.text().startswith(f"{archive.manifest['commit']}\n") and found
    except (OSError, GitError):
        return False


def _publish(workspace: Workspace, building: str, name: str, manifest: dict[str, Any], task: Plan) -> Archive:
    """Make the archive whole: its manifest last, then its name."""
    folder = os.path.join(os.path.dirname(building), name)
    write_json(os.path.join(building, SEEN), {"digest": task.found.digest}, mode=0o600)
    write_json(os.path.join(building, "manifest.json"), manifest, mode=0o600, fsync=True)
    sync_folders(building)
    os.rename(building, folder)
    sync_folders(os.path.dirname(folder))
    archive = Archive(folder, manifest)
    try:
        write_json(workspace.ops_path("archive", name, "manifest.json"), manifest, mode=0o600)
    except OSError:
        pass  # a copy for people
    from k1ctl.events import emit

    facts = {key: manifest[key] for key in ("path", "branch", "reason", "bytes", "save_seconds", "commit")}
    emit(workspace, "archive.saved", archive=name, saved=manifest["workspace"], **facts)
    return archive


def _new_id(workspace: str) -> str:
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "_" for c in workspace)[:60].strip(".-")
    while ".." in safe:  # no part of a ref: git-check-ref-format(1)
        safe = safe.replace("..", ".")
    return f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{safe or 'worktree'}-{os.urandom(3).hex()}"
