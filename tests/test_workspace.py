"""Root and workspace, found without git."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.errors import ConfigError
from k1ctl.workspace import cache_dir, host_dir, resolve
from tests.kit import Project


def test_a_worktree_leads_to_its_root(workspace: Project) -> None:
    """From a subfolder of a worktree: path is the worktree, root the main checkout, as git itself says."""
    tree = workspace.add_worktree("oslo")
    deep = tree / "a" / "b"
    deep.mkdir(parents=True)
    found = resolve(cwd=str(deep), environ={})
    assert (found.root, found.path, found.name) == (str(workspace.root), str(tree), "oslo")
    common = workspace.git("rev-parse", "--path-format=absolute", "--git-common-dir", cwd=deep)
    assert found.git_dir == common


def test_the_root_is_its_own_workspace(workspace: Project) -> None:
    """In the main checkout path and root are the same."""
    found = resolve(cwd=str(workspace.root), environ={})
    assert found.root == found.path == str(workspace.root)


def test_a_submodule_is_a_repository_of_its_own(workspace: Project, make_workspace: Callable[..., Project]) -> None:
    """A submodule's .git file has no commondir: its own top is its root."""
    other = make_workspace("other")
    workspace.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(other.root), "lib")
    found = resolve(cwd=str(workspace.root / "lib"), environ={})
    assert found.root == str(workspace.root / "lib")


@pytest.mark.parametrize("variable", ["K1CTL_ROOT", "CONDUCTOR_ROOT_PATH"])
def test_a_given_root_wins(variable: str, workspace: Project, make_workspace: Callable[..., Project]) -> None:
    """A root from the environment is taken from anywhere; the worktree we are in counts only if it belongs to it."""
    other = make_workspace("other")
    found = resolve(cwd=str(other.root), environ={variable: str(workspace.root)})
    assert (found.root, found.path) == (str(workspace.root), str(workspace.root))
    tree = workspace.add_worktree("oslo")
    found = resolve(cwd=str(tree), environ={variable: str(workspace.root)})
    assert (found.root, found.path) == (str(workspace.root), str(tree))


def test_the_flag_wins_over_the_environment(workspace: Project, make_workspace: Callable[..., Project]) -> None:
    """--root, then K1CTL_ROOT, then CONDUCTOR_ROOT_PATH."""
    other = make_workspace("other")
    environ = {"K1CTL_ROOT": str(other.root), "CONDUCTOR_ROOT_PATH": "/nowhere"}
    assert resolve(str(workspace.root), cwd="/", environ=environ).root == str(workspace.root)
    assert resolve(cwd="/", environ=environ).root == str(other.root)


def test_conductors_name_wins(workspace: Project) -> None:
    """CONDUCTOR_WORKSPACE_NAME is what other people see in the queue."""
    assert resolve(cwd=str(workspace.root), environ={"CONDUCTOR_WORKSPACE_NAME": "kyoto"}).name == "kyoto"


def test_conductors_name_belongs_to_conductors_worktree(workspace: Project) -> None:
    """An inherited name does not follow its bearer into another worktree."""
    lima, oslo = workspace.add_worktree("lima"), workspace.add_worktree("oslo")
    environ = {"CONDUCTOR_WORKSPACE_NAME": "kyoto", "CONDUCTOR_WORKSPACE_PATH": str(lima)}
    assert resolve(cwd=str(oslo), environ=environ).name == "oslo"
    assert resolve(cwd=str(lima), environ=environ).name == "kyoto"


def test_outside_the_root_conductors_worktree_is_meant(
    workspace: Project, make_workspace: Callable[..., Project], tmp_path: Path
) -> None:
    """Called from elsewhere: the worktree Conductor names, if it is the root's; else nobody's, and that is said."""
    oslo, other = workspace.add_worktree("oslo"), make_workspace("other")
    root = {"CONDUCTOR_ROOT_PATH": str(workspace.root)}
    for cwd in (tmp_path, other.root):
        found = resolve(cwd=str(cwd), environ={**root, "CONDUCTOR_WORKSPACE_PATH": str(oslo)})
        assert (found.path, found.name, found.inside) == (str(oslo), "oslo", True)
        for wrong in ("", str(other.root), str(oslo / "no" / "such"), str(workspace.root / "gone")):
            found = resolve(cwd=str(cwd), environ={**root, "CONDUCTOR_WORKSPACE_PATH": wrong})
            assert (found.path, found.inside) == (str(workspace.root), False)
            with pytest.raises(ConfigError) as caught:
                found.check_inside()
            assert (caught.value.code, caught.value.exit_code) == ("no-workspace", 78)
    assert resolve(cwd=str(oslo), environ=root).inside and resolve(cwd=str(workspace.root), environ=root).inside


@pytest.mark.parametrize("command", [("build",), ("upload",), ("worktree", "setup")])
def test_nothing_is_built_or_sent_for_nobody(workspace: Project, tmp_path: Path, command: tuple[str, ...]) -> None:
    """With only the root known, commands on a worktree's own files refuse instead of taking the root's."""
    workspace.configure("[targets.fw]\n")
    env = {"CONDUCTOR_ROOT_PATH": str(workspace.root), "CONDUCTOR_WORKSPACE_NAME": "oslo"}
    done = workspace.run(*command, "--json", cwd=tmp_path, env=env).assert_fails(78)
    assert done.json["error"]["code"] == "no-workspace"


def test_outside_a_repository_it_says_what_to_do(tmp_path: Path) -> None:
    """No repository and no given root is a configuration error with a hint."""
    with pytest.raises(ConfigError) as caught:
        resolve(cwd=str(tmp_path), environ={})
    assert "--root" in caught.value.hint


@pytest.mark.parametrize("content", ["", "hello", "gitdir: /nowhere/at/all"])
def test_a_damaged_git_file_is_no_crash(content: str, tmp_path: Path) -> None:
    """A .git file that leads nowhere is either named or taken as a checkout of its own; never another error."""
    (tmp_path / ".git").write_text(content)
    try:
        found = resolve(cwd=str(tmp_path), environ={})
    except ConfigError as exc:
        assert ".git" in exc.message
    else:
        assert found.path == str(tmp_path.resolve())


def test_host_folders_follow_the_environment(tmp_path: Path) -> None:
    """K1CTL_*_DIR, else the XDG folder, else the user's usual one."""
    assert host_dir({"K1CTL_HOST_DIR": str(tmp_path)}) == str(tmp_path)
    assert host_dir({"XDG_STATE_HOME": "/x"}) == "/x/k1ctl"
    assert cache_dir({"XDG_CACHE_HOME": "/x"}) == "/x/k1ctl"
    assert cache_dir({}) == os.path.expanduser("~/.cache/k1ctl")
