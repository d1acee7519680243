"""The set-up step that installs a project's packages before builds run at once."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest

from tests import firmware
from tests.kit import Project, finish


def step(project: Project, cwd: Path, *args: str, exit_code: int = 0, **env: str) -> dict[str, Any]:
    done = project.run("worktree", "setup", "--json", *args, cwd=cwd, env=env)
    assert done.exit_code == exit_code, str(done)
    steps = done.json["steps"] if exit_code == 0 else done.json["error"]["steps"]
    found: dict[str, Any] = next(s for s in steps if s["name"] == "platformio:fw")
    return found


def prepare(project: Project) -> tuple[Path, Path]:
    firmware.need_pio()
    for name, content in firmware.files().items():
        project.write(name, content)
    project.write("firmware/platformio.ini", firmware.ini() + f"custom_project = {uuid.uuid4().hex}\n")
    project.commit("firmware")
    project.configure("[targets.fw]\nkind = 'platformio'\n")
    return project.add_worktree("a"), project.add_worktree("b")


def test_packages_are_installed_once_for_all_worktrees(workspace: Project) -> None:
    """The first set-up installs, every further one in any worktree finds it done; --dry-run changes nothing."""
    a, b = prepare(workspace)

    assert step(workspace, a, "--dry-run")["status"] == "planned"
    assert step(workspace, a)["status"] == "done"
    assert step(workspace, a)["status"] == "unchanged"
    assert step(workspace, b)["status"] == "unchanged"


def test_a_dry_run_takes_planned_unlinks_as_done(workspace: Project) -> None:
    """A .pio that leads out is what the links step would remove: it fails no plan of a later step."""
    a, _ = prepare(workspace)
    (a / "firmware" / ".pio").symlink_to(workspace.root)

    assert step(workspace, a, "--dry-run")["status"] == "planned"
    assert (a / "firmware" / ".pio").is_symlink()


def test_a_missing_pio_fails_the_step_alone(workspace: Project) -> None:
    """Without PlatformIO the set-up says what to install; its other steps are done."""
    a, _ = prepare(workspace)

    failed = step(workspace, a, exit_code=1, K1CTL_TOOLS_PIO="/nowhere/pio")

    assert failed["status"] == "failed"
    assert "/nowhere/pio" in failed["summary"]


def test_packages_without_a_fixed_version_are_told(workspace: Project) -> None:
    """Also where all is installed: what another day's set-up would replace is named."""
    a, _ = prepare(workspace)
    (a / "firmware" / "platformio.ini").write_text(firmware.ini() + "lib_deps = fastled/FastLED@^3.10.3\n")

    planned = step(workspace, a, "--dry-run")

    assert planned["details"]["unpinned"] == ["lib_deps: fastled/FastLED@^3.10.3"]
    assert planned["summary"].endswith("; without a fixed version: lib_deps: fastled/FastLED@^3.10.3")


def test_two_core_folders_with_common_packages_take_turns(
    workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set-ups of two core folders that share PLATFORMIO_PACKAGES_DIR install one after the other; a package that
    somebody removed is installed again."""
    pio, log = tmp_path / "pio", tmp_path / "log"
    pio.write_text(
        f"#!/bin/sh\necho in >> {log}\nsleep 0.1\n"
        f"mkdir -p {tmp_path}/packages/tool-x $PLATFORMIO_CORE_DIR/platforms/p\necho out >> {log}\n"
    )
    pio.chmod(0o755)
    workspace.write("firmware/platformio.ini", "[env:x]\nplatform = p@1.0.0\n")
    workspace.commit("firmware")
    workspace.configure(f"[targets.fw]\nkind = 'platformio'\n[tools]\npio = '{pio}'\n")
    monkeypatch.setenv("PLATFORMIO_PACKAGES_DIR", str(tmp_path / "packages"))
    cores = [str(tmp_path / "one"), str(tmp_path / "two")]
    calls = [
        workspace.popen("worktree", "setup", cwd=workspace.add_worktree(name), env={"PLATFORMIO_CORE_DIR": core})
        for name, core in zip("ab", cores, strict=True)
    ]
    assert [finish(call) for call in calls] == [0, 0]
    assert log.read_text().split() == ["in", "out", "in", "out"]
    tree, first = workspace.worktree("a"), {"PLATFORMIO_CORE_DIR": cores[0]}
    assert step(workspace, tree, **first)["status"] == "unchanged"
    (tmp_path / "packages" / "tool-x").rmdir()
    assert step(workspace, tree, **first)["status"] == "done"
