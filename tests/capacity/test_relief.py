"""Relief of the host: who gives way, and when he goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import facts, relief, watched
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.relief import KILL, NOTHING, RESUME, SUSPEND, Other, decide

MARKS = {"suspend": 90.0, "kill": 95.0}
NOW = 10_000.0


def test_the_youngest_gives_way_and_goes_on() -> None:
    """At 90 % the youngest stands still, at 95 % it goes; it goes on 5 points below, or after five minutes, and is left
    alone then."""
    old, young = Other("a", 1.0), Other("b", 2.0)
    assert decide(young, [old], 90, MARKS, NOW) == SUSPEND
    assert decide(old, [young], 90, MARKS, NOW) == NOTHING
    assert decide(young, [old], 89.9, MARKS, NOW) == NOTHING
    assert (decide(young, [old], 95, MARKS, NOW), decide(old, [young], 95, MARKS, NOW)) == (KILL, NOTHING)
    assert decide(young, [old], 99, MARKS, NOW, NOW - 1) == SUSPEND, "one went just now: that may have been enough"
    still = Other("b", 2.0, suspended_at=NOW - 60)
    assert [decide(still, [old], p, MARKS, NOW) for p in (94, 85, 84.9)] == [NOTHING, NOTHING, RESUME]
    assert decide(still, [old], 96, MARKS, NOW) == KILL
    assert decide(Other("b", 2.0, suspended_at=NOW - relief.LONGEST), [old], 92, MARKS, NOW) == RESUME
    assert decide(Other("b", 2.0, rests_until=NOW + 1), [old], 92, MARKS, NOW) == NOTHING
    assert decide(still, [], 92, {"suspend": 0, "kill": 0}, NOW) == RESUME
    assert decide(young, [], 99, {"suspend": 0, "kill": 0}, NOW) == NOTHING


def test_one_after_another() -> None:
    """The next in age gives way only when the first one's standing still did not help for a while."""
    old = Other("a", 1.0)
    assert decide(old, [Other("b", 2.0, suspended_at=NOW - 1)], 92, MARKS, NOW) == NOTHING
    assert decide(old, [Other("b", 2.0, suspended_at=NOW - relief.APART)], 92, MARKS, NOW) == SUSPEND


def test_what_cannot_be_read_stops_no_guardian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No facts, another user's folder: the command is guarded on, and one that stands still goes on."""
    monkeypatch.setenv("K1CTL_FACTS", str(tmp_path / "gone.json"))
    mine = relief.Relief("a", 1.0, {"suspend": 90, "kill": 95})
    assert mine.due(0.0, 0.0) == NOTHING
    mine = relief.Relief("a", 1.0, {"suspend": 90, "kill": 95})
    assert mine.due(5.0, 0.0) == RESUME
    monkeypatch.setenv("K1CTL_HOST_DIR", str(tmp_path))
    (tmp_path / "capacity" / "limited" / "b" / "spec.json").mkdir(parents=True)  # cannot be read, by root neither
    (tmp_path / "capacity" / "limited.went").mkdir()
    assert watched.every() == [] and relief.others("a") == []
    monkeypatch.setattr(relief, "percent_used", lambda suspend: 96.0)
    assert relief.Relief("a", 1.0, {"suspend": 90, "kill": 95}).due(0.0, 0.0) == KILL


def test_critical_pressure_is_the_watermark_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for those who are let in (`levels`), and not 90 %: with a watermark of 92 a command stands still, too."""
    told = Facts("macos", 8, 100, 60, level="critical")
    monkeypatch.setattr(facts, "read", lambda: told)
    assert [relief.percent_used(mark) for mark in (92.0, 0.0)] == [92.0, 40.0]
    told.level = "warn"
    assert relief.percent_used(92.0) == 40.0


commands = st.lists(
    st.tuples(st.floats(0, 100), st.sampled_from([0.0, NOW - 400, NOW - 50, NOW - 1]), st.sampled_from([0.0, NOW + 9])),
    min_size=1,
    max_size=6,
)


@settings(max_examples=40)
@given(commands, st.floats(0, 100))
def test_never_two_at_once(rows: list[tuple[float, float, float]], percent: float) -> None:
    """Each decides for itself, and yet at most one of all is told to stand still and at most one to go."""
    everyone = [Other(str(i), *row) for i, row in enumerate(rows)]
    told = [decide(me, [o for o in everyone if o is not me], percent, MARKS, NOW) for me in everyone]
    assert told.count(KILL) == (1 if percent >= 95 else 0)
    assert told.count(SUSPEND) <= 1
    assert percent >= 90 or SUSPEND not in told
