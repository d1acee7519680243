"""The port's lock: one opener, a flash gets it from a console, and nothing outlives a killed process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.device.port import borrowed, key_of, take, wanted
from k1ctl.errors import BusyError
from tests.kit import finish, wait_until

HOLDER = """
import sys, time
from k1ctl.device.port import take, borrowed
if sys.argv[2] == "take":
    hold = take("aabb", what="k1ctl device console", workspace="ada", folder=sys.argv[1])
    assert hold
    print("held", flush=True)
    time.sleep(60)
with borrowed("aabb", 5, folder=sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def holder(folder: Path, how: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), how], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def test_one_opener(tmp_path: Path) -> None:
    """A port that is taken is taken by nobody else, until it is let go."""
    folder = str(tmp_path)
    hold = take("aabb", what="one", folder=folder)
    assert hold is not None and take("aabb", what="two", folder=folder) is None
    assert take("ccdd", what="another port", folder=folder) is not None
    hold.release()
    assert take("aabb", what="two", folder=folder) is not None


def test_a_flash_asks_and_keeps_consoles_away(tmp_path: Path) -> None:
    """While a flash waits for the port its holder sees that; while it works nobody takes the port; then anybody may."""
    folder = str(tmp_path)
    hold = take("aabb", what="one", folder=folder)
    assert hold is not None and not wanted("aabb", folder)
    seen: list[bool] = []

    def check() -> None:
        seen.append(wanted("aabb", folder))
        hold.release()

    with borrowed("aabb", 5, folder=folder, check=check):
        assert seen[0] and wanted("aabb", folder)
        assert take("aabb", what="two", folder=folder) is None
    assert not wanted("aabb", folder) and take("aabb", what="two", folder=folder) is not None


def test_who_does_not_let_go_is_named(tmp_path: Path) -> None:
    """A holder that does not answer costs a flash its limit and no more; the flash says who it is, exit 75."""
    process, said = holder(tmp_path, "take"), list[str]()
    with pytest.raises(BusyError) as caught:
        with borrowed("aabb", 0.1, said.append, folder=str(tmp_path)):
            pass
    process.kill()
    finish(process)
    assert caught.value.code == "port-busy" and caught.value.exit_code == 75
    for text in (caught.value.message, said[0]):
        assert f"k1ctl device console of ada (pid {process.pid})" in text


@pytest.mark.parametrize("how", ["take", "borrow"])
def test_a_killed_holder_leaves_nothing(tmp_path: Path, how: str) -> None:
    """kill -9 of a console or of a flash frees the port, and the wish for it."""
    process = holder(tmp_path, how)
    process.kill()
    finish(process)
    wait_until(lambda: not wanted("aabb", str(tmp_path)))
    hold = take("aabb", what="next", folder=str(tmp_path))
    assert hold is not None


def test_a_write_that_outlives_its_worker_keeps_the_port(tmp_path: Path) -> None:
    """What a flash started inherits both locks: its port is free only when that has ended."""
    folder = str(tmp_path)
    with borrowed("aabb", 5, folder=folder):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    assert wanted("aabb", folder) and take("aabb", what="console", folder=folder) is None
    child.kill()
    finish(child)
    assert take("aabb", what="console", folder=folder) is not None


def test_the_key(tmp_path: Path) -> None:
    """A port goes by the device's MAC, else by the MAC it tells, else by where its path leads."""
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "tty")
    assert key_of({"mac": "AA:BB:CC:DD:EE:FF"}, str(link), "11:22:33:44:55:66") == "aabbccddeeff"
    assert key_of({"mac": ""}, str(link), "11:22:33:44:55:66") == "112233445566"
    assert key_of({"mac": ""}, str(link)) == str(tmp_path / "tty")
