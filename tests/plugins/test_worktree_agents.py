"""A worktree's set-up is one more agent on the host: let in by number and by watermark, counted while it is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from k1ctl.capacity import promises
from k1ctl.config import Config
from k1ctl.errors import BusyError
from k1ctl.workspace import Workspace
from k1ctl_plugins.worktree import agents
from tests.kit import Project

TWO = Config("", {("capacity", "agents"): 2}, {})
UNCOUNTED = Config("", {}, {})


def tree(project: Project, name: str) -> Workspace:
    path = project.add_worktree(name)
    return Workspace(str(project.root), str(path), name, str(project.root / ".git"))


def test_agents_are_counted_while_their_worktrees_are_there(workspace: Project) -> None:
    """The third of two is refused until one is gone; set up again, one takes no second place; the root takes none."""
    first, second, third = (tree(workspace, name) for name in ("a", "b", "c"))
    root = Workspace(str(workspace.root), str(workspace.root), "root", first.git_dir)
    for here in (root, first, first, second):
        agents.admit(here, TWO)
    assert sorted((p.workspace, p.need.agents) for p in promises.held()) == [("a", 1), ("b", 1)]
    with pytest.raises(BusyError) as refused:
        agents.admit(third, TWO)
    assert refused.value.code == "no-capacity" and "agents: 1 needed, 0 free; 2 promised to 2 of 2" in str(
        refused.value
    )
    assert not agents.planned(third, TWO)["go"]
    shutil.rmtree(second.path)
    assert agents.planned(third, TWO)["go"] and agents.admit(third, TWO)["owner"] == f"worktree {third.path}"


def test_eight_an_agent_on_sixteen_lets_one_worktree_in(
    workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old figure per agent is reduced at the gate as `capacity show` says, also where nobody set a number."""
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps({"cores": 8, "memory_bytes": 16 << 30}))
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    large = Config("", {("capacity", "per_agent"): 8 << 30}, {})
    assert agents.admit(tree(workspace, "a"), large)["need"] == {"agents": 1}
    with pytest.raises(BusyError, match="1 promised to 1 of 1"):
        agents.admit(tree(workspace, "b"), large)


def test_a_watermark_holds_new_worktrees_only(
    workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above admit_percent no new one is set up; one that was set up before is."""
    facts = tmp_path / "host.json"
    facts.write_text(json.dumps({"cores": 4, "memory_bytes": 100, "available_bytes": 25}))
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    here = tree(workspace, "a")
    for config in (TWO, UNCOUNTED):
        with pytest.raises(BusyError, match="memory is at 75 %"):
            agents.admit(here, config)
    assert promises.held() == []
    (Path(workspace.root) / ".git" / "worktrees" / "a" / "k1ctl" / "setup").mkdir(parents=True)
    assert agents.admit(here, UNCOUNTED) == {}


def test_setup_and_add_ask_the_gate(workspace: Project) -> None:
    """Both end with 75 before anything is made; a dry run says what would be needed; removed, the place is free."""
    workspace.configure("[capacity]\nagents = 1\n")
    first, second = workspace.add_worktree("a"), workspace.add_worktree("b")
    told = workspace.run("worktree", "setup", "--json", cwd=first).assert_ok().json
    assert told["reservation"]["need"] == {"agents": 1}
    dry = workspace.run("worktree", "setup", "--dry-run", "--json", cwd=second).assert_ok().json
    assert dry["capacity"]["need"] == {"agents": 1} and not dry["capacity"]["go"]
    refused = workspace.run("worktree", "setup", "--json", cwd=second).assert_fails(75).json["error"]
    assert refused["code"] == "no-capacity" and refused["reasons"][0]["limit"] == 1
    assert not (workspace.root / ".git" / "worktrees" / "b" / "k1ctl").exists()
    workspace.run("worktree", "add", "c").assert_fails(75, "`k1ctl worktree setup --wait D` waits")
    shutil.rmtree(first)
    workspace.run("worktree", "setup", cwd=second).assert_ok()
