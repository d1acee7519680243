"""Conductor's files: the scripts in ``ops/hooks`` and the file that names them, as they lie in ``hooks/``."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.files import read_bytes, write_atomic
from k1ctl.programs import runnable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.workspace import Workspace

NAMES = ("conductor-setup", "conductor-run", "conductor-archive")
FILES = {"json": "conductor.json", "toml": os.path.join(".conductor", "settings.toml")}
EXAMPLES = {"json": "conductor.json.example", "toml": "settings.toml.example"}
RECORD = "k1ctl.path"  # beside the scripts: the k1ctl that `init` ran as, for a call with a poor PATH
_MARK = b"# k1ctl hook: "


class Written(NamedTuple):
    """One file: its path and whether it was ``made``, ``renewed`` (an older one of ours), ``same``, or ``kept``
    because it is somebody else's."""

    path: str
    how: str


def source(name: str) -> bytes:
    """The content of a file of ``hooks/``: in the wheel beside this module, in a source tree at its top."""
    here = os.path.dirname(os.path.realpath(__file__))
    for folder in (os.path.join(here, "hooks"), os.path.join(here, "..", "..", "..", "hooks")):
        data = read_bytes(os.path.join(folder, name))
        if data is not None:
            return data
    raise FileNotFoundError(2, "this installation of k1ctl lacks it", name)


def form_of(root: str, wanted: str) -> str:
    """``json`` or ``toml``: what is wanted, else what is there; of both Conductor reads the latter."""
    if wanted != "auto":
        return wanted
    there = {form: os.path.lexists(os.path.join(root, name)) for form, name in FILES.items()}
    return "json" if there["json"] and not there["toml"] else "toml"


def put_scripts(workspace: Workspace, *, dry_run: bool) -> list[Written]:
    """Put the three scripts into ``ops/hooks``; a script of the same name that is not ours is kept. Raises OSError."""
    done = []
    for name in NAMES:
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


def ignored(workspace: Workspace, paths: Sequence[str]) -> list[str]:
    """Those of ``paths`` that git ignores, so that they have to be added by force. Empty where git does not tell."""
    import subprocess

    from k1ctl.programs import which

    git = which("git")
    if not git or not workspace.git_dir:
        return []
    env = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    argv = [git, "-C", workspace.root, "check-ignore", "-z", "--stdin"]
    given = b"".join(os.fsencode(path) + b"\0" for path in paths)
    try:
        done = subprocess.run(argv, env=env, input=given, capture_output=True, timeout=20)
    except subprocess.TimeoutExpired:
        return []
    told = done.stdout.split(b"\0")
    return [path for path in paths if os.fsencode(path) in told]
