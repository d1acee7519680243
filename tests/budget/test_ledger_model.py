"""The ledger against a model that keeps everything in a list: whatever is done in whatever order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from k1ctl.budget.days import day_of, hour_of
from k1ctl.budget.holds import HoldEndedError
from k1ctl.budget.tokens import Usage
from k1ctl.budget.verify import verify
from k1ctl.errors import BusyError
from tests.budget.ledgers import Clock, ledger

LIMITS = {"day": 100, "agent": 60, "task": 90, "hour": 80, "pool": 50}
TEXT = "day = 100\nagent_day = 60\ntask = 90\nhour = 80\nreserve_pool = 10\n[budget.pools]\nweb = 50"
AGENTS, TASKS, POOLS = ("a", "b"), ("", "t"), ("", "web")


class Kept:
    """A hold as the model has it."""

    def __init__(self, tokens: int, keys: list[tuple[str, Any]], until: float) -> None:
        self.tokens, self.keys, self.until, self.state = tokens, keys, until, "open"


class Books(RuleBasedStateMachine):
    holds: Bundle[str] = Bundle("holds")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.clock = Clock(1_780_000_000.0 // 86400 * 86400 + 20 * 3600)
        self.ledger = ledger(Path(self.folder), TEXT, clock=self.clock)
        self.kept: dict[str, Kept] = {}
        self.spent: list[tuple[list[tuple[str, Any]], int]] = []
        self.messages: dict[str, tuple[list[tuple[str, Any]], int]] = {}

    def keys(self, agent: str, task: str, pool: str) -> list[tuple[str, Any]]:
        day = day_of(self.clock.wall, "UTC")
        found: list[tuple[str, Any]] = [("day", day), ("agent", (day, agent)), ("hour", hour_of(self.clock.wall))]
        return found + ([("task", task)] if task else []) + ([("pool", (day, pool))] if pool else [])

    def used(self, key: tuple[str, Any]) -> int:
        held = sum(k.tokens for k in self.kept.values() if k.state == "open" and key in k.keys)
        return held + sum(n for keys, n in self.spent if key in keys)

    def fits(self, need: int, keys: list[tuple[str, Any]], critical: bool) -> bool:
        less = 0 if critical else 10
        return all(self.used(k) + need <= LIMITS[k[0]] - (less if k[0] == "day" else 0) for k in keys)

    def expire(self) -> None:
        for kept in self.kept.values():
            if kept.state == "open" and self.clock.monotonic >= kept.until:
                kept.state = "lost"

    @rule(
        target=holds,
        need=st.integers(1, 45),
        agent=st.sampled_from(AGENTS),
        task=st.sampled_from(TASKS),
        pool=st.sampled_from(POOLS),
        critical=st.booleans(),
        ttl=st.sampled_from([60, 4000]),
    )
    def reserve(self, need: int, agent: str, task: str, pool: str, critical: bool, ttl: int) -> str:
        keys = self.keys(agent, task, pool)
        if not self.fits(need, keys, critical):
            self.expire()  # only who is about to be refused looks
        expected = self.fits(need, keys, critical)
        try:
            hold = self.ledger.reserve(need, agent=agent, task=task, pool=pool, critical=critical, ttl=ttl)
        except BusyError as exc:
            assert not expected, exc
            return ""
        assert expected
        self.kept[hold.id] = Kept(need, keys, self.clock.monotonic + ttl)
        return hold.id

    @rule(id=holds, used=st.integers(0, 70))
    def settle(self, id: str, used: int) -> None:
        kept = self.kept.get(id)
        if kept is None:
            return
        settled = self.ledger.settle(id, used)
        assert settled.again == (kept.state == "settled")
        if not settled.again:
            assert settled.late == (kept.state != "open") and settled.overrun == max(0, used - kept.tokens)
            self.spent.append((kept.keys, used))
        kept.state = "settled"

    @rule(id=holds)
    def release(self, id: str) -> None:
        kept = self.kept.get(id)
        if kept is not None:
            assert self.ledger.release(id).again == (kept.state != "open")
            kept.state = "released" if kept.state == "open" else kept.state

    @rule(id=holds, ttl=st.sampled_from([30, 5000]))
    def extend(self, id: str, ttl: int) -> None:
        kept = self.kept.get(id)
        if kept is None:
            return
        try:
            self.ledger.extend(id, ttl)
        except HoldEndedError:
            assert kept.state != "open"
            return
        assert kept.state == "open"
        kept.until = max(kept.until, self.clock.monotonic + ttl)

    @rule(message=st.sampled_from(["m1", "m2"]), used=st.integers(1, 9), agent=st.sampled_from(AGENTS))
    def book(self, message: str, used: int, agent: str) -> None:
        keys, before = self.messages.get(message, (self.keys(agent, "", ""), 0))
        added = self.ledger.book(Usage(input=used), agent=agent, message_id=message)
        assert added == max(0, used - before)
        self.messages[message] = keys, max(used, before)
        self.spent.append((keys, added))

    @rule(seconds=st.sampled_from([59, 3600, 4 * 3600]))
    def time_passes(self, seconds: int) -> None:
        self.clock.pass_(seconds)

    @rule(seconds=st.sampled_from([-7200, 7200]))
    def clock_is_set(self, seconds: int) -> None:
        self.clock.wall += seconds

    @rule()
    def another_process(self) -> None:
        self.ledger.state.close()

    @rule()
    def reclaim(self) -> None:
        self.ledger.reclaim()
        self.expire()

    @invariant()
    def sums(self) -> None:
        states = {hold.id for hold in self.ledger.holds()}
        assert states == {id for id, kept in self.kept.items() if kept.state == "open"}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            proof = verify(self.ledger.state)
            assert not proof.wrong, proof.differences
            assert proof.tokens == sum(n for _, n in self.spent)
            self.ledger.state.close()
            shutil.rmtree(self.folder)


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)
