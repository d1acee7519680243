"""Promises of the host: who holds one, when it ends, and that they never add up to more than there is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import gate, promises, reservations, room, standing
from k1ctl.capacity.need import Need, parse
from k1ctl.capacity.promises import Held
from k1ctl.config import Config
from k1ctl.errors import BusyError, ConfigError
from k1ctl.workspace import Workspace
from tests.kit import Project, finish, wait_until

MIB, GIB = 1 << 20, 1 << 30
DEFAULTS = Config("", {}, {})
HOLDER = """
import sys
from k1ctl.capacity import gate
from k1ctl.capacity.need import parse
from k1ctl.config import load
from k1ctl.workspace import resolve
held = gate.promise(resolve(), load(resolve()), parse(sys.argv[1]), what="held", kind="capacity-run", wait=9.0)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once, and nothing that was looked up is kept."""
    monkeypatch.setattr(standing, "LOOK", 0.01)
    monkeypatch.setattr(room, "FRESH", 0.0)


@pytest.fixture
def here(tmp_path: Path) -> Workspace:
    (tmp_path / "ops").mkdir()
    return Workspace(str(tmp_path), str(tmp_path), "main", str(tmp_path / ".git"))


def ask(here: Workspace, need: str, config: Config = DEFAULTS, **more: object) -> Held:
    return gate.promise(here, config, parse(need), what=need, kind="capacity-run", **more)  # type: ignore[arg-type]


def config(**settings: int) -> Config:
    return Config("", {("capacity", key): value for key, value in settings.items()}, {})


def test_a_promise_is_held_and_given_back(here: Workspace) -> None:
    """Others see what it is; what does not fit beside it is refused with numbers; given back it is free at once."""
    first = ask(here, "mem=40G,cpu=2", class_="large")
    (seen,) = promises.held()
    assert (seen.need, seen.what, seen.class_, seen.pid) == (
        parse("mem=40G,cpu=2"),
        "mem=40G,cpu=2",
        "large",
        os.getpid(),
    )
    with pytest.raises(BusyError) as refused:
        ask(here, "mem=20G")
    assert refused.value.code == "no-capacity" and refused.value.exit_code == 75
    (reason,) = refused.value.details["reasons"]
    assert (reason["need"], reason["promised"], reason["never"]) == (20 * GIB, 40 * GIB, False)
    with pytest.raises(ConfigError) as never:
        ask(here, "mem=60G")
    assert never.value.code == "never-fits"
    first.release()
    assert promises.held() == []
    ask(here, "mem=54G").release()


def test_reduced_grown_and_critical(here: Workspace) -> None:
    """Less is taken where it fits; more is promised in place or not at all; critical is recorded and never waits."""
    first = ask(here, "mem=40G")
    second = ask(here, "mem=100G", reduce=True)
    assert second.promise.need.mem == 14745 * MIB
    with pytest.raises(BusyError):
        first.grow(parse("mem=41G"))
    second.release()
    first.grow(parse("mem=50G"))
    assert [p.units for p in promises.held()] == [{"mem": 50 * 1024}]
    critical = ask(here, "mem=50G", priority="critical")
    assert sum(p.need.mem for p in promises.held()) == 100 * GIB
    critical.release()
    first.release()
    assert os.listdir(os.path.join(promises.folder(), "tickets")) == []


def test_a_killed_holder_frees_at_once(here: Workspace, workspace: Project, quick: None) -> None:
    """kill -9 of who holds it lets the next one in, of another repository on this host."""
    argv = [sys.executable, "-c", HOLDER, "mem=40G"]
    holder = subprocess.Popen(argv, cwd=workspace.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
    told: list[str] = []

    def kill(text: str) -> None:
        told.append(text)
        os.kill(holder.pid, signal.SIGKILL)

    ask(here, "mem=40G", wait=20.0, tell=kill).release()
    assert "40.0 GiB promised to 1" in told[0]
    assert finish(holder) == -signal.SIGKILL
    events = (Path(here.root) / "ops" / "events").glob("*.jsonl")
    kinds = [line.split('"event":"')[1].split('"')[0] for path in events for line in path.read_text().splitlines()]
    assert kinds == ["capacity.waiting", "capacity.granted"]


def test_what_ends_a_wait(here: Workspace, quick: None) -> None:
    """A word on the pipe, or the caller's own will: the place is left, nothing is held."""
    first = ask(here, "mem=40G")
    read, write = os.pipe()
    os.write(write, b"I")
    endings: tuple[dict[str, object], ...] = ({"interrupt": read}, {"stopped": lambda: True})
    for ending in endings:
        for need in ("mem=40G", "mem=54G"):
            with pytest.raises(BusyError) as left:
                ask(here, need, wait=None, **ending)
            assert left.value.code == "left"
    assert len(promises.held(waiting=True)) == 1
    first.release()
    os.close(read)
    os.close(write)


def test_a_limit_that_shrinks_keeps_nobody_waiting(here: Workspace, quick: None) -> None:
    """What fitted when it was asked for waits while it may fit again; what never will leaves the line, so that those
    behind it are served; a build's own figure is cut anew."""
    now = [config(memory=50 * GIB)]

    def asking(soft: bool) -> standing.Asking:
        now[0] = config(memory=50 * GIB)
        place = room.Room(now[0], parse("mem=40G"), kind="capacity-run", soft=soft, reload=lambda: now[0])
        place._stamp = (0, 0, 0)
        found = standing.Asking(here, now[0], place, what="x", run="", class_="", key="")
        found.wait = 20.0
        return found

    first = ask(here, "mem=20G")
    hard = asking(False)
    now[0] = config(memory=30 * GIB)
    with pytest.raises(ConfigError) as never:
        hard.promise()
    assert never.value.code == "never-fits" and hard.room.slots("mem") == 30 * 1024
    soft = asking(True)
    now[0] = config(memory=30 * GIB)
    soft.tell = lambda text: soft.room.need.mem == 30 * GIB and first.release()
    soft.promise().release()
    assert first.ticket is None and soft.room.units == {"mem": 30 * 1024}
    assert promises.held(waiting=True) == []


def test_within_a_promise_nothing_waits_for_itself(
    here: Workspace, monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    """Up to its amount the promise around us covers ours; beyond it there is no wait; a soft need is covered whole."""
    outer = ask(here, "mem=40G")
    monkeypatch.setenv(promises.PROMISE, outer.environment())
    assert gate.look(DEFAULTS, parse("mem=40G"), kind="check").go
    assert gate.look(DEFAULTS, parse("mem=50G"), kind="check").go
    assert not gate.look(DEFAULTS, parse("mem=40G"), kind="check", around=False).go
    inner = ask(here, "mem=40G")
    assert inner.fd < 0 and inner.joined and len(promises.held()) == 1
    with pytest.raises(BusyError):
        ask(here, "mem=50G", config=config(memory=45 * GIB), wait=60.0)
    more = ask(here, "mem=50G")
    assert [p.units["mem"] for p in promises.held()] == [40 * 1024, 10 * 1024]
    more.release()
    soft = ask(here, "mem=50G", soft=True)
    assert soft.fd < 0
    for each in (soft, inner, outer):
        each.release()
    monkeypatch.setenv(promises.PROMISE, outer.mark)  # its run is over: the mark is not believed
    alone = ask(here, "mem=1G")
    assert alone.fd >= 0
    alone.release()


@pytest.mark.parametrize("end", ["deadline", "owner", "worktree", "release"])
def test_a_reservation_ends(end: str, tmp_path: Path) -> None:
    """At its deadline, with its owner's process, with its worktree, or when it is given back; not before."""
    place, tree = promises.folder(), tmp_path / "tree"
    tree.mkdir()
    owner = subprocess.Popen(["sleep", "60"])
    kept = reservations.add(
        place,
        parse("mem=4G"),
        units={"mem": 4096},
        until=time.time() + 1000 if end == "deadline" else None,
        owner=owner.pid if end == "owner" else 0,
        worktree=str(tree) if end == "worktree" else "",
        what="x",
    )
    assert [p.units for p in promises.held()] == [{"mem": 4096}]
    ends: dict[str, Callable[[], object]] = {
        "deadline": lambda: None,
        "owner": owner.kill,
        "worktree": tree.rmdir,
        "release": lambda: reservations.release(place, kept.id),
    }
    ends[end]()
    if end != "owner":
        owner.kill()
    owner.wait()
    assert reservations.held(place, time.time() + (1001 if end == "deadline" else 0)) == []
    with pytest.raises(reservations.ReservationNotFoundError):
        reservations.release(place, "1" if end == "release" else "nothing")


def test_a_reservation_takes_the_place_of_a_promise(here: Workspace) -> None:
    """While the row is there and the promise not given back yet, what both are counts once."""
    promise = ask(here, "mem=54G")
    row = reservations.add(
        promises.folder(), parse("mem=54G"), units=promise.promise.units, until=None, of=promise.promise.run
    )
    assert [p.id for p in promises.held()] == [promise.promise.id]
    ask(here, "mem=400M").release()
    promise.release()
    assert [p.id for p in promises.held()] == [row.id]
    with pytest.raises(BusyError):
        ask(here, "mem=1G")
    reservations.release(promises.folder(), row.id)


def test_when_there_will_be_room() -> None:
    """What a promise uses is free when it ends: the time is that of the first end after which the need fits."""
    place = room.Room(DEFAULTS, parse("mem=30G"), kind="capacity-run")
    place.facts.available -= 44 * GIB
    now = time.time()
    held = [
        promises.Promise(name, parse(need), seen_bytes=parse(need).mem, until=now + left)
        for name, need, left in (("1", "mem=4G", 10), ("2", "mem=40G", 30), ("3", "cpu=1", 50))
    ]
    assert place.expected(held) == pytest.approx(30, abs=1)
    held[1].until = None
    assert place.expected(held) is None


def test_a_stopped_first_one_is_passed_over(
    here: Workspace, quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a host that others fill, the first would be let in whatever it needs; one that does not look keeps nobody."""
    facts = tmp_path / "facts.json"
    facts.write_text(f'{{"cores": 4, "memory_bytes": {64 * GIB}, "available_bytes": {4 * GIB}}}')
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    settings = Config("", {("queue", "stall"): 0.02, ("capacity", "build_percent"): 0}, {})
    first = ask(here, "mem=1G", settings)
    place = room.Room(settings, parse("mem=50G"), kind="capacity-run")
    asking = standing.Asking(here, settings, place, what="x", run="", class_="", key="")
    stopped = asking._ticket(place.units)
    assert not stopped.enqueue()
    signal.set_wakeup_fd(asking.woken_by)
    first.release()
    ask(here, "mem=3G", settings, wait=10.0).release()
    stopped.leave()
    stopped.close()


def test_gpus_are_not_asked_with_the_mutex_held(monkeypatch: pytest.MonkeyPatch) -> None:
    """nvidia-smi takes seconds, in which all others would wait: what is asked for with the mutex held reads no GPU."""
    from k1ctl.capacity import facts

    asked: list[bool] = []
    read = facts.read

    def counted(*, gpus: bool = False) -> facts.Facts:
        asked.append(gpus)
        return read()

    monkeypatch.setattr(facts, "read", counted)
    monkeypatch.setattr(room, "FRESH", 0.0)
    place = room.Room(DEFAULTS, parse("gpu=1G"), kind="capacity-run")
    place.facts.gpus = [{"name": "x", "memory_bytes": 8 * GIB, "used_bytes": 0}]
    place.refresh(gpus=False)
    assert place.slots("gpu") == 8 * 1024
    place.refresh()
    assert asked == [True, False, False, True]


def test_what_cannot_be_reduced_never_fits(here: Workspace) -> None:
    """--reduce waits for what may fit one day; more agents than there may be are refused at once."""
    with pytest.raises(ConfigError) as never:
        ask(here, "mem=1G,agents=3", config(agents=2), reduce=True, wait=None)
    assert never.value.code == "never-fits"


def test_a_damaged_file_of_reservations_promises_nothing(here: Workspace) -> None:
    """Rows that are none are left out, the others count; a file that is no list is as none."""
    place = promises.folder()
    kept = reservations.add(place, parse("mem=4G"), units={"mem": 4096}, until=None)
    path = Path(place) / reservations.FILE
    text = path.read_text()
    path.write_text(text.replace("[", '[{"id":1},7,{"id":"x","units":{"mem":-5}},', 1))
    assert [p.id for p in promises.held()] == [kept.id]
    for broken in ("{}", "[", ""):
        path.write_text(broken)
        assert promises.held() == []


@settings(max_examples=12)
@given(
    st.lists(
        st.tuples(st.sampled_from(["take", "give", "reserve", "free"]), st.integers(1, 30_000)), min_size=1, max_size=12
    )
)
def test_promises_and_reservations_never_pass_the_limit(steps: list[tuple[str, int]]) -> None:
    """Whatever is taken, given back, reserved and freed: at most 54.4 GiB of this host of 64 are promised."""
    place = promises.folder()
    here = Workspace(place, place, "main", place)
    os.makedirs(place, exist_ok=True)
    ours: list[Held] = []
    rows: list[str] = []
    for step, mib in steps:
        if step == "give" and ours:
            ours.pop(mib % len(ours)).release()
        elif step == "free" and rows:
            reservations.release(place, rows.pop(mib % len(rows)))
        elif step in ("take", "reserve"):
            before = sum(p.units["mem"] for p in promises.held())
            try:
                held = gate.promise(here, DEFAULTS, Need(mib * MIB), what="x", kind="capacity-run")
            except BusyError:
                assert before + mib > 55705
                continue
            if step == "take":
                ours.append(held)
            else:
                kept = reservations.add(place, held.promise.need, units=held.promise.units, until=None)
                rows.append(kept.id)
                held.release()
        assert sum(p.units["mem"] for p in promises.held()) <= 55705
    for held in ours:
        held.release()
    for row in rows:
        reservations.release(place, row)
    assert wait_until(lambda: promises.held() == [])
