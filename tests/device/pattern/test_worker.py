"""The worker of a pattern test: what it reports and what the device shows afterwards, whatever happens on the way."""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.device.pattern import client, sampling
from k1ctl.device.pattern.worker import PatternTest
from k1ctl.process.record import Run
from k1ctl.simulator.faults import Faults
from k1ctl.testing import SimulatedDevice, wait_until
from k1ctl_plugins.device.test import flow

DEPARTURE, LAVA, TWILIGHT, BLOOM = 0, 1, 2, 5
RULES = {"attempts": 3, "delay": 0, "duration": 0.01, "settle": 0, "regression": 10, "lost": 0.3, "patterns": []}


class Watched(PatternTest):
    """A worker that calls ``hear`` with each line it would print."""

    hear: Callable[[str], None] = staticmethod(lambda line: None)

    @staticmethod
    def say(text: str) -> None:
        Watched.hear(text)


class Desk:
    """A simulated device and the worker's side of a call."""

    def __init__(self, folder: Path, device: SimulatedDevice) -> None:
        self.folder, self.device, self.runs = folder, device, itertools.count(1)
        self.baselines, self.mark = folder / "baselines", folder / "k1.test.json"

    def test(self, *words: str, hear: Callable[[str], None] | None = None, **changes: Any) -> dict[str, Any]:
        """Run a worker in this process; returns its outcome, whose exit code is the one it returned."""
        number = next(self.runs)
        folder = self.folder / f"run{number}"
        folder.mkdir()
        rules = {**RULES, **changes.pop("rules", {})}
        job = {
            "run": f"run{number}",
            "host_dir": str(folder),  # a lock of its own: this process never lets go of it
            "device": self.device.settings(probe_timeout=changes.pop("probe_timeout", 5.0)),
            "patterns": list(words),
            "all": False,
            "record": False,
            "strict": False,
            "test": rules,
            "baselines": str(self.baselines),
            "mark": str(self.mark),
            "guard_timeout": 5,
            "undo_seconds": 5,
            **changes,
        }
        (folder / "test.json").write_text(json.dumps(job))
        Watched.hear = staticmethod(hear or (lambda line: None))
        code = Watched(str(folder)).run()
        outcome: dict[str, Any] = json.loads((folder / "test-outcome.json").read_text())
        assert (outcome["state"], outcome["exit_code"]) == ("ended", code)
        return outcome

    def fault(self, *texts: str) -> None:
        self.device.device.faults = Faults(["windows=0", *texts])

    @property
    def shown(self) -> int:
        return self.device.device.settings.pattern


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """Neither side keeps rate limits, but for the fault `busy`."""
    monkeypatch.setattr(client, "WINDOWS", dict.fromkeys(client.WINDOWS, 0.0))
    monkeypatch.setattr(client, "PATIENCE", 0.2)
    monkeypatch.setattr(sampling, "_PATIENCE", 0.1)
    monkeypatch.setattr(sampling, "_AGAIN", 0.02)
    with SimulatedDevice(tmp_path / "sim", "windows=0") as device:
        device.device.settings.pattern = TWILIGHT
        yield Desk(tmp_path, device)


def row(outcome: dict[str, Any], number: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = outcome["results"][number]
    return found


def test_record_then_pass_then_regression(desk: Desk) -> None:
    """A fresh baseline passes, the same figures pass against it, worse ones fail by name, better ones do not."""
    first = desk.test("lava", "bloom", record=True)
    assert (first["exit_code"], [r["recorded"] for r in first["results"]]) == (0, [True, True])
    assert row(first)["figures"] == {"fps": 149.5, "render_time_ms": 1.34, "memory_kb": 155}
    assert row(desk.test("lava"))["state"] == "passed"
    for fault, figure in (("fps=134.5", "fps"), ("render=1475", "render_time_ms"), ("heap=149k", "memory_kb")):
        desk.fault(fault)
        outcome = desk.test("lava")
        assert (outcome["exit_code"], row(outcome)["code"]) == (1, "pattern-regression"), fault
        assert [f["figure"] for f in row(outcome)["findings"]] == [figure]
        assert "worse than the baseline" in row(outcome)["message"]
    for fault in ("fps=134.6", "render=1474", "heap=150k", "fps=200"):
        desk.fault(fault)
        assert desk.test("lava")["exit_code"] == 0, fault
    assert desk.shown == TWILIGHT and not desk.mark.exists()


def test_a_baseline_knows_what_the_device_was_set_to(desk: Desk) -> None:
    """Other parameters are a warning, as they change the figures; a baseline that does not tell them is none."""
    desk.test("lava", record=True)
    desk.device.device.settings.set_parameters({"brightness": 0.5})
    (warning,) = row(desk.test("lava"))["warnings"]
    assert warning == "not set as when the baseline was recorded: brightness 0.5, was 1"
    outcome = desk.test("lava", record=True)
    assert row(outcome)["warnings"] == [] and row(outcome)["baseline"]["fps"] == 149.5
    path = desk.baselines / "lava.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "parameters": {"brightness": "much", "speed": 1e300}}))
    assert row(desk.test("lava"))["warnings"] == []


def test_thresholds_hold_while_recording(desk: Desk) -> None:
    """What a person set fails a sample that is below it, which is then not recorded."""
    desk.test("lava", record=True)
    path = desk.baselines / "lava.json"
    path.write_text(path.read_text().replace('"fps_min":null', '"fps_min":149.6'))
    before = path.read_text()
    outcome = desk.test("lava", record=True)
    assert (outcome["exit_code"], row(outcome)["code"]) == (1, "pattern-limit")
    assert path.read_text() == before


def test_without_a_baseline(desk: Desk) -> None:
    """It passes with a warning, and fails where the call is strict."""
    outcome = desk.test("")
    assert (row(outcome)["pattern"], outcome["exit_code"]) == ("twilight", 0) and "--record" in row(outcome)[
        "warnings"
    ][0]
    assert (desk.test("lava", strict=True)["exit_code"], desk.shown) == (1, TWILIGHT)


def test_every_pattern(desk: Desk) -> None:
    """`--all` takes the device's own list, in its order."""
    outcome = desk.test(all=True)
    assert [r["pattern"] for r in outcome["results"]][:2] == ["departure", "lava"]
    assert {r["state"] for r in outcome["results"]} == {"passed"} and desk.shown == TWILIGHT


def test_an_unknown_pattern_changes_nothing(desk: Desk) -> None:
    """Exit 2 with what may be meant, by id or name, before anything was selected."""
    outcome = desk.test("lava", "twighlight")
    assert (outcome["exit_code"], outcome["code"], outcome["near"]) == (2, "unknown-pattern", ["twilight"])
    assert "departure" in outcome["hint"] and "POST /api/select" not in desk.device.device.requests


def test_offline_is_skipped(desk: Desk) -> None:
    """Nobody there is 77 after all attempts, another device 65 and a web page 65 at once."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        device = {**desk.device.settings(), "http_port": free.getsockname()[1]}
        outcome = desk.test("lava", device=device)
    assert (outcome["exit_code"], outcome["attempts"], outcome["results"]) == (77, 3, [])
    for fault, code in (("wrong-mac", "wrong-device"), ("html", "device-garbage")):
        desk.fault(fault)
        outcome = desk.test("lava")
        assert (outcome["exit_code"], outcome["code"], outcome["attempts"]) == (65, code, 1)
    assert desk.shown == TWILIGHT


def test_its_name_is_looked_up_once(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The board that said who it is is the one that is tested, wherever the name leads a moment later."""
    looks = iter([[(2, 1, 6, "", ("127.0.0.1", 0))]])
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: next(looks))
    outcome = desk.test("lava", device={**desk.device.settings(), "host": "k1.lan"})
    assert (outcome["exit_code"], outcome["restored"]["state"], desk.shown) == (0, "restored", TWILIGHT)


def test_what_a_killed_one_left_is_undone_on_the_right_board_only(desk: Desk, tmp_path: Path) -> None:
    """Another board at its address keeps its pattern; the mark stays for the next test."""
    mark = {"run": "r1", "pattern": "bloom", "parameters": {}, "selected": ["twilight"], "restarted": False}
    client.Mark(str(desk.mark), mark).save()
    run = Run(str(tmp_path), {"run": "r1"})
    for mac, state, shown in (("02:4B:31:00:00:99", "failed", TWILIGHT), (desk.device.device.mac, "restored", BLOOM)):
        device = {**desk.device.settings(), "mac": mac}
        (tmp_path / "test.json").write_text(json.dumps({"device": device, "mark": str(desk.mark)}))
        assert desk.mark.exists()
        undone = flow._undo(run)
        assert undone is not None and (undone["state"], desk.shown) == (state, shown)
    assert not desk.mark.exists()


@pytest.mark.parametrize("reboot_seconds", [0.1, 0])
def test_a_restart_fails_and_loses_nothing(desk: Desk, reboot_seconds: float) -> None:
    """A device that starts anew under a pattern fails it, also where it is back before anybody asks; its pattern and
    parameters are put back all the same."""
    desk.device.device.reboot_seconds = reboot_seconds
    desk.device.device.settings.set_parameters({"speed": 0.25, "custom_param_1": 0.75, "mirror_mode": 0})
    desk.fault("reset=0:1")
    outcome = desk.test("lava", "bloom", rules={"duration": 0.1, "lost": 5})
    assert (outcome["exit_code"], [r["state"] for r in outcome["results"]]) == (1, ["failed", "passed"])
    assert row(outcome)["code"] == "device-restarted"
    device = desk.device.device.settings
    assert (desk.shown, outcome["restored"]["state"], desk.mark.exists()) == (TWILIGHT, "restored", False)
    assert [device.parameters[n] for n in ("speed", "custom_param_1", "mirror_mode")] == [0.25, 0.75, 0]


@pytest.mark.parametrize("last", ["lava", "bloom"])
def test_a_restart_behind_a_sample_is_noticed(desk: Desk, last: str) -> None:
    """It fails the pattern that was shown, not the next one or somebody else, and nothing that RAM held is lost."""
    device, desk.device.device.reboot_seconds = desk.device.device.settings, 0.05
    device.set_parameters({"speed": 0.25, "custom_param_1": 0.75})
    speeds = []

    def hear(line: str) -> None:
        if line == f"{last}: passed":
            desk.device.device.restart()
        elif line == "bloom: passed":
            speeds.append(device.parameters["speed"])

    outcome = desk.test("lava", "bloom", hear=hear, rules={"lost": 5})
    assert (outcome["exit_code"], outcome["restored"]["state"], desk.shown) == (1, "restored", TWILIGHT)
    failed = {r["pattern"]: r["code"] for r in outcome["results"] if r["state"] == "failed"}
    assert failed == {last: "device-restarted"}
    assert f"while {last} was shown" in row(outcome, ["lava", "bloom"].index(last))["message"]
    assert speeds in ([], [0.25]) and device.parameters["speed"] == 0.25 and device.parameters["custom_param_1"] == 0.75


def test_a_device_that_vanishes(desk: Desk) -> None:
    """69; what was measured is told, the rest was not begun, and the next test puts the pattern back."""

    def hear(line: str) -> None:
        if line.startswith("lava: passed"):
            desk.device.device.silent_until = float("inf")

    outcome = desk.test("lava", "bloom", "departure", hear=hear, probe_timeout=0.2, rules={"lost": 0.1})
    assert (outcome["exit_code"], outcome["code"]) == (69, "device-vanished")
    assert [r["state"] for r in outcome["results"]] == ["passed", "void", "skipped"]
    assert (outcome["restored"]["state"], desk.mark.exists(), desk.shown) == ("failed", True, LAVA)
    desk.device.device.silent_until = 0
    lines: list[str] = []
    assert desk.test("departure", hear=lines.append)["exit_code"] == 0
    assert "twilight is shown again" in lines[0] and (desk.shown, desk.mark.exists()) == (TWILIGHT, False)


@pytest.mark.parametrize("what", ["pattern", "parameters"])
def test_somebody_else_uses_the_device(desk: Desk, what: str) -> None:
    """The sample is void, the rest is left out, and what the other one chose stays."""
    device = desk.device.device.settings

    def interfere() -> None:
        wait_until(lambda: desk.shown == LAVA)
        if what == "pattern":
            device.select(BLOOM, transition=False)
        else:
            device.set_parameters({"brightness": 0.5})

    other = threading.Thread(target=interfere)
    other.start()
    outcome = desk.test("lava", "departure", rules={"duration": 20 if what == "pattern" else 0.2})
    other.join()
    assert (outcome["exit_code"], [r["state"] for r in outcome["results"]]) == (1, ["void", "skipped"])
    assert row(outcome)["code"] == f"{what}-changed"
    assert desk.shown == (BLOOM if what == "pattern" else TWILIGHT) and not desk.mark.exists()
    assert device.parameters["brightness"] == (1.0 if what == "pattern" else 0.5)


def test_a_transition_under_way(desk: Desk) -> None:
    """What it ends at is the former pattern, and it does not have the last word over the pattern under test."""
    device = desk.device.device.settings
    device.transitions["default_duration_ms"] = 100
    assert device.select(BLOOM, transition=True)
    assert desk.test("lava")["exit_code"] == 0
    assert desk.shown == BLOOM
    assert device.select(TWILIGHT, transition=True)
    client.show(client.Rest(desk.device.settings()), "lava")
    assert desk.shown == LAVA and device.under_way is None


@pytest.mark.parametrize(
    ("fault", "code"), [("html", 65), ("endless", 65), ("http=500", 65), ("drip=20", 77), ("hang", 77), ("busy", 77)]
)
def test_a_hostile_device(desk: Desk, fault: str, code: int) -> None:
    """Nonsense, endless, dripping, silent and overasked devices end in time, with nothing changed."""
    desk.fault(fault)
    assert desk.test("lava", rules={"attempts": 1}, probe_timeout=0.15)["exit_code"] == code
    assert (desk.shown, desk.mark.exists()) == (TWILIGHT, False)


@pytest.mark.parametrize(
    ("fault", "exit_code", "code"),
    [("html", 1, "device-garbage"), ("hang", 69, "device-vanished"), ("busy", 1, "device-rate-limited")],
)
def test_a_device_that_turns_hostile(desk: Desk, fault: str, exit_code: int, code: str) -> None:
    """From the selection on: void or lost, never passed; the mark stays until a test can put the pattern back."""

    def hear(line: str) -> None:
        if "sampling for" in line:
            desk.fault(fault)

    outcome = desk.test("lava", hear=hear, probe_timeout=0.1, rules={"lost": 0.1})
    assert (outcome["exit_code"], row(outcome)["state"], row(outcome)["code"]) == (exit_code, "void", code)
    assert outcome["restored"]["state"] == "failed" and desk.mark.exists()
    desk.fault()
    assert desk.test("lava")["exit_code"] == 0
    assert (desk.shown, desk.mark.exists()) == (TWILIGHT, False)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)
TOLD: dict[str, Any] = {
    "patterns": [{"id": "lava", "name": "Lava"}],
    "id": "lava",
    "active": False,
    "brightness": 0.5,
    "parameters": {"custom_param_1": 0.5},
    "fps": 150.2,
    "render_avg_us": 1210,
    "memory_free_kb": 165,
    "memory_total_kb": 320,
    "frames": [{"render_us": 1210, "total_us": 6000}],
    "uptime_ms": 5000,
}


@settings(max_examples=20)
@given(st.dictionaries(st.sampled_from([name for name in TOLD if name != "active"]), JSON, max_size=4))
def test_any_document_is_survived(desk: Desk, monkeypatch: pytest.MonkeyPatch, strange: dict[str, Any]) -> None:
    """Whatever JSON the routes tell, the worker ends with a result or a refusal, never with a bug."""
    monkeypatch.setattr(client.Rest, "_ask", lambda *_: {**TOLD, **strange})
    outcome = desk.test("lava")
    assert outcome["exit_code"] in (0, 1, 2, 65) and outcome["code"] != "bug", outcome
    if outcome["exit_code"] == 0:
        assert row(outcome)["state"] == "passed" and row(outcome)["figures"]["fps"] is not None
    desk.mark.unlink(missing_ok=True)


def test_what_a_killed_test_did_not_choose_stays(desk: Desk) -> None:
    """Somebody has chosen it since, or the device lost its power: told once, and never changed."""
    left = {"run": "old", "pattern": "bloom", "parameters": {}, "selected": ["lava"], "restarted": False}
    desk.mark.write_text(json.dumps(left))
    lines: list[str] = []
    assert desk.test("lava", hear=lines.append)["exit_code"] == 0
    assert "twilight is shown, which the test did not choose, so it stays" in lines[0] and desk.shown == TWILIGHT


def test_a_former_pattern_that_is_gone(desk: Desk) -> None:
    """Another firmware may have been flashed since a test was killed: told once, and no test fails for it."""
    left = {"run": "old", "pattern": "removed", "parameters": {}, "selected": ["twilight"], "restarted": False}
    desk.mark.write_text(json.dumps(left))
    lines: list[str] = []
    assert desk.test("lava", hear=lines.append)["exit_code"] == 0
    assert "removed is given up: the device has no pattern" in lines[0] and not desk.mark.exists()


def test_figures_that_are_none(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers that no device can have are not counted; without any the sample is void."""
    ask = client.Rest.get

    def get(self: client.Rest, path: str, patience: float | None = None) -> dict[str, Any]:
        found = ask(self, path, patience)
        if path == client.PERFORMANCE:
            return {**found, "fps": -1, "render_avg_us": "much", "memory_free_kb": 1e300}
        return {"frames": [7, {"render_us": None}]} if path == client.FRAMES else found

    monkeypatch.setattr(client.Rest, "get", get)
    outcome = desk.test("lava")
    assert (row(outcome)["state"], row(outcome)["code"]) == ("void", "sample-void")
    assert row(outcome)["figures"] == {"fps": None, "render_time_ms": None, "memory_kb": None}
    assert desk.shown == TWILIGHT


@pytest.mark.parametrize("text", ["", "{}", '{"run": 1}', '{"run":"x","pattern":"lava","parameters":[],"selected":[]}'])
def test_a_damaged_mark_is_passed_over(desk: Desk, text: str) -> None:
    """What cannot be read puts nothing back, and keeps no test from running."""
    desk.mark.write_text(text)
    assert desk.test("lava")["exit_code"] == 0 and desk.shown == TWILIGHT
