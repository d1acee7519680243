"""What of a worktree's work git has nowhere else: changes, new files, commits that no remote or branch has."""

from __future__ import annotations

import os

from k1ctl.programs import search_path, which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 20.0  # Conductor waits for the archive script
_SHOWN = 20  # paths that are named
# A hook of git exports where *it* works (git(1), environment); a call for another worktree must not inherit that.
_PLACES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX")


class GitWork:
    """What a worktree holds: ``branch`` ("" when detached), ``changed`` and ``untracked`` paths, the number of commits
    that are on no remote (``unpushed``; None without a remote), of those on no branch or tag either (``unreachable``);
    None where git did not tell, and ``problem`` says why."""

    __slots__ = ("branch", "changed", "problem", "unpushed", "unreachable", "untracked")

    def __init__(self) -> None:
        self.branch, self.problem = "", ""
        self.changed: list[str] | None = None
        self.untracked: list[str] | None = None
        self.unpushed: int | None = None
        self.unreachable: int | None = None

    def document(self) -> dict[str, Any]:
        """The facts as JSON; of the paths the first twenty."""
        return {
            "branch": self.branch or None,
            "changed_count": None if self.changed is None else len(self.changed),
            "changed": (self.changed or [])[:_SHOWN],
            "untracked_count": None if self.untracked is None else len(self.untracked),
            "untracked": (self.untracked or [])[:_SHOWN],
            "unpushed_commit_count": self.unpushed,
            "unreachable_commit_count": self.unreachable,
            "problem": self.problem or None,
        }

    def sentences(self) -> list[str]:
        """What would be lost with the worktree and what is here only, in words; empty when there is nothing."""
        told = [f"what git knows of it cannot be told: {self.problem}"] if self.problem else []
        lost = [
            _counted(len(self.changed or []), "changed file", " not committed"),
            _counted(len(self.untracked or []), "untracked file"),
            _counted(self.unreachable or 0, "commit", " on no branch, tag or remote"),
        ]
        if any(lost):
            told.append(f"would be lost with it: {', '.join(text for text in lost if text)}")
        ahead = _counted((self.unpushed or 0) - (self.unreachable or 0), "commit")
        if ahead:
            told.append(f"on no remote: {ahead} of branch {self.branch}, kept here for as long as the branch is")
        return told


def _counted(count: int, what: str, more: str = "") -> str:
    return f"{count} {what}{'' if count == 1 else 's'}{more}" if count > 0 else ""


def look(worktree: str) -> GitWork:
    """Ask git about ``worktree``. Never raises; what cannot be told is None."""
    work = GitWork()
    status = _git(work, worktree, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=normal")
    if status is None:
        return work
    _read_status(work, status)
    remote = _git(work, worktree, "for-each-ref", "--count=1", "refs/remotes")
    unpushed = _git(work, worktree, "rev-list", "--count", "HEAD", "--not", "--remotes") if remote else ""
    here = ["--branches", "--tags", "--remotes"]
    unreachable = _git(work, worktree, "rev-list", "--count", "HEAD", "--not", *here)
    work.unpushed = int(unpushed) if unpushed else None
    work.unreachable = int(unreachable) if unreachable else None
    return work


def _read_status(work: GitWork, text: str) -> None:
    """git-status(1), porcelain format version 2 with -z: a renamed path is followed by the one it had."""
    work.changed, work.untracked = [], []
    fields = iter(text.split("\0"))
    for line in fields:
        kind = line[:1]
        if line.startswith("# branch.head "):
            work.branch = "" if line[14:] == "(detached)" else line[14:]
        elif kind == "?":
            work.untracked.append(line[2:])
        elif kind in ("1", "2", "u"):
            work.changed.append(line.split(" ", {"1": 8, "2": 9, "u": 10}[kind])[-1])
            if kind == "2":
                next(fields, None)


def _git(work: GitWork, worktree: str, *args: str) -> str | None:
    import subprocess

    git = which("git")
    if not git:
        work.problem = "git was not found"
        return None
    env = {k: v for k, v in os.environ.items() if k not in _PLACES}
    env |= {"PATH": search_path(os.environ), "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    argv = [git, "-c", "core.fsmonitor=false", "-C", worktree, *args]
    try:
        done = subprocess.run(
            argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_SECONDS
        )
    except subprocess.TimeoutExpired:
        work.problem = f"git {args[0]} took longer than {_SECONDS:g} s"
        return None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        if "HEAD" in done.stderr and args[0] == "rev-list":
            return None  # a branch without a commit yet
        told = [line for line in lines if line.startswith("fatal: ")] or lines  # advice may stand behind it
        work.problem = told[-1].removeprefix("fatal: ") if told else f"git {args[0]}: exit {done.returncode}"
        return None
    return done.stdout
