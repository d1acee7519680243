"""Limits by the kernel: chosen by trying, on trees that are made up and, where one is writable, on a real one."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from k1ctl.capacity import cgroup, limited

MIB = 1 << 20
V2 = ("cgroup.procs", "memory.max", "memory.swap.max", "memory.oom.group", "cpu.max")
V1 = {
    "memory": ("cgroup.procs", "memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    "cpu": ("cgroup.procs", "cpu.cfs_period_us", "cpu.cfs_quota_us"),
}


class Kernel:
    """A made-up /sys/fs/cgroup that fills new folders as the kernel does."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, tuple[str, ...]]) -> None:
        self.root, self.files, self.own = root, files, root.parent / "self"
        monkeypatch.setattr(cgroup, "_new", self.new)
        monkeypatch.setattr(cgroup, "_rmdir", self.rmdir)

    def new(self, folder: str) -> None:
        os.mkdir(folder)
        for name in next(names for part, names in self.files.items() if part in folder):
            Path(folder, name).touch()

    def rmdir(self, folder: str) -> bool:
        shutil.rmtree(folder, ignore_errors=True)
        return True

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def make(self, memory: int = 64 * MIB, cpus: float = 0.0) -> cgroup.Place | None:
        return cgroup.make("x", memory, cpus, v1=True, root=str(self.root), proc=str(self.own))


def text(folder: str, name: str) -> str:
    return Path(folder, name).read_text()


def test_a_delegated_subtree_of_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sibling of ours is made where the controllers are on for it; it is limited, without swap; the
    kernel is not to end it as a whole: a flash may be in it."""
    kernel = Kernel(tmp_path / "fs", monkeypatch, {"k1ctl": V2})
    kernel.write("cgroup.controllers", "cpu memory")
    kernel.write("user.slice/app.slice/cgroup.subtree_control", "memory cpu")
    kernel.own.write_text("0::/user.slice/app.slice/mine.scope\n")
    place = kernel.make(cpus=1.5)
    assert place is not None and place.kind == "v2"
    folder = str(tmp_path / "fs/user.slice/app.slice/k1ctl-x")
    assert place.folders == {"memory": folder, "cpu": folder}
    assert [text(folder, n) for n in ("memory.max", "memory.swap.max")] == [str(64 * MIB), "0"]
    assert text(folder, "memory.oom.group") != "1"
    assert text(folder, "cpu.max") == "150000 100000"
    assert place.kills() == 0
    Path(folder, "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 3\n")
    Path(folder, "memory.peak").write_text("12345\n")
    assert (place.kills(), cgroup.peak(place.folders)) == (3, 12345)
    place.remove()
    assert not os.path.exists(folder)

    kernel.write("user.slice/app.slice/cgroup.subtree_control", "cpu")
    assert kernel.make() is None, "no memory controller, no limit of memory"
    kernel.own.write_text("0::/\n")
    assert kernel.make() is None, "the root of what a container sees"


def test_a_process_that_cannot_be_put_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that can be made but not entered is taken away again, and the watchdog keeps the limit."""
    kernel = Kernel(tmp_path / "fs", monkeypatch, {"k1ctl": V2[1:]})
    kernel.write("cgroup.controllers", "memory")
    kernel.write("a/cgroup.subtree_control", "memory")
    kernel.own.write_text("0::/a/b\n")
    assert kernel.make() is None
    assert not (tmp_path / "fs/a/k1ctl-x").exists()


def test_what_a_killed_start_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An old cgroup of ours is taken away when the next is made; a new one, and those of others, stay."""
    kernel = Kernel(tmp_path / "fs", monkeypatch, {"k1ctl": V2})
    kernel.write("cgroup.controllers", "memory")
    kernel.write("a/cgroup.subtree_control", "memory")
    kernel.own.write_text("0::/a/b\n")
    for name in ("k1ctl-old", "k1ctl-new", "other"):
        (tmp_path / "fs/a" / name).mkdir()
    for name in ("k1ctl-old", "other"):
        os.utime(tmp_path / "fs/a" / name, (1, 1))
    assert kernel.make() is not None
    assert sorted(os.listdir(tmp_path / "fs/a")) == ["cgroup.subtree_control", "k1ctl-new", "k1ctl-x", "other"]


def test_v1_by_controller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In v1 each controller has a tree of its own; what cannot be had of the two is left to the other means."""
    kernel = Kernel(tmp_path / "fs", monkeypatch, V1)
    kernel.own.write_text("4:memory:/box/1\n1:cpu,cpuacct:/box/1\n0::/\n")
    kernel.write("memory/box/1/cgroup.procs", "")
    place = kernel.make(cpus=0.25)
    assert place is not None and place.kind == "v1" and list(place.folders) == ["memory"]
    assert text(place.folders["memory"], "memory.limit_in_bytes") == str(64 * MIB)
    place.remove()
    kernel.write("cpu/cgroup.procs", "")  # in a container our place is the root of what is seen
    place = kernel.make(cpus=0.25)
    assert place is not None and text(place.folders["cpu"], "cpu.cfs_quota_us") == "25000"
    assert place.folders["cpu"] == str(tmp_path / "fs/cpu/k1ctl-x")
    Path(place.folders["memory"], "memory.oom_control").write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n")
    assert place.kills() == 2
    assert cgroup.kills({"memory": str(tmp_path / "gone")}) == 0


def test_no_manager_no_scope(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a user's bus systemd-run is not even started."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    assert cgroup.make_scope("x", MIB, 0) is None


def test_a_real_cgroup(tmp_path: Path) -> None:
    """Where the kernel lets us, a cgroup ends a command at its limit, the verdict is certain, and nothing stays."""
    with open(tmp_path / "log", "wb") as log:
        command = limited.start(
            [sys.executable, "-c", "x = bytearray(200 << 20)"], memory=60 * MIB, log_fd=log.fileno(), means="cgroup"
        )
        folders = command.leash.command.spec["cgroup"]
        try:
            ended = command.wait()
        finally:
            command.stop(grace=0)
    if command.leash.means != "cgroup":
        pytest.skip("no cgroup can be made here; the watchdog kept the limit")
    assert ended is not None and ended.oom is not None
    assert (ended.means, ended.oom.by, ended.oom.confidence, ended.signal) == ("cgroup", "cgroup", "certain", 9)
    assert ended.largest_bytes <= 90 * MIB  # what it has of files counts elsewhere
    assert not any(map(os.path.exists, folders.values()))
