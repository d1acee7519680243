"""Run git for one folder, whatever git variables the caller's environment carries.

Names come and go as ``os.fsdecode`` reads them: those that are not UTF-8, or hold a newline, stay what they are.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.programs import search_path, which

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# A hook of git exports where *it* works; a call for another worktree must not inherit that (git(1), environment).
_PLACES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_COMMON_DIR",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_PREFIX",
    "GIT_NAMESPACE",
)


# What changes refs and settings, which all worktrees share, takes a lock file for a moment.
_LOCKING = frozenset(("update-ref", "symbolic-ref", "config"))


class GitError(K1ctlError):
    """git refused; the message is git's own last line."""

    code = "git-failed"


class Answer(NamedTuple):
    """What a call of git came to: its exit code (minus the signal that killed it), and what it said."""

    returncode: int
    stdout: str
    stderr: str


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment that git is run in: the caller's without git's places, with ``extra`` on top."""
    env = {k: v for k, v in os.environ.items() if k not in _PLACES}
    env |= {"PATH": search_path(os.environ), "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    return env | dict(extra or {})


def program() -> str:
    """The path of git. Raises NotFoundError."""
    git = which("git")
    if not git:
        raise NotFoundError("git was not found", hint="install git, or add its folder to PATH")
    return git


def apart(args: Sequence[str]) -> bool:
    """Whether ``git ARGS`` runs in a session of its own: killed with its caller's group, it would leave a lock file
    that makes every later git in the repository fail."""
    return not _LOCKING.isdisjoint(args)


def call(
    args: Sequence[str],
    cwd: str,
    *,
    stdin: str = "",
    keep: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> Answer:
    """Run ``git ARGS`` in ``cwd``. ``keep``: descriptors (locks) that live as long as git does; ``env``: variables on
    top of `environment`; ``timeout`` in seconds, after which git is killed.

    Raises NotFoundError when there is no git, GitError (code git-timeout) when it took too long.
    """
    import subprocess

    try:
        done = subprocess.run(
            [program(), *args],
            cwd=cwd,
            env=environment(env),
            input=os.fsencode(stdin),
            capture_output=True,
            pass_fds=tuple(keep),
            start_new_session=apart(args),
            timeout=timeout,
        )
    except subprocess.TimeoutExpired:
        raise GitError(f"git {args[0]} took longer than {timeout:g} s in {cwd}", code="git-timeout") from None
    return Answer(done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr))


def output(
    args: Sequence[str],
    cwd: str,
    *,
    stdin: str = "",
    keep: Sequence[int] = (),
    env: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> str:
    """The stdout of ``git ARGS``, called as by `call`. Raises GitError when it fails."""
    done = call(args, cwd, stdin=stdin, keep=keep, env=env, timeout=timeout)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith("fatal: ")] or lines  # advice may stand behind it
        raise GitError(f"git {args[0]}: {told[-1].removeprefix('fatal: ') if told else f'exit {done.returncode}'}")
    return done.stdout


def names(args: Sequence[str], cwd: str, *, stdin: str = "") -> list[str]:
    """The NUL-separated names that ``git ARGS`` (with ``-z``) prints."""
    return [name for name in output(args, cwd, stdin=stdin).split("\0") if name]


def folders_with(files: Sequence[str], cwd: str) -> list[str]:
    """The folders, relative to ``cwd``, in which git tracks a file of one of these names; none below node_modules."""
    found = names(["ls-files", "-z", "--", *(f"*{name}" for name in files)], cwd)
    own = [f for f in found if os.path.basename(f) in files and "node_modules" not in f.split("/")]
    return sorted({os.path.dirname(f) for f in own})
