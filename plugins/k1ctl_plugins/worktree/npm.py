"""Run npm, and remember of which ``node_modules`` it came to its end."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from k1ctl import clone
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json, write_json
from k1ctl.programs import path_for
from k1ctl_plugins.worktree.cache_key import sources
from k1ctl_plugins.worktree.running import Told, end

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import IO, Any

MARK = os.path.join("node_modules", ".k1ctl-lock")
CI = ("ci", "--prefer-offline", "--no-audit", "--no-fund")
LIMIT_SECONDS = 1800.0
GRACE_SECONDS = 5.0  # between TERM and KILL
_SHOWN = 12  # lines of a failure
_USAGE = ("Clean install a project", "Usage:", "A complete log of this run")  # what npm says behind its reason
_WHERE = ("syscall ", "errno ", "at ")  # in npm's own code
_TALK = ("npm warn", "npm WARN", "npm notice", "> ")


def current(folder: str, key: str = "") -> bool:
    """Whether ``node_modules`` is whole and what this very lock file says, and, where ``key`` is given, what these
    very tools make of it."""
    there = mark(folder)
    return there.get("sha256") == sources(folder) and (not key or there.get("key") in (None, key))


def mark(folder: str) -> dict[str, Any]:
    """What `write_mark` noted; {} without a mark."""
    there = read_json(os.path.join(folder, MARK))
    return there if isinstance(there, dict) else {}


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

    At ^C, TERM, a hang-up and its limit it is ended with all it started. Raises K1ctlError with its own lines when it
    fails.
    """
    import subprocess
    from tempfile import TemporaryFile

    name = os.path.basename(program)
    what = f"{name} {'run ' if args[0] == 'run' else ''}{args[-1 if args[0] == 'run' else 0]}"
    with TemporaryFile() as out, TemporaryFile() as err, Told() as told:  # a pipe would wait for daemons, too
        process = subprocess.Popen(
            [program, *args],
            cwd=folder,
            env=environment(program, folder),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            process_group=0,
            pass_fds=tuple(keep),
        )
        try:
            told.listen()
            code = process.wait(LIMIT_SECONDS)
        except subprocess.TimeoutExpired:
            end(process, GRACE_SECONDS)
            raise K1ctlError(f"{what} ran past {LIMIT_SECONDS:.0f} s", code="npm-timeout") from None
        except BaseException:
            end(process, GRACE_SECONDS)
            raise
        lines, errors = _lines(out), _lines(err)
    if code:
        said = reason(lines + errors)
        raise K1ctlError(f"{what} failed with exit {code}: {said[0]}", code="npm-failed", lines=said[1:_SHOWN])
    return lines[-1].strip() if lines else "done"


def _lines(file: IO[bytes]) -> list[str]:
    file.seek(0)
    return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]


def reason(said: list[str]) -> list[str]:
    """Why npm or pnpm failed, in its own words: the code with what follows, without its usage; where it has none, the
    last that its script said, the very last first."""
    marks = ("npm error", "npm ERR!")
    own = [line for line in said if line.startswith(marks) or "ERR_" in line]
    if not own:
        words = [line.strip() for line in said if not line.startswith(_TALK)] or ["it said nothing"]
        return [words[-1], *words[-_SHOWN:-1]]
    plain = [p for line in own if (p := line.removeprefix(marks[0]).removeprefix(marks[1]).strip())]
    plain = [line for line in plain if not line.startswith(_WHERE)] or ["it said nothing"]
    until = next((at for at, line in enumerate(plain) if at and line.startswith(_USAGE)), len(plain))
    code = plain[0].removeprefix("code ")
    if code != plain[0] and until > 1:
        return [f"{code}: {plain[1]}", *plain[2:until]]
    return plain[:until]


def taken(folder: str) -> dict[str, int]:
    """What a tree takes: files with a name elsewhere are shared (a package manager's store), all else its own."""
    if not os.path.isdir(folder):
        return {"own_bytes": 0, "shared_bytes": 0, "files": 0}
    found = clone.scan(folder)
    files, again = found.distinct()
    within = Counter(first.path for _, first in again)
    shared = sum(item.allocated for item in files if item.names > 1 + within[item.path])
    every = sum(item.allocated for items in (found.folders, files, found.links) for item in items)
    return {"own_bytes": every - shared, "shared_bytes": shared, "files": len(found.files)}
