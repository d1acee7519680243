"""What `k1ctl host doctor` finds out, and that each finding that is not ok says why and what helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k1ctl import filesystem
from k1ctl.capacity import blast, doctor, facts_linux, leash
from k1ctl.capacity.blast import Blast
from k1ctl.capacity.facts import Facts
from k1ctl.errors import ConfigError
from tests.capacity.recorded_hosts import linux
from tests.kit import Project

STALL = {"memory": {"some_avg60": 0.0}}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Say by what limits are kept and who would be killed together."""

    def say(memory: str, cpu: str, radius: Blast | None = None) -> None:
        monkeypatch.setattr(leash, "means_of", lambda limits: (memory, cpu))
        monkeypatch.setattr(blast, "radius", lambda: radius)

    say("cgroup", "cgroup")
    return say


def levels(facts: Facts) -> dict[str, str]:
    found = doctor.examine(facts)
    assert all(bool(f.why) == bool(f.fix) == (f.level != "ok") for f in found)
    return {finding.code: finding.level for finding in found}


def test_where_the_kernel_keeps_limits_all_holds(place: Any) -> None:
    """Nothing but ok."""
    found = levels(Facts("linux", 4, 1 << 34, 1 << 34, pressure=STALL))
    assert found == {"host-folder": "ok", "memory-limit": "ok", "cpu-limit": "ok", "stall": "ok"}


def test_what_is_weaker_here_is_told(place: Any) -> None:
    """A watchdog, no PSI, a terminal in the same group: warnings on Linux; on a Mac the watchdog is all there is."""
    place("watchdog", "duty", Blast("systemd-oomd", 56, ["tmux: server"]))
    found = levels(Facts("linux", 4, 1 << 34, 1 << 34))
    assert found == {
        "host-folder": "ok",
        "memory-limit": "warning",
        "cpu-limit": "note",
        "stall": "warning",
        "blast-radius": "warning",
    }
    assert levels(Facts("macos", 4, 1 << 34, 1 << 34, level="normal"))["memory-limit"] == "note"


def test_limits_around_us_are_told(place: Any, tmp_path: Path) -> None:
    """With their figures; they are nothing wrong."""
    found = doctor.examine(facts_linux.read(linux(tmp_path, "linux-container-v2"), cores=4))
    (around,) = [finding for finding in found if finding.code == "container"]
    assert around.level == "note"
    assert around.what == "this runs within limits: 4.0 GiB of memory and 1.5 cores (/sys/fs/cgroup)"


def test_locks_that_do_not_work_are_an_error(place: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Promises would not exclude each other."""

    def refuse(folder: str) -> None:
        raise ConfigError(f"{folder} lies on a network filesystem")

    monkeypatch.setattr(filesystem, "check_locks", refuse)
    assert levels(Facts("linux", 4, 1 << 34, 1 << 34, pressure=STALL))["host-folder"] == "error"


def test_on_this_host_it_tries_and_leaves_nothing_behind(workspace: Project) -> None:
    """Exit 0, whatever means there are here and whatever file of facts; a finding for each, as text and as JSON."""
    told = workspace.run("host", "doctor", "--json", env={"K1CTL_FACTS": "/nowhere"}).assert_ok().json
    assert {"host-folder", "memory-limit", "cpu-limit", "stall"} <= {finding["code"] for finding in told["findings"]}
    text = workspace.run("host", "doctor").assert_ok().stdout
    assert all(finding["what"] in text for finding in told["findings"])
