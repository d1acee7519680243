"""Add a worktree: one at a time in a repository, and all or nothing.

What a call is about to make stands in an intent file before it makes it. Whoever holds the repository's lock and finds
one knows that its writer is dead: git keeps the lock open as long as it works, also when its caller was killed.
"""

from __future__ import annotations

import errno
import os
import re
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.errors import BusyError, ConfigError, K1ctlError, UsageError
from k1ctl.files import read_bytes, read_json, write_json
from k1ctl.git import GitError, call, output
from k1ctl.worktrees import Entry, RepositoryLock, check_link, entries, note_origin, origin, own_git_dir, whole

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.workspace import Workspace

_BLOCK, _INDEX_ENTRY = 4096, 128  # bytes a file takes at least, and about what the index keeps of it
_INITIALIZING = "initializing"  # git's builtin/worktree.c locks with it until the files are there
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class Plan(NamedTuple):
    """What is to be made: ``base`` is a commit id; ``made_parent`` whether the folder around ``path`` is new too;
    ``creator`` who makes it, as others are told; ``lock`` the reason it is locked for ("": it is not)."""

    name: str
    path: str
    branch: str
    base: str
    made_parent: bool
    creator: str = ""
    lock: str = ""


def make_plan(
    workspace: Workspace, name: str, *, branch: str = "", base: str = "", path: str = "", lock: str = ""
) -> Plan:
    """Check the call and settle what it makes; ``path`` defaults to ``<root>.worktrees/NAME`` beside the root.

    Raises UsageError (names), ConfigError (no git), GitError (unknown base).
    """
    if not workspace.git_dir:
        raise ConfigError(f"{workspace.root} is not a git checkout", hint="worktrees belong to a git repository")
    if not _NAME.fullmatch(name) or name.endswith((".lock", ".")) or ".." in name:
        raise UsageError(
            f"{name!r} is not a worktree name", hint="letters, digits, _ . and -, 100 at most, no dot at either end"
        )
    check_link(workspace.path)
    branch = branch or name
    if call(["check-ref-format", "--branch", branch], workspace.path).returncode or branch.startswith("-"):
        raise UsageError(f"{branch!r} is not a branch name", hint="git check-ref-format tells the rules")
    where = workspace.path if base else whole(workspace)
    done = call(["rev-parse", "--verify", "--quiet", "--end-of-options", f"{base or 'HEAD'}^{{commit}}"], where)
    if done.returncode and not base:
        raise GitError(f"HEAD of {workspace.root} has no commit yet", hint="commit first, or name one with --base")
    if done.returncode:
        raise GitError(f"there is no commit {base}", hint="name a branch, a tag or a commit; git fetch brings new ones")
    reason = " ".join(lock.split())
    if reason == _INITIALIZING:
        raise UsageError(f"{reason!r} is git's own mark of a half-made worktree", hint="choose another reason")
    parent = os.path.join(os.path.dirname(workspace.root), f"{os.path.basename(workspace.root)}.worktrees")
    full = os.path.abspath(path or os.path.join(parent, name))
    full = os.path.join(os.path.realpath(os.path.dirname(full)), os.path.basename(full))
    made_parent = not os.path.isdir(os.path.dirname(full))
    return Plan(name, full, branch, done.stdout.strip(), made_parent, workspace.caller(), reason)


def need(workspace: Workspace, plan: Plan) -> int:
    """Bytes that the files of the worktree will take, each in whole blocks, and its index; 0 when git cannot tell."""
    done = call(["ls-tree", "-r", "-l", "-z", "--full-tree", plan.base], workspace.path, env={"GIT_NO_LAZY_FETCH": "1"})
    if done.returncode:
        return 0
    total = 0
    for line in done.stdout.split("\0"):
        size = line.partition("\t")[0].split(" ")[-1]
        total += -(-int(size) // _BLOCK) * _BLOCK + _INDEX_ENTRY if size.isdigit() else 0
    return total


def check_free(workspace: Workspace, plan: Plan) -> None:
    """Make sure that neither path nor branch exists. Raises K1ctlError."""
    there = entries(workspace.path)
    for entry in there:
        if entry.path == plan.path:
            gone = "" if os.path.isdir(plan.path) else " (its folder is gone: git worktree repair, or prune)"
            raise K1ctlError(
                f"{plan.path} is a worktree already, on {entry.branch or entry.head[:12]}{gone}",
                hint="choose another name; k1ctl worktree setup, called in it, finishes a set-up that was cut short",
                code="worktree-exists",
            )
    for entry in there:
        name = os.path.basename(entry.path)
        if name in (plan.name, os.path.basename(plan.path)) and os.path.isdir(entry.path):
            raise K1ctlError(
                f"{entry.path} has the name {name} already; two could not be told apart in the queue",
                hint="choose another name",
                code="name-taken",
            )
    if os.path.lexists(plan.path):
        raise K1ctlError(f"{plan.path} exists already", hint="choose another name, or --path", code="path-exists")
    if _commit(workspace, plan.branch):
        raise K1ctlError(
            f"there is a branch {plan.branch} already", hint="choose another --branch", code="branch-exists"
        )


def add(workspace: Workspace, plan: Plan, room: Callable[[], None] = lambda: None) -> bool:
    """Make branch and worktree; True when a call that was killed had made them and only had not said so.

    ``room`` is called under the lock, so that calls at the same time do not count on the same room; it raises when
    there is none. Raises K1ctlError; then nothing is left of what this call made.
    """
    intent = os.path.join(workspace.git_dir, "k1ctl", "add", f"{plan.name}.json")
    with RepositoryLock(workspace) as lock:
        if _recover(workspace, plan, lock):
            return True
        check_free(workspace, plan)
        room()
        write_json(intent, plan._asdict(), fsync=True)
        try:
            os.makedirs(os.path.dirname(plan.path), exist_ok=True)
            args = ["worktree", "add", "--quiet", "--no-track", "-b", plan.branch, "--", plan.path, plan.base]
            _make(workspace, plan, args, lock)
            _mark(workspace, plan, lock)
        except BaseException:
            undo(workspace, plan, lock)
            os.unlink(intent)
            raise
        os.unlink(intent)
    return False


def _make(workspace: Workspace, plan: Plan, args: list[str], lock: int) -> None:
    try:
        output(args, workspace.path, keep=(lock,))
    except GitError as exc:
        if not any(os.strerror(number) in exc.message for number in (errno.ENOSPC, errno.EDQUOT)):
            raise
        raise BusyError(
            f"no room for the worktree {plan.name}: {exc.message}",
            hint="k1ctl worktree du shows what takes the room; k1ctl archive run --dry-run what could go",
            code="disk-full",
            path=plan.path,
        ) from exc


def settle(path: str) -> None:
    """Let git write the index of a worktree that nobody works in yet anew, once a second has passed since it was made.

    Of files that are as young as the index every later `git status` compares the contents, and those of k1ctl never
    write the index (git's racy-git.txt): on 2,000 files that took twice as long. It is no loss when git cannot.
    """
    call(["status", "--porcelain", "--untracked-files=no"], path, env={"GIT_OPTIONAL_LOCKS": "1"})


def _mark(workspace: Workspace, plan: Plan, lock: int) -> None:
    """Write who made it and lock it where that was asked for: before it is said to be done, so that a kill in between
    leaves the plan, and who finds that does it again. Raises K1ctlError."""
    try:
        if not origin(plan.path):
            note_origin(plan.path, creator=plan.creator, base=plan.base, branch=plan.branch)
    except OSError as exc:
        raise K1ctlError(f"{plan.path}: who made it could not be written: {exc}", code="origin-not-written") from exc
    if plan.lock and (entry := _entry(workspace, plan)) and entry.locked is None:
        output(["worktree", "lock", "--reason", plan.lock, "--", plan.path], workspace.path, keep=(lock,))


def recover(workspace: Workspace, *, dry_run: bool = False) -> list[str]:
    """Clear up after calls of `add` that were killed; returns the paths of what they had begun. Raises K1ctlError."""
    folder = os.path.join(workspace.git_dir, "k1ctl", "add")
    if not os.path.isdir(folder) or not os.listdir(folder):
        return []
    with RepositoryLock(workspace) as lock:
        left = [_plan_of(read_json(os.path.join(folder, name))) for name in sorted(os.listdir(folder))]
        if not dry_run:
            _recover(workspace, Plan("", "", "", "", False), lock)
    return [plan.path for plan in left if plan is not None]


def _recover(workspace: Workspace, plan: Plan, lock: int) -> bool:
    """Clear up after calls that were killed; True when one of them had finished this very plan."""
    folder = os.path.join(workspace.git_dir, "k1ctl", "add")
    resumed = False
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        if name.startswith("."):  # killed while it wrote its plan, so it has made nothing; all write under this lock
            os.unlink(os.path.join(folder, name))
            continue
        if not name.endswith(".json"):
            continue
        old = _plan_of(read_json(os.path.join(folder, name)))
        if old is not None:
            _drop_unborn_entry(workspace, old)
        if old is not None and not finished(workspace, old):
            undo(workspace, old, lock)
        elif old is not None:
            _mark(workspace, old, lock)
            resumed |= (old.name, old.path, old.branch) == (plan.name, plan.path, plan.branch)
        os.unlink(os.path.join(folder, name))
    return resumed


def _plan_of(value: Any) -> Plan | None:
    try:
        return Plan(**value)
    except TypeError:
        return None


def finished(workspace: Workspace, plan: Plan) -> bool:
    """Whether git came to the end: it marks a worktree as locked, "initializing", until the files are there."""
    entry = _entry(workspace, plan)
    return entry is not None and os.path.isdir(plan.path) and entry.locked != _INITIALIZING


def undo(workspace: Workspace, plan: Plan, lock: int) -> None:
    """Take away what a call that failed or was killed has made, and nothing that somebody else could have made.

    The branch goes only while it still stands at the plan's commit. Raises K1ctlError when something stays.
    """
    _drop_locks(workspace, plan)
    _drop_unborn_entry(workspace, plan)
    if _entry(workspace, plan) is not None:
        output(["worktree", "remove", "--force", "--force", "--", plan.path], workspace.path, keep=(lock,))
    _drop_half_entry(workspace, plan)
    for folder in (plan.path, os.path.dirname(plan.path) if plan.made_parent else ""):
        try:
            os.rmdir(folder)  # git makes the folder first; with anything in it, it is not ours
        except OSError:
            pass
    if os.path.isdir(plan.path):
        raise K1ctlError(
            f"{plan.path} was left half made and has files in it", hint="look at it, and move it away", code="half-made"
        )
    if _commit(workspace, plan.branch) == plan.base:
        output(["update-ref", "-d", f"refs/heads/{plan.branch}", plan.base], workspace.path, keep=(lock,))


def _drop_locks(workspace: Workspace, plan: Plan) -> None:
    """Remove the lock files of a git that was killed: git holds our lock while it lives, so this one does not."""
    found = [os.path.join(workspace.git_dir, "refs", "heads", f"{plan.branch}.lock")]
    parent = os.path.join(workspace.git_dir, "worktrees")
    for name in os.listdir(parent) if os.path.isdir(parent) else ():
        if _points_to(os.path.join(parent, name)) == os.path.join(plan.path, ".git"):
            found += [os.path.join(parent, name, lock) for lock in ("HEAD.lock", "index.lock")]
    for path in found:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass


def _drop_unborn_entry(workspace: Workspace, plan: Plan) -> None:
    """Remove git's record of a worktree without files that it was killed while writing: git refuses to remove it, and
    with an empty commondir `git worktree list` itself fails (2.39)."""
    own = own_git_dir(plan.path)
    if not own or not all(read_bytes(os.path.join(own, name)) for name in ("HEAD", "commondir")):
        _drop_half_entry(workspace, plan)


def _drop_half_entry(workspace: Workspace, plan: Plan) -> None:
    """Remove git's record of a worktree that it was killed while writing: `git worktree list` does not show all."""
    import shutil

    parent = os.path.join(workspace.git_dir, "worktrees")
    for name in os.listdir(parent) if os.path.isdir(parent) else ():
        record = os.path.join(parent, name)
        link = _points_to(record)
        reason = (read_bytes(os.path.join(record, "locked")) or b"").strip()
        if link == os.path.join(plan.path, ".git") and os.fsdecode(reason) == _INITIALIZING:
            shutil.rmtree(record)
            if os.path.isfile(link):
                os.unlink(link)


def _points_to(record: str) -> str:
    """The .git file that git's record of a worktree leads to; relative with worktree.useRelativePaths (git 2.48)."""
    link = os.fsdecode((read_bytes(os.path.join(record, "gitdir")) or b"").strip())
    return os.path.normpath(os.path.join(record, link)) if link else ""


def _entry(workspace: Workspace, plan: Plan) -> Entry | None:
    return next((e for e in entries(workspace.path) if e.path == plan.path), None)


def _commit(workspace: Workspace, branch: str) -> str:
    done = call(["rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"], workspace.path)
    return done.stdout.strip()
