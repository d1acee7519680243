"""One process on this host touches a device at a time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.device import guard
from k1ctl.errors import BusyError
from k1ctl.workspace import host_dir
from tests.kit import finish

DEVICE = {"host": "k1.local", "ota_port": 3232, "mac": ""}


def test_keys_and_paths() -> None:
    """The MAC decides, however it is written; else address and port; no key leaves the folder."""
    assert guard.guard_key({**DEVICE, "mac": "02:4B:31:00:00:01"}) == "024b31000001"
    assert guard.guard_key(DEVICE, "02-4b-31-00-00-01") == "024b31000001"
    assert guard.guard_key(DEVICE) == "k1.local:3232"
    assert guard.guard_path("a:1") == str(Path(host_dir()) / "device" / "a%3a1.lock")
    for nasty in ("../../x", "/etc/x", "..", "a\nb"):
        assert Path(guard.guard_path(nasty)).parent == Path(host_dir()) / "device"


def test_the_second_one_is_told_who_holds() -> None:
    """A held guard is refused after the wait, naming workspace, pid and since when."""
    path = guard.guard_path("x")
    held = guard.acquire(path, 0, workspace="oslo", run="r1")
    told: list[str] = []
    with pytest.raises(BusyError) as caught:
        guard.acquire(path, 0.05, waiting=told.append)
    assert caught.value.code == "device-guarded"
    assert "oslo" in caught.value.message and len(told) == 1
    held.release()
    guard.acquire(path, 0).release()


def test_a_kill_frees_it() -> None:
    """The guard of a killed process is free at once, without any clean-up."""
    path = guard.guard_path("x")
    code = f"from k1ctl.device import guard; guard.acquire({path!r}, 0); print('held', flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.readline() == b"held\n"
    with pytest.raises(BusyError):
        guard.acquire(path, 0)
    process.kill()
    finish(process)
    guard.acquire(path, 0).release()


def test_a_removed_lock_file_is_taken_anew() -> None:
    """After the file was wiped, whoever asks holds the file that is there now."""
    path = guard.guard_path("x")
    first = guard.acquire(path, 0)
    Path(path).unlink()
    second = guard.acquire(path, 0)
    with pytest.raises(BusyError):
        guard.acquire(path, 0)
    first.release()
    second.release()
