from __future__ import annotations

from pathlib import Path

from tests.kit import Project
from tests.usb import need_esptool


def test_a_dry_run_names_the_folders_and_makes_nothing(workspace: Project, tmp_path: Path) -> None:
    """Nothing is installed, and it is said what would be."""
    cache = tmp_path / "cache"
    plan = workspace.run("tools", "install", "--dry-run", "--json", env={"K1CTL_CACHE_DIR": str(cache)}).assert_ok()
    assert plan.json["would_change"] is True
    assert plan.json["folder"].startswith(str(cache))
    assert not cache.exists()


def test_status_without_tools_names_the_next_step(workspace: Project, tmp_path: Path) -> None:
    """The tools environment is reported as missing; without any pio the exit code is 1."""
    done = workspace.run("tools", "status", "--json", env={"K1CTL_CACHE_DIR": str(tmp_path)}).assert_fails(1)
    assert done.json["tools"] is None


def test_status_works_outside_a_repository(workspace: Project, tmp_path: Path) -> None:
    """Tools belong to the host."""
    text = workspace.run("tools", "status", cwd=tmp_path, env={"K1CTL_CACHE_DIR": str(tmp_path)}).stdout
    assert "tools environment:  not installed" in text


def test_esptool_is_installed_apart(workspace: Project, tmp_path: Path) -> None:
    """A dry run names esptool's folder and makes nothing; the one that is there is found, and its version told."""
    cache = tmp_path / "cache"
    argv = ("tools", "install", "esptool", "--dry-run", "--json")
    plan = workspace.run(*argv, env={"K1CTL_CACHE_DIR": str(cache)}).assert_ok().json
    assert (
        plan["would_change"] is True
        and plan["folder"].startswith(str(cache / "tools" / "esptool"))
        and not cache.exists()
    )
    path = need_esptool()
    assert workspace.run("tools", "install", "esptool", "--json").assert_ok().json["esptool"] == path
    workspace.configure(f'[tools]\nesptool = "{path}"\n')
    told = workspace.run("tools", "status", "--json").json["esptool"]
    assert (told["argv"], told["origin"]) == ([path], "configured") and told["version"].startswith("5.")
