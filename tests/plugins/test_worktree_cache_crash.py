"""Killed at any step, a set-up leaves node_modules whole, absent or unmarked; the next one finishes and clears up."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import npm
from tests.kit import REPOSITORY

# A process without threads, which forks one child for each step it kills: `audit` is told of every change to files.
_STORM = """
import json, os, signal, sys
from k1ctl_plugins.worktree import cache, npm

folder, home, mode, every = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
project = cache.NpmProject(folder, folder, (home,), mode, (), lambda need: None)
CHANGES = ("os.rename", "os.mkdir", "os.link", "os.symlink", "os.chmod", "os.utime", "os.remove", "os.rmdir", "open",
           "subprocess.Popen", "fcntl.flock")

def child(at):
    seen = [0]
    def audit(event, args):
        if event in CHANGES:
            seen[0] += 1
            if seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)
    pid = os.fork()
    if pid == 0:
        try:
            sys.addaudithook(audit)
            cache.install(project)
            os._exit(0)
        except BaseException as exc:
            sys.stderr.write(repr(exc) + "\\n")
        os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

def modules():
    found = {}
    for top, folders, files in os.walk(os.path.join(folder, "node_modules")):
        for name in files:
            path = os.path.join(top, name)
            found[os.path.relpath(path, folder)] = os.readlink(path) if os.path.islink(path) else open(path).read()
    found.pop(npm.MARK, None)
    return found

def wanted(at):
    content = lock + "\\n" * at
    return {"node_modules/.package-lock.json": content, "node_modules/.bin/cli": "../pkg/cli",
            "node_modules/pkg/cli": f"#!/bin/sh\\necho {len(content)}\\n", "node_modules/pkg/lib/closed": "closed\\n",
            "node_modules/pkg/lib/index.js": "module.exports = 1\\n"}

with open(os.path.join(folder, "package-lock.json")) as f:
    lock = f.read()
at, killed, seeds_gone = 1, 0, 0
while True:
    with open(os.path.join(folder, "package-lock.json"), "w") as f:
        f.write(lock + "\\n" * at)  # each round installs anew, over what the last one left
    status = child(at)
    there, whole = modules(), npm.current(folder)
    assert status in (0, -9), (at, status)
    assert not whole or there == wanted(at), (at, there)
    ends = status == 0
    killed += not ends
    assert child(0) == 0, at
    assert npm.current(folder) and modules() == wanted(at), (at, modules())
    assert sorted(os.listdir(folder)) == ["node_modules", "package-lock.json", "package.json"], os.listdir(folder)
    kept = os.listdir(home)
    left = [name for name in kept if name.startswith(".tmp-")]  # of a prune: the next one knows it by its lock file
    assert not [name for name in left if ends or name[5:] in kept or name[5:] + ".lock" not in kept], kept
    if ends:
        break
    at += every
print(json.dumps({"steps": at, "killed": killed}))
"""


@pytest.mark.parametrize(("mode", "every"), [("copy", 17), ("store", 23)])
def test_killed_at_any_step(mode: str, every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGKILL before each n-th change to a file: node_modules with the mark are always whole, and the next set-up
    ends with whole ones, nothing beside them, and no half-built seed."""
    npm.Tools(tmp_path / "tools", monkeypatch, "npm", "node")
    folder, home = tmp_path / "web", tmp_path / "cache" / "npm"
    folder.mkdir()
    for name, content in npm.project().items():
        (folder / name).write_text(content)
    argv = [sys.executable, "-c", _STORM, str(folder), str(home), mode, str(every)]
    path = os.pathsep.join([str(REPOSITORY), str(REPOSITORY / "plugins")])
    done = subprocess.run(argv, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["killed"] >= 5
