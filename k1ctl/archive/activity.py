"""When somebody last worked in a worktree, and how that is known.

The newest of: the last entry of HEAD's reflog; the index and the files of an operation under way in the worktree's own
git folder; every changed and untracked file, and every git-ignored one that cannot be made again (notes, captures,
`.env`); the last run of k1ctl in it; what of k1ctl waits or runs there now; and its creation.

Not the times of folders, but where a file was deleted: any editor's swap file changes the top one, and no edit further
down does. Nor ``gitdir``, which whoever merely looks may touch (gitrepository-layout(5)), and ``FETCH_HEAD``: editors
fetch by themselves.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.archive.globs import matches
from k1ctl.files import read_bytes
from k1ctl.units import parse_rfc3339
from k1ctl.worktrees import origin, own_git_dir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from k1ctl.archive.runs import Runs
    from k1ctl.config import Config
    from k1ctl.git import Answer
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

# every path that is not as committed, one line each, whatever the user's display settings hide (git-status(1))
STATUS = (
    *("-c", "core.fsmonitor=false", "-c", "core.untrackedCache=false", "status", "--porcelain=v1", "-z"),
    *("--no-renames", "--untracked-files=all", "--ignored=matching", "--ignore-submodules=none"),
)
_STEPS = {
    "index": "the index",
    "HEAD": "HEAD moved",
    "COMMIT_EDITMSG": "a commit",
    "ORIG_HEAD": "HEAD was reset",
    "MERGE_HEAD": "a merge",
    "CHERRY_PICK_HEAD": "a cherry-pick",
    "REVERT_HEAD": "a revert",
    "BISECT_LOG": "a bisect",
}
_OPERATIONS = {"rebase-merge": "a rebase", "rebase-apply": "a rebase or am", "sequencer": "a series of picks"}


class Activity(NamedTuple):
    """The newest sign of work: ``at`` in seconds since 1970, and ``what`` it was."""

    at: float
    what: str

    def idle(self) -> float:
        """Seconds since then."""
        return max(0.0, time.time() - self.at)


def last_activity(
    workspace: Workspace,
    entry: Entry,
    *,
    config: Config | None = None,
    runs: Runs | None = None,
    listed: Sequence[str] | None = None,
) -> Activity:
    """When somebody last worked in the worktree ``entry``.

    ``config`` and ``runs``: read once where several worktrees are asked about. ``listed``: what `list_changes` gave for
    it, where the caller has that; without, git is asked. Where git cannot tell, or the folder is gone, the other signs
    count alone: `k1ctl.archive.checks` refuses such a worktree.
    """
    if config is None:
        from k1ctl.config import load

        config = load(workspace)
    if runs is None:
        from k1ctl.archive.runs import Runs

        runs = Runs(workspace, config)
    live = runs.of(entry.path)
    if live:
        return Activity(time.time(), live[0])
    found = [_born(entry.path), *_git_signs(workspace.git_dir if entry.main else own_git_dir(entry.path))]
    at, label = runs.last.get(os.path.realpath(entry.path), (0.0, ""))
    found.append(Activity(at, f"k1ctl ran: {label}"))
    lines = list_changes(entry.path) if listed is None else listed
    found += _file_signs(entry.path, lines or (), config.get("archive", "regenerable"))
    return max(found, key=lambda sign: sign.at)


def ask_status(path: str) -> Answer | None:
    """What git answers to `STATUS` in the worktree at ``path``; None when it cannot be called there."""
    from k1ctl.errors import K1ctlError
    from k1ctl.git import call

    try:
        return call(STATUS, path)
    except (K1ctlError, OSError):
        return None


def list_changes(path: str) -> list[str] | None:
    """What `STATUS` lists in the worktree at ``path``: two letters, a space, a name (folders with a slash at the end).

    None when git fails.
    """
    return changes_of(ask_status(path))


def changes_of(answer: Answer | None) -> list[str] | None:
    """The lines of an answer; None when git failed."""
    return None if answer is None or answer.returncode else [line for line in answer.stdout.split("\0") if line]


def regenerable(name: str, globs: Sequence[str]) -> bool:
    """Whether the git-ignored ``name`` is, or lies in, what can be made again (``archive.regenerable``)."""
    parts = name.rstrip("/").split("/")
    return any(matches("/".join(parts[: i + 1]), globs) for i in range(len(parts)))


def _born(path: str) -> Activity:
    try:
        return Activity(parse_rfc3339(str(origin(path).get("at", ""))), "made by k1ctl")
    except ValueError:
        return Activity(0.0, "nothing")


def _git_signs(own: str) -> Iterator[Activity]:
    """The signs in a worktree's (or repository's) own git folder."""
    if not own:
        return
    moved = _reflog_end(os.path.join(own, "logs", "HEAD"))
    if moved:
        yield moved
    for name, what in _STEPS.items():
        yield from _time_of(os.path.join(own, name), what)
    for name, what in _OPERATIONS.items():
        yield from _newest(os.path.join(own, name), what)


def _reflog_end(path: str) -> Activity | None:
    """The last line of a reflog: ``OLD NEW NAME <MAIL> SECONDS ZONE\\tMESSAGE`` (git's refs/files-backend.c)."""
    lines = (read_bytes(path) or b"").rstrip(b"\n").rpartition(b"\n")[2].partition(b"\t")
    words = lines[0].rpartition(b">")[2].split()
    if not words or not words[0].isdigit():
        return None
    what = f"HEAD moved ({os.fsdecode(lines[2])[:60] or 'no message'})"
    written = [sign.at for sign in _time_of(path, what)]  # GIT_COMMITTER_DATE may say anything
    return Activity(min(float(words[0]), *written), what)


def _file_signs(top: str, lines: Iterable[str], globs: Sequence[str]) -> Iterator[Activity]:
    for line in lines:
        code, name = line[:2], line[3:]
        if code == "!!" and regenerable(name, globs):
            continue
        path = os.path.join(top, name.rstrip("/"))
        if os.path.isdir(path) and not os.path.islink(path):
            yield from _below(path, name.rstrip("/"), globs)
        else:
            yield from list(_time_of(path, f"{name} was changed")) or _deleted(path, name)


def _deleted(path: str, name: str) -> Iterator[Activity]:
    """A file that is gone left its time in the nearest folder that is there."""
    folder = os.path.dirname(path)
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    yield from _time_of(folder, f"{name} was deleted")


def _below(folder: str, name: str, globs: Sequence[str]) -> Iterator[Activity]:
    """The files of an ignored folder, and the signs of a repository (a submodule, too) where it is one."""
    git = os.path.join(folder, ".git")
    if os.path.lexists(git):
        yield from _git_signs(git if os.path.isdir(git) else own_git_dir(folder))
        yield from _file_signs(folder, list_changes(folder) or (), globs)
        return
    try:
        with os.scandir(folder) as entries:
            there = list(entries)
    except OSError:
        return
    for entry in there:
        if not entry.is_dir(follow_symlinks=False):
            yield from _time_of(entry.path, f"{name}/{entry.name} was changed")
        elif not matches(f"{name}/{entry.name}", globs):
            yield from _below(entry.path, f"{name}/{entry.name}", globs)


def _newest(folder: str, what: str) -> Iterator[Activity]:
    if os.path.isdir(folder):
        for name in (".", *os.listdir(folder)):
            yield from _time_of(os.path.join(folder, name), what)


def _time_of(path: str, what: str) -> Iterator[Activity]:
    """When it was changed. A time that somebody set is never later than the moment at which it was set (ctime)."""
    try:
        facts = os.lstat(path)
    except OSError:
        return
    yield Activity(min(facts.st_mtime, facts.st_ctime), what)
