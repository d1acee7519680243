"""What of a worktree's work git has nowhere else: changes, new files, commits that no remote or branch has."""

from __future__ import annotations

import os

from k1ctl import git
from k1ctl.errors import K1ctlError
from k1ctl.files import read_bytes
from k1ctl.worktrees import own_git_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_SECONDS = 20.0  # Conductor waits for the archive script
_SHOWN = 20  # paths that are named
_OWN_REFS = ("refs/worktree", "refs/rewritten")  # of one worktree only (gitglossary(7)): they go with it


class GitWork:
    """What a worktree holds: ``branch`` ("" when detached), ``changed`` and ``untracked`` paths, the number of commits
    that are on no remote (``unpushed``; None without a remote), of those on no branch or tag either (``unreachable``),
    of those on no other branch (``only_here``: Conductor may delete this one), and of those that nothing but HEAD's
    reflog and this worktree's own refs reach (``left``); None where git did not tell, and ``problem`` says why."""

    __slots__ = ("branch", "changed", "left", "only_here", "problem", "unpushed", "unreachable", "untracked")

    def __init__(self) -> None:
        self.branch, self.problem = "", ""
        self.changed: list[str] | None = None
        self.untracked: list[str] | None = None
        self.unpushed: int | None = None
        self.unreachable: int | None = None
        self.only_here: int | None = None
        self.left: int | None = None

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
            "branch_only_commit_count": self.only_here,
            "reflog_only_commit_count": self.left,
            "problem": self.problem or None,
        }

    def sentences(self, *, saved: bool = False) -> list[str]:
        """What would be lost with the worktree, unless it was ``saved``, and what is here only, in words; empty when
        there is nothing."""
        told = [f"what git knows of it cannot be told: {self.problem}"] if self.problem else []
        lost = [
            _counted(len(self.changed or []), "changed file", " not committed"),
            _counted(len(self.untracked or []), "untracked path"),
            _counted(self.unreachable or 0, "commit", " on no branch, tag or remote"),
            _counted(self.left or 0, "commit", " that only its own reflog or refs reach"),
        ]
        if any(lost) and not saved:
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
    if remote:
        work.unpushed = _count(work, worktree, "HEAD", "--not", "--remotes")
    anywhere = ("--branches", "--tags", "--remotes")
    work.unreachable = _count(work, worktree, "HEAD", "--not", *anywhere)
    if work.branch:
        work.only_here = _count(work, worktree, "HEAD", "--not", f"--exclude={work.branch}", *anywhere)
    logged = (
        _logged(worktree) + (_git(work, worktree, "for-each-ref", "--format=%(objectname)", *_OWN_REFS) or "").split()
    )
    if logged:
        words = ("--ignore-missing", "--stdin", "--not", "HEAD", *anywhere)
        work.left = _count(work, worktree, *words, stdin="\n".join(logged) + "\n")
    return work


def _logged(worktree: str) -> list[str]:
    """The commits that HEAD's reflog names: one that was amended or reset away is nowhere else."""
    lines = (read_bytes(os.path.join(own_git_dir(worktree), "logs", "HEAD")) or b"").splitlines()
    named = [word for line in lines for word in line.decode("ascii", "replace").split(" ")[:2]]
    return list(dict.fromkeys(word for word in named if word.strip("0")))


def _count(work: GitWork, worktree: str, *args: str, stdin: str = "") -> int | None:
    told = _git(work, worktree, "rev-list", "--count", *args, stdin=stdin)
    return int(told) if told else None


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


def _git(work: GitWork, worktree: str, *args: str, stdin: str = "") -> str | None:
    try:
        done = git.call(["-c", "core.fsmonitor=false", *args], worktree, stdin=stdin, timeout=_SECONDS)
    except K1ctlError as exc:
        work.problem = exc.message
        return None
    except OSError as exc:  # the folder went meanwhile
        work.problem = f"{exc.filename}: {exc.strerror}"
        return None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        if "HEAD" in done.stderr and args[0] == "rev-list":
            return None  # a branch without a commit yet
        told = [line for line in lines if line.startswith("fatal: ")] or lines  # advice may stand behind it
        work.problem = told[-1].removeprefix("fatal: ") if told else f"git {args[0]}: exit {done.returncode}"
        return None
    return done.stdout
