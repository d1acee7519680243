"""Choices: a ticket that may take any of several devices gets one of them, in its turn, whoever is killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from k1ctl.queue import names, service, view, watch
from k1ctl.queue.order import Room, eligible
from tests.queue.owners import Owners, files
from tests.queue.test_wake_ups import storm

SLOTS = {"device:a": 1, "device:b": 1, "device:c": 2, "build": 1}
DEVICES = [r for r in SLOTS if r != "build"]
ANY = "device:a~b~c"
NEEDS = [
    {"device:a": 1},
    {"device:b": 1},
    {"device:c": 1},
    {"device:c": 2},
    {"device:a~b": 1},
    {"device:b~a": 1},
    {"device:b~a": 1},
    {ANY: 1},
    {"device:c~a": 1, "build": 1},
    {"device:a": 1, "build": 1},
    {"build": 1},
]
TICKET = st.tuples(
    st.sampled_from([10, 50, 50, 70]), st.sampled_from(NEEDS), st.sampled_from([True, True, True, False])
)


def serve(line: list[tuple[int, dict[str, int]]], free: dict[str, int], paused: set[str]) -> dict[int, dict[str, int]]:
    """The rules, spelled out: {who: what it gets} of a line of the living. A choice is tried as each of its
    alternatives in turn; one that is not served keeps those behind from what it would take next.
    """
    got: dict[int, dict[str, int]] = {}
    for who, needs in line:
        fixed = {r: n for r, n in needs.items() if "~" not in r}
        open_ones = [
            (r, n)
            for choice, n in needs.items()
            if "~" in choice
            for r in names.alternatives(choice)
            if r not in paused
        ]
        if paused & fixed.keys() or (len(fixed) < len(needs) and not open_ones):
            continue
        tries = [{**fixed, r: n} for r, n in open_ones] or [fixed]
        by_room = sorted(open_ones, key=lambda each: min(free[each[0]] - each[1], 0), reverse=True)  # stable: in order
        claim = {**fixed, by_room[0][0]: by_room[0][1]} if by_room else fixed
        assert claim in tries
        if all(free[r] >= n for r, n in claim.items()):
            got[who] = claim
        for resource, count in claim.items():
            free[resource] -= count
    return got


@given(
    tickets=st.lists(TICKET, max_size=9),
    held=st.lists(st.sampled_from(DEVICES), max_size=3),
    paused=st.sets(st.sampled_from(sorted(SLOTS)), max_size=2),
)
def test_who_gets_what(tickets: list[tuple[int, dict[str, int], bool]], held: list[str], paused: set[str]) -> None:
    """The engine serves as the rules say: the dead do not count, nothing is given twice, nobody who could have a free
    device waits unless one ahead is to have it, and those behind change nothing for those ahead."""
    free = {r: max(0, slots - held.count(r)) for r, slots in SLOTS.items()}
    rows = [names.Name(names.build("w", p, i + 1, 9, "", needs)) for i, (p, needs, _) in enumerate(tickets)]
    living = {n.seq for n, (_, _, lives) in zip(rows, tickets, strict=True) if lives}
    line = sorted(rows, key=lambda n: n.file)

    def engine(who: list[names.Name]) -> dict[int, dict[str, int]]:
        return {n.seq: w for n, w in eligible(who, Room(free.__getitem__), paused, lambda n: n.seq in living)}

    got = engine([n for n in line if n.seq in living])
    assert got == serve([(n.seq, n.needs) for n in line if n.seq in living], dict(free), paused)
    assert engine(line) == got
    used = {r: sum(w.get(r, 0) for w in got.values()) for r in SLOTS}
    assert all(used[r] <= free[r] for r in SLOTS)
    for at, name in enumerate(line):
        before = engine([n for n in line[: at + 1] if n.seq in living])
        assert before.get(name.seq) == got.get(name.seq)
    if not any("build" in n.needs or "=2" in n.file for n in line):
        for name in line:
            if name.seq in living and name.seq not in got:
                assert all(r in paused or used[r] == free[r] for r in name.lines), "a device was left free"


class Choices(RuleBasedStateMachine):
    """Real processes beside the rules above: after every step the same ones hold the same devices."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="k1ctl-choice-"))
        self.owners = Owners(self.folder, SLOTS)
        self.place: dict[int, tuple[int, int]] = {}  # waiting owner -> (priority, number)
        self.running: dict[int, dict[str, int]] = {}
        self.out: set[str] = set()

    def teardown(self) -> None:
        self.owners.__exit__(None, None, None)
        shutil.rmtree(self.folder)

    def _settle(self) -> None:
        free = {r: n - sum(held.get(r, 0) for held in self.running.values()) for r, n in SLOTS.items()}
        line = [(o, self.owners.asked[o]) for o in sorted(self.place, key=lambda o: self.place[o])]
        served = serve(line, free, self.out)
        for owner in served:
            del self.place[owner]
        self.running |= served
        self.owners.until(
            lambda: self.owners.now("granted") == set(self.running) and self.owners.now("waiting") == set(self.place),
            f"running {self.running}, waiting {sorted(self.place)}",
        )
        assert {o: self.owners.needs[o] for o in self.running} == self.running

    @rule(needs=st.sampled_from(NEEDS), priority=st.sampled_from([10, 50, 50, 50, 70]))
    def enqueue(self, needs: dict[str, int], priority: int) -> None:
        owner = self.owners.enqueue(needs, priority)
        self.place[owner] = (priority, self.owners.number[owner])
        self._settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["end", "kill", "kill"]))
    def a_device_is_free_again(self, data: st.DataObject, how: str) -> None:
        owner = data.draw(st.sampled_from(sorted(self.running)))
        del self.running[owner]
        getattr(self.owners, how)(owner)
        self._settle()

    @precondition(lambda self: self.place)
    @rule(data=st.data(), how=st.sampled_from(["end", "kill"]))
    def a_waiter_goes(self, data: st.DataObject, how: str) -> None:
        owner = data.draw(st.sampled_from(sorted(self.place)))
        del self.place[owner]
        getattr(self.owners, how)(owner)
        self._settle()

    @precondition(lambda self: self.place)
    @rule(data=st.data(), priority=st.sampled_from(["", "", "high", "low"]))
    def a_waiter_is_bumped(self, data: st.DataObject, priority: str) -> None:
        owner = data.draw(st.sampled_from(sorted(self.place)))
        moved = view.bump(str(self.folder), self.owners.number[owner], priority)
        assert moved is not None
        self.place[owner] = (moved[1].priority, moved[1].seq)
        self._settle()

    @rule(device=st.sampled_from(DEVICES))
    def out_of_service_and_back(self, device: str) -> None:
        folder, name = str(self.folder), device.partition(":")[2]
        if device in self.out:
            self.out.remove(device)
            assert service.enable(folder, name)
        else:
            self.out.add(device)
            assert service.disable(folder, name, "a test", "a test")
        self._settle()

    @invariant()
    def nothing_is_over_its_slots(self) -> None:
        assert self.owners.over == []


Choices.TestCase.settings = settings(
    max_examples=8,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[p for p in Phase if p not in (Phase.shrink, Phase.explain)],  # each failing step costs the whole timeout
)
TestChoices = Choices.TestCase


def test_who_stood_behind_a_choice_notices_the_death_of_the_other_device_s_holder(tmp_path: Path) -> None:
    """A choice that was let in for one device is out of the other line: its holder is watched again."""
    with Owners(tmp_path, SLOTS) as owners:
        holders = [owners.enqueue({"device:a": 1}), owners.enqueue({"device:b": 1})]
        chooser = owners.enqueue({"device:a~b": 1})
        behind = owners.enqueue({"device:b": 1})
        owners.end(holders[0])
        owners.until(lambda: owners.state[chooser] == "granted", "the choice is served")
        assert owners.needs[chooser] == {"device:a": 1}
        owners.kill(holders[1])
        owners.until(lambda: owners.state[behind] == "granted", "the one behind it is served", timeout=3)


@pytest.mark.parametrize("device", ["device:a", "device:b"])
@pytest.mark.parametrize("how", ["kill", "end", "enable"])
def test_each_alternative_wakes_a_choice(tmp_path: Path, device: str, how: str) -> None:
    """Whichever device is released, loses its holder to kill -9, or comes into service again: the choice gets it."""
    with Owners(tmp_path, SLOTS) as owners:
        holders = {r: owners.enqueue({r: 1}) for r in ("device:a", "device:b")}
        name = device.partition(":")[2]
        if how == "enable":
            service.disable(str(tmp_path), name, "a test", "a test")
            owners.end(holders[device])
        chooser = owners.enqueue({"device:a~b": 1})
        assert owners.state[chooser] == "waiting"
        service.enable(str(tmp_path), name) if how == "enable" else getattr(owners, how)(holders[device])
        owners.until(lambda: owners.state[chooser] == "granted", "the choice is served")
        assert owners.needs[chooser] == {device: 1}
        assert [file for file in files(tmp_path) if file.endswith(f"{device}=1")], files(tmp_path)


def test_waiters_move_on_from_a_device_out_of_service(tmp_path: Path) -> None:
    """Who may have another device takes that, also past one who waits for the disabled one; he keeps his place."""
    with Owners(tmp_path, SLOTS) as owners:
        holder = owners.enqueue({"device:a": 1})
        other = owners.enqueue({"device:b": 1})
        first, chooser = owners.enqueue({"device:a": 1}), owners.enqueue({"device:a~b": 1})
        service.disable(str(tmp_path), "a", "its cable", "a test")
        owners.end(holder)
        owners.end(other)
        owners.until(lambda: owners.state[chooser] == "granted", "the choice is served")
        assert owners.needs[chooser] == {"device:b": 1}
        stands = view.standing(str(tmp_path), owners.number[first], lambda r: 1)
        assert stands is not None
        assert stands.paused["device:a"].startswith("out of service: its cable (a test, since ")
        service.enable(str(tmp_path), "a")
        owners.until(lambda: owners.state[first] == "granted", "the first is served")


def test_a_disabled_device_and_a_paused_one_are_told_apart(tmp_path: Path) -> None:
    """Each is undone by its own: enabling leaves a pause, resuming leaves a device out of service."""
    folder = str(tmp_path)
    assert service.disable(folder, "a", "its cable", "me")
    assert not service.disable(folder, "a", "its plug", "you"), "out of service already"
    assert view.pause(folder, "device:a", "lunch")
    assert view.pauses(folder) == {"device:a": "lunch"}
    out = service.out_of_service(folder)["a"]
    assert (out["reason"], out["by"]) == ("its plug", "you")
    assert view.paused(folder)["device:a"] == f"out of service: its plug (you, since {out['since']})"
    assert view.resume(folder, "device:a")
    assert service.out_of_service(folder) == {"a": out}
    assert view.pause(folder, "device:a", "lunch")
    assert service.enable(folder, "a")
    assert not service.enable(folder, "a")
    assert view.paused(folder) == {"device:a": "lunch"}


def test_the_place_of_a_killed_choice_is_taken_over(tmp_path: Path) -> None:
    """Parked it claims nothing; the same key goes on where it stood, before those who came later."""
    with Owners(tmp_path, SLOTS) as owners:
        holders = [owners.enqueue({r: 1}) for r in ("device:a", "device:b")]
        chooser = owners.enqueue({"device:a~b": 1}, key="k")
        later = [owners.enqueue({r: 1}) for r in ("device:a", "device:b", "device:a")]
        owners.kill(chooser)
        owners.end(holders[0])
        owners.until(lambda: owners.state[later[0]] == "granted", "a parked place is passed over")
        again = owners.enqueue({"device:a~b": 1}, key="k")
        assert again in owners.resumed
        assert owners.number[again] == owners.number[chooser]
        owners.kill(holders[1])
        owners.until(lambda: owners.state[again] == "granted", "it is before those who came later")
        assert owners.needs[again] == {"device:b": 1}
        owners.kill(again)
        owners.until(lambda: owners.state[later[1]] == "granted", "a lease that is killed frees its device")
        assert owners.over == []


def test_a_stopped_choice_is_passed_over_and_keeps_its_place(tmp_path: Path) -> None:
    """Devices that it does not take go to those behind it; going on, it is served next."""
    with Owners(tmp_path, SLOTS, stall=0.1, net=True) as owners:
        holders = [owners.enqueue({r: 1}) for r in ("device:a", "device:b")]
        chooser = owners.enqueue({"device:a~b": 1})
        behind = [owners.enqueue({"device:a": 1}), owners.enqueue({"device:b~a": 1})]
        owners.signal(chooser, signal.SIGSTOP)
        for holder in holders:
            owners.end(holder)
        owners.until(lambda: owners.now("granted") == set(behind), "both devices are used")
        owners.signal(chooser, signal.SIGCONT)
        owners.end(behind[1])
        owners.until(lambda: owners.state[chooser] == "granted", "the choice is served")
        assert owners.over == []


def test_a_choice_keeps_what_it_needs_beside(tmp_path: Path) -> None:
    """Who waits for that other thing alone does not pass it; where its devices are out of service it claims nothing."""
    with Owners(tmp_path, SLOTS, stall=0.0) as owners:
        holders = [owners.enqueue({r: 1}) for r in ("device:a", "device:b")]
        chooser, behind = owners.enqueue({"device:a~b": 1, "build": 1}), owners.enqueue({"build": 1})
        assert owners.state[behind] == "waiting", "the choice is no idle one: both its devices are held"
        owners.end(holders[0])
        owners.until(lambda: owners.state[chooser] == "granted", "the choice is served")
        assert owners.needs[chooser] == {"device:a": 1, "build": 1}
        owners.end(chooser)
        owners.until(lambda: owners.state[behind] == "granted", "the one behind it is served")
    with Owners(tmp_path, SLOTS) as owners:
        for device in "ab":
            service.disable(str(tmp_path), device, "a test", "a test")
        chooser = owners.enqueue({"device:a~b": 1, "build": 1})
        assert owners.state[owners.enqueue({"build": 1})] == "granted"
        assert owners.state[chooser] == "waiting"


def test_who_is_near_the_head_of_a_line_looks_often(tmp_path: Path) -> None:
    """Also where a choice ties that line to a long one: one that is stopped ahead delays it by seconds only."""
    text = """import sys
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
line = Line(sys.argv[1])
for need in sys.argv[2:]:
    ticket = Ticket(line, {need: 1}, lambda r: 1)
    ticket.enqueue() or print(ticket._watch.net)"""
    asked = ["device:a", "device:b", *["device:b"] * 8, "device:a~b", "device:a"]
    done = subprocess.run([sys.executable, "-c", text, tmp_path, *asked], stdout=subprocess.PIPE, text=True, check=True)
    nets = [float(word) for word in done.stdout.split()]
    assert nets[-1] == watch.NEAR_NET
    assert nets[6] > 10 * watch.NEAR_NET, "those far behind leave the others alone"


def test_several_slots_keep_being_watched_beside_a_ticket_for_several_resources(tmp_path: Path) -> None:
    """With a slot taken by the one ahead, the death of the other slot's holder wakes the next, whoever else waits."""
    with Owners(tmp_path, {"c": 2}) as owners:
        holders = [owners.enqueue({"c": 1}), owners.enqueue({"c": 1}), owners.enqueue({"x": 1})]
        waiters = [owners.enqueue({"c": 1}), owners.enqueue({"c": 1})]
        owners.enqueue({"x": 1, "y": 1})
        owners.end(holders[0])
        owners.until(lambda: owners.state[waiters[0]] == "granted", "the first waiter is served")
        owners.kill(holders[1])
        owners.until(lambda: owners.state[waiters[1]] == "granted", "the second one is served")


def test_a_storm_of_choices_leaves_nobody_behind(tmp_path: Path) -> None:
    """Specific and open tickets under random kills, every safety net cut: all are served, no device is given twice."""
    with storm(tmp_path, seed=1, clients=50, slots=SLOTS, wants=NEEDS) as owners:
        assert owners.over == []
        assert set(owners.state.values()) <= {"released", "killed", "queue-cancelled"}
        assert owners.state[owners.enqueue({ANY: 1})] == "granted"
