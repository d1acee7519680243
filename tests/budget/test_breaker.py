"""The circuit breaker of a provider: a pure machine, and what all callers share of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from k1ctl.budget import ends, github, keys
from k1ctl.budget.breaker import CLOSED, ERROR, HALF_OPEN, LIMIT, OK, OPEN, Breakers, Rules, ask, fresh, report, shift
from k1ctl.budget.kept import like
from k1ctl.config import Config
from k1ctl.errors import ConfigError, UsageError
from k1ctl.events import read
from k1ctl.workspace import Workspace

NOON = 1_700_000_000.0


@given(st.integers(-3, 10**6), st.floats(0, 1))
def test_backoff_doubles_to_an_hour_and_jitters_over_all_of_it(failures: int, share: float) -> None:
    """2^n s and no more than an hour at the most; at the least nothing; in proportion between."""
    most = ends.backoff(failures, 1.0)
    assert most == min(3600.0, 2.0 ** max(min(failures, 20), 0))
    assert ends.backoff(failures, share) == most * share


@pytest.mark.parametrize(
    ("text", "seconds", "fixed"),
    [
        ("90", 90.0, False),
        ("5h", 18000.0, False),
        ("0", 0.0, False),
        ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0, True),
        ("2023-11-14T23:14:20+01:00", 60.0, True),
        ("2020-01-01T00:00:00Z", 0.0, True),
    ],
)
def test_an_end_is_seconds_or_a_date(text: str, seconds: float, fixed: bool) -> None:
    """Both forms of Retry-After, and RFC 3339; a moment that is past is now."""
    end = ends.given(text, NOON, "why")
    assert (end["until"] - NOON, end["fixed"]) == (seconds, fixed)


@pytest.mark.parametrize("text", ["", "soon", "-5", "1699999999", "2030-01-01T00:00:00Z", "2023-11-14T23:14:20", "nan"])
def test_what_is_no_end_is_refused(text: str) -> None:
    """No number that is a date misread, none without a zone, none beyond what limits last."""
    with pytest.raises(UsageError):
        ends.given(text, NOON, "why")


def test_what_is_kept_is_known_by_its_shape() -> None:
    """The states that the parts write are sound, and each with one entry of another kind is not."""
    cool = ends.after(9.0, NOON, "why")
    good: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "buckets": (keys.tables(), {**keys.fresh_bucket(), "use": [[NOON, 1, 2]], "cool": cool}),
        "keys": (keys.tables(), keys.fresh_key()),
        "resources": (github.tables(), {"limit": 1, "remaining": 1, "reset": 2, "at": 0.5, "spent": 0}),
    }
    for part, (tables, entry) in good.items():
        assert like(json.loads(json.dumps(entry)), tables[part]), part
        for place in entry:
            assert not like({**entry, place: {"until": "soon"}}, tables[part]), (part, place)
    sound = keys.tables()["open"]
    assert sound({}) and sound({"k1": ["a1", "a", 5, NOON]})
    assert not any(sound({"k1": bad}) for bad in (1, {}, [], ["a1", "a", 5], ["a1", "a", "5", NOON]))


class Machine(RuleBasedStateMachine):
    """Callers, time and a clock that is set back, against what a breaker promises."""

    def __init__(self) -> None:
        super().__init__()
        self.rules, self.breaker, self.now = Rules(3, 60.0), fresh(), NOON
        self.row, self.last_failure = 0, 0.0
        self.limit: float | None = None  # a fixed end that was told while nothing later was known
        self.probe_until = 0.0

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 7.0, 59.0, 61.0, 599.0, 3601.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([1.0, 3600.0, 10**6]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        left = None if self.breaker["end"] is None else self.breaker["end"]["until"] - self.now
        self.now -= seconds
        shift({"providers": {"p": self.breaker}}, seconds)
        if left is not None and not self.breaker["end"]["fixed"]:
            assert self.breaker["end"]["until"] - self.now == pytest.approx(left)
        self.probe_until -= seconds

    @rule()
    def somebody_asks(self) -> None:
        before = dict(self.breaker)
        answer = ask(self.breaker, self.rules, self.now)
        if before["state"] == OPEN and self.now < before["end"]["until"]:
            assert not answer.go and answer.until == before["end"]["until"] and answer.why
        elif answer.probe:
            assert self.now >= self.probe_until, "two probes at once"
            self.probe_until = self.now + self.rules.probe
        elif not answer.go:
            assert answer.state == HALF_OPEN and answer.until == pytest.approx(self.probe_until)
        else:
            assert answer.state == CLOSED
        if before["state"] == OPEN and before["limit"] and self.now >= before["end"]["until"]:
            assert answer.go and not answer.probe

    @rule(what=st.sampled_from([OK, ERROR, LIMIT]), share=st.floats(0, 1), end=st.sampled_from([None, 30.0, 7200.0]))
    def somebody_reports(self, what: str, share: float, end: float | None) -> None:
        before = json.loads(json.dumps(self.breaker))
        told = None if end is None or what == OK else {"until": self.now + end, "fixed": what == LIMIT, "why": "told"}
        report(self.breaker, self.rules, what, self.now, end=told, share=share)
        if before["state"] == OPEN and before["limit"] and self.now >= before["end"]["until"]:
            before = fresh()
        after = self.breaker
        held = before["state"] == OPEN and self.now < before["end"]["until"]
        if what == LIMIT and told:
            assert after["state"] == OPEN and after["end"]["until"] >= told["until"]
        elif held:
            assert after == before, "what is late changes nothing"
        elif what == OK:
            assert after == fresh()
        elif before["state"] != CLOSED or what == LIMIT or told:
            assert after["state"] == OPEN and after["end"]["until"] <= self.now + max(ends.CAP, end or 0)
        else:
            assert (after["state"] == OPEN) == (after["failures"] >= self.rules.failures)
        if after["state"] != HALF_OPEN:
            self.probe_until = min(self.probe_until, self.now)

    @invariant()
    def it_can_be_written(self) -> None:
        assert json.loads(json.dumps(self.breaker)) == self.breaker
        assert (self.breaker["state"] == OPEN) <= (self.breaker["end"] is not None)
        if self.breaker["state"] == OPEN:
            assert self.breaker["end"]["until"] <= self.now + max(ends.CAP, 7200.0) or self.breaker["end"]["fixed"]


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase


def breakers(tmp_path: Path, **rules: Any) -> Breakers:
    here = Workspace(str(tmp_path), str(tmp_path), "oslo")
    return Breakers(here, Config("", {("budget", "providers", "p", key): value for key, value in rules.items()}, {}))


def test_what_one_sees_all_know(tmp_path: Path) -> None:
    """Three failures of three callers open it for a fourth; one probe at a time closes it; both are events."""
    each = [breakers(tmp_path) for _ in range(4)]
    for one in each[:3]:
        assert one.ask("p", NOON).go
        one.report("p", ERROR, end=ends.after(8.0, NOON, "three") if one is each[2] else None, now=NOON)
    refused = each[3].ask("p", NOON + 1)
    assert not refused.go and refused.until == NOON + 8
    assert [one.ask("p", NOON + 9).go for one in each] == [True, False, False, False]
    assert each[0].ask("p", NOON + 9 + 121).probe, "a probe that was killed blocks nobody for long"
    each[0].report("p", OK, now=NOON + 131)
    assert all(one.ask("p", NOON + 132).go for one in each)
    events = [(e["event"], e["provider"]) for e in read(str(tmp_path / "ops" / "events"))]
    assert events == [("budget.breaker_opened", "p"), ("budget.breaker_closed", "p")]


def test_a_limit_ends_when_it_was_said_to(tmp_path: Path) -> None:
    """Nobody before, everybody after, whatever the clock of this host is set to meanwhile."""
    one = breakers(tmp_path)
    one.report("p", LIMIT, end=ends.given("2023-11-14T23:13:20Z", NOON, "weekly limit"), now=NOON)
    assert one.document("p", NOON)["state"] == OPEN
    assert one.look("p", NOON - 5000).until == NOON + 3600
    assert not one.ask("p", NOON + 3599).go
    assert [one.ask("p", NOON + 3600).probe for _ in range(3)] == [False] * 3
    assert one.ask("p", NOON + 3600).state == CLOSED


def test_a_wait_does_not_grow_when_the_clock_is_set_back(tmp_path: Path) -> None:
    """An end after so many seconds is after as many, counted from the first look; refused calls do not put it off."""
    one = breakers(tmp_path)
    one.report("p", LIMIT, end=ends.after(60.0, NOON, "minute"), now=NOON)
    assert one.look("p", NOON - 3600).until == NOON - 3540
    assert not one.ask("p", NOON - 3541).go and one.ask("p", NOON - 3540).go


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", "budget-state-damaged"),
        ('{"version": 1, "at": 0', "budget-state-damaged"),
        ('{"version": 1, "at": 0, "providers": []}', "budget-state-damaged"),
        ('{"version": 1, "at": 0, "providers": {"p": {"state": "open"}}}', "budget-state-damaged"),
        ('{"version": 1, "at": "0", "providers": {}}', "budget-state-damaged"),
        ('{"version": 2, "at": 0}', "budget-state-newer"),
    ],
)
def test_a_damaged_record_is_refused_and_left(tmp_path: Path, text: str, code: str) -> None:
    """Empty, torn, of another shape or newer: told with what to do, and not overwritten."""
    file = tmp_path / "ops" / "budget" / "breakers.json"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    for call in (lambda: breakers(tmp_path).ask("p"), lambda: breakers(tmp_path).report("p", ERROR)):
        with pytest.raises(ConfigError) as refused:
            call()
        assert refused.value.code == code and refused.value.hint
    assert file.read_text() == text
