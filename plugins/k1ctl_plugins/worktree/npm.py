"""Run npm, and remember of which ``node_modules`` it came to its end."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl import clone
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json, write_json
from k1ctl.programs import path_for
from k1ctl_plugins.worktree.cache_key import sources

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = os.path.join("node_modules", ".k1ctl-lock")
CI = ("ci", "--prefer-offline", "--no-audit", "--no-fund")
LIMIT_SECONDS = 1800.0


def current(folder: str, key: str = "") -> bool:
    """Whether ``node_modules`` is whole and what this very lock file says, and, where ``key`` is given, what these
    very tools make of it."""
    mark = read_json(os.path.join(folder, MARK))
    if not isinstance(mark, dict) or mark.get("sha256") != sources(folder):
        return False
    return not key or mark.get("key") in (None, key)


def write_mark(folder: str, **facts: str) -> None:
    """Say that ``node_modules`` is whole: the last thing that is done. What npm compares with the folder's time of
    change stays true."""
    modules = os.path.join(folder, "node_modules")
    os.makedirs(modules, exist_ok=True)  # npm makes none for no packages
    there = os.stat(modules)
    write_json(os.path.join(folder, MARK), {"sha256": sources(folder), **facts})
    os.utime(modules, ns=(there.st_atime_ns, there.st_mtime_ns))


def environment(program: str, folder: str) -> dict[str, str]:
    """The environment that a package manager works in ``folder`` with: its own node first in PATH."""
    env = {k: v for k, v in os.environ.items() if k != "INIT_CWD"}
    return env | {"PATH": path_for(program), "PWD": folder}


def run(program: str, args: Sequence[str], folder: str, keep: Sequence[int] = ()) -> str:
    """The last line that ``program ARGS`` said in ``folder``; ``keep``: descriptors (locks) that it holds open.

    Raises K1ctlError with its own lines when it fails.
    """
    import subprocess

    what = f"{os.path.basename(program)} {' '.join(args[: 2 if args[0] == 'run' else 1])}"
    try:
        done = subprocess.run(
            [program, *args],
            cwd=folder,
            env=environment(program, folder),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            pass_fds=tuple(keep),
        )
    except subprocess.TimeoutExpired:
        raise K1ctlError(f"{what} ran past {LIMIT_SECONDS:.0f} s", code="npm-timeout") from None
    if done.returncode:
        said = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        errors = [line for line in said if "npm error" in line or "npm ERR!" in line or "ERR_" in line] or said
        raise K1ctlError(
            f"{what} failed with exit {done.returncode}: {errors[0] if errors else ''}",
            code="npm-failed",
            log=errors[-20:],
        )
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "done"


def taken(folder: str) -> dict[str, int]:
    """What a tree takes: files under several names are shared (a package manager's store), all else its own."""
    if not os.path.isdir(folder):
        return {"own_bytes": 0, "shared_bytes": 0, "files": 0}
    found = clone.scan(folder)
    every = sum(item.allocated for items in found for item in items)
    shared = sum(item.allocated for item in found.files if item.names > 1)
    return {"own_bytes": every - shared, "shared_bytes": shared, "files": len(found.files)}
