"""macOS's answers, constructed from its documentation or recorded by scripts/probe-mac, give the facts they mean."""

from __future__ import annotations

import ctypes
import re
import runpy
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import facts_macos, footprint
from tests.capacity.recorded_hosts import document, macs
from tests.kit import REPOSITORY

GIB = 1 << 30


def answers(recorded: dict[str, Any]) -> Any:
    """The function that gives a recording's answers."""
    known = {name: bytes.fromhex(text) for name, text in recorded["answers"].items()}
    return known.get


@pytest.mark.parametrize("name", macs())
def test_a_recorded_mac_is_read_as_its_own_tools_say(name: str) -> None:
    """What sysctl(8) printed for the same names, to the digits it prints."""
    recorded = document(name)
    found, said = facts_macos.read(answers(recorded), thermal=True), recorded["said"]
    assert found.system == "macos"
    assert found.memory == int(said["sysctl -n hw.memsize"])
    assert found.cores == int(said["sysctl -n hw.logicalcpu"])
    # the answers and the tool's words were taken one after the other
    assert found.used_percent == pytest.approx(100 - int(said["sysctl -n kern.memorystatus_level"]), abs=2)
    level = {1: "normal", 2: "warn", 4: "critical"}[int(said["sysctl -n kern.memorystatus_vm_pressure_level"])]
    assert found.level == level
    total, used = (float(n) for n in re.findall(r"= ([\d.]+)M", said["sysctl -n vm.swapusage"])[:2])
    assert found.swap == pytest.approx(total * 2**20, rel=0.01)
    assert found.swap_used == pytest.approx(used * 2**20, rel=0.05, abs=2**20)
    load = float(said["sysctl -n vm.loadavg"].split()[1])
    assert found.load == pytest.approx(load, abs=0.5)
    assert found.thermal in {None, "nominal", "moderate", "heavy", "trapping", "sleeping"}
    here = footprint.footprint(1, lambda pid: bytes.fromhex(recorded["rusage"]))
    assert here is not None and 1 << 20 < here[0] <= here[1] < found.memory


def test_what_constructed_answers_mean() -> None:
    """A host of 48 GiB under pressure, and a virtual one without a thermal state."""
    pressed = facts_macos.read(answers(document("macos-constructed-pressed")), thermal=True)
    assert (pressed.memory, pressed.cores, pressed.level, pressed.thermal) == (48 * GIB, 14, "warn", "heavy")
    assert (pressed.available, pressed.used_percent) == (48 * GIB * 24 // 100, pytest.approx(76, abs=0.01))
    assert (pressed.swap, pressed.swap_used, pressed.load) == (6 * GIB, 5 * GIB, 21.5)
    virtual = facts_macos.read(answers(document("macos-constructed-virtual")), thermal=True)
    assert (virtual.level, virtual.thermal) == ("critical", None)
    assert facts_macos.read(answers(document("macos-constructed-pressed"))).thermal is None


def test_answers_that_are_missing_make_nothing_up() -> None:
    """All but the size of memory may be missing; without it there is an error."""
    found = facts_macos.read({"hw.memsize": (16 * GIB).to_bytes(8, "little")}.get)
    assert (found.memory, found.available, found.swap, found.load, found.level) == (16 * GIB, 16 * GIB, 0, None, None)
    with pytest.raises(OSError, match=r"hw\.memsize"):
        facts_macos.read({}.get)


@given(st.dictionaries(st.sampled_from(facts_macos.NAMES), st.binary(max_size=40)))
def test_no_answer_makes_it_fail_in_another_way(told: dict[str, bytes]) -> None:
    """Whatever the system answers, there are facts that make sense, or an OSError."""
    try:
        found = facts_macos.read(told.get, thermal=True)
    except OSError:
        return
    assert 0 <= found.available <= found.memory and 0 <= found.swap_used <= found.swap


@pytest.mark.skipif(sys.platform == "darwin", reason="there these calls answer")
def test_where_the_calls_are_not_nothing_is_answered() -> None:
    """On another system each question has no answer and no error."""
    assert [facts_macos.ask(name) for name in ("hw.memsize", facts_macos.THERMAL)] == [None, None]
    assert footprint.footprint(1) is None
    assert footprint.footprint(1, lambda pid: b"short") is None


class Library:
    """The C library of a Mac: `sysctlbyname` that knows two names, one notification, and `memorystatus_get_level`."""

    tokens = 0

    def sysctlbyname(self, name: bytes, data: Any, size: Any, new: None, new_size: Any) -> int:
        known = {b"hw.logicalcpu": b"\x0e\0\0\0", b"hw.memsize": (48 * GIB).to_bytes(8, "little")}
        if name not in known or size._obj.value < len(known[name]) or new is not None or new_size.value:
            return -1
        data[: len(known[name])] = known[name]
        size._obj.value = len(known[name])
        return 0

    def memorystatus_get_level(self, level: Any) -> int:
        level._obj.value = 24
        return 0

    def notify_register_check(self, key: bytes, token: Any) -> int:
        self.tokens += 1
        token._obj.value = 7
        return 0 if key == b"com.apple.system.thermalpressurelevel" else 1_000_000

    def notify_get_state(self, token: Any, state: Any) -> int:
        state._obj.value = 2
        return 0 if token.value == 7 else 3

    def notify_cancel(self, token: Any) -> int:
        self.tokens -= 1
        return 0


def test_what_is_asked_of_the_c_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its answers are cut to their size; memory's percentage has a second source; no notification stays registered."""
    library = Library()
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    found = facts_macos.read(thermal=True)
    assert (found.memory, found.cores, found.thermal) == (48 * GIB, 14, "heavy")
    assert (found.available, found.level, found.swap, found.load) == (48 * GIB * 24 // 100, None, 0, None)
    assert library.tokens == 0


def test_the_probe_records_what_the_reader_needs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fed with a recording's answers it gives that recording again, with nothing in it that names a user or a host."""
    monkeypatch.setattr(sys, "path", [*sys.path])  # the script puts its repository there
    probe = runpy.run_path(str(REPOSITORY / "scripts" / "probe-mac"))
    known = document("macos-constructed-pressed")
    said = {f"/usr/sbin/{words}": text for words, text in known["said"].items()}
    said |= {"/usr/sbin/sysctl -n kern.osproductversion": "26.1", "/usr/sbin/sysctl -n hw.model": "Mac16,7"}
    told = probe["record"](
        answers(known), lambda pid: bytes.fromhex(known["rusage"]), lambda words: said.get(words, "")
    )
    assert {key: told[key] for key in ("answers", "rusage", "said", "model")} == {
        key: known[key] for key in ("answers", "rusage", "said", "model")
    }
    assert told["macos"] == "26.1"
    assert "LC_ALL=C" in probe["tool"]("env").split(), "sysctl would write 2048,00M"
    if sys.platform != "darwin":
        assert probe["main"]("/nowhere") == 1
        assert "no Mac" in capsys.readouterr().err
