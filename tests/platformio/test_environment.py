from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.errors import ConfigError
from k1ctl.platformio.environment import check_folders, pio_environment
from k1ctl.platformio.locate import Pio
from k1ctl.platformio.project import Project, read_project

TOOLS = Pio("/tools/bin/pio", "tools", "/cache/platformio")
OWN = Pio("/usr/local/bin/pio", "PATH")
INHERITED = {
    "PATH": "/here",
    "HOME": "/home/u",
    "PLATFORMIO_BUILD_DIR": "/shared",
    "PLATFORMIO_BUILD_CACHE_DIR": "/shared",
    "PLATFORMIO_WORKSPACE_DIR": "/shared",
    "PLATFORMIO_BUILD_FLAGS": "-DX",
    "PLATFORMIO_CORE_DIR": "/home/u/core",
    "PLATFORMIO_SETTING_ENABLE_PROXY_STRICT_SSL": "no",
    "PYTHONPATH": "/x",
}


def project(folder: Path, text: str = "[env:a]\nplatform = espressif32\n") -> Project:
    (folder / "platformio.ini").write_text(text)
    return read_project(str(folder))


def test_what_moves_files_or_changes_the_build_is_not_inherited(tmp_path: Path) -> None:
    """Folders lie in the worktree whatever the caller exported, and what was left out is named."""
    env, ignored = pio_environment(TOOLS, project(tmp_path), INHERITED)
    assert env["PLATFORMIO_BUILD_DIR"] == str(tmp_path / ".pio/k1ctl/build")
    assert env["PLATFORMIO_WORKSPACE_DIR"] == str(tmp_path / ".pio")
    assert env["PLATFORMIO_CORE_DIR"] == "/cache/platformio"
    assert not {"PLATFORMIO_BUILD_CACHE_DIR", "PLATFORMIO_BUILD_FLAGS", "PYTHONPATH"} & env.keys()
    assert env["PLATFORMIO_SETTING_ENABLE_PROXY_STRICT_SSL"] == "no"
    assert "/shared" not in env.values()
    assert "PLATFORMIO_BUILD_FLAGS" in ignored


def test_a_users_own_pio_keeps_its_packages(tmp_path: Path) -> None:
    """Without the tools environment the core folder is the user's business."""
    env, _ = pio_environment(OWN, project(tmp_path), INHERITED)
    assert env["PLATFORMIO_CORE_DIR"] == "/home/u/core"
    assert "PLATFORMIO_CORE_DIR" not in pio_environment(OWN, project(tmp_path), {})[0]


def test_nothing_waits_for_the_network(tmp_path: Path) -> None:
    """Telemetry and upgrade checks are off."""
    env, _ = pio_environment(OWN, project(tmp_path), {})
    assert env["PLATFORMIO_SETTING_ENABLE_TELEMETRY"] == "no"
    assert int(env["PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL"]) > 1000


def test_a_poor_path_gets_the_standard_folders(tmp_path: Path) -> None:
    """Compilers are found although the caller had no PATH."""
    assert "/usr/bin" in pio_environment(OWN, project(tmp_path), {})[0]["PATH"].split(":")


def test_a_linked_platform_gets_a_platforms_folder_of_the_worktree(tmp_path: Path) -> None:
    """symlink:// platforms are recorded per worktree; registry platforms stay shared."""
    text = "[env:a]\nplatform = symlink://platform\n"
    env, _ = pio_environment(TOOLS, project(tmp_path, text), {})
    assert env["PLATFORMIO_PLATFORMS_DIR"].startswith(str(tmp_path / ".pio"))
    assert "PLATFORMIO_PLATFORMS_DIR" not in pio_environment(TOOLS, project(tmp_path), {})[0]


@pytest.mark.parametrize(
    "link",
    [".pio", ".pio/libdeps", ".pio/k1ctl", ".pio/k1ctl/build", ".pio/k1ctl/release", ".pio/k1ctl/build/k1sim"],
)
def test_a_link_out_of_the_tree_is_refused(tmp_path: Path, link: str) -> None:
    """Whatever part of .pio leads to another tree, the build is refused before it starts."""
    tree, other = tmp_path / "tree", tmp_path / "other"
    (tree / link).parent.mkdir(parents=True)
    other.mkdir()
    (tree / link).symlink_to(other)
    with pytest.raises(ConfigError) as caught:
        check_folders(str(tree), str(tree))
    assert caught.value.code == "linked-pio"
    assert ("worktree setup" in caught.value.hint) is (link in (".pio", ".pio/libdeps"))


def test_a_link_within_the_tree_is_fine(tmp_path: Path) -> None:
    """A .pio that is a link to another place of the same worktree is shared with nobody."""
    (tmp_path / "big").mkdir()
    (tmp_path / ".pio").symlink_to(tmp_path / "big")
    check_folders(str(tmp_path), str(tmp_path))


def test_a_project_outside_the_tree_is_refused(tmp_path: Path) -> None:
    """A project folder that is a link to another tree would be that tree's build."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "tree" / "firmware").symlink_to(tmp_path / "other")
    with pytest.raises(ConfigError) as caught:
        check_folders(str(tmp_path / "tree" / "firmware"), str(tmp_path / "tree"))
    assert caught.value.code == "outside-tree"
