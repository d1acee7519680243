"""Lock files of git that nobody holds any more.

git makes ``X.lock`` beside X and renames it; a git that was killed leaves it, and every later one refuses. A lock is
stale when it is older than `OLD` and every process that could have made it is younger: all programs of git, and whoever
has the file open.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.units import format_duration
from k1ctl.worktrees import own_git_dir
from k1ctl_plugins.worktree.doctor_finding import Finding, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

OLD = 60.0  # seconds
_COMMON = ("config.lock", "packed-refs.lock", "HEAD.lock", "index.lock", "shallow.lock")
_NAMES = ("git", "jj", "gitui", "lazygit", "tig", "libgit")  # programs (and beginnings of names) that write to it


class Lock(NamedTuple):
    """A lock file: its ``path``, how old it is in seconds, and who may hold it ("": nobody does, it is stale)."""

    path: str
    age: float
    holder: str


def find(workspace: Workspace, chosen: list[Entry]) -> Iterator[Finding]:
    """Findings for the lock files of the repository and the chosen worktrees."""
    for entry, lock in locks(workspace, chosen):
        age = format_duration(lock.age)
        if lock.holder:
            if lock.age > OLD:
                yield Finding(
                    "old-lock",
                    "note",
                    entry,
                    f"{lock.path} is there for {age}; {lock.holder} may hold it",
                    "other calls of git fail until it is gone",
                    "wait for that process to end",
                    {"path": lock.path, "age_seconds": round(lock.age, 3)},
                )
            continue
        yield Finding(
            "stale-lock",
            "error",
            entry,
            f"{lock.path} is there for {age}, and no process of git is that old",
            "git was killed here; every commit, checkout or `git add` fails with 'File exists'",
            "k1ctl worktree repair",
            {"path": lock.path, "age_seconds": round(lock.age, 3)},
        )


def locks(workspace: Workspace, chosen: list[Entry]) -> list[tuple[str, Lock]]:
    """(Worktree's path, or "" for the repository; the lock) of each lock file."""
    found = [("", path) for path in _of_repository(workspace.git_dir)]
    for entry in chosen:
        own = "" if entry.main else own_git_dir(entry.path)
        names = listing(own) if own else []
        found += [(entry.path, os.path.join(own, name)) for name in sorted(names) if name.endswith(".lock")]
    if not found:
        return []
    living = _living()
    result = []
    for where, path in found:
        try:
            made = os.lstat(path).st_mtime
        except OSError:
            continue
        result.append((where, Lock(path, max(0.0, time.time() - made), _holder(path, made, living))))
    return result


def is_stale(path: str) -> bool:
    """Whether the lock at ``path`` is stale now; asked again right before it is removed."""
    try:
        made = os.lstat(path).st_mtime
    except OSError:
        return False
    return not _holder(path, made, _living())


def _of_repository(git_dir: str) -> Iterator[str]:
    for name in _COMMON:
        path = os.path.join(git_dir, name)
        if os.path.lexists(path):
            yield path
    for folder, _, names in os.walk(os.path.join(git_dir, "refs")):
        yield from (os.path.join(folder, name) for name in sorted(names) if name.endswith(".lock"))


def _holder(path: str, made: float, living: list[tuple[int, str, float]]) -> str:
    """Who may hold the lock: a process of git that is not younger, or one that has the file open; "" when nobody."""
    if time.time() - made < OLD:
        return "whoever made it just now"
    for pid, name, began in living:
        if began <= made + 1:
            return f"{name} (pid {pid})"
    from k1ctl.archive.processes import Processes

    opened = Processes().below(path)
    return str(opened[0]) if opened else ""


def _living() -> list[tuple[int, str, float]]:
    """(pid, name, start) of every process whose program is one of git's."""
    import psutil

    found = []
    for process in psutil.process_iter(["name", "create_time"]):
        name = process.info["name"] or "?"
        if name.startswith(_NAMES):
            found.append((process.pid, name, process.info["create_time"] or 0.0))
    return found
