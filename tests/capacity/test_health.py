"""The host's verdict: what worsens it, what does not, and that it does not flap."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl import disk
from k1ctl.capacity import facts_macos, health, looks, promises, watched
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.health import Check
from k1ctl.capacity.need import Need
from k1ctl.config import Config
from k1ctl.workspace import Workspace
from tests.capacity.recorded_hosts import document

GIB = 1 << 30
DEFAULTS = Config("", {}, {})
PAGE = os.sysconf("SC_PAGE_SIZE")


def host(**changed: Any) -> Facts:
    """A calm host of 48 GiB with a counter of everything."""
    facts = Facts(
        "linux",
        14,
        48 * GIB,
        40 * GIB,
        swap=8 * GIB,
        load=2.0,
        pressure={"memory": {"some_avg60": 0.0, "full_avg60": 0.0}, "cpu": {"some_avg60": 5.0}},
        oom_kills=7,
        swapped_out_pages=1000,
        origin="a file",
    )
    for name, value in changed.items():
        setattr(facts, name, value)
    return facts


def place(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path), str(tmp_path), "repo")


def statuses(found: list[Check]) -> dict[str, str]:
    return {check.name: check.status for check in found}


class Watch:
    """Looks at a host as `k1ctl host health` does, one after the other."""

    def __init__(self, tmp_path: Path) -> None:
        self.workspace, self.before = place(tmp_path), looks.Looks()

    def __call__(self, at: float, **changed: Any) -> dict[str, Check]:
        facts = host(**changed)
        found = health.checks(facts, DEFAULTS, self.workspace, self.before, at=at)
        self.before = self.before.after(facts, statuses(found), at)
        return {check.name: check for check in found}


def stalled(some: float = 0.0, full: float = 0.0) -> dict[str, Any]:
    return {"pressure": {"memory": {"some_avg60": some, "full_avg60": full}}}


def test_a_calm_host_is_ok(tmp_path: Path) -> None:
    """Every check that can be made is ok, and the others are skipped."""
    found = health.checks(host(), DEFAULTS, place(tmp_path))
    assert health.worst(found) == "ok"
    assert {name for name, status in statuses(found).items() if status == "skip"} == {
        "memory_pressure",
        "oom_kills",
        "swap_out",
        "thermal",
        "gpu_memory",
    }


def test_load_is_no_verdict(tmp_path: Path) -> None:
    """A load of 40 a core, and cores that everybody waits for, worsen nothing."""
    facts = host(load=560.0, pressure={"memory": {"some_avg60": 0.0}, "cpu": {"some_avg60": 99.0}})
    found = health.checks(facts, DEFAULTS, place(tmp_path))
    assert health.worst(found) == "ok" and statuses(found)["load"] == statuses(found)["cpu_some"] == "ok"


@pytest.mark.parametrize(
    ("changed", "name", "status"),
    [
        (stalled(some=10.5), "memory_some", "warn"),
        (stalled(some=99, full=5.5), "memory_full", "crit"),
        ({"available": 8 * GIB - 1}, "memory_available", "warn"),
        ({"available": 4 * GIB}, "memory_available", "crit"),
        ({"swap_used": 5 * GIB}, "swap", "warn"),
        ({"swap_used": 8 * GIB}, "swap", "warn"),
        ({"swap_used": 8 * GIB, "available": 4 * GIB}, "swap", "crit"),
        ({"swap": 0}, "swap", "skip"),
        ({"system": "macos", "swap_used": 8 * GIB}, "swap", "ok"),
        ({"level": "warn"}, "memory_pressure", "warn"),
        ({"level": "critical"}, "memory_pressure", "crit"),
        ({"level": "normal"}, "memory_pressure", "ok"),
        ({"thermal": "moderate"}, "thermal", "ok"),
        ({"thermal": "heavy"}, "thermal", "warn"),
        ({"thermal": "trapping"}, "thermal", "crit"),
        ({"thermal": "molten"}, "thermal", "unknown"),
        ({"available": 48 * GIB * 15 // 100}, "watermark", "ok"),
        ({"available": 48 * GIB * 9 // 100}, "watermark", "warn"),
        ({"available": 48 * GIB * 4 // 100}, "watermark", "crit"),
        ({"gpus": [{"name": "A", "memory_bytes": GIB, "used_bytes": GIB}]}, "gpu_memory", "ok"),
        ({"gpus": [{"name": "A", "memory_bytes": 0, "used_bytes": None, "error": "late"}]}, "gpu_memory", "unknown"),
        ({"pressure": {}}, "memory_full", "skip"),
        ({"load": None}, "load", "skip"),
    ],
)
def test_each_check_has_its_marks(tmp_path: Path, changed: dict[str, Any], name: str, status: str) -> None:
    """What is beyond a mark is warn or crit, what cannot be told skip."""
    assert statuses(health.checks(host(**changed), DEFAULTS, place(tmp_path)))[name] == status


def test_a_small_host_may_be_used(tmp_path: Path) -> None:
    """The reserve of 8 GiB is half of 16: a warning comes where builds wait, not where half is used."""
    for available, status in ((7 * GIB, "ok"), (3 * GIB, "warn"), (GIB, "crit")):
        facts = host(memory=16 * GIB, available=available)
        assert statuses(health.checks(facts, DEFAULTS, place(tmp_path)))["memory_available"] == status


def test_counters_are_compared_with_earlier_looks(tmp_path: Path) -> None:
    """Kills count for 15 minutes, whoever looked in between; what goes out to swap by its rate since the last look."""
    look = Watch(tmp_path)
    assert look(1000.0)["oom_kills"].status == "skip"
    found = look(1060.0, oom_kills=9, swapped_out_pages=1000 + 60 * 2 * (1 << 20) // PAGE)
    assert (found["oom_kills"].status, found["oom_kills"].value) == ("warn", 2)
    assert found["swap_out"].status == "warn" and found["swap_out"].value == pytest.approx(2 << 20, rel=0.01)
    assert found["oom_kills"].message == "2 processes killed for want of memory in the last 1 m"
    for at in (1061.0, 1300.0, 1890.0):
        found = look(at, oom_kills=9, swapped_out_pages=500_000)
        assert (found["oom_kills"].status, found["oom_kills"].value) == ("warn", 2)
    assert look(2000.0, oom_kills=9, swapped_out_pages=500_000)["oom_kills"].status == "ok"
    assert look(9000.0, oom_kills=10, swapped_out_pages=500_000)["oom_kills"].value == 1  # nobody looked for long


def test_a_host_that_was_started_anew_has_no_earlier_look(tmp_path: Path) -> None:
    """Its counters begin at 0."""
    look = Watch(tmp_path)
    look(1000.0)
    assert look(1100.0, oom_kills=0, swapped_out_pages=0)["oom_kills"].status == "skip"
    assert look(1200.0, oom_kills=1, swapped_out_pages=0)["oom_kills"].value == 1


def test_who_looks_from_within_limits_counts_by_himself(tmp_path: Path) -> None:
    """The kernel's counter for the host and a container's are not compared with each other."""
    look, inside = Watch(tmp_path), {"path": "/sys/fs/cgroup/agents.slice"}
    assert look(1000.0)["oom_kills"].status == "skip"
    assert look(1100.0, oom_kills=0, container=inside)["oom_kills"].status == "skip"
    assert look(1200.0)["oom_kills"].value == 0
    assert look(1300.0, oom_kills=1, container=inside)["oom_kills"].value == 1
    assert look(1301.0, **stalled(some=10.1))["memory_some"].status == "warn"
    assert look(1302.0, **stalled(some=9.9), container=inside)["memory_some"].status == "ok"


def test_a_verdict_does_not_flap(tmp_path: Path) -> None:
    """Worse at once; better only well below the mark; forgotten after a quarter of an hour without a look."""
    look = Watch(tmp_path)
    walk = (9.9, 10.1, 9.9, 5.1, 5.0, 9.9)
    assert [look(1000.0 + i, **stalled(some=p))["memory_some"].status for i, p in enumerate(walk)] == [
        "ok", "warn", "warn", "warn", "ok", "ok",
    ]  # fmt: skip
    left = (4.7, 5.5, 7.1, 7.3, 10.5)
    assert [look(2000.0 + i, available=int(gib * GIB))["memory_available"].status for i, gib in enumerate(left)] == [
        "crit", "crit", "crit", "warn", "ok",
    ]  # fmt: skip
    assert look(3000.0, **stalled(some=10.1))["memory_some"].status == "warn"
    assert look(2999.99, **stalled(some=9.9))["memory_some"].status == "warn", "two that look at once"
    assert look(3000.0 + looks.WINDOW + 1, **stalled(some=9.9))["memory_some"].status == "ok"


@pytest.mark.parametrize(
    ("found", "strict", "status"),
    [
        (["ok", "skip"], False, "ok"),
        (["skip"], True, "ok"),
        (["ok", "unknown"], False, "ok"),
        (["warn", "unknown"], False, "warn"),
        (["warn", "unknown"], True, "unknown"),
        (["crit", "unknown", "warn"], True, "crit"),
        ([], True, "ok"),
    ],
)
def test_the_worst_decides(found: list[str], strict: bool, status: str) -> None:
    """A skip never; what is unknown only with strict, and then between warn and crit."""
    assert health.worst([Check("c", s) for s in found], strict=strict) == status


def test_the_disks_of_root_and_host_are_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and inodes, each disk once; one that counts no inodes skips them."""

    class Disk:
        f_frsize, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_favail = 4096, 4096, 1000, 30, 30, 100, 5

    class Other(Disk):
        f_bavail = f_bfree = 900
        f_files = f_favail = 0

    own = str(tmp_path)
    monkeypatch.setattr(health, "device_of", hash)
    monkeypatch.setattr(disk, "statvfs", lambda path: Disk if path == own else Other)
    found = {c.name: c for c in health.checks(host(origin="linux"), DEFAULTS, place(tmp_path))}
    assert (found["disk_root"].status, found["disk_root"].value) == ("crit", 97)
    assert (found["inodes_root"].status, found["inodes_root"].value) == ("warn", 95)
    assert (found["disk_host"].status, found["inodes_host"].status) == ("ok", "skip")
    monkeypatch.setattr(health, "device_of", lambda path: 1)
    assert "disk_host" not in statuses(health.checks(host(origin="linux"), DEFAULTS, place(tmp_path)))


def test_the_disk_of_another_root_does_not_inherit_a_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repositories share the looks: what was full for one holds for its disk alone."""

    class Disk:
        f_frsize, f_bsize, f_blocks, f_bfree, f_bavail, f_files, f_favail = 4096, 4096, 1000, 190, 190, 0, 0

    class Other(Disk):
        f_bavail = f_bfree = 220

    first, second = (Workspace(str(tmp_path / n), str(tmp_path / n), n) for n in ("a", "b"))
    monkeypatch.setattr(health, "device_of", hash)
    monkeypatch.setattr(disk, "statvfs", lambda path: Disk if path == first.root else Other)

    def look(root: Workspace, at: float) -> str:
        return statuses(health.look(host(origin="linux"), DEFAULTS, root, folder=str(tmp_path), at=at))["disk_root"]

    (tmp_path / "a").mkdir()
    assert [look(first, 100.0), look(second, 101.0)] == ["warn", "ok"]


def test_a_folder_that_is_not_there_yet_lies_on_the_disk_of_the_one_around_it(tmp_path: Path) -> None:
    """As `disk.use` has it."""
    assert health.device_of(str(tmp_path / "not" / "yet")) == health.device_of(str(tmp_path))


def test_a_look_is_kept_for_the_next(tmp_path: Path) -> None:
    """In the host's folder, for its user only; facts of a file are not kept."""
    folder = tmp_path / "capacity"
    health.look(host(), DEFAULTS, place(tmp_path), folder=str(folder), at=1000.0)
    assert not folder.exists()
    health.look(host(origin="linux"), DEFAULTS, place(tmp_path), folder=str(folder), at=1000.0)
    assert folder.stat().st_mode & 0o77 == 0
    found = health.look(host(origin="linux", oom_kills=8), DEFAULTS, place(tmp_path), folder=str(folder), at=1100.0)
    assert statuses(found)["oom_kills"] == "warn"


@given(
    st.one_of(
        st.binary(max_size=40),
        st.sampled_from(
            [
                b"{}",
                b'{"at":1,"place":"","counters":[{}],"statuses":{"swap":1}}',
                b'{"at":1,"place":"","counters":[{"at":1,"place":"","oom_kills":1e999}],"statuses":{}}',
            ]
        ),
    )
)
def test_a_damaged_file_is_no_earlier_look(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever it holds, the next look is a first one."""
    path = tmp_path_factory.mktemp("looks") / "last-look.json"
    path.write_bytes(data)
    assert looks.read(str(path)).counters == []


def test_a_pressed_mac_is_judged_by_its_level(tmp_path: Path) -> None:
    """Constructed answers: the system warns and slows down; its full swap is none of our business."""
    recorded = {name: bytes.fromhex(text) for name, text in document("macos-constructed-pressed")["answers"].items()}
    facts = facts_macos.read(recorded.get, thermal=True)
    facts.origin = "a file"
    found = statuses(health.checks(facts, DEFAULTS, place(tmp_path)))
    assert (found["memory_pressure"], found["thermal"], found["swap"], found["memory_full"]) == (
        "warn", "warn", "ok", "skip",
    )  # fmt: skip


def test_a_promise_that_outlived_its_owner_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose owner lives is not."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    held = [promises.Promise("7", Need(mem=GIB), pid=os.getpid())]
    monkeypatch.setattr(promises, "held", lambda seen: held)
    look = Watch(tmp_path)
    assert look(1000.0, origin="linux")["promises"].status == "ok"
    held.append(promises.Promise("8", Need(mem=GIB), pid=gone.pid, what="build fw", workspace="oslo"))
    found = look(1001.0, origin="linux")["promises"]
    assert (found.status, found.value) == ("warn", 1)
    assert found.message == "a promise outlived the maker: 8 of oslo, build fw"


def test_a_command_that_stands_still_is_told(tmp_path: Path) -> None:
    """While a guardian watches it; one that runs, or that nobody watches any more, is not."""
    look = Watch(tmp_path)
    spec = {"id": "c1", "session": 0, "since": 1.0, "cgroup": None, "what": "npm test"}
    command = watched.create(spec)
    seen = watched.Seen(command.folder)
    guardian = command.lock(watched.WATCH)
    try:
        assert look(1000.0, origin="linux")["suspended"].status == "ok"
        seen.put(suspended_at=5.0)
        found = look(1001.0, origin="linux")["suspended"]
        assert (found.status, found.message) == ("warn", "a command stands still for want of memory: c1, npm test")
    finally:
        os.close(guardian)
        seen.close()
    assert look(1002.0, origin="linux")["suspended"].status == "ok"


def test_what_may_not_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In words, where the host's folder is another user's; the rest is looked at all the same."""

    def refuse(**_: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/var/k1/capacity")

    monkeypatch.setattr(promises, "held", refuse)
    monkeypatch.setattr(watched, "every", refuse)
    found = {c.name: c for c in health.checks(host(origin="linux"), DEFAULTS, place(tmp_path))}
    assert (found["promises"].status, found["suspended"].status, found["disk_root"].status) == (
        "unknown", "unknown", "ok",
    )  # fmt: skip
    assert found["promises"].message == "the promises cannot be read: permission denied: /var/k1/capacity"
