"""Conductor's files: the scripts in ``ops/hooks`` and the file that names them, as they lie in ``hooks/``."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.hookscripts import RECORD, WEEKLY, Written, put, source

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.workspace import Workspace

__all__ = ["EXAMPLES", "FILES", "NAMES", "RECORD", "Written", "form_of", "ignored", "put_scripts", "source"]

NAMES = ("conductor-setup", "conductor-run", "conductor-archive", WEEKLY)
FILES = {"json": "conductor.json", "toml": os.path.join(".conductor", "settings.toml")}
EXAMPLES = {"json": "conductor.json.example", "toml": "settings.toml.example"}


def form_of(root: str, wanted: str) -> str:
    """``json`` or ``toml``: what is wanted, else what is there; of both Conductor reads the latter."""
    if wanted != "auto":
        return wanted
    there = {form: os.path.lexists(os.path.join(root, name)) for form, name in FILES.items()}
    return "json" if there["json"] and not there["toml"] else "toml"


def put_scripts(workspace: Workspace, *, dry_run: bool) -> list[Written]:
    """Put them into ``ops/hooks``; a script of the same name that is not ours is kept. Raises OSError."""
    return put(workspace, NAMES, dry_run=dry_run)


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
