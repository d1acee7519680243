"""`k1ctl worktree doctor` and `k1ctl worktree repair`: each thing that is wrong is found, explained, and mended."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import clone
from k1ctl.config import load
from k1ctl.files import open_locked
from k1ctl.workspace import cache_dir
from k1ctl.worktrees import entries, own_git_dir
from k1ctl_plugins.worktree import adding, doctor_locks, doctor_places, repair_steps
from k1ctl_plugins.worktree.doctor_rounds import examine
from tests.kit import Project


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own folders are temporary ones; that is told in one test only. No tool is asked for."""
    monkeypatch.setattr(doctor_places, "_swept", lambda path: "")
    monkeypatch.setenv("K1CTL_WORKTREE_TOOLS", "")


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository in order, with worktrees `oslo` and `lima`."""
    ignored = "".join(f"{name}\n" for name in (".env", ".pio", "node_modules", "/ops/*"))
    files = {".gitignore": ignored, "firmware/platformio.ini": "[platformio]\n", "web/package.json": "{}\n"}
    return make_workspace(files=files, worktrees=["oslo", "lima"])


def findings(project: Project, *names: str) -> dict[str, Any]:
    """{code: finding} of the named worktrees, of all without names."""
    workspace = project.facts()
    found = entries(workspace.path)
    chosen = [e for e in found if not names or os.path.basename(e.path) in names]
    return {f.code: f for f in examine(workspace, load(workspace), found, chosen)}


def mended(project: Project, *, dry_run: bool = False) -> list[repair_steps.Mend]:
    workspace = project.facts()
    found = entries(workspace.path)
    return list(repair_steps.mend(workspace, load(workspace), found, found, dry_run=dry_run))


def tree_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_what_is_in_order_has_no_findings(project: Project) -> None:
    """Nothing found, nothing mended, exit 0."""
    assert findings(project) == {}
    assert mended(project) == []
    project.run("worktree", "repair", "--all").assert_ok()


def test_links_out_of_the_tree_are_found_and_unlinked(project: Project) -> None:
    """.pio into another worktree, node_modules elsewhere: an error each with its reason; repair takes only the link."""
    tree, other = project.worktree("oslo"), project.worktree("lima")
    target = other / "firmware" / ".pio"
    project.write("firmware/.pio/build/firmware.bin", "theirs", within=other)
    project.write("web/node_modules/p/index.js", "root's")
    (tree / "firmware" / ".pio").symlink_to(target)
    (tree / "web" / "node_modules").symlink_to(project.root / "web" / "node_modules")
    outcome = project.run("worktree", "doctor", "--json", cwd=tree)
    found = {f["details"]["path"]: f for f in outcome.assert_fails(1).json["findings"] if f["level"] == "error"}
    assert found["firmware/.pio"]["details"]["of_worktree"] == str(other)
    assert "other tree's firmware" in found["firmware/.pio"]["why"] and "npm ci" in found["web/node_modules"]["why"]
    before = tree_of(other), tree_of(project.root / "web")
    assert len(project.run("worktree", "repair", "oslo", "--dry-run", "--json").assert_ok().json["repairs"]) == 2
    assert (tree / "firmware" / ".pio").is_symlink()
    told = project.run("worktree", "repair", "oslo").assert_ok().stdout
    assert "unlinked firmware/.pio" in told
    assert not os.path.lexists(tree / "firmware" / ".pio") and not os.path.lexists(tree / "web" / "node_modules")
    assert (tree_of(other), tree_of(project.root / "web")) == before
    assert [e["code"] for e in project.events("worktree.repaired")] == ["link-leaves-worktree"] * 2
    assert findings(project, "oslo") == {} and mended(project) == []


def test_a_link_that_is_declared_read_only_is_none(project: Project) -> None:
    """What worktree.read_only names may lead to the root; a project folder that is a link is told, not unlinked."""
    project.configure('[worktree]\nread_only = ["fonts"]\n')
    project.write("fonts/package.json", "{}")
    project.commit("fonts")
    tree = project.worktree("oslo")
    project.git("merge", "-q", "main", cwd=tree)
    shutil.rmtree(tree / "fonts")
    (tree / "fonts").symlink_to(project.root / "fonts")
    assert "link-leaves-worktree" not in findings(project, "oslo")
    shutil.move(tree / "firmware", project.root.parent / "elsewhere")
    (tree / "firmware").symlink_to(project.root.parent / "elsewhere")
    assert findings(project, "oslo")["link-leaves-worktree"].details["path"] == "firmware"
    assert mended(project) == [] and (tree / "firmware").is_symlink()


def old(path: Path, seconds: float) -> Path:
    path.touch()
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


@pytest.fixture
def git_process(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A living process whose program is called git."""
    program = tmp_path / "git"
    shutil.copy(shutil.which("sleep") or "/bin/sleep", program)
    with subprocess.Popen([str(program), "60"], text=True) as process:
        yield process
        process.kill()


def test_stale_locks_are_found_and_removed(project: Project) -> None:
    """index.lock and HEAD.lock of a worktree, locks of refs and the configuration: an hour old and nobody's."""
    git = project.root / ".git"
    places = [git / "worktrees" / "oslo" / "index.lock", git / "refs" / "heads" / "x.lock", git / "config.lock"]
    stale = [old(path, 10 * 86400) for path in places]
    living = doctor_locks._living()
    if any(began < time.time() - 10 * 86400 for _, _, began in living):
        pytest.skip("a git that is older than the locks of this test is running")
    assert findings(project)["stale-lock"].level == "error"
    assert {m.code for m in mended(project, dry_run=True)} == {"stale-lock"} and all(path.exists() for path in stale)
    assert len(mended(project)) == 3 and not any(path.exists() for path in stale)
    project.write("new", "x", within=project.worktree("oslo"))
    project.commit("works again", cwd=project.worktree("oslo"))


def test_a_lock_that_may_be_held_stays(project: Project, git_process: subprocess.Popen[str]) -> None:
    """Younger than a minute, as old as a living git, or open in some process: it is not touched."""
    lock = project.root / ".git" / "worktrees" / "oslo" / "index.lock"
    old(lock, 1)
    assert mended(project) == [] and "stale-lock" not in findings(project)
    old(lock, -120)  # the clock was set back since
    assert mended(project) == []
    old(lock, 90)
    began = {name: start for pid, name, start in doctor_locks._living() if pid == git_process.pid}["git"]
    made = began + 10
    os.utime(lock, (made, made))
    assert doctor_locks._holder(str(lock), made - 100, [(1, "git", began)]) == ""
    assert doctor_locks._holder(str(lock), made - 100, [(1, "git", began - 200)]) == "git (pid 1)"
    with lock.open():
        holder = doctor_locks._holder(str(lock), time.time() - 90, [])
        assert f"(pid {os.getpid()})" in holder
    assert lock.exists()


def test_a_lock_that_came_anew_is_put_back(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the removal a git made its own lock: that one is there again."""
    lock = old(project.root / ".git" / "worktrees" / "oslo" / "index.lock", 90)

    def replaced(path: str) -> bool:
        lock.unlink()
        lock.write_text("another's")
        return True

    monkeypatch.setattr(doctor_locks, "is_stale", replaced)
    assert not repair_steps._take_away(str(lock))
    assert lock.read_text() == "another's" and len(list(lock.parent.glob("index.lock*"))) == 1


def test_a_moved_worktree_is_led_back(project: Project) -> None:
    """Moved without telling git: an error; repair tells git, and all work in it stays as it was."""
    tree, there = project.worktree("oslo"), project.worktree("moved")
    (tree / "work").write_text("mine")
    tree.rename(there)
    found = findings(project)
    assert found["worktree-moved"].worktree == str(there) and "worktree-gone" not in found
    project.run("worktree", "doctor", cwd=there).assert_fails(1, "")
    assert [m.code for m in mended(project, dry_run=True)] == ["worktree-moved"]
    project.run("worktree", "repair", cwd=there).assert_ok()
    assert findings(project) == {}
    assert project.git("status", "--porcelain", cwd=there) == "?? work"
    assert mended(project) == []


def test_a_moved_root_is_led_back(project: Project) -> None:
    """The .git files of its worktrees lead nowhere: repair makes them lead to their entries again."""
    there = project.root.parent / "elsewhere"
    project.root.rename(there)
    found = project.run("worktree", "doctor", "--all", "--json", cwd=there).assert_fails(1).json["findings"]
    assert [f["code"] for f in found if f["level"] == "error"] == ["broken-gitdir"] * 2
    project.run("worktree", "repair", cwd=there).assert_ok()
    assert project.git("status", "--porcelain", cwd=project.worktree("oslo")) == ""


def test_what_leads_to_another_repository_is_left(
    project: Project, make_workspace: Callable[..., Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A registered path that holds another repository's worktree by now: git would change its link; nothing is done."""
    other = make_workspace("other", worktrees=["theirs"])
    tree = project.worktree("oslo")
    shutil.rmtree(tree)
    other.git("worktree", "move", str(other.worktree("theirs")), str(tree))
    project.worktree("lima").rename(project.worktree("moved"))
    assert findings(project)["another-repository"].worktree == str(tree)
    (left,) = mended(project)
    assert left.code == "worktree-moved" and "another repository" in left.problem
    assert Path(own_git_dir(str(tree))).parent.parent == other.root / ".git"
    project.run("worktree", "repair").assert_fails(1, "not mended")


def test_copies_and_what_is_gone_are_told_and_left(project: Project) -> None:
    """A copy shares index and HEAD with its original; an entry without a folder is kept."""
    tree = project.worktree("oslo")
    copy = project.worktree("copy")
    shutil.copytree(tree, copy)
    shutil.rmtree(project.worktree("lima"))
    found = findings(project)
    assert found["worktree-copied"].details["shared_with"] == [str(tree)]
    assert found["worktree-gone"].level == "warning"
    assert mended(project) == []
    assert "left alone" in project.run("worktree", "repair").assert_ok().stderr
    assert {e.path for e in entries(str(project.root))} == {str(project.root), str(tree), str(project.worktree("lima"))}


def test_half_made_adds_are_cleared(project: Project) -> None:
    """A plan of an `add` that was killed: told, and cleared by repair; not while an add holds the lock."""
    plan = adding.Plan("kyoto", str(project.worktree("kyoto")), "kyoto", project.git("rev-parse", "HEAD"), False)
    project.write(".git/k1ctl/add/kyoto.json", json.dumps(plan._asdict()))
    project.git("branch", "kyoto")
    held = open_locked(str(project.root / ".git" / "k1ctl" / "worktrees.lock"))
    assert held is not None
    assert "half-made-add" not in findings(project)
    os.close(held)
    assert findings(project)["half-made-add"].details["names"] == ["kyoto"]
    assert [m.code for m in mended(project)] == ["half-made-add"]
    assert project.git("branch", "--list", "kyoto") == "" and mended(project) == []
    project.git("worktree", "lock", "--reason", "initializing", str(project.worktree("oslo")))
    assert findings(project)["half-made"].worktree == str(project.worktree("oslo"))


def test_wrong_patterns_are_told(project: Project) -> None:
    """A secret that is not ignored is an error; a missing pattern a warning; one with a slash misses links."""
    tree = project.worktree("oslo")
    (tree / ".env").write_text("TOKEN=x\n")
    assert findings(project, "oslo") == {}
    (tree / ".gitignore").write_text("node_modules/\n")
    found = findings(project, "oslo")
    assert found["secret-not-ignored"].level == "error" and "TOKEN" not in str(found)
    assert found["not-ignored"].details["name"] == "firmware/.pio"
    assert found["pattern-misses-links"].details | {"name": ""} == {
        "name": "",
        "pattern": "node_modules/",
        "file": ".gitignore",
        "line": 1,
    }
    project.git("add", "-f", ".env", cwd=tree)
    assert findings(project, "oslo")["secret-tracked"].level == "warning"


def test_what_git_does_not_show_is_counted(project: Project) -> None:
    """Hidden flags, CRLF that attributes want as LF, names that differ in case; a sparse checkout is none."""
    tree = project.worktree("oslo")
    project.git("update-index", "--assume-unchanged", "README", cwd=tree)
    project.git("update-index", "--skip-worktree", "web/package.json", cwd=tree)
    assert findings(project, "oslo")["hidden-edits"].details["count"] == 2
    project.write("x.txt", "a\r\nb\r\n", within=tree)
    project.write("Makefile", "x", within=tree)
    project.write("makefile", "y", within=tree)
    project.commit("both", cwd=tree)
    project.write(".gitattributes", "*.txt text\n", within=tree)
    found = findings(project, "oslo")
    assert found["line-ends"].details["names"] == ["x.txt"]
    project.write(".gitattributes", "*.txt text=auto eol=lf\n", within=tree)
    project.git("update-index", "--refresh", cwd=tree)  # git leaves it as it was committed
    assert "line-ends" not in findings(project, "oslo")
    assert sorted(found["names-collide"].details["names"]) == ["Makefile", "makefile"]
    lima = project.worktree("lima")
    project.git("sparse-checkout", "set", "web", cwd=lima)
    assert "hidden-edits" not in findings(project, "lima")


def test_places_that_are_none_are_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nested in another worktree or not ignored in the root, in a temporary folder, with an ops/ of its own."""
    tree = project.worktree("oslo")
    project.git("worktree", "add", "-q", "-b", "inner", str(tree / "sub" / "inner"))
    project.git("worktree", "add", "-q", "-b", "city", str(project.root / ".conductor" / "city"))
    project.write("ops/k1ctl.toml", "", within=tree)
    found = findings(project)
    assert found["nested-worktree"].details["nested"] == [str(tree / "sub" / "inner")]
    assert found["nested-not-ignored"].worktree == str(project.root)
    assert found["ops-not-used"].details["names"] == ["ops/"]
    project.write(".git/info/exclude", ".conductor\n")
    assert "nested-not-ignored" not in findings(project, "repo")
    monkeypatch.undo()
    assert findings(project, "lima")["in-temporary-folder"].level == "warning"


def test_what_changes_in_ops_is_to_be_ignored(project: Project) -> None:
    """Told for the root until `k1ctl init` has excluded it; a folder that the project has sources in is its own."""
    project.write(".gitignore", "node_modules\n.pio\n")
    for name in ("runs", "cache", "builds"):
        (project.ops / name).mkdir(parents=True, exist_ok=True)
    project.write("ops/metrics/collect.py", "x\n")
    project.git("add", "ops/metrics")
    assert findings(project, "repo")["ops-not-ignored"].details["names"] == ["ops/builds", "ops/cache", "ops/runs"]
    project.run("init").assert_ok()
    assert "ops-not-ignored" not in findings(project, "repo")


def test_root_and_worktrees_that_were_moved_together_are_led_back(project: Project, tmp_path: Path) -> None:
    """Neither leads to the other any more; the folder's name and the record's tell who belongs together."""
    project.write("work.txt", "mine\n", within=project.worktree("oslo"))
    new = tmp_path / "new"
    new.mkdir()
    for folder in (project.root, project.root.with_name("repo.worktrees")):
        folder.rename(new / folder.name)
    found = entries(str(new / "repo"))
    workspace = project.facts(new / "repo")
    strays = doctor_places.moved(doctor_places.find_strays(workspace, found))
    assert [os.path.basename(s.folder) for s in strays] == ["lima", "oslo"]
    done = list(repair_steps.mend(workspace, load(workspace), found, found, dry_run=False))
    assert [(m.code, m.problem) for m in done] == [("worktree-moved", "")] * 2
    oslo = new / "repo.worktrees" / "oslo"
    assert project.git("status", "--porcelain", cwd=oslo) == "?? work.txt"
    assert doctor_places.find_strays(workspace, entries(workspace.path)) == []


def test_what_cannot_be_looked_at_is_not_gone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that may not be listed hides no other; a worktree that is denied is told as that."""
    oslo = str(project.worktree("oslo"))
    assert doctor_places.listing(str(project.root / "none")) == []
    monkeypatch.setattr(doctor_places.os.path, "isdir", lambda path, real=os.path.isdir: path != oslo and real(path))
    monkeypatch.setattr(doctor_places, "_unreachable", lambda path: "Permission denied")
    assert set(findings(project, "oslo")) == {"unreachable"}
    monkeypatch.undo()
    monkeypatch.setattr(doctor_places.os, "stat", lambda path: (_ for _ in ()).throw(PermissionError(13, "denied")))
    assert doctor_places._unreachable(oslo) == "denied"


def test_what_is_removed_meanwhile_is_no_finding(project: Project) -> None:
    """git listed it, and it is gone with its record when its turn comes; one whose record stays is told."""
    workspace = project.facts()
    found = entries(workspace.path)
    project.git("worktree", "remove", str(project.worktree("oslo")))
    assert examine(workspace, load(workspace), found, found) == []
    shutil.rmtree(project.worktree("lima"))
    assert [f.code for f in examine(workspace, load(workspace), found, found)] == ["worktree-gone"]


def test_alike_findings_are_told_once(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred worktrees with the same fault are one line, and as JSON still one each."""
    env = {"K1CTL_WORKTREE_TOOLS": "no-such-tool"}
    told = project.run("worktree", "doctor", "--all", env=env).assert_ok().stdout
    assert told.count("tools-missing") == 1 and "lima, oslo" in told.split("tools-missing")[0]
    found = project.run("worktree", "doctor", "--all", "--json", env=env).assert_ok().json["findings"]
    assert [f["code"] for f in found].count("tools-missing") == 3


def test_a_branch_in_two_worktrees_is_an_error(project: Project) -> None:
    """Each has the other's HEAD under its feet."""
    project.git("checkout", "-q", "--ignore-other-worktrees", "oslo", cwd=project.worktree("lima"))
    assert findings(project, "oslo")["branch-twice"].details["others"] == [str(project.worktree("lima"))]


def test_missing_tools_and_unreadable_worktrees_are_told(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tool that is configured and not found; a worktree whose index git cannot read."""
    monkeypatch.setenv("K1CTL_WORKTREE_TOOLS", "git,no-such-tool")
    assert findings(project, "oslo")["tools-missing"].details["tools"] == ["no-such-tool"]
    (project.root / ".git" / "worktrees" / "oslo" / "index").write_bytes(b"damaged")
    assert findings(project, "oslo")["unreadable"].level == "error"


def test_a_seed_that_was_changed_is_told(project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """node_modules shares its files with a seed of which one was written in place, or which was replaced since; what
    npm installed itself is not suspected."""
    monkeypatch.setenv("K1CTL_CACHE_DIR", str(tmp_path / "cache"))
    seed = Path(cache_dir()) / "npm" / "abc"
    file = project.write("node_modules/p/index.js", "whole", within=seed)
    digest = clone.scan(str(seed / "node_modules")).digest()
    project.write("seed.json", json.dumps({"digest": digest, "files": 1}), within=seed)
    modules = project.worktree("oslo") / "web" / "node_modules"
    (modules / "p").mkdir(parents=True)
    os.link(file, modules / "p" / "index.js")
    (modules / ".k1ctl-lock").write_text(json.dumps({"sha256": "x", "key": "abc"}))
    assert findings(project, "oslo") == {}
    (modules / "p" / "index.js").write_text("changed")
    assert findings(project, "oslo")["seed-changed"].details["seed"] == "abc"
    facts = {"sha256": "x", "key": "abc", "strategy": "store", "seed": "an earlier one"}
    (modules / ".k1ctl-lock").write_text(json.dumps(facts))
    assert set(findings(project, "oslo")) == {"seed-replaced"}
    (modules / ".k1ctl-lock").write_text(json.dumps({**facts, "strategy": "install"}))
    assert findings(project, "oslo") == {}


def test_the_command_tells_and_exits_by_level(project: Project) -> None:
    """Warnings exit 0 with what, why and fix; an unknown name is one line."""
    env = {"K1CTL_WORKTREE_TOOLS": "no-such-tool"}
    done = project.run("worktree", "doctor", "oslo", env=env).assert_ok()
    lines = done.stdout.splitlines()
    assert any("tools-missing: not found: no-such-tool" in line for line in lines)
    assert any(line.strip().startswith("why:") for line in lines) and any("fix:" in line for line in lines)
    assert "1 worktree examined" in done.stderr
    project.run("worktree", "doctor", "oslos").assert_fails(1, "there is no worktree oslos", "did you mean oslo?")
    project.run("worktree", "repair", "nowhere").assert_fails(1, "there is no worktree nowhere")
