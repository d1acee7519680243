"""`k1ctl worktree setup`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.errors import K1ctlError
from k1ctl.setup import SetupStep, StepReport
from k1ctl_plugins.worktree import envfiles, links, prepare, tools
from tests.kit import Outcome, Project, finish, needs

SECRET = "TOKEN=hunter2\n"


def steps(outcome: Outcome) -> dict[str, dict[str, Any]]:
    """The steps of a set-up report by name, of one that failed too."""
    document = outcome.json
    report = document.get("error", document)
    return {step["name"]: step for step in report["steps"]}


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a worktree `oslo`, ignored .env files in its root, and a firmware folder."""
    made = make_workspace(
        files={
            ".gitignore": ".env\n.env.*\n.pio\nnode_modules\n",
            "firmware/platformio.ini": "[platformio]\n",
            "web/package.json": '{"name":"web","version":"1.0.0"}',
        },
        worktrees=["oslo"],
    )
    made.write(".env", SECRET)
    made.write("web/.env.local", SECRET)
    made.write("node_modules/x/.env", SECRET)
    return made


def test_env_files_arrive_private_and_unprinted(project: Project) -> None:
    """Ignored .env files are copied to the same place with 0600, none from ignored folders, and never shown."""
    tree = project.worktree("oslo")
    outcome = project.run("worktree", "setup", "--json", cwd=tree).assert_ok()
    assert steps(outcome)["env"]["details"]["copied"] == [".env", "web/.env.local"]
    for name in (".env", "web/.env.local"):
        assert (tree / name).read_text() == SECRET
        assert (tree / name).stat().st_mode & 0o777 == 0o600
    assert not (tree / "node_modules").exists()
    said = outcome.stdout + outcome.stderr + json.dumps(project.events())
    assert "hunter2" not in said


def test_a_secret_left_half_way_is_not_in_the_worktree(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between writing and renaming the copy lies in the git folder: a kill there leaves nothing for `git add -A`."""
    tree = project.worktree("oslo")
    seen: list[str] = []

    def replace(source: str, target: str) -> None:
        seen.append(source)
        assert project.git("status", "--porcelain", "--untracked-files=all", cwd=tree) == ""
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        envfiles.copy(project.facts(tree), [".env"])
    assert [Path(path).parent for path in seen] == [project.root / ".git" / "worktrees" / "oslo" / "k1ctl" / "setup"]
    assert not Path(seen[0]).exists() and not (tree / ".env").exists()


def test_a_second_set_up_changes_nothing(project: Project) -> None:
    """Idempotent: what is there stays, also when it differs from the root's."""
    tree = project.worktree("oslo")
    project.run("worktree", "setup", cwd=tree).assert_ok()
    (tree / ".env").write_text("MINE=1\n")
    outcome = project.run("worktree", "setup", "--json", cwd=tree).assert_ok()
    assert steps(outcome)["env"]["status"] == "unchanged"
    assert (tree / ".env").read_text() == "MINE=1\n"
    assert {e["event"] for e in project.events()} == {"worktree.setup"}


def test_what_git_would_commit_is_not_copied(project: Project) -> None:
    """A worktree whose branch does not ignore .env does not get one; nor does a folder it does not have."""
    tree = project.worktree("oslo")
    (tree / ".gitignore").write_text(".pio\n.env.*\n")
    (tree / "web" / "package.json").unlink()
    (tree / "web").rmdir()
    outcome = project.run("worktree", "setup", "--json", cwd=tree).assert_ok()
    assert [s["file"] for s in steps(outcome)["env"]["details"]["skipped"]] == [".env", "web/.env.local"]
    assert not (tree / ".env").exists()


def test_a_dry_run_tells_and_changes_nothing(project: Project) -> None:
    """Every step says what it would do; no file, no link, no event is touched."""
    tree = project.worktree("oslo")
    (tree / "firmware" / ".pio").symlink_to(project.root)
    outcome = project.run("worktree", "setup", "--dry-run", "--json", cwd=tree).assert_ok()
    found = steps(outcome)
    assert (found["env"]["status"], found["links"]["status"]) == ("planned", "planned")
    assert not (tree / ".env").exists()
    assert (tree / "firmware" / ".pio").is_symlink()
    assert project.events() == []


@pytest.mark.parametrize("where", ["firmware/.pio", "web/node_modules", "node_modules"])
def test_a_link_out_of_the_tree_goes_and_its_target_stays(where: str, project: Project) -> None:
    """The link is removed, never what it leads to; a dangling one too."""
    tree = project.worktree("oslo")
    target = project.write("shared/keep", "x").parent
    (tree / where).symlink_to(target, target_is_directory=True)
    outcome = project.run("worktree", "setup", "--json", cwd=tree).assert_ok()
    assert steps(outcome)["links"]["details"]["links"] == [{"path": where, "target": str(target)}]
    assert not (tree / where).is_symlink()
    assert (target / "keep").read_text() == "x"
    (tree / where).symlink_to("/nowhere/at/all")
    project.run("worktree", "setup", cwd=tree).assert_ok()
    assert not (tree / where).is_symlink()


def test_without_unlinking_a_link_is_refused(project: Project) -> None:
    """--no-unlink: exit 1 naming the step and the link, the others are done."""
    tree = project.worktree("oslo")
    (tree / "firmware" / ".pio").symlink_to(project.root)
    outcome = project.run("worktree", "setup", "--no-unlink", "--json", cwd=tree).assert_fails(1, "firmware/.pio")
    found = steps(outcome)
    assert outcome.json["error"]["failed"] == ["links"]
    assert found["links"]["details"]["error"]["code"] == "link-leaves-worktree"
    assert found["env"]["status"] == "done"
    assert (tree / "firmware" / ".pio").is_symlink()


def test_links_inside_the_tree_are_left_alone(project: Project) -> None:
    """Only what leaves the worktree is taken away; a project folder that leaves it is refused, not removed."""
    tree = project.worktree("oslo")
    (tree / "cache").mkdir()
    (tree / "firmware" / ".pio").symlink_to("../cache")
    (tree / "web" / "node_modules").mkdir()
    assert links.leaving(str(tree), ["", "firmware", "web"]) == []
    (tree / "elsewhere").symlink_to(project.root)
    with pytest.raises(K1ctlError, match="elsewhere"):
        links.leaving(str(tree), ["elsewhere"])


def test_linked_parts_of_pio_are_found(project: Project) -> None:
    """A real .pio with a shared build folder in it is as bad as a shared .pio."""
    tree = project.worktree("oslo")
    (tree / "firmware" / ".pio").mkdir()
    (tree / "firmware" / ".pio" / "build").symlink_to(project.root)
    assert [link.path for link in links.leaving(str(tree), ["firmware"])] == ["firmware/.pio/build"]


def test_tools_are_found_when_path_is_poor(project: Project) -> None:
    """With a PATH that has nothing, git and gcc are still found, by absolute path."""
    found = steps(project.run("worktree", "setup", "--json", env={"PATH": "/nonexistent"}).assert_ok())
    for name in ("git", "gcc"):
        assert os.path.isabs(found["tools"]["details"]["tools"][name])


def test_the_newest_node_of_nvm_is_found(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Versions are compared as numbers, and npm's own folder comes first in its PATH."""
    for version in ("v9.1.0", "v20.3.0", "v20.11.1"):
        folder = Path(environment["HOME"]) / ".nvm" / "versions" / "node" / version / "bin"
        folder.mkdir(parents=True)
        (folder / "npm-test-tool").write_text("#!/bin/sh\n")
        (folder / "npm-test-tool").chmod(0o755)
    monkeypatch.setenv("PATH", "/nonexistent")
    found = tools.find("npm-test-tool")
    assert "v20.11.1" in found
    assert tools.path_for(found).split(os.pathsep)[0] == os.path.dirname(found)
    assert tools.find("no-such-tool-at-all") == ""


LOCKED = {
    "name": "web",
    "version": "1.0.0",
    "lockfileVersion": 3,
    "requires": True,
    "packages": {
        "": {"name": "web", "version": "1.0.0", "dependencies": {"lib": "file:lib"}},
        "lib": {"version": "1.0.0"},
        "node_modules/lib": {"resolved": "lib", "link": True},
    },
}


@pytest.fixture
def web(project: Project) -> Path:
    """The folder of a web project with a lock file, in the worktree; its one dependency lies beside it."""
    tree = project.worktree("oslo")
    project.write("web/lib/package.json", '{"name":"lib","version":"1.0.0"}', within=tree)
    manifest = {"name": "web", "version": "1.0.0", "dependencies": {"lib": "file:lib"}}
    project.write("web/package.json", json.dumps(manifest), within=tree)
    project.write("web/package-lock.json", json.dumps(LOCKED), within=tree)
    project.commit(cwd=tree)
    return tree / "web"


@needs("npm")
def test_npm_ci_runs_once_for_a_lock_file(web: Path, project: Project) -> None:
    """Installed, then up to date, then again when the lock file changed or the installation was cut short."""
    tree = web.parent
    first = steps(project.run("worktree", "setup", "--json", cwd=tree).assert_ok())
    assert first["npm:web"]["status"] == "done"
    assert (web / "node_modules" / "lib" / "package.json").exists()
    assert steps(project.run("worktree", "setup", "--json", cwd=tree))["npm:web"]["status"] == "unchanged"
    (web / "package-lock.json").write_text(json.dumps(LOCKED, indent=1))
    assert steps(project.run("worktree", "setup", "--json", cwd=tree))["npm:web"]["status"] == "done"
    (web / "node_modules" / ".k1ctl-lock").unlink()
    plan = steps(project.run("worktree", "setup", "--json", "--dry-run", cwd=tree))
    assert plan["npm:web"]["status"] == "planned"


@needs("npm")
def test_npm_never_empties_another_trees_modules(web: Path, project: Project) -> None:
    """node_modules linked to the root's: the link goes first, so the root keeps its packages."""
    kept = project.write("web/node_modules/pkg/index.js", "x")
    (web / "node_modules").symlink_to(kept.parent.parent, target_is_directory=True)
    project.run("worktree", "setup", cwd=web.parent).assert_ok()
    assert kept.exists()
    assert not (web / "node_modules").is_symlink()
    assert (web / "node_modules" / "lib").exists()


@needs("npm")
def test_a_failed_step_fails_alone(web: Path, project: Project) -> None:
    """npm refuses a lock file that does not fit: exit 1 names the step and npm's own words, .env is copied."""
    (web / "package-lock.json").write_text('{"lockfileVersion": 3, "packages": {}}')
    outcome = project.run("worktree", "setup", "--json", cwd=web.parent).assert_fails(1, "npm:web")
    found = steps(outcome)
    assert found["npm:web"]["details"]["error"]["code"] == "npm-failed"
    assert found["npm:web"]["details"]["error"]["lines"]
    assert found["env"]["status"] == "done"
    assert project.events("worktree.setup")[-1]["failed"] == ["npm:web"]


def test_npm_can_be_switched_off(web: Path, project: Project) -> None:
    """worktree.npm = false leaves lock files alone."""
    found = steps(project.run("worktree", "setup", "--json", cwd=web.parent, env={"K1CTL_WORKTREE_NPM": "no"}))
    assert "npm:web" not in found


def test_steps_wait_for_what_they_need() -> None:
    """Order follows needs; a failed step takes its dependents along and nobody else; a circle still ends."""

    def good() -> StepReport:
        return StepReport(True, "done")

    def bad() -> StepReport:
        raise OSError("odd")

    order = [
        SetupStep("late", good, needs=("early",)),
        SetupStep("early", bad),
        SetupStep("later", good, needs=("late",)),
        SetupStep("alone", good, needs=("unknown",)),
        SetupStep("a", good, needs=("b",)),
        SetupStep("b", good, needs=("a",)),
    ]
    results = {r.name: r.status for r in prepare.run_steps(order)}
    expected = {"early": "failed", "late": "skipped", "later": "skipped", "alone": "done", "a": "done", "b": "done"}
    assert results == expected


PLUGIN = """
import click
from k1ctl.hookspecs import hookimpl
from k1ctl.setup import SetupStep, StepReport
@click.command("extra")
def extra(): pass
@hookimpl
def k1ctl_command(): return extra
@hookimpl
def k1ctl_setup_steps(workspace, config):
    {body}
"""


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("return [SetupStep('submodules', lambda: StepReport(True, workspace.name))]", "done"),
        ("raise RuntimeError('odd\\ntwice')", "failed"),
        ("return [SetupStep('extra', lambda: 1 / 0)]", "failed"),
    ],
)
def test_a_third_party_adds_steps(body: str, status: str, project: Project, tmp_path: Path) -> None:
    """A plugin's steps are run with the others; one that breaks is a failed step with its name."""
    info = tmp_path / "site" / "k1ctl_extra-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: k1ctl-extra\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[k1ctl.plugins]\nextra = k1ctl_extra\n")
    (tmp_path / "site" / "k1ctl_extra.py").write_text(PLUGIN.format(body=body))
    env = {"PYTHONPATH": str(tmp_path / "site")}
    outcome = project.run("worktree", "setup", "--json", cwd=project.worktree("oslo"), env=env)
    assert outcome.exit_code == (status == "failed")
    name = "submodules" if status == "done" else "extra"
    assert steps(outcome)[name]["status"] == status
    assert steps(outcome)["env"]["status"] == "done"


def test_two_set_ups_of_one_worktree_take_turns(project: Project) -> None:
    """The second waits, says so, and finds everything done."""
    facts = project.facts(project.worktree("oslo"))
    with prepare.SetupLock(facts):
        waiting = project.popen("worktree", "setup", "--json", cwd=project.worktree("oslo"))
        assert waiting.stderr is not None
        assert "another set-up" in waiting.stderr.readline()
    assert finish(waiting) == 0
