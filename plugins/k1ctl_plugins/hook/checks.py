"""What `k1ctl doctor` is told of the scripts that Conductor, cron and launchd start."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.workspace import Workspace

FILES = ("conductor.json", os.path.join(".conductor", "settings.toml"))


def checks(workspace: Workspace) -> list[Check]:
    """Raises OSError."""
    found = [*_scripts(workspace), *_conductor(workspace)]
    return found or [Check("scripts", OK, "the scripts are up to date")]


def _scripts(workspace: Workspace) -> Iterator[Check]:
    from shlex import quote

    from k1ctl.hookscripts import RECORD, put
    from k1ctl.programs import runnable

    folder = workspace.ops_path("hooks")
    there = sorted(name for name in os.listdir(folder) if name != RECORD) if os.path.isdir(folder) else []
    ours = [name for name in there if _known(name)]
    if not ours:
        fix = "`k1ctl init --conductor` puts them there; without Conductor nothing is missing"
        yield Check("no-scripts", NOTE, f"no scripts of k1ctl are in {folder}", why="", fix=fix)
        return
    for written in put(workspace, ours, dry_run=True):
        name = os.path.basename(written.path)
        if written.how == "renewed":
            why = "it was written by another version of k1ctl"
            yield Check("old-script", WARNING, f"{written.path} is out of date", why=why, fix="k1ctl init --conductor")
        elif written.how == "kept":
            yield Check(
                "foreign-script", NOTE, f"{written.path} is not one of k1ctl's", why=f"{name} does what it says"
            )
        elif not os.access(written.path, os.X_OK):
            why = "whoever starts it is refused"
            yield Check(
                "not-executable", ERROR, f"{written.path} cannot be run", why=why, fix=f"chmod +x {quote(written.path)}"
            )
    record = os.path.join(folder, RECORD)
    if os.path.exists(record):
        with open(record, "rb") as f:
            program = os.fsdecode(f.read().strip())
        if not runnable(program):
            why = "a script that does not find k1ctl in its PATH has nothing to call"
            yield Check(
                "k1ctl-moved",
                WARNING,
                f"{program}, which wrote the scripts, is gone",
                why=why,
                fix="k1ctl init --conductor",
            )


def _known(name: str) -> bool:
    from k1ctl.hookscripts import source

    try:
        source(name)
    except FileNotFoundError:
        return False
    return True


def _conductor(workspace: Workspace) -> Iterator[Check]:
    """conductor.json by a reader of its own: a file with an error in it is not read by Conductor either."""
    from k1ctl.files import read_bytes
    from k1ctl.jsontext import loads

    there = [name for name in FILES if os.path.lexists(os.path.join(workspace.root, name))]
    if len(there) > 1:
        why = "Conductor reads settings.toml where both are there"
        yield Check(
            "two-files", NOTE, f"{there[0]} and {there[1]} are both there", why=why, fix=f"keep {there[1]} alone"
        )
    if FILES[0] not in there:
        return
    path = os.path.join(workspace.root, FILES[0])
    try:
        document = loads((read_bytes(path) or b"").decode())
    except ValueError as exc:
        what = f"{path} is no JSON: {exc}"
        yield Check("bad-conductor-json", ERROR, what, why="Conductor starts no script", fix=f"mend {path}")
        return
    if isinstance(document, dict) and document.get("runScriptMode") == "nonconcurrent":
        why = "Conductor ends the script that runs, also in the middle of a flash"
        fix = 'set "runScriptMode": "concurrent"; k1ctl\'s queue keeps order'
        yield Check("nonconcurrent", WARNING, f"{path} sets runScriptMode to nonconcurrent", why=why, fix=fix)
