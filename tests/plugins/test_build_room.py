"""A build asks the host for the memory that builds of its target are known to take."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.capacity import gate, histogram, promises
from k1ctl.capacity.need import parse
from k1ctl.config import Config
from k1ctl.workspace import Workspace
from tests.kit import Project, finish, wait_until

TOML = '[targets.tool]\nkind = "command"\npath = "tool"\ncommand = ["./make.sh"]\noutputs = ["out"]\n'
GIB = 1 << 30


@pytest.fixture
def project(workspace: Project) -> Project:
    """A repository with a target that builds until it may end."""
    workspace.write(".gitignore", "tool/out\ntool/go\n")
    workspace.write("tool/make.sh", "#!/bin/sh\nwhile [ ! -e go ]; do sleep 0.02; done\necho x > out\n").chmod(0o755)
    workspace.commit("tool")
    workspace.configure(TOML)
    return workspace


def needed(project: Project) -> tuple[int, str]:
    plan = project.run("build", "tool", "--dry-run", "--json").assert_ok().json
    return plan["need"]["mem_bytes"], plan["need_origin"]


def test_what_a_build_is_promised(project: Project) -> None:
    """As configured, else as measured from five runs on, else the default; more than the host has is cut to that."""
    size, origin = needed(project)
    assert size == 22 * GIB // 10 and "default" in origin
    for _ in range(5):
        histogram.add("build:tool", 4 * GIB, 60.0)
    size, origin = needed(project)
    assert 4 * GIB < size < 5 * GIB and "5 runs" in origin
    project.configure(TOML + '[capacity.heavy]\n"build:tool" = "100G"\n')
    assert needed(project)[0] == 100 * GIB
    told = project.run("build", "tool", "--dry-run").assert_ok().stdout
    assert "promised:   100 GiB of memory (configured" in told

    call = project.popen("build", "tool")
    (promise,) = wait_until(lambda: [p for p in promises.held() if p.group])
    assert (promise.kind, promise.class_, promise.units) == ("build", "build:tool", {"mem": 55705})
    (project.root / "tool" / "go").touch()
    assert finish(call) == 0 and promises.held(waiting=True) == []


def test_a_build_waits_for_room_or_says_why(project: Project) -> None:
    """Beside a promise of nearly all there is it ends with 75 and numbers; ``critical`` goes first."""
    (project.root / "tool" / "go").touch()
    here = Workspace(str(project.root), str(Path(project.root)), "here", str(project.root / ".git"))
    held = gate.promise(here, Config("", {}, {}), parse("mem=54G"), what="ours", kind="capacity-run")
    refused = project.run("build", "tool", "--wait", "0", "--json").assert_fails(75).json["error"]
    assert refused["code"] == "no-capacity" and refused["reasons"][0]["promised"] == 54 * GIB
    project.run("build", "tool", "--wait", "0", "--priority", "critical").assert_ok()
    held.release()
    project.run("build", "tool", "--wait", "0").assert_ok()
