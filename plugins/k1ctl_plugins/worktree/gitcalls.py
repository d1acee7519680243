"""Run git for one folder, whatever git variables the caller's environment carries."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.programs import search_path, which

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

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


class GitError(K1ctlError):
    """git refused; the message is git's own last line."""

    code = "git-failed"


def call(
    args: Sequence[str], cwd: str, *, stdin: str = "", keep: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run ``git ARGS`` in ``cwd``. ``keep``: descriptors (locks) that live as long as git does.

    Raises NotFoundError when there is no git.
    """
    import subprocess

    git = which("git")
    if not git:
        raise NotFoundError("git was not found", hint="install git, or add its folder to PATH")
    env = {k: v for k, v in os.environ.items() if k not in _PLACES}
    env |= {"PATH": search_path(os.environ), "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(
        [git, *args],
        cwd=cwd,
        env=env,
        input=stdin,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        pass_fds=tuple(keep),
    )


def output(args: Sequence[str], cwd: str, *, stdin: str = "", keep: Sequence[int] = ()) -> str:
    """The stdout of ``git ARGS``. Raises GitError when it fails."""
    done = call(args, cwd, stdin=stdin, keep=keep)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise GitError(f"git {args[0]}: {lines[-1].removeprefix('fatal: ') if lines else f'exit {done.returncode}'}")
    return done.stdout


def names(args: Sequence[str], cwd: str, *, stdin: str = "") -> list[str]:
    """The NUL-separated names that ``git ARGS`` (with ``-z``) prints."""
    return [name for name in output(args, cwd, stdin=stdin).split("\0") if name]


def folders_with(files: Sequence[str], cwd: str) -> list[str]:
    """The folders, relative to ``cwd``, in which git tracks a file of one of these names; none below node_modules."""
    found = names(["ls-files", "-z", "--", *(f"*{name}" for name in files)], cwd)
    own = [f for f in found if os.path.basename(f) in files and "node_modules" not in f.split("/")]
    return sorted({os.path.dirname(f) for f in own})
