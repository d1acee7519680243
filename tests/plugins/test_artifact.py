"""`k1ctl artifact`: what people see of the artifacts, and what they do with them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl import artifacts, retention
from k1ctl.artifacts import Artifact
from k1ctl.config import load
from k1ctl.queue.view import entries
from k1ctl.units import rfc3339
from tests.kit import Project, finish, wait_until


def keep(project: Project, name: str, at: str = "", cwd: Path | None = None, target: str = "fw") -> Artifact:
    """An artifact of 3,000 bytes, built at this time."""
    made = str(project.write("built/firmware.bin", name.encode().ljust(3000, b".")))
    real, when = artifacts.rfc3339, at or rfc3339()
    artifacts.rfc3339 = lambda *_: when  # type: ignore[assignment]
    try:
        return artifacts.store(project.facts(cwd), target, {"firmware.bin": made}, {"commit": "c" * 40, "dirty": True})
    finally:
        artifacts.rfc3339 = real  # type: ignore[assignment]


@pytest.fixture
def three(workspace: Project) -> list[Artifact]:
    """Three artifacts, the oldest first; of each worktree the newest is kept."""
    workspace.configure('[artifact]\nkeep = 1\n[targets.fw]\nkind = "command"\n')
    return [keep(workspace, f"image {i}", f"2026-01-0{i + 1}T00:00:00.000Z") for i in range(3)]


def test_listed_pinned_and_pruned(workspace: Project, three: list[Artifact]) -> None:
    """The list says who built each and why it is kept; what nothing keeps goes, the oldest first."""
    old, idle, newest = three
    workspace.run("artifact", "pin", old.id[:6], "--reason", "the fair").assert_ok()
    told = workspace.run("artifact", "list", "--json").assert_ok().json
    assert [row["id"] for row in told["artifacts"]] == [newest.id, idle.id, old.id]
    assert [[reason["kind"] for reason in row["kept"]] for row in told["artifacts"]] == [["newest"], [], ["pinned"]]
    assert told["artifacts"][2] | {"pinned": True, "reason": "the fair", "dirty": True} == told["artifacts"][2]
    assert told["limit_bytes"] == 100 << 20 and told["bytes"] > 9000
    text = workspace.run("artifact", "list", "fw").assert_ok()
    for word in ("pinned: the fair", "newest 1 of repo", "cccccccccccc+", "of 100 MiB"):
        assert word in text.stdout + text.stderr, text
    planned = workspace.run("artifact", "prune", "--limit", "7k", "--dry-run", "--json").assert_ok()
    assert planned.changed == () and [row["id"] for row in planned.json["removed"]] == [idle.id]
    done = workspace.run("artifact", "prune", "--limit", "1k").assert_ok()
    assert idle.id in done.stdout and "warning: ops/artifacts takes" in done.stderr
    assert Path(old.folder).exists() and Path(newest.folder).exists() and not Path(idle.folder).exists()
    assert workspace.run("artifact", "unpin", old.id, "--json").assert_ok().json["artifacts"][0]["changed"]
    assert workspace.run("artifact", "prune", "--limit", "0", "--json").assert_ok().json["removed"][0]["id"] == old.id


# A run of this kind that names an artifact, as `k1ctl upload` starts its own.
RUN = """
import sys
from k1ctl.config import load
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.queue.names import stable_key
from k1ctl.workspace import resolve
where = resolve()
argv = [sys.executable, "-c", "import os, time\\nwhile not os.path.exists('end'): time.sleep(0.01)"]
rules = {"cwd": where.root, "key": stable_key(*sys.argv), "details": {"artifact": sys.argv[1]}}
sys.exit(launch(where, load(where), RunSpec("upload", argv, {"device:k1": 1}, **rules)).ending.exit_code)
"""


def test_what_an_upload_in_the_queue_wants_stays(workspace: Project, three: list[Artifact]) -> None:
    """Of one that has the device, of one that waits for it, and of one whose caller was killed while it waited."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    old, idle, _ = three
    started = []
    for wanted in (old, idle):
        argv = [sys.executable, "-c", RUN, wanted.id]
        started.append(subprocess.Popen(argv, cwd=workspace.root, env=workspace.environment(), **quiet))
        wait_until(lambda: len(entries(str(workspace.ops / "queue"))) == len(started))

    def states() -> list[str]:
        return [entry["state"] for entry in entries(str(workspace.ops / "queue"))]

    try:
        wait_until(lambda: states() == ["running", "waiting"])
        facts = workspace.facts()
        assert retention.prune(facts, load(facts), limit=0, dry_run=True).removed == []
        started[1].kill()
        wait_until(lambda: states() == ["running", "parked"])
        done = workspace.run("artifact", "prune", "--limit", "0", "--json").assert_ok().json
        assert done["removed"] == [] and Path(idle.image).exists() and Path(old.image).exists()
        text = workspace.run("artifact", "list").assert_ok().stdout
        assert text.count("wanted by run 2") == 2
    finally:
        (workspace.root / "end").touch()
        for process in started:
            finish(process)


def test_one_is_shown_with_every_build_of_it(workspace: Project, three: list[Artifact]) -> None:
    """Manifest, builds, pin; `latest` is what this worktree built last."""
    newest = three[2]
    oslo = workspace.add_worktree("oslo")
    keep(workspace, "image 2", cwd=oslo)
    told = workspace.run("artifact", "show", newest.id[:5], "--json", "--verify").assert_ok().json
    assert told["manifest"]["id"] == newest.id and told["problems"] == [] and told["pin"] is None
    assert [build["workspace"] for build in told["builds"]] == ["repo", "oslo"] and told["workspace"] == "oslo"
    text = workspace.run("artifact", "show", "latest", cwd=oslo).assert_ok().stdout
    assert "firmware.bin" in text and "2026-01-03 00:00:00  repo" in text, text


def test_damage_is_found(workspace: Project, three: list[Artifact]) -> None:
    """Every byte is read; exit 65, and which file of which artifact."""
    os.chmod(three[1].image, 0o644)
    Path(three[1].image).write_bytes(b"x" * 3000)
    done = workspace.run("artifact", "list", "--verify", "--json")
    done.assert_fails(65)
    assert [bool(row["problems"]) for row in done.json["artifacts"]] == [False, True, False] and not done.json["ok"]
    workspace.run("artifact", "show", three[1].id, "--verify").assert_fails(65, "firmware.bin does not have")
    workspace.run("artifact", "list").assert_ok()


def test_to_a_store_and_back(workspace: Project, three: list[Artifact]) -> None:
    """Sent once, fetched into a repository that never built it, and sent from there to a device by its id."""
    nas = workspace.root.parent / "nas"
    nas.mkdir()
    store = f'[stores.nas]\npath = "{nas}"\n[artifact]\nstore = "nas"\n'
    workspace.configure(store)
    newest = three[2]
    workspace.run("artifact", "push", newest.id).assert_fails(1, "--init-store")
    done = workspace.run("artifact", "push", "latest", "--target", "fw", "--init-store", "--json").assert_ok()
    assert done.json["artifacts"][0]["sent"]
    assert "in nas already" in workspace.run("artifact", "push", newest.id).assert_ok().stdout
    clone = Project(workspace.root.parent / "clone")
    clone.configure(store)
    assert clone.run("artifact", "pull", newest.id[:8], "--dry-run").assert_ok().changed == ()
    told = clone.run("artifact", "pull", newest.id[:8], "--json").assert_ok().json
    assert told["artifacts"][0] | {"target": "fw", "fetched": True} == told["artifacts"][0]
    assert artifacts.find(clone.facts(), "fw", newest.id).problems() == []


def test_what_cannot_be_done_is_said_in_a_line(workspace: Project, three: list[Artifact]) -> None:
    """Each with the code that its kind of failure has, and the next step."""
    workspace.run("artifact", "show", "0123").assert_fails(65, "there is no artifact 0123", "k1ctl artifact list")
    workspace.run("artifact", "prune", "--limit", "much").assert_fails(2, "--limit", "is not a size")
    workspace.run("artifact", "push", three[0].id).assert_fails(78, "artifact.store")
    for nothing in ("", "zz", "012"):
        workspace.run("artifact", "unpin", nothing).assert_fails(2, "is no artifact's id")
    odd = keep(workspace, "odd", target="é" * 60)
    assert workspace.run("artifact", "show", odd.id, "--json").assert_ok().json["target"] == "é" * 60
    workspace.run("artifact", "pin", odd.id, "--target", "\udcff").assert_fails(65, "no artifact")
    keep(workspace, "image 0", target="web")
    workspace.run("artifact", "pin", three[0].id).assert_fails(2, "--target")
    assert workspace.run("artifact", "pin", three[0].id, "--target", "web").assert_ok().stdout.startswith("web ")
