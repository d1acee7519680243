"""Bring a worktree back from its archive, at its old place or another, and write over nothing that is there.

The files are put together in a folder beside the target and git's record of the worktree in ``k1ctl/restore`` of the
repository; both are renamed to where they belong at the end. What a call is about to make stands in an intent file:
whoever holds the locks and finds one knows that its writer is dead, and takes away, or finishes, what it has made.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import disk
from k1ctl.archive import heads, rebuild
from k1ctl.archive.calls import Calls
from k1ctl.archive.folder import Archive, list_archives, restores_folder
from k1ctl.archive.lock import ArchiveLock
from k1ctl.errors import K1ctlError, UsageError, WrongDataError
from k1ctl.files import read_bytes, read_json, write_json
from k1ctl.git import call
from k1ctl.worktrees import RepositoryLock, entries

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.archive.heads import Heads
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry


class Restored(NamedTuple):
    """The worktree is at ``path``, on ``branch`` ("": detached); ``warnings`` say what is not as it was."""

    path: str
    branch: str
    detached: bool
    warnings: list[str]
    seconds: float


class Intent(NamedTuple):
    """What a call makes: ``entry`` is git's name of the worktree, ``building`` where its files are put together,
    ``made`` the branches it makes, each with the commit, ``made_folders`` the folders around the target, from within.
    """

    archive: str
    target: str
    entry: str
    building: str
    made: dict[str, str]
    made_folders: list[str]


class Plan(NamedTuple):
    """What a restore makes."""

    intent: Intent
    heads: Heads


def plan(
    workspace: Workspace, config: Config, archive: Archive, *, to: str = "", branch: str = "", name: str = ""
) -> Plan:
    """Settle what `restore` makes, and change nothing. Raises K1ctlError: path-exists, branch-exists, bad-archive,
    disk-full."""
    manifest = archive.manifest
    if manifest.get("kind", "worktree") != "worktree":
        raise WrongDataError(f"{archive.id} is no archive of a worktree", code="bad-archive")
    target = _target(to or manifest["path"])
    there = entries(workspace.path)
    if manifest.get("pulled") and not to:
        _check_own_place(workspace, archive, target, there)
    _check_free(workspace, target, there)
    check_whole(workspace, archive)
    disk.check_room(config, target, _size(manifest), f"the worktree {target}")
    entry = _free_name(workspace, name or (os.path.basename(target) if to else manifest["entry"]))
    settled = heads.settle(workspace, archive, there, branch)
    parent = os.path.dirname(target)
    building = os.path.join(parent, f".k1ctl-restore-{archive.id}")
    settled.warnings.extend(_odd_place(target, there))
    return Plan(Intent(archive.id, target, entry, building, settled.make, _missing(parent)), settled)


def restore(
    workspace: Workspace,
    config: Config,
    archive: Archive,
    *,
    to: str = "",
    branch: str = "",
    name: str = "",
    watch: Callable[[str], None] | None = None,
) -> Restored:
    """Make the worktree of ``archive`` again at its path, or at ``to``; on its branch, or on the new ``branch``.

    ``name`` is git's name of the worktree (default: as it was, numbered when that is taken). The archive stays.
    Raises K1ctlError: path-exists, branch-exists, bad-archive, disk-full, git-failed; then nothing is left of it.
    """
    begun, tell = time.monotonic(), watch or (lambda text: None)
    with ArchiveLock(workspace) as archives, RepositoryLock(workspace) as repository:
        finished = recover(workspace)
        target = _target(to or archive.manifest["path"])
        if finished.get(archive.id) == target:
            return _tell(workspace, config, archive, _as_finished(archive, target), begun)
        made = plan(workspace, config, archive, to=to, branch=branch, name=name)
        tell(f"restoring {archive.id} to {target}")
        _make(workspace, archive, made, (archives, repository))
        _note_state(archive, target)
        os.unlink(_intent_file(workspace, archive.id))
    return _tell(workspace, config, archive, made, begun)


def differences(workspace: Workspace, archive: Archive, made: Plan) -> list[str]:
    """What will not be, or is not, as it was, and what else to know of it, as sentences."""
    return [*made.heads.warnings, *rebuild.not_kept(archive), *heads.about_stashes(workspace, archive)]


def check_whole(workspace: Workspace, archive: Archive) -> None:
    """Make sure that the tar files are those of the manifest, and the commit is there. Raises WrongDataError."""
    from k1ctl.archive.verify import digest

    for name, facts in archive.manifest["files"].items():
        try:
            found = digest(os.path.join(archive.folder, name))
        except FileNotFoundError:
            raise _bad(archive, f"has no {name} any more") from None
        if found != facts["sha256"]:
            raise _bad(archive, f"has another {name} than the one that was saved")
    wanted = f"{archive.manifest['commit']}^{{tree}}"
    done = call(["rev-parse", "-q", "--verify", wanted], workspace.path)
    if done.returncode or done.stdout.strip() != archive.manifest["tree"]:
        raise _bad(archive, f"has lost its commit {archive.manifest['commit'][:12]}")


def recover(workspace: Workspace) -> dict[str, str]:
    """Take away, or finish, what calls that were killed have made; under both locks.

    Returns {archive: path} of those that had come to the end and only had not said so.
    """
    folder = restores_folder(workspace)
    finished: dict[str, str] = {}
    for file in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, file)
        if file.startswith("."):  # killed while it wrote its intent: it has made nothing
            os.unlink(path)
        elif file.endswith(".json"):
            intent = _intent_of(read_json(path))
            if intent is not None and _is_finished(workspace, intent):
                rebuild.remove_tree(_scratch(workspace, intent))
                _unlock(workspace, intent)
                finished[intent.archive] = intent.target
            elif intent is not None:
                undo(workspace, intent)
            os.unlink(path)
    return finished


def settle(workspace: Workspace) -> list[str]:
    """What `recover` does, told in sentences, for a call that restores nothing itself; under both locks."""
    told = []
    known = {archive.id: archive for archive in list_archives(workspace)}
    for name, target in recover(workspace).items():
        if name in known:
            _note_state(known[name], target)
        told.append(f"the restore of {name} to {target} was finished")
    return told


def undo(workspace: Workspace, intent: Intent) -> None:
    """Take away what a call has made, and nothing that anybody else could have made."""
    record = os.path.join(workspace.git_dir, "worktrees", intent.entry)
    if (read_bytes(os.path.join(record, "locked")) or b"") == _mark(intent):
        rebuild.remove_tree(record)
    for folder in (_record(workspace, intent), _scratch(workspace, intent), intent.building):
        rebuild.remove_tree(folder)
    for branch, commit in intent.made.items():
        call(["update-ref", "-d", f"refs/heads/{branch}", commit], workspace.path)
    for folder in intent.made_folders:
        try:
            os.rmdir(folder)
        except OSError:
            break


def _make(workspace: Workspace, archive: Archive, made: Plan, locks: tuple[int, int]) -> None:
    """Build the worktree and put it in its place. Raises K1ctlError, OSError; then nothing is left."""
    intent = made.intent
    write_json(_intent_file(workspace, archive.id), intent._asdict(), fsync=True)
    umask = os.umask(int(archive.manifest["umask"], 8) & 0o777)  # the manifest has the modes that this does not give
    try:
        os.makedirs(intent.building)
        os.makedirs(_scratch(workspace, intent))
        os.makedirs(_record(workspace, intent))
        final = os.path.join(workspace.git_dir, "worktrees", intent.entry)
        with Calls(workspace.git_dir, _scratch(workspace, intent), keep=locks) as calls:
            calls.env["GIT_DIR"] = workspace.git_dir
            build = rebuild.Build(workspace, archive, intent.building, _record(workspace, intent), intent.target, final)
            rebuild.fill(calls, build, _scratch(workspace, intent))
            heads.make(calls, workspace, archive, made.heads, _record(workspace, intent))
            made.heads.warnings.extend(rebuild.refresh(calls, build, _scratch(workspace, intent)))
            rebuild.set_folder_modes(build)
        with open(os.path.join(_record(workspace, intent), "locked"), "wb") as f:
            f.write(_mark(intent))
        os.makedirs(os.path.dirname(final), exist_ok=True)
        os.rename(_record(workspace, intent), final)
        if os.path.lexists(intent.target):
            raise _exists(intent.target)
        os.rename(intent.building, intent.target)
    except BaseException:
        undo(workspace, intent)
        os.unlink(_intent_file(workspace, archive.id))
        raise
    finally:
        os.umask(umask)
    rebuild.remove_tree(_scratch(workspace, intent))
    _unlock(workspace, intent)


def _is_finished(workspace: Workspace, intent: Intent) -> bool:
    record = os.path.join(workspace.git_dir, "worktrees", intent.entry)
    link = read_bytes(os.path.join(intent.target, ".git")) or b""
    there = os.path.isdir(record) and not os.path.isdir(intent.building)
    return there and os.fsdecode(link).strip() == f"gitdir: {record}"


def _unlock(workspace: Workspace, intent: Intent) -> None:
    """End git's lock on the new worktree; one that the old one had is put back."""
    record = os.path.join(workspace.git_dir, "worktrees", intent.entry)
    before = os.path.join(record, rebuild.WAS_LOCKED)
    if os.path.exists(before):
        os.replace(before, os.path.join(record, "locked"))
    elif (read_bytes(os.path.join(record, "locked")) or b"") == _mark(intent):
        os.unlink(os.path.join(record, "locked"))


def _note_state(archive: Archive, target: str) -> None:
    facts = {key: value for key, value in archive.state.items() if key not in ("state", "at")}
    archive.set_state("restored", **{**facts, "restored_to": target})


def _as_finished(archive: Archive, target: str) -> Plan:
    """The plan of a call that was killed after its work, as far as it can be told now."""
    _note_state(archive, target)
    done = call(["symbolic-ref", "-q", "HEAD"], target)
    branch = done.stdout.strip().removeprefix("refs/heads/")
    return Plan(Intent(archive.id, target, "", "", {}, []), heads.Heads(branch, "", {}, []))


def _tell(workspace: Workspace, config: Config, archive: Archive, made: Plan, begun: float) -> Restored:
    """Lease ports, write the event, and gather what the caller should know."""
    from k1ctl.events import emit
    from k1ctl.ports import lease
    from k1ctl.workspace import Workspace

    target, branch = made.intent.target, made.heads.branch
    warnings = differences(workspace, archive, made)
    there = Workspace(workspace.root, target, os.path.basename(target), workspace.git_dir)
    try:
        lease(there, config)
    except (K1ctlError, OSError) as exc:
        warnings.append(f"it has no ports: {exc}")
    seconds = round(time.monotonic() - begun, 3)
    facts: dict[str, Any] = {"path": target, "branch": branch or None, "restore_seconds": seconds}
    emit(workspace, "archive.restored", archive=archive.id, restored=there.name, **facts)
    return Restored(target, branch, not branch, warnings, seconds)


def _target(path: str) -> str:
    full = os.path.abspath(os.path.expanduser(path))
    return os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))


def _check_free(workspace: Workspace, target: str, there: list[Entry]) -> None:
    if f"{target}/".startswith(f"{os.path.realpath(workspace.git_dir)}/"):
        raise UsageError(f"{target} is inside git's own folder", hint="choose another --to")
    for entry in there:
        if os.path.realpath(entry.path) == os.path.realpath(target):
            gone = not os.path.isdir(entry.path)
            raise K1ctlError(
                f"{target} is a worktree already" + (" whose folder is gone" if gone else ""),
                hint="git worktree prune forgets it" if gone else "--to PATH restores it beside that one",
                code="path-exists",
            )
    if os.path.lexists(target):
        raise _exists(target)


def _odd_place(target: str, there: list[Entry]) -> list[str]:
    """What may surprise of where it is put, as sentences."""
    told = []
    for entry in there:
        if not entry.main and target.startswith(f"{os.path.realpath(entry.path)}/"):
            told.append(f"it lies in the worktree {entry.path}, which cannot be archived while it is there")
        if os.path.basename(entry.path) == os.path.basename(target):
            told.append(f"{entry.path} has the same name: tell the two apart by their paths")
    return told


def _missing(folder: str) -> list[str]:
    """Those of ``folder`` and the folders around it that are not there, the inner ones first."""
    found = []
    while not os.path.lexists(folder):
        found.append(folder)
        folder = os.path.dirname(folder)
    return found


def _size(manifest: dict[str, Any]) -> int:
    """Bytes of the worktree's files, as far as the archive tells."""
    told = manifest.get("restored_bytes")
    return told if isinstance(told, int) and told >= 0 else sum(row["bytes"] for row in manifest["files"].values())


def _check_own_place(workspace: Workspace, archive: Archive, target: str, there: list[Entry]) -> None:
    """What another host says where a worktree was is taken only where worktrees of this repository are."""
    usual = {os.path.dirname(os.path.realpath(entry.path)) for entry in there} | {f"{workspace.root}.worktrees"}
    if os.path.dirname(target) not in usual:
        raise UsageError(
            f"{archive.id} comes from a store; it was at {target}, where no worktree of this repository is",
            hint="--to PATH says where it belongs here",
        )


def _exists(target: str) -> K1ctlError:
    return K1ctlError(f"{target} exists already", hint="--to PATH restores it elsewhere", code="path-exists")


def _free_name(workspace: Workspace, name: str) -> str:
    """A name that no worktree of the repository has: ``name``, else with a number, as git does it."""
    if not name or "/" in name or name in (".", ".."):
        raise UsageError(f"{name!r} is not a name of a worktree", hint="a name without slashes")
    base = os.path.join(workspace.git_dir, "worktrees")
    number, free = 0, name
    while os.path.lexists(os.path.join(base, free)):
        number += 1
        free = f"{name}{number}"
    return free


def _bad(archive: Archive, what: str) -> WrongDataError:
    return WrongDataError(
        f"archive {archive.id} {what}",
        hint=f"k1ctl archive verify {archive.id} tells all; k1ctl archive pull brings a copy, where one was pushed",
        code="bad-archive",
    )


def _intent_file(workspace: Workspace, name: str) -> str:
    return os.path.join(restores_folder(workspace), f"{name}.json")


def _record(workspace: Workspace, intent: Intent) -> str:
    return os.path.join(restores_folder(workspace), f"{intent.archive}.git")


def _scratch(workspace: Workspace, intent: Intent) -> str:
    return os.path.join(restores_folder(workspace), f"{intent.archive}.scratch")


def _mark(intent: Intent) -> bytes:
    return b"k1ctl restores it from " + os.fsencode(intent.archive) + b"\n"


def _intent_of(value: Any) -> Intent | None:
    try:
        return Intent(**value)
    except TypeError:
        return None
