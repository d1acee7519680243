"""The usual load from constructed history: what comes back, what is a default, and what damage does not do."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import events
from k1ctl.capacity import calibrate, growth, turnlog
from k1ctl.capacity.calibrate import Calibration, usual
from k1ctl.config import load
from k1ctl.units import parse_rfc3339, rfc3339
from k1ctl.workspace import Workspace
from tests.kit import Project

BEGAN = parse_rfc3339("2026-03-02T08:00:00.000Z")


class History:
    """Events as runs write them."""

    def __init__(self, ops: Path) -> None:
        self.ops, self.runs = ops, 0
        self.lines: dict[str, list[str]] = {}

    def event(self, at: float, name: str, **fields: Any) -> None:
        text = rfc3339(at)
        line = json.dumps({"at": text, "event": name, **fields}, separators=(",", ":"))
        self.lines.setdefault(text[:10], []).append(line)

    def work(self, workspace: str, kind: str, resource: str, asked: float, wait: float, seconds: float) -> float:
        """One run; returns its end."""
        self.runs += 1
        run, began = f"r{self.runs}", asked + wait
        who = {"workspace": workspace, "run": run}
        self.event(began, "queue.granted", **who, ticket=1, resources={resource: 1}, wait_seconds=wait)
        if kind == "build":
            self.event(began + seconds, "build.finished", **who, exit_code=0, target="fw", seconds=seconds)
        self.event(began + seconds, "run.ended", **who, kind=kind, exit_code=0, wait_seconds=wait)
        return began + seconds

    def save(self) -> None:
        folder = self.ops / "events"
        folder.mkdir(parents=True, exist_ok=True)
        for day, lines in self.lines.items():
            (folder / f"{day}.jsonl").write_text("\n".join(lines) + "\n")


class Place:
    """A root without a repository: only its ops/ is read."""

    def __init__(self, root: Path) -> None:
        self.root, self.ops = root, root / "ops"

    def write(self, name: str, text: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def calibrated(place: Place, **options: Any) -> Calibration:
    workspace = Workspace(str(place.root), str(place.root), "w")
    return usual(workspace, load(workspace), **{"days": 36500} | options)


def origins(found: Calibration) -> dict[str, tuple[str, int]]:
    return {p.name: (p.origin, p.samples) for p in found.parameters}


def a_week(place: Place, *, workspaces: int = 3, turns: int = 30, seed: int = 1) -> None:
    """Workspaces that think 600 s, build 100 s (constant wait of 5 s), and upload 20 s after two builds in three."""
    history, rnd = History(place.ops), Random(seed)
    for w in range(workspaces):
        at = BEGAN + w
        for n in range(turns):
            end = history.work(f"w{w}", "build", "build:fw", at, 5.0, rnd.uniform(50, 150))
            if n % 3:
                end = history.work(f"w{w}", "upload", "device:k1", end, 2.0, 20.0)
            at = end + rnd.expovariate(1 / 600)
    history.save()


def test_without_history_everything_is_the_annexs(place: Place) -> None:
    """No events: the mixed load with this configuration's slots and devices; nothing pretends to be measured."""
    place.write(
        "ops/k1ctl.toml",
        '[queue.slots]\n"build:fw" = 3\n[devices.a]\nhost = "a.local"\n[devices.b]\nhost = "b.local"\n',
    )
    found = calibrated(place)
    model = found.model
    assert (model.agents, model.think, model.upload, model.devices) == (12, 840.0, 42.0, 2)
    assert [(k.name, k.slots, k.seconds, k.uploads) for k in model.kinds] == [("build:fw", 3, 270.0, 0.6)]
    assert {p.origin for p in found.parameters} == {"default", "configured"}
    assert found.document()["observed"] is None


def test_what_was_recorded_is_what_comes_back(place: Place) -> None:
    """90 turns of 3 workspaces: means, shares, think times and what was observed, each with its samples."""
    a_week(place)
    found = calibrated(place)
    model, told = found.model, origins(found)
    assert model.kinds[0].seconds == pytest.approx(100, rel=0.08)
    assert model.kinds[0].cv == pytest.approx(0.29, abs=0.05)
    assert model.kinds[0].uploads == pytest.approx(2 / 3)
    assert (model.upload, model.upload_cv) == (pytest.approx(20.0, abs=0.01), pytest.approx(0.0, abs=0.01))
    assert model.think == pytest.approx(600, rel=0.25)
    assert model.think_cv == pytest.approx(1, abs=0.25)
    assert told["build:fw"] == ("history", 90)
    assert told["upload"] == ("history", 60)
    assert told["think"] == ("history", 87)
    assert told["build:fw slots"] == ("configured", 0)
    seen = found.observed
    assert (seen.turns, seen.uploads, seen.workspaces) == (90, 60, 3)
    assert (seen.wait, seen.wait_p90) == (pytest.approx(5.0, abs=0.01), pytest.approx(5.0, abs=0.01))
    assert seen.upload_p90 == pytest.approx(22.0, abs=0.01)
    assert found.hours.at_once == 3


def test_agents_of_history_are_as_many_as_can_be_asked_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Workspaces in one hour beyond the limit of --agents: the limit, so that a plan takes bounded time."""
    monkeypatch.setattr(calibrate, "AGENTS", 2)
    monkeypatch.setattr(calibrate, "HOURS", 2)
    a_week(place)
    assert calibrated(place).model.agents == 2


def test_nights_are_no_thinking_and_overlaps_neither(place: Place) -> None:
    """A gap of more than two hours, and a build that was asked for before the last ended, give no think time."""
    history = History(place.ops)
    end = history.work("w", "build", "build:fw", BEGAN, 0.0, 100.0)
    end = history.work("w", "build", "build:fw", end + 60, 0.0, 100.0)
    end = history.work("w", "build", "build:fw", end + 7201, 0.0, 100.0)
    history.work("w", "build", "build:fw", end - 50, 0.0, 100.0)
    history.save()
    log = turnlog.read(str(place.ops))
    assert [t.think for t in turnlog.turns(log.works, lambda r: True)] == [
        pytest.approx(60, abs=0.01),
        None,
        None,
        None,
    ]


def test_a_wait_for_promised_memory_is_a_wait(place: Place) -> None:
    """Ten seconds for a slot and five for memory behind it: the turn began fifteen before the command, by events and by
    the record alike."""
    history = History(place.ops)
    history.event(BEGAN + 15, "capacity.granted", workspace="w", run="r1", wait_seconds=5.0)
    history.work("w", "build", "build:fw", BEGAN + 5, 10.0, 100.0)
    history.save()
    clock = {"enqueued": 1.0, "granted": 11.0, "admitted": 16.0, "started": 16.0, "ended": 116.0, "released": 116.0}
    kept = {"run": "s", "kind": "build", "workspace": "v", "resources": {"build:fw": 1}, "wait_seconds": 10.0}
    kept |= {"ended_at": rfc3339(BEGAN + 115), "monotonic": clock}
    place.write("ops/runs/s/run.json", json.dumps(kept))
    for turn in turnlog.turns(turnlog.read(str(place.ops)).works, lambda resource: True):
        assert (turn.begun, turn.wait, turn.build) == (
            pytest.approx(BEGAN),
            pytest.approx(15, abs=0.01),
            pytest.approx(100, abs=0.01),
        )


def test_two_kinds_of_builds_share_the_turns(place: Place) -> None:
    """Twelve of fw and twenty-four of web: both are kinds, a third and two thirds; nine of another are not enough."""
    history, at = History(place.ops), BEGAN
    for name, number in (("build:fw", 12), ("build:web", 24), ("build:rare", 9)):
        for _ in range(number):
            at = 60 + history.work("w", "build", name, at, 0.0, 30.0)
    history.save()
    kinds = calibrated(place).model.kinds
    assert [(k.name, round(k.share, 3)) for k in kinds] == [("build:web", 0.667), ("build:fw", 0.333)]


def test_forecasts_stand_in_where_events_are_gone(place: Place) -> None:
    """ops/builds/fw/*.seconds, else the queue's holds, give the build time; with too few of either it is a default."""
    place.write("ops/queue/history/build:fw", "40.0\n" * 12)
    found = calibrated(place)
    assert (found.model.kinds[0].seconds, origins(found)["build:fw"]) == (40.0, ("history", 12))
    place.write("ops/builds/fw/esp32.seconds", "1 90.0\n0 30.0\nrubbish\n" * 6)
    assert calibrated(place).model.kinds[0].seconds == 60.0
    assert calibrated(place, history=False).model.kinds[0].seconds == 270.0


def test_records_of_runs_fill_what_events_do_not_tell(place: Place) -> None:
    """A run.json whose run has no event counts; one that never was let in, and damaged ones, do not."""
    clock = {"enqueued": 1.0, "granted": 3.0, "started": 3.0, "ended": 103.0, "released": 103.0}
    kept = {"run": "r", "kind": "build", "workspace": "w", "resources": {"build:fw": 1}, "wait_seconds": 2.0}
    kept |= {"ended_at": rfc3339(BEGAN + 102), "monotonic": clock}
    place.write("ops/runs/r/run.json", json.dumps(kept))
    place.write("ops/runs/s/run.json", json.dumps(kept | {"run": "s", "monotonic": {"enqueued": 1.0}}))
    place.write("ops/runs/t/run.json", json.dumps(kept | {"run": "t", "resources": 7}))
    place.write("ops/runs/u/run.json", "{")
    log = turnlog.read(str(place.ops))
    assert [(w.asked, w.began, w.ended) for w in log.works] == [
        (pytest.approx(BEGAN), pytest.approx(BEGAN + 2), pytest.approx(BEGAN + 102))
    ]
    assert (log.records, log.damaged) == (1, 1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), st.binary(max_size=30)), max_size=12))
def test_damage_of_the_events_is_passed_over(
    tmp_path_factory: pytest.TempPathFactory, wounds: list[tuple[int, bytes]]
) -> None:
    """Whatever bytes are written over the file, it is read; sound lines still count, and no time is negative."""
    ops = tmp_path_factory.mktemp("ops")
    history, at = History(ops), BEGAN
    for _ in range(20):
        at = 5 + history.work("w", "build", "build:fw", at, 1.0, 30.0)
    history.save()
    (file,) = (ops / "events").iterdir()
    data = bytearray(file.read_bytes())
    for where, wound in wounds:
        data[where % len(data) : where % len(data) + len(wound)] = wound
    file.write_bytes(bytes(data))
    log = turnlog.read(str(ops))
    assert all(w.asked <= w.began <= w.ended for w in log.works)
    assert len(log.works) >= 20 - 2 * len(wounds) - sum(w.count(b"\n") + w.count(b"\r") for _, w in wounds)


@pytest.mark.parametrize(
    "event",
    [
        '{"at":"2026-03-02T08:00:00.000Z","event":"run.ended","run":"r1","kind":"build"}',
        '{"at":"2026-03-02T07:00:00.000Z","event":"run.ended","run":"r0","workspace":"w"}',
        '{"at":"2026-03-02T09:00:00.000Z","event":"queue.granted","run":["r0"],"wait_seconds":1}',
        '{"at":17,"event":"run.ended","run":"r0"}',
        '"queue.granted"',
        '{"event":"queue.granted","at":"2026-03-02","run":"r0","wait_seconds":1e999}',
        "[" * 5000 + '"run.ended"',
    ],
)
def test_foreign_events_do_no_harm(place: Place, event: str) -> None:
    """Lines that no run of ours wrote: no work comes of them, and nothing is raised."""
    grant = (
        '{"at":"2026-03-02T08:00:00.000Z","event":"queue.granted","workspace":"w","run":"r0","resources":{"build:fw":1}'
    )
    place.write("ops/events/2026-03-02.jsonl", grant + ',"wait_seconds":0}\n' + event + "\n")
    assert turnlog.read(str(place.ops)).works == []


def test_only_the_newest_lines_are_read(place: Place) -> None:
    """With more lines than the limit the oldest are left out, and that is told; since: earlier days are not opened."""
    a_week(place, turns=20)
    whole = turnlog.read(str(place.ops))
    part = turnlog.read(str(place.ops), most=100)
    assert (part.lines, part.cut, whole.cut) == (100, True, False)
    assert 0 < len(part.works) < len(whole.works)
    assert part.works[-1].ended == whole.works[-1].ended
    assert turnlog.read(str(place.ops), since=BEGAN + 86400 * 9).works == []


def test_a_huge_history_is_read_within_bounds(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more bytes than the limit the newest count, and that is told; a line longer than any of ours is damage."""
    a_week(place)
    newest = max((place.ops / "events").iterdir())
    whole = turnlog.read(str(place.ops))
    with newest.open("a") as f:
        f.write('{"event":"queue.granted","rubbish":"' + "x" * 10_000 + '"}\n')
    monkeypatch.setattr(turnlog, "_BYTES", newest.stat().st_size - 2000)
    part = turnlog.read(str(place.ops))
    assert (part.cut, whole.cut, part.damaged, whole.damaged) == (True, False, 1, 0)
    assert 0 < len(part.works) < len(whole.works)
    assert part.works[-1].ended == whole.works[-1].ended


def test_real_runs_are_read(workspace: Project) -> None:
    """What `queue run build:fw` and a finished build leave in ops/ is what is read: by events, and by records."""
    for _ in range(2):
        workspace.run("queue", "run", "build:fw", "--", "sleep", "0.05").assert_ok()
    log = turnlog.read(str(workspace.ops))
    assert [w.resources for w in log.works] == [("build:fw",)] * 2
    assert all(0 <= w.began - w.asked < 5 and 0.02 <= w.ended - w.began < 5 for w in log.works)
    first, second = turnlog.turns(log.works, lambda resource: resource.startswith("build:"))
    assert first.think is not None
    assert first.think == pytest.approx(second.begun - first.ended)
    (workspace.ops / "events").rename(workspace.ops / "lost")
    again = turnlog.read(str(workspace.ops))
    assert again.records == 2
    for one, same in zip(log.works, again.works, strict=True):
        assert (same.run, same.kind, same.workspace) == (one.run, one.kind, one.workspace)
        assert (same.asked, same.ended) == (pytest.approx(one.asked, abs=1), pytest.approx(one.ended, abs=1))


def test_a_finished_build_is_counted_as_it_is_written(workspace: Project) -> None:
    """The event `build.finished` of k1ctl.events is one that growth counts."""
    here = Workspace(str(workspace.root), str(workspace.root), "w")
    events.emit(here, "build.finished", run="r", seconds=1.0)
    events.emit(here, "build.started", run="r", note="build.finished")
    counts, _ = growth._counts(str(workspace.ops / "events"))
    assert list(counts.values()) == [1]
