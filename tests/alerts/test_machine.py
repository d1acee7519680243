"""Alerts from one look to the next: gaps, clocks, flapping, and what people are owed."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.alerts.kept import CRITICAL, FIRING, INACTIVE, PENDING, WARNING
from k1ctl.alerts.machine import FIRED, FORGET, MOST, OVER, Finding, Pace, advance
from k1ctl.escalation.ladder import Moment

GAP, FOR, RESOLVE = 400.0, 600.0, 120.0
PACE = Pace({"queue": FOR}, gap=GAP, resolve=RESOLVE)


class Watch:
    """One alert, and both clocks of a host."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.entries: dict[str, Any] = {}
        self.wall, self.monotonic, self.pace = 1_000_000.0, 5000.0, pace
        self.changes: list[str] = []

    def look(self, bad: bool | None, after: float, *, wall: float | None = None, looked: bool = True) -> str:
        """Look ``after`` seconds of being awake, in which the wall clock moved by ``wall``; the alert's state."""
        self.monotonic += after
        self.wall += after if wall is None else wall
        findings = [Finding("queue", bad, "7 wait", subject="device:k1", value=7, limit=5)] if looked else []
        now = Moment(self.wall, self.monotonic)
        self.entries, changes = advance(self.entries, findings, ["queue"], self.pace, now)
        self.changes += [what for what, _ in changes]
        return str(self.entries["queue/device:k1"]["state"]) if self.entries else INACTIVE

    @property
    def entry(self) -> dict[str, Any]:
        return dict(self.entries["queue/device:k1"])


def test_ten_minutes_are_looks_that_all_found_it_wrong() -> None:
    """Pending from the first look, firing at the one that makes it ten minutes; a good one in between begins anew."""
    watch = Watch()
    assert watch.look(False, 60) == INACTIVE and not watch.entries
    assert [watch.look(True, 60) for _ in range(10)] == [PENDING] * 10
    assert watch.look(True, 60) == FIRING and watch.changes == [FIRED]
    other = Watch()
    assert [other.look(bad, 300) for bad in (True, True, False, True, True)][2:] == [INACTIVE, PENDING, PENDING]
    assert other.look(True, 300) == FIRING


def test_a_gap_counts_for_nothing() -> None:
    """Two looks further apart than the gap begin anew, however wrong both are; at the gap they count."""
    watch = Watch()
    watch.look(True, 0)
    assert watch.look(True, 86400) == PENDING and watch.entry["held"] == 0.0
    assert watch.entry["since"] == watch.wall
    assert watch.look(True, GAP) == PENDING and watch.look(True, GAP) == FIRING
    assert watch.look(True, 86400) == FIRING, "what fires is not forgotten while nobody looks"


def test_clocks_that_jump() -> None:
    """A wall clock set forward or back, and a host that slept, count only what both clocks agree on."""
    forward, back, slept = Watch(), Watch(), Watch()
    for watch in (forward, back, slept):
        watch.look(True, 0)
    assert forward.look(True, 60, wall=7200.0) == PENDING and forward.entry["held"] == 60.0
    assert back.look(True, 60, wall=-7200.0) == PENDING and back.entry["held"] == 0.0
    assert back.look(True, 300) == PENDING and back.look(True, 300) == FIRING
    assert slept.look(True, 60, wall=8 * 3600.0) == PENDING and slept.entry["held"] == 60.0
    slept.monotonic = 3.0  # started anew
    assert slept.look(True, 0, wall=60.0) == PENDING and slept.entry["held"] == 60.0


def test_flapping_is_held_back() -> None:
    """It is over only when it was well for long enough, however seldom it is looked at; else the episode goes on."""
    watch = Watch(Pace({"queue": 0.0}, gap=GAP, resolve=RESOLVE))
    assert watch.look(True, 0) == FIRING
    for _ in range(5):
        assert [watch.look(bad, 60) for bad in (False, False, True)] == [FIRING] * 3
    assert watch.changes == [FIRED] and watch.entry["episode"] == 1_000_000_000
    assert watch.look(False, 0) == FIRING and watch.look(False, 3 * GAP) == INACTIVE
    assert watch.changes == [FIRED, OVER]
    at_once = Watch(Pace({"queue": 0.0}, gap=GAP, resolve=0.0))
    assert [at_once.look(bad, 1) for bad in (True, False, True)] == [FIRING, INACTIVE, FIRING]
    assert at_once.entry["episode"] > 1_000_001_000


def test_what_cannot_be_known_changes_nothing() -> None:
    """An unknown finding, and a rule that could not be looked at, leave an alert as it is; one that is not spoken of is
    well; one of a rule that is switched off is over at once."""
    watch = Watch(Pace({"queue": 0.0}, gap=GAP, resolve=0.0))
    watch.look(True, 0)
    assert watch.look(None, 3600) == FIRING
    now = Moment(watch.wall + 60, watch.monotonic + 60)
    same, changes = advance(watch.entries, [], [], watch.pace, now)
    assert same == watch.entries and not changes
    assert watch.look(False, 60, looked=False) == INACTIVE and watch.changes == [FIRED, OVER]
    watch.look(True, 60)
    off, changes = advance(watch.entries, [], ["disk"], Pace({"disk": 0.0}, gap=GAP, resolve=RESOLVE), now)
    assert off["queue/device:k1"]["state"] == INACTIVE and [what for what, _ in changes] == [OVER]


def test_a_warning_that_becomes_critical_is_news() -> None:
    """It fires anew, once, and its end is owed to who heard of either; a warning again is no news."""
    pace, entries, moment = Pace({"disk": 0.0}, gap=GAP, resolve=0.0), {}, 1e6
    fired = []
    for level in (WARNING, WARNING, CRITICAL, CRITICAL, WARNING):
        moment += 60
        found = [Finding("disk", True, level=level)]
        entries, changes = advance(entries, found, ["disk"], pace, Moment(moment, moment))
        fired += [(level, entries["disk"]["episode"]) for what, _ in changes if what == FIRED]
        entries["disk"]["told"] = entries["disk"]["told"] or entries["disk"]["episode"]
    assert [level for level, _ in fired] == [WARNING, CRITICAL] and fired[0][1] < fired[1][1]
    assert entries["disk"]["since"] == 1e6 + 60 and entries["disk"]["told"] == fired[0][1]
    entries, _ = advance(entries, [Finding("disk", False)], ["disk"], pace, Moment(moment + 60, moment + 60))
    assert entries["disk"]["over"] == fired[1][1]


def test_what_is_over_is_forgotten() -> None:
    """After a day, unless people still have to hear of it; and there are never more than so many."""
    watch = Watch(Pace({"queue": 0.0}, gap=GAP, resolve=0.0))
    watch.look(True, 0)
    watch.entries["queue/device:k1"]["told"] = watch.entry["episode"]
    watch.look(False, 60)
    watch.look(False, FORGET + 1)
    assert watch.entry["over"] == watch.entry["episode"]
    watch.entries["queue/device:k1"]["over"] = 0
    watch.look(False, 1)
    assert watch.entries == {}
    many = [Finding("queue", True, subject=f"r{i}") for i in range(MOST + 50)]
    entries, _ = advance({}, many, ["queue"], PACE, Moment(1e6, 1e3))
    assert len(entries) == MOST


_LOOKS = st.lists(
    st.tuples(st.sampled_from([True, False, None]), st.floats(0, 2000), st.sampled_from([None, 0.0, -5000.0, 90000.0])),
    max_size=40,
)


@settings(max_examples=100)
@given(_LOOKS)
def test_it_fires_only_for_what_was_seen(looks: list[tuple[bool | None, float, float | None]]) -> None:
    """Whatever the looks and the clocks: it fires exactly when the time between neighbouring looks that were all wrong,
    by the lesser clock and none above the gap, makes up ten minutes; fired and over alternate."""
    watch, held, alone, last = Watch(), 0.0, True, (0.0, 0.0)
    for bad, after, wall in looks:
        was = watch.entry["state"] if watch.entries else INACTIVE
        state = watch.look(bad, after, wall=wall)
        if bad is None:
            continue
        passed = max(0.0, min(watch.wall - last[0], watch.monotonic - last[1]))
        last = (watch.wall, watch.monotonic)
        if was == FIRING:
            held, alone = 0.0, True
            assert state in (FIRING, INACTIVE) and (state == FIRING or not bad)
            continue
        held = held + passed if bad and not alone and passed <= GAP else 0.0
        alone = not bad
        assert state == (FIRING if bad and held >= FOR else PENDING if bad else INACTIVE)
    assert watch.changes == [FIRED, OVER] * (len(watch.changes) // 2) + [FIRED] * (len(watch.changes) % 2)
