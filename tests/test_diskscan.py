"""k1ctl.diskscan and `k1ctl worktree du`: what worktrees take, scans that are kept, quotas."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import disk, diskscan
from k1ctl.config import load
from k1ctl.errors import BusyError
from k1ctl.worktrees import entries
from tests.kit import Project

KIB = 1024


def fill(folder: Path, kib: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "file").write_bytes(b"x" * (kib * KIB))


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository whose `build` holds sources in one place, with worktrees `oslo` and `lima`."""
    made = make_workspace(
        files={".gitignore": "dist\n.pio\nnode_modules\n", "tools/build/x.py": "x\n"}, worktrees=["oslo", "lima"]
    )
    tree = made.worktree("oslo")
    fill(tree / "web" / "node_modules" / "p" / "dist", 400)
    fill(tree / "firmware" / ".pio" / "build" / "env", 300)
    fill(tree / "web" / "dist", 200)
    fill(tree / "tools" / "build", 100)
    return made


def scan(project: Project, name: str = "oslo", **options: bool) -> diskscan.Scan:
    workspace = project.facts()
    found = entries(workspace.path)
    (entry,) = [e for e in found if os.path.basename(e.path) == name]
    return diskscan.scan(workspace, load(workspace), entry, found, **options)


def test_a_worktree_is_split_into_its_parts(project: Project) -> None:
    """node_modules, .pio, what else can be made again, sources (a tracked `build` too), and the git folder."""
    parts = scan(project).parts
    for part, kib in (("node_modules", 400), ("pio", 300), ("regenerable", 200), ("sources", 100)):
        assert kib * KIB <= parts[part] < (kib + 60) * KIB
    tree = project.worktree("oslo")
    own = project.root / ".git" / "worktrees" / "oslo"
    assert parts["git"] == disk.measure(str(own))
    assert sum(parts.values()) == disk.measure(str(tree)) + parts["git"]


def test_a_worktree_in_another_counts_once(project: Project) -> None:
    """Nested worktrees, ops/ and the git folder are left out of the sources of what is around them."""
    before = scan(project, "repo").parts["sources"]
    project.git("worktree", "add", "-q", "-b", "inner", str(project.root / ".conductor" / "inner"))
    fill(project.root / ".conductor" / "inner", 500)
    fill(project.ops / "runs" / "1", 500)
    after = scan(project, "repo", refresh=True).parts["sources"]
    assert after - before < 20 * KIB
    assert scan(project, "inner").parts["sources"] > 500 * KIB


def test_a_scan_is_kept_while_its_signs_are_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used again for minutes; after that as long as the folders that tools fill are unchanged; --refresh scans."""
    first = scan(project)
    deep = project.worktree("oslo") / "web" / "node_modules" / "p" / "dist"
    fill(deep / "more", 100)
    assert scan(project).at == first.at
    assert scan(project, refresh=True).total >= first.total + 100 * KIB
    kept = scan(project)
    fill(project.worktree("oslo") / "firmware" / ".pio" / "build" / "env2", 50)
    assert scan(project).total >= kept.total + 50 * KIB  # .pio/build is watched, and this scan took no time
    monkeypatch.setattr(diskscan, "QUICK", 0.0)  # as if it had taken long
    kept = scan(project, refresh=True)
    fill(project.worktree("oslo") / "firmware" / ".pio" / "build" / "env3", 50)
    assert scan(project).at == kept.at
    monkeypatch.setattr(diskscan, "FRESH", 0.0)
    latest = scan(project)
    assert latest.at > kept.at and scan(project).at == latest.at
    monkeypatch.setattr(diskscan, "KEEP", 0.0)
    assert scan(project).at > latest.at


@pytest.mark.parametrize("content", ["{", "[]", '{"path": 1}', "null"])
def test_a_damaged_scan_is_made_again(content: str, project: Project) -> None:
    """Whatever stands in the file."""
    total = scan(project).total
    (file,) = (project.ops / "cache" / "disk").glob("oslo-*.json")
    file.write_text(content)
    assert scan(project).total == total
    assert diskscan.recent(project.facts(), str(project.worktree("oslo"))) is not None


def test_over_the_total_quota_none_is_added(project: Project) -> None:
    """Refused with 75, naming the largest that are idle, before anything is made; with room it goes on."""
    workspace, config = project.facts(), load(project.facts())
    config.file[("disk", "total_quota")] = 1500 * KIB
    found = entries(workspace.path)
    diskscan.check_quota(workspace, config, found, 10, "the worktree kyoto")
    own = project.root / ".git" / "worktrees" / "oslo"
    for path in (own / "index", own / "logs" / "HEAD"):
        os.utime(path, (time.time() - 90_000, time.time() - 90_000))
    with pytest.raises(BusyError, match=r"the largest: oslo \(1\.\d MiB, idle 1 d 1 h\)") as caught:
        diskscan.check_quota(workspace, config, found, 1000 * KIB, "the worktree kyoto")
    assert caught.value.code == "over-quota"
    project.configure('[disk]\ntotal_quota = "1M"\n')
    outcome = project.run("worktree", "add", "kyoto", "--no-setup", "--json").assert_fails(75, "disk.total_quota")
    assert outcome.json["error"]["largest"][0]["path"] == str(project.worktree("oslo"))
    assert not project.worktree("kyoto").exists()


def test_du_tells_worktrees_what_they_share_and_the_quotas(project: Project) -> None:
    """The largest first; what is over its quota is marked and exit is 0; totals add up; archives and runs are shown."""
    project.configure('[disk]\nworkspace_quota = "500k"\ntotal_quota = "1g"\n')
    fill(project.ops / "runs" / "1", 50)
    fill(project.root / ".git" / "k1ctl" / "archive" / "x", 80)
    fill(project.worktree("oslo").parent / ".k1ctl-trash" / "x", 70)
    report: dict[str, Any] = project.run("worktree", "du", "--json").assert_ok().json
    names = [row["name"] for row in report["worktrees"]]
    assert names[0] == "oslo" and set(names) == {"oslo", "lima", "repo"}
    assert [row["over_quota"] for row in report["worktrees"] if not row["main"]] == [True, False]
    shared = {row["name"]: row["bytes"] for row in report["shared"]}
    assert shared["ops/runs"] >= 50 * KIB and shared["archives"] >= 80 * KIB and shared["trash"] >= 70 * KIB
    assert report["total_bytes"] == sum(row["bytes"] for row in [*report["worktrees"], *report["shared"]])
    assert not report["over_quota"] and report["total_quota_bytes"] == 1 << 30
    table = project.run("worktree", "du", "--sort", "name").assert_ok().stdout
    assert [line.split()[0] for line in table.splitlines()[1:4]] == ["lima", "oslo", "repo"]
    assert "over quota" in table and "of 1.0 GiB" in table


def test_du_of_names_tells_only_them(project: Project) -> None:
    """By folder, branch or path; a name that is none is one line with the nearest."""
    tree = project.worktree("oslo")
    project.git("branch", "-m", "lima", "agent/lima")
    (row,) = project.run("worktree", "du", "oslo", str(tree), "--json").assert_ok().json["worktrees"]
    assert row["path"] == str(tree)
    (row,) = project.run("worktree", "du", "agent/lima", "--json").assert_ok().json["worktrees"]
    assert row["name"] == "lima"
    shutil.rmtree(project.worktree("lima"))
    told = project.run("worktree", "du", "agent/lima", "--json").assert_ok()
    assert told.json["worktrees"] == [] and told.json["missing"] == [str(project.worktree("lima"))]
    assert str(project.worktree("lima")) in project.run("worktree", "du", "agent/lima").assert_ok().stderr
    assert "did you mean oslo?" in project.run("worktree", "du", "osl").assert_fails(1, "no worktree osl").stderr
