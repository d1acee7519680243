from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from k1ctl.files import open_locked
from k1ctl.platformio.install import installed, scons_release, tools_folder
from tests.kit import Project, finish, wait_until


@pytest.mark.parametrize(
    ("requirement", "release"),
    [("~4.41101.0", "4.11.1"), ("~4.40801.0", "4.8.1"), ("^4.40600.0", "4.6.0"), ("4.41000.1", "4.10.0")],
)
def test_the_scons_release_follows_from_platformios_requirement(requirement: str, release: str) -> None:
    """The number is decoded, not written down a second time."""
    assert scons_release(requirement) == release


def test_without_a_package_index_nothing_is_claimed(workspace: Project, tmp_path: Path) -> None:
    """pip's own lines say what failed; the next look finds no tools environment."""
    env = {"K1CTL_CACHE_DIR": str(tmp_path / "cache"), "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": None}
    done = workspace.run("tools", "install", "--json", env={**env, "PIP_CONFIG_FILE": os.devnull})
    done.assert_fails(1, "No matching distribution found for platformio", "network")
    assert done.json["error"]["code"] == "tools-install-failed"
    assert installed({"K1CTL_CACHE_DIR": str(tmp_path / "cache")}) is None


def test_a_killed_installation_is_made_again_once(workspace: Project, tmp_path: Path) -> None:
    """SIGKILL in the middle claims nothing; of two later calls at once one does the work, both succeed."""
    env = {"K1CTL_CACHE_DIR": str(tmp_path / "cache")}
    folder = Path(tools_folder(env))
    first = workspace.popen("tools", "install", env=env)
    wait_until(lambda: (folder / "bin" / "python").exists())
    os.kill(first.pid, signal.SIGKILL)
    finish(first)
    assert installed(env) is None
    later = [workspace.popen("tools", "install", "--json", env=env) for _ in range(2)]
    outputs = [p.communicate(timeout=100) for p in later]
    if any(p.returncode for p in later) and "network" in str(outputs):
        pytest.skip(f"needs a package index: {outputs[0][1][-300:]}")
    assert sorted('"changed":true' in out for out, _ in outputs) == [False, True], outputs
    found = installed(env)
    assert found is not None
    status = workspace.run("tools", "status", "--json", env={**env, "PATH": "/usr/bin:/bin"}).assert_ok().json
    assert status["tools"]["platformio"] == found["platformio"]
    lock = open_locked(str(folder) + ".lock", blocking=False)
    assert lock is not None
    os.close(lock)
