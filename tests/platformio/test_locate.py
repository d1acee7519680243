from __future__ import annotations

import os
from pathlib import Path

import pytest

from k1ctl.errors import NotExecutableError, NotFoundError
from k1ctl.files import write_json
from k1ctl.platformio.install import core_folder, tools_folder
from k1ctl.platformio.locate import find_pio
from tests.kit import Project

elsewhere = any(os.path.exists(p) for p in ("/opt/homebrew/bin/pio", "/usr/local/bin/pio"))


def program(path: Path, mode: int = 0o755) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(mode)
    return path


def tools_in(cache: Path) -> Path:
    """What `k1ctl tools install` leaves, as far as finding it goes."""
    env = {"K1CTL_CACHE_DIR": str(cache)}
    folder = Path(tools_folder(env))
    pio = program(folder / "bin" / "pio")
    python = program(folder / "bin" / "python")
    marker = {"pio": str(pio), "python": str(python), "core_dir": core_folder(env), "tool_scons": "4.41101.0"}
    write_json(os.path.join(core_folder(env), "packages", "tool-scons", ".piopm"), {"version": "4.41101.0"})
    write_json(str(folder / "installed.json"), marker)
    return pio


def test_the_configured_pio_goes_first(workspace: Project, tmp_path: Path) -> None:
    """tools.pio wins over PATH."""
    mine = program(tmp_path / "mine" / "pio")
    other = program(tmp_path / "path" / "pio")
    workspace.configure(f'[tools]\npio = "{mine}"\n')
    from k1ctl.config import load

    found = find_pio(load(workspace.facts()), {"PATH": str(other.parent)})
    assert (found.path, found.origin, found.core_dir) == (str(mine), "configured", "")


def test_the_users_pio_goes_before_the_tools_environment(tmp_path: Path) -> None:
    """The tools environment is the last resort."""
    tools_in(tmp_path / "cache")
    pio = program(tmp_path / "path" / "pio")
    env = {"PATH": str(pio.parent), "K1CTL_CACHE_DIR": str(tmp_path / "cache")}
    assert find_pio(None, env).path == str(pio)


def test_a_poor_path_still_finds_the_users_pio() -> None:
    """PlatformIO's own installer puts pio where no cron job's PATH leads; it is found."""
    pio = program(Path(os.environ["HOME"]) / ".platformio" / "penv" / "bin" / "pio")
    assert find_pio(None, {}).path == str(pio)


@pytest.mark.skipif(elsewhere, reason="this host has a pio in a well-known place")
def test_without_any_other_the_tools_environment_is_used(tmp_path: Path) -> None:
    """Its core folder comes with it."""
    pio = tools_in(tmp_path / "cache")
    found = find_pio(None, {"K1CTL_CACHE_DIR": str(tmp_path / "cache")})
    assert (found.path, found.origin) == (str(pio), "tools")
    assert found.core_dir == str(tmp_path / "cache" / "platformio")


@pytest.mark.skipif(elsewhere, reason="this host has a pio in a well-known place")
@pytest.mark.parametrize("lost", ["bin/pio", "bin/python", "installed.json"])
def test_a_tools_environment_that_lost_a_part_does_not_count(tmp_path: Path, lost: str) -> None:
    """A venv whose Python was removed, or that was never finished, is as good as none."""
    pio = tools_in(tmp_path / "cache")
    (pio.parent.parent / lost).unlink()
    with pytest.raises(NotFoundError) as caught:
        find_pio(None, {"K1CTL_CACHE_DIR": str(tmp_path / "cache")})
    assert caught.value.exit_code == 127
    assert "k1ctl tools install" in caught.value.hint


@pytest.mark.parametrize(("mode", "error", "code"), [(0o644, NotExecutableError, 126), (None, NotFoundError, 127)])
def test_a_wrong_configured_pio_is_not_replaced_by_another(
    workspace: Project, tmp_path: Path, mode: int | None, error: type[Exception], code: int
) -> None:
    """Who configures a pio gets that one or an error."""
    path = tmp_path / "pio" if mode is None else program(tmp_path / "pio", mode)
    workspace.configure(f'[tools]\npio = "{path}"\n')
    from k1ctl.config import load

    with pytest.raises(error) as caught:
        find_pio(load(workspace.facts()), {"PATH": str(program(tmp_path / "p" / "pio").parent)})
    assert caught.value.exit_code == code  # type: ignore[attr-defined]
