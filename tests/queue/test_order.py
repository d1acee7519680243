"""The order of service: priority, then number; several resources all together; never more than there are slots."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from k1ctl.queue import view
from tests.queue.owners import Owners

SLOTS = {"a": 1, "b": 2, "c": 3}
NEEDS = st.sampled_from(
    [
        {"a": 1},
        {"a": 1},
        {"b": 1},
        {"b": 2},
        {"c": 1},
        {"c": 2},
        {"a": 1, "b": 1},
        {"b": 1, "c": 2},
        {"a": 1, "b": 2, "c": 3},
    ]
)
PRIORITY = st.sampled_from([10, 30, 50, 50, 50, 70])


class Order(RuleBasedStateMachine):
    """Real processes in line beside a model of the rules: after every step the same ones hold leases."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="k1ctl-order-"))
        self.owners = Owners(self.folder, SLOTS)
        self.place: dict[int, tuple[int, int]] = {}  # waiting owner -> (priority, number)
        self.running: set[int] = set()
        self.paused: set[str] = set()
        self.last = 0

    def teardown(self) -> None:
        self.owners.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def _serve(self) -> None:
        """The rules: in order, whoever has room gets in; whoever has not keeps those behind from what he claims."""
        free = dict(SLOTS)
        for owner in self.running:
            for resource, count in self.owners.needs[owner].items():
                free[resource] -= count
        for owner in sorted(self.place, key=lambda o: self.place[o]):
            needs = self.owners.needs[owner]
            if not self.paused.isdisjoint(needs):
                continue
            if all(free[r] >= n for r, n in needs.items()):
                self.running.add(owner)
                del self.place[owner]
            for resource, count in needs.items():
                free[resource] -= count

    def _settle(self) -> None:
        self._serve()
        self.owners.until(
            lambda: self.owners.now("granted") == self.running and self.owners.now("waiting") == set(self.place),
            f"running {self.running}, waiting {sorted(self.place)}",
        )

    @rule(needs=NEEDS, priority=PRIORITY)
    def enqueue(self, needs: dict[str, int], priority: int) -> None:
        owner = self.owners.enqueue(needs, priority)
        number = self.owners.number[owner]
        assert number > self.last, "numbers only grow"
        self.last = number
        self.place[owner] = (priority, number)
        self._settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.running)))
        self.running.remove(owner)
        self.owners.end(owner)
        self._settle()

    @precondition(lambda self: self.running or self.place)
    @rule(data=st.data())
    def kill(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted({*self.running, *self.place})))
        self.running.discard(owner)
        self.place.pop(owner, None)
        self.owners.kill(owner)
        self._settle()

    @precondition(lambda self: self.place)
    @rule(data=st.data())
    def leave_or_cancel(self, data: st.DataObject) -> None:
        owner = data.draw(st.sampled_from(sorted(self.place)))
        self.place.pop(owner)
        if data.draw(st.booleans()):
            assert view.cancel(str(self.folder), self.owners.number[owner], "a test")
            self.owners.until(lambda: self.owners.state[owner] == "queue-cancelled", "cancelled")
        else:
            self.owners.end(owner)
        self._settle()

    @rule(resource=st.sampled_from(sorted(SLOTS)))
    def pause_or_resume(self, resource: str) -> None:
        if resource in self.paused:
            self.paused.remove(resource)
            assert view.resume(str(self.folder), resource)
        else:
            self.paused.add(resource)
            assert view.pause(str(self.folder), resource, "")
        self._settle()

    @invariant()
    def nothing_is_over_its_slots(self) -> None:
        assert self.owners.over == []

    @invariant()
    def the_folder_says_the_same(self) -> None:
        rows = {row["ticket"]: row["state"] for row in view.entries(str(self.folder))}
        number = self.owners.number
        assert {n for n, s in rows.items() if s == "running"} == {number[o] for o in self.running}
        assert [n for n, s in rows.items() if s == "waiting"] == [
            number[o] for o in sorted(self.place, key=lambda o: self.place[o])
        ]


Order.TestCase.settings = settings(
    max_examples=25,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[p for p in Phase if p not in (Phase.shrink, Phase.explain)],  # each failing step costs the whole timeout
)
TestOrder = Order.TestCase
