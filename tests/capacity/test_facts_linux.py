"""What is read of Linux's files: the host's, and what a container leaves of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import containers, facts, facts_linux, kernelfiles, thermal_linux
from tests.capacity.recorded_hosts import document, lay, linux

GIB, KIB = 1 << 30, 1 << 10


def test_a_recorded_host_is_read_as_it_was(tmp_path: Path) -> None:
    """Memory, swap, load, stall and counters of a real host; its control group v1 without a limit reduces nothing."""
    found = facts_linux.read(linux(tmp_path, "linux-6.18-vm"), cores=2)
    lines = dict(line.split(":") for line in document("linux-6.18-vm")["files"]["/proc/meminfo"])
    assert found.memory == int(lines["MemTotal"].split()[0]) * KIB
    assert found.available == int(lines["MemAvailable"].split()[0]) * KIB
    assert (found.cores, found.swap, found.swap_used, found.container) == (2, 0, 0, None)
    assert (found.oom_kills, found.swapped_out_pages) == (0, 0)
    assert set(found.pressure) == {"memory", "cpu", "io"}
    assert set(found.pressure["memory"]) == {
        f"{kind}_{key}" for kind in ("some", "full") for key in ("avg10", "avg60", "total_us")
    }


def test_a_container_of_cgroup_v2_bounds_every_figure(tmp_path: Path) -> None:
    """Its memory, what is left of it without inactive files, its cores rounded up, its swap, kills and stall."""
    found = facts_linux.read(linux(tmp_path, "linux-container-v2"), cores=14)
    assert (found.memory, found.available, found.used) == (4 * GIB, 2 * GIB, 2 * GIB)
    assert (found.cores, found.swap, found.swap_used, found.oom_kills) == (2, GIB, GIB // 4, 2)
    assert found.pressure["memory"]["some_avg60"] == 20.0
    assert found.pressure["cpu"]["some_avg60"] == 35.0  # the container has no file of its own for it
    assert found.container == {
        "version": "v2",
        "path": "/sys/fs/cgroup",
        "memory_bytes": 4 * GIB,
        "used_bytes": 2 * GIB,
        "cpus": 1.5,
    }


def test_the_group_that_leaves_least_decides(tmp_path: Path) -> None:
    """A scope of 7 GiB in a slice of 20 that is nearly full: no more than 7 in all, and 1.5 now."""
    found = facts_linux.read(linux(tmp_path, "linux-slice-v2"), cores=14)
    assert (found.memory, found.available, found.cores) == (7 * GIB, 3 * GIB // 2, 4)
    assert found.oom_kills == 1
    assert found.container is not None and found.container["path"] == "/sys/fs/cgroup/agents.slice"


def test_a_container_of_cgroup_v1_bounds_memory_and_cores(tmp_path: Path) -> None:
    """Also when its path is that of the host, which it does not see."""
    found = facts_linux.read(linux(tmp_path, "linux-container-v1"), cores=14)
    assert (found.memory, found.available, found.cores, found.oom_kills) == (2 * GIB, GIB + 4096, 1, 5)
    assert (found.swap, found.swap_used) == (8 * GIB, 2 * GIB)


def test_no_container_leaves_more_than_the_host_has(tmp_path: Path) -> None:
    """A host with little left: the container's own room is no room."""
    meminfo = ["MemTotal: 50331648 kB", "MemAvailable: 1048576 kB"]
    found = facts_linux.read(linux(tmp_path, "linux-container-v2", meminfo=meminfo), cores=1)
    assert (found.memory, found.available, found.cores) == (4 * GIB, GIB, 1)


def test_an_old_or_small_kernel_is_read_too(tmp_path: Path) -> None:
    """Without MemAvailable, PSI, counters and control groups: None where nothing is told."""
    meminfo = ["MemTotal: 4096 kB", "MemFree: 1024 kB", "Cached: 512 kB", "Buffers: 256 kB"]
    found = facts_linux.read(lay(tmp_path, {"/proc/meminfo": meminfo}), cores=1)
    assert (found.memory, found.available) == (4096 * KIB, 1792 * KIB)
    assert (found.load, found.pressure, found.oom_kills, found.swapped_out_pages) == (None, {}, None, None)


def test_a_meminfo_without_a_total_is_an_error(tmp_path: Path) -> None:
    """Nothing is made up."""
    with pytest.raises(OSError, match="MemTotal"):
        facts_linux.read(lay(tmp_path, {"/proc/meminfo": ["MemFree: 12 kB"]}))


def test_this_host_is_read_without_its_file_of_facts() -> None:
    """The facts of the host that runs this: memory, no more of it available, at least one core."""
    found = facts.read(environ={}, thermal=True)
    assert 0 < found.available <= found.memory and found.cores >= 1 and found.origin == found.system
    assert facts.from_document(found.document()).document() == found.document()


_LINES = st.lists(
    st.tuples(
        st.sampled_from(
            [b"MemTotal:", b"MemAvailable:", b"SwapTotal:", b"SwapFree:", b"some", b"full", b"0::", b"oom_kill"]
        ),
        st.sampled_from([b" ", b"\t", b"", b"avg10=", b" avg60=", b" total="]),
        st.one_of(st.binary(max_size=6), st.integers(-9, 1 << 80).map(lambda n: str(n).encode())),
    ).map(b"".join),
    max_size=8,
).map(b"\n".join)


@settings(max_examples=30)
@given(meminfo=_LINES, pressure=_LINES, group=_LINES, limit=_LINES)
def test_no_file_makes_it_fail_in_another_way(
    tmp_path_factory: pytest.TempPathFactory, meminfo: bytes, pressure: bytes, group: bytes, limit: bytes
) -> None:
    """Whatever the files hold, there are facts that make sense, or an OSError."""
    root = tmp_path_factory.mktemp("root")
    for path, data in (
        ("proc/meminfo", meminfo),
        ("proc/pressure/memory", pressure),
        ("proc/self/cgroup", group),
        ("proc/loadavg", limit),
        ("sys/fs/cgroup/cgroup.controllers", b"memory"),
        ("sys/fs/cgroup/memory.max", limit),
        ("sys/fs/cgroup/cpu.max", limit),
    ):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    try:
        found = facts_linux.read(str(root))
    except OSError:
        return
    assert 0 <= found.available <= found.memory and 0 <= found.swap_used <= found.swap and found.cores >= 1


@given(st.dictionaries(st.sampled_from(["oom_kill", "oom", "pswpout", "kill"]), st.integers(0, 1 << 60)))
def test_a_field_is_found_by_its_whole_name(fields: dict[str, int]) -> None:
    """Not by a part of it, wherever its line stands."""
    data = "".join(f"{name} {value}\n" for name, value in fields.items()).encode()
    for name in ("oom_kill", "oom", "pswpout", "kill", "pswp"):
        assert kernelfiles.field(data, name.encode()) == fields.get(name)


def test_a_file_longer_than_a_page_is_read_whole() -> None:
    """The kernel gives /proc/vmstat in pieces."""
    assert kernelfiles.read("/proc/vmstat").endswith(b"\n") or not os.path.exists("/proc/vmstat")
    assert kernelfiles.read("/nowhere") == b""


def test_heat_is_told_by_the_marks_that_are_passed(tmp_path: Path) -> None:
    """Nominal below all marks, moderate at a passive one, heavy at a processor's crit; odd sensors tell nothing."""
    zone, chip = "/sys/class/thermal/thermal_zone0", "/sys/class/hwmon/hwmon2"
    files = {
        f"{zone}/type": ["x86_pkg_temp"],
        f"{zone}/temp": ["55000"],
        f"{zone}/trip_point_0_type": ["passive"],
        f"{zone}/trip_point_0_temp": ["90000"],
        f"{zone}/trip_point_1_type": ["critical"],
        f"{zone}/trip_point_1_temp": ["105000"],
        "/sys/class/thermal/thermal_zone1/temp": ["-274000"],
        "/sys/class/hwmon/hwmon0/name": ["nvme"],
        "/sys/class/hwmon/hwmon0/temp1_input": ["99000"],
    }
    root = lay(tmp_path, files)
    assert thermal_linux.read(root) == ("nominal", 55.0)
    lay(tmp_path, {f"{zone}/temp": ["91000"]})
    assert thermal_linux.read(root) == ("moderate", 91.0)
    crit = {f"{chip}/name": ["coretemp"], f"{chip}/temp1_input": ["100000"], f"{chip}/temp1_crit": ["100000"]}
    lay(tmp_path, crit)
    assert thermal_linux.read(root) == ("heavy", 100.0)
    assert facts_linux.read(linux(tmp_path, "linux-slice-v2"), thermal=True).thermal == "heavy"
    assert thermal_linux.read(str(tmp_path / "none")) == (None, None)


def test_a_limit_above_the_host_is_none(tmp_path: Path) -> None:
    """A group that may use more than there is has no limit; a quota of 0 is none either."""
    root = linux(tmp_path, "linux-container-v2")
    lay(tmp_path, {"/sys/fs/cgroup/memory.max": [str(64 * GIB)], "/sys/fs/cgroup/cpu.max": ["max 100000"]})
    assert containers.find(48 * GIB, root) is None
