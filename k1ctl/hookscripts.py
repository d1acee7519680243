"""The scripts in ``ops/hooks`` that Conductor, cron and launchd start: put there as they lie in ``hooks/``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.files import read_bytes, write_atomic
from k1ctl.programs import runnable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.workspace import Workspace

WEEKLY = "weekly-archive"
RECORD = "k1ctl.path"  # beside the scripts: the k1ctl that wrote them, for a call with a poor PATH
_MARK = b"# k1ctl hook: "


class Written(NamedTuple):
    """One file: its path and whether it was ``made``, ``renewed`` (an older one of ours), ``same``, or ``kept``
    because it is somebody else's."""

    path: str
    how: str


def source(name: str) -> bytes:
    """The content of a file of ``hooks/``: in the wheel beside this module, in a source tree at its top."""
    here = os.path.dirname(os.path.realpath(__file__))
    for folder in (os.path.join(here, "hooks"), os.path.join(here, "..", "hooks")):
        data = read_bytes(os.path.join(folder, name))
        if data is not None:
            return data
    raise FileNotFoundError(2, "this installation of k1ctl lacks it", name)


def put(workspace: Workspace, names: Iterable[str], *, dry_run: bool = False) -> list[Written]:
    """Put these scripts into ``ops/hooks``; a script of the same name that is not ours is kept. Raises OSError."""
    done = []
    for name in names:
        path, text = workspace.ops_path("hooks", name), source(name)
        old = read_bytes(path)
        how = "made" if old is None else "same" if old == text else "renewed" if _MARK in old[:200] else "kept"
        if how in ("made", "renewed") and not dry_run:
            write_atomic(path, text, mode=0o755)
        if how == "same" and not os.access(path, os.X_OK) and not dry_run:
            os.chmod(path, 0o755)
        done.append(Written(path, how))
    program = own_program()
    if program and not dry_run:
        path = workspace.ops_path("hooks", RECORD)
        if read_bytes(path) != os.fsencode(program) + b"\n":
            write_atomic(path, os.fsencode(program) + b"\n")
    return done


def own_program() -> str:
    """The absolute path of the k1ctl that runs here, "" when it was not started by a script of that name."""
    for path in (sys.argv[0], os.path.join(os.path.dirname(sys.executable), "k1ctl")):
        if os.path.basename(path) == "k1ctl" and os.path.isabs(path) and runnable(path):
            return path
    return ""
