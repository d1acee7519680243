from __future__ import annotations

from pathlib import Path

from tests.kit import Project


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
