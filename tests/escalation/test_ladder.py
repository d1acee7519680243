"""The ladder of a device's trouble, driven with any order of observations on clocks that do as they like."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.escalation.ladder import (
    AGENT,
    CHECK,
    CLOSED,
    HUMAN,
    INCIDENT,
    OFFLINE,
    ONLINE,
    RETRY,
    RUNGS,
    TEST_FAILED,
    TEST_PASSED,
    TEST_SKIPPED,
    UPLOAD_FAILED,
    UPLOAD_INSTALLED,
    WHATS,
    Moment,
    Rules,
    Seen,
    advance,
    close,
    fresh,
    outlook,
    owed,
    sound,
)

RULES = Rules()
CODES = [("device-offline", 69), ("image-refused", 1), ("outcome-unknown", 76), ("ota-interrupted", 69), ("busy", 75)]
SAME = [(s, s) for s in (0.0, 1.0, 100.0, 400.0, 5000.0)]  # what the wall clock and the monotonic one say passed
ASUNDER = [(5000.0, 1.0), (90000.0, 0.0), (-3600.0, 100.0), (400.0, -1e6), (0.0, 5000.0)]
MOVES = st.lists(
    st.tuples(
        st.sampled_from([*WHATS, *[OFFLINE] * 12]),
        st.sampled_from(["oslo", "riga"]),
        st.sampled_from(CODES),
        st.sampled_from([*SAME * 3, *ASUNDER]),
        st.integers(0, 9).map(lambda n: n == 0),  # whether a person took it out of service
    ),
    max_size=30,
)


class Device:
    """A state with its clocks; ``see`` is one observation, ``steps`` all that were taken."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules, self.state = rules, fresh()
        self.wall, self.monotonic = 1_767_000_000.0, 5000.0
        self.steps: list[dict[str, Any]] = []
        self.runs = 0

    def see(self, what: str, after: float = 0.0, *, awake: float | None = None, **facts: Any) -> list[str]:
        """The rungs that this observation leads to, ``after`` seconds, of which the host was ``awake``."""
        self.wall += after
        self.monotonic += after if awake is None else awake
        self.runs += 1
        facts = {"workspace": "oslo", "run": f"r{self.runs}", "message": "m", **facts}
        self.state, steps = advance(self.state, Seen(what, **facts), self.rules, self.now)
        self.steps += steps
        return [step["rung"] for step in steps]

    @property
    def now(self) -> Moment:
        return Moment(self.wall, self.monotonic)


@given(MOVES)
def test_whatever_happens_the_rungs_are_climbed_in_order_once(moves: list[Any]) -> None:
    """Of an episode: retry first, each rung once and upwards, a person before an incident, closed last, told at most
    once; a person for a further workspace only after that rung; the state in the file is sound, what was handed in is
    untouched."""
    device = Device()
    for what, workspace, (code, exit_code), (wall, monotonic), held in moves:
        before, kept = device.state, copy.deepcopy(device.state)
        facts = {"workspace": workspace, "code": code, "exit_code": exit_code, "held": "out" if held else ""}
        device.see(what, wall, awake=monotonic, **facts)
        assert before == kept and sound(device.state)
        assert bool(device.state["rung"]) >= bool(outlook(device.state, RULES))
    episodes: dict[int, list[dict[str, Any]]] = {}
    for step in device.steps:
        episodes.setdefault(step["episode"], []).append(step)
    assert list(episodes) == sorted(episodes)
    for number, steps in enumerate(episodes.values(), 1):
        further = [step["run"] for step in steps if step["further"]]
        assert len(set(further)) == len(further)
        for at, step in enumerate(steps):
            assert not step["further"] or (step["rung"] == HUMAN and HUMAN in [s["rung"] for s in steps[:at]])
        rungs = [step["rung"] for step in steps if not step["further"]]
        climbed = [rung for rung in rungs if rung != CLOSED]
        assert climbed[0] == RETRY and climbed == [rung for rung in RUNGS if rung in climbed]
        assert INCIDENT not in climbed or HUMAN in climbed
        assert CLOSED not in rungs[:-1]
        assert rungs[-1] == CLOSED or number == len(episodes), "the next began before it was over"
        assert [s["notify"] for s in steps if s["rung"] == CLOSED] in ([], [HUMAN in climbed])
        assert all(s["notify"] == (s["rung"] in (HUMAN, INCIDENT)) for s in steps if s["rung"] != CLOSED)
    rung = device.state["rung"]
    assert rung == (next((s["rung"] for s in reversed(device.steps) if not s["further"]), "") if rung else "")


@given(MOVES)
def test_no_incident_without_so_much_time_seen_without_an_answer(moves: list[Any]) -> None:
    """An incident means 10 min between observations without an answer in a row, by both clocks, no gap of more than 5
    counted: a host that slept, started anew or had its clock set makes none."""
    device, seen, last = Device(), 0.0, None
    for what, workspace, (code, exit_code), (wall, monotonic), held in moves:
        facts = {"workspace": workspace, "code": code, "exit_code": exit_code, "held": "out" if held else ""}
        rungs = device.see(what, wall, awake=monotonic, **facts)
        if what in (OFFLINE, TEST_SKIPPED) or (what == UPLOAD_FAILED and code == "device-offline"):
            if last is None:
                seen = 0.0
            elif not held:
                seen += max(0.0, min(device.wall - last[0], device.monotonic - last[1], 300.0))
            last = device.wall, device.monotonic
        elif what not in (UPLOAD_FAILED, CHECK):
            last = None
        if INCIDENT in rungs:
            assert last is not None and seen >= 600 and not held


@given(MOVES)
def test_good_news_end_all_trouble(moves: list[Any]) -> None:
    """When the device answers, and each workspace installs and passes its tests, no episode is open, whatever came
    before; and one that a person ends is ended."""
    device = Device()
    for what, workspace, (code, exit_code), (wall, monotonic), _ in moves:
        device.see(what, wall, awake=monotonic, workspace=workspace, code=code, exit_code=exit_code)
    by_hand, steps = close(device.state, "by hand", device.now)
    assert by_hand["rung"] == "" and [s["rung"] for s in steps] == ([CLOSED] if device.state["rung"] else [])
    for workspace in ("oslo", "riga"):
        device.see(UPLOAD_INSTALLED, workspace=workspace)
        device.see(TEST_PASSED, workspace=workspace)
    assert device.state["rung"] == "" and device.state["failures"] == {} and device.state["offline"] is None


def test_an_upload_that_fails_again_and_again() -> None:
    """One failed upload: retry is told, the agent has a prompt; the second reaches a person; a third nobody anew."""
    device = Device()
    refused = {"code": "image-refused", "attempts": 3}
    assert device.see(UPLOAD_FAILED, **refused) == [RETRY, AGENT]
    assert "tried 3 times" in device.steps[0]["reason"] and device.steps[1]["run"] == "r1"
    assert [coming["rung"] for coming in outlook(device.state, RULES)] == [HUMAN, HUMAN]
    assert device.see(UPLOAD_FAILED, 60, workspace="riga", **refused) == []  # another one's own failure
    assert device.see(UPLOAD_FAILED, 60, **refused) == [HUMAN]
    assert device.see(UPLOAD_FAILED, 60, **refused) == []
    assert device.see(UPLOAD_INSTALLED, 60) == []  # riga's image is still refused
    assert device.see(UPLOAD_INSTALLED, 60, workspace="riga") == [CLOSED]
    assert device.see(UPLOAD_FAILED, 60, **refused) == [RETRY, AGENT]


def test_a_further_workspace_reaches_a_person_too() -> None:
    """Once each, for images of their own; where the device is the cause, the first notification speaks for all."""
    device = Device()
    refused: dict[str, Any] = {"code": "image-refused", "exit_code": 1}
    for _ in range(2):
        device.see(UPLOAD_FAILED, **refused)
    assert device.see(UPLOAD_FAILED, workspace="riga", **refused) == []
    assert device.see(UPLOAD_FAILED, workspace="riga", **refused) == [HUMAN]
    assert device.steps[-1]["further"] and device.steps[-1]["workspace"] == "riga"
    assert device.see(UPLOAD_FAILED, workspace="riga", **refused) == []
    for _ in range(3):
        assert device.see(UPLOAD_FAILED, workspace="kiel", code="outcome-unknown", exit_code=76) == []


def test_the_same_run_counts_once() -> None:
    """A run that is told of by its supervisor and again by who takes it up is one failure."""
    device = Device()
    device.see(UPLOAD_FAILED, run="r")
    assert device.see(UPLOAD_FAILED, run="r") == []


def test_failing_for_long_reaches_a_person() -> None:
    """Tests that fail climb by time: 15 min of it, also when one run alone took so long."""
    device = Device()
    assert device.see(TEST_FAILED) == [RETRY, AGENT]
    assert device.see(TEST_FAILED, 600) == []
    assert device.see(TEST_FAILED, 300) == [HUMAN]
    assert Device().see(UPLOAD_FAILED, seconds=901.0) == [RETRY, AGENT, HUMAN]


def test_one_that_installs_proves_the_device_well_for_all() -> None:
    """Where the device was the cause (69, 76), another's success takes the failure back; where the image was, not."""
    device = Device()
    device.see(UPLOAD_FAILED, workspace="riga", code="ota-interrupted", exit_code=69)
    assert device.see(UPLOAD_INSTALLED) == [CLOSED]
    device.see(UPLOAD_FAILED, workspace="riga", code="image-refused", exit_code=1)
    assert device.see(UPLOAD_INSTALLED) == []


def test_offline_three_then_ten_minutes() -> None:
    """A person after 3 min, an incident after 10; it ends when the device answers, whatever else failed meanwhile."""
    device = Device()
    assert device.see(OFFLINE) == [RETRY]
    assert [device.see(OFFLINE, 60) for _ in range(10)] == [[], [], [HUMAN], [], [], [], [], [], [], [INCIDENT]]
    assert "offline since 2025-12-29T09:20:00.000Z (seen for 10 m)" in device.steps[-1]["reason"]
    assert device.see(UPLOAD_FAILED, code="image-refused") == []
    assert device.see(ONLINE, 60) == [CLOSED]
    assert device.state["failures"] == {}


def test_a_failed_upload_that_met_nobody_is_over_when_the_device_answers() -> None:
    """Nobody can upload to a paused queue, so it is no install that has to take it back."""
    device = Device()
    assert device.see(UPLOAD_FAILED, code="device-offline", exit_code=69) == [RETRY, AGENT]
    assert device.see(ONLINE) == [CLOSED]


def test_a_test_that_fails_in_an_incident_begins_anew() -> None:
    """It reached the device: the incident is over, its failure a new episode."""
    device = Device()
    for _ in range(11):
        device.see(OFFLINE, 60)
    assert device.state["rung"] == INCIDENT
    assert device.see(TEST_FAILED) == [CLOSED, RETRY, AGENT]


@pytest.mark.parametrize(
    ("wall", "awake"),
    [(8 * 3600.0, 2.0), (8 * 3600.0, -4000.0), (8 * 3600.0, 0.0), (-3600.0, 30.0)],
    ids=["slept", "started anew", "clock set forward", "clock set back"],
)
def test_time_that_nobody_saw_does_not_count(wall: float, awake: float) -> None:
    """Eight hours on one clock alone are no absence."""
    device = Device()
    device.see(OFFLINE)
    assert device.see(OFFLINE, wall, awake=awake) == []
    assert device.state["offline"]["seconds"] <= 2


def test_a_gap_counts_half_the_limit_at_most() -> None:
    """Two looks a day apart are no incident; a person is told, and further looks decide."""
    device = Device()
    device.see(OFFLINE)
    assert device.see(OFFLINE, 86400) == [HUMAN]
    assert device.see(OFFLINE, 86400) == [INCIDENT]


def test_out_of_service_it_may_be_away() -> None:
    """What a person took out of service stands still on the ladder, and goes on from there when it is back in it."""
    device = Device()
    for _ in range(20):
        device.see(OFFLINE, 60, held="on loan")
    assert device.state["rung"] == RETRY
    assert [device.see(OFFLINE, 60) for _ in range(3)] == [[], [], [HUMAN]]


def test_rules_of_zero_are_off() -> None:
    """Without the rules only the retry is told, for ever."""
    rules = Rules(failures_agent=0, failures_human=0, retrying=0, offline_human=0, offline_incident=0, forget=0)
    device = Device(rules)
    for what in (UPLOAD_FAILED, TEST_FAILED, OFFLINE, TEST_SKIPPED) * 20:
        device.see(what, 3600, exit_code=69)
    assert [step["rung"] for step in device.steps] == [RETRY]
    only = Device(Rules(offline_human=0))
    rungs = [rung for _ in range(11) for rung in only.see(OFFLINE, 60)]
    assert rungs == [RETRY, HUMAN, INCIDENT]


def test_a_failure_that_nothing_followed_is_forgotten() -> None:
    """Its workspace may be archived: after a day the next look ends the episode."""
    device = Device()
    device.see(UPLOAD_FAILED)
    assert device.see(CHECK, 86000) == []
    assert device.see(CHECK, 500) == [CLOSED]


def test_what_is_owed_outlives_the_episode() -> None:
    """Steps that are still to be done or told stay until they are; others go when a new episode begins."""
    device = Device()
    for _ in range(2):
        device.see(UPLOAD_FAILED)
    for step in device.state["steps"]:
        step.update(acted=True)
    device.see(UPLOAD_INSTALLED)
    device.see(UPLOAD_FAILED)
    kept = device.state["steps"]
    assert [(s["rung"], owed(s)) for s in kept[:2]] == [(HUMAN, True), (CLOSED, True)]
    for step in kept:
        step.update(acted=True, told=[])
    device.see(UPLOAD_INSTALLED)
    device.see(UPLOAD_FAILED)
    assert not any(step["episode"] == kept[0]["episode"] for step in device.state["steps"])


@pytest.mark.parametrize(
    "broken", [None, 3, [], {}, {"rung": 1}, {**fresh(), "offline": {}}, {**fresh(), "steps": [1]}]
)
def test_what_is_no_state(broken: Any) -> None:
    """Anything else in the file counts as none."""
    assert not sound(broken) and sound(fresh())
