"""`k1ctl worktree show`: all that is known of one worktree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import artifacts
from k1ctl_plugins.worktree import adding
from tests.kit import Project, finish


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a worktree `oslo` made by k1ctl."""
    made = make_workspace(files={".gitignore": "node_modules\n*.log\n", "a.c": "int a;\n"})
    made.configure('[targets.fw]\npath = "."\n')
    workspace = made.facts()
    adding.add(workspace, adding.make_plan(workspace, "oslo", lock="an agent"))
    return made


def shown(project: Project, *names: str) -> dict[str, Any]:
    document: dict[str, Any] = project.run("worktree", "show", *names, "--json").assert_ok().json
    return document


def test_what_was_done_in_it_is_told(project: Project) -> None:
    """Who made it from what, commits since and against the root's branch, changes by kind, stashes of its branch."""
    tree = project.worktree("oslo")
    base = project.git("rev-parse", "HEAD")
    project.commit("in the root")
    for name in ("b.c", "c.c"):
        project.write(name, "int x;\n", within=tree)
        project.commit(name, cwd=tree)
    (tree / "a.c").write_text("int stashed;\n")
    project.git("stash", "push", "-q", "-m", "for later", cwd=tree)
    (project.root / "a.c").write_text("int elsewhere;\n")
    project.git("stash", "push", "-q")
    (tree / "a.c").write_text("int b;\n")
    project.git("rm", "-q", "--cached", "b.c", cwd=tree)
    (tree / "x.log").write_text("x")
    (tree / "node_modules").mkdir()
    project.write("node_modules/p/index.js", "x" * 9000, within=tree)
    told = shown(project, "oslo")
    assert (told["base"], told["locked"], told["branch"]) == (base, "an agent", "oslo")
    assert told["creator"].endswith(" in repo") and told["made_at"]
    assert told["commits_since_base"] == 2 and told["root"] == {"branch": "main", "ahead": 2, "behind": 1}
    counts = {key: told[f"{key}_count"] for key in ("changed", "staged", "untracked", "conflict", "ignored")}
    assert counts == {"changed": 2, "staged": 1, "untracked": 1, "conflict": 0, "ignored": 2}
    assert [stash["subject"] for stash in told["stashes"]] == ["On oslo: for later"]
    assert told["stashes"][0]["commit"] == project.git("rev-parse", "stash@{1}")
    assert told["disk"]["node_modules_bytes"] >= 9000 and told["unpushed_count"] == 3
    assert told["idle_seconds"] < 300 and told["activity"]


def test_conflicts_and_operations_are_told(project: Project) -> None:
    """A merge that stopped: its files in conflict, and what is under way."""
    tree = project.worktree("oslo")
    (tree / "a.c").write_text("int theirs;\n")
    project.commit("theirs", cwd=tree)
    (project.root / "a.c").write_text("int ours;\n")
    project.commit("ours")
    with pytest.raises(AssertionError):
        project.git("merge", "main", cwd=tree)
    told = shown(project, "oslo")
    assert told["operation"] == "merge" and told["conflict_count"] == 1
    assert "a merge" in project.run("worktree", "show", cwd=tree).assert_ok().stdout


def test_ports_places_in_line_and_artifacts_are_told(project: Project) -> None:
    """What it holds on this host, what waits or runs in it now, and what was built in it last for each target."""
    tree = project.worktree("oslo")
    project.run("worktree", "setup", "--json", cwd=tree).assert_ok()
    image = project.write("firmware.bin", "image", within=tree)
    facts = project.facts(tree)
    kept = artifacts.store(facts, "fw", {"firmware.bin": str(image)}, {"workspace_path": str(tree), "dirty": True})
    holder = project.popen("queue", "run", "device:k1", "--", "sh", "-c", "echo in; read x", cwd=tree, stdin=-1)
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == "in\n"
    told = shown(project, "oslo")
    holder.stdin.close()
    assert finish(holder) == 1
    assert told["ports"]["last"] - told["ports"]["first"] == 9
    assert any("device:k1" in what or "run" in what for what in told["working"])
    (build,) = told["artifacts"]
    assert (build["target"], build["id"]) == ("fw", kept.id)
    Path(os.environ["K1CTL_HOST_DIR"], "ports.json").write_text("damaged")
    lines = project.run("worktree", "show", "oslo").assert_ok().stdout
    assert f"fw {kept.id}" in lines and "ports.json is damaged" in lines


def test_the_root_a_detached_head_and_a_folder_that_is_gone(project: Project) -> None:
    """Each is shown as far as it is known; a name that is none is one line."""
    told = shown(project)
    assert told["main"] and told["root"] is None and told["base"] is None
    assert told["activity"] and told["idle_seconds"] < 600
    tree = project.worktree("oslo")
    project.git("checkout", "-q", "--detach", cwd=tree)
    assert shown(project, str(tree))["branch"] is None
    shutil.rmtree(tree)
    told = shown(project, "oslo")
    assert told["missing"] and told["disk"] is None and told["changed_count"] is None
    assert "folder is gone" in project.run("worktree", "show", "oslo").assert_ok().stdout
    project.run("worktree", "show", "x").assert_fails(1, "there is no worktree x")
    moved = project.add_worktree("lima").rename(project.worktree("quito"))
    assert "worktree doctor" in project.run("worktree", "show", cwd=moved).assert_fails(1, "no worktree at").stderr
    assert not os.path.exists(tree)
