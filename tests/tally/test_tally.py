"""The tally: whatever the way to it, the same figures; a look costs what is new; damage costs a new beginning."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import turnlog
from k1ctl.errors import EXIT_CODES
from k1ctl.events_compact import compact
from k1ctl.events_files import Part
from k1ctl.files import Locked
from k1ctl.jsontext import dumps
from k1ctl.tally import current, fold, kinds, store
from k1ctl.tally.document import Positions, restored, written
from k1ctl.tally.fold import Tally
from k1ctl.tally.histogram import parse
from k1ctl.tally.store import look, path_of
from k1ctl.units import parse_rfc3339, rfc3339
from k1ctl.workspace import Workspace

BEGAN = parse_rfc3339("2026-03-02T08:00:00.000Z")
NOW = BEGAN + 3 * 86400.0


def line(at: float, event: str, workspace: str = "oslo", **fields: Any) -> str:
    return dumps({"at": rfc3339(at), "event": event, "workspace": workspace, **fields})


def work(at: float, run: str, kind: str, resource: str, end: dict[str, Any], *, workspace: str = "oslo") -> list[str]:
    """A run of 10 s that waited for 2 s, with the event that tells its end (``event``) and run.ended."""
    facts = {"run": run, "resources": {resource: 1}, "ticket": 7, "wait_seconds": 2.0}
    exit_code, by = end.pop("ended", 0), end.pop("by", "k1ctl")
    lines = [line(at + 2, "queue.granted", workspace, **facts)]
    if "event" in end:
        lines.append(line(at + 12, end.pop("event"), workspace, run=run, **end))
    ended = {"run": run, "kind": kind, "exit_code": exit_code, "by": by, "code": end.get("code", "x")}
    return [*lines, line(at + 12, "run.ended", workspace, **ended, wait_seconds=2.0)]


def history(dice: Random, turns: int) -> list[str]:
    """Turns of three workspaces over two days, some lines torn or foreign."""
    lines: list[str] = []
    for number in range(turns):
        at, name = BEGAN + number * 86400.0 / max(1, turns) * 2, f"w{number % 3}"
        broken = dice.random() < 0.2
        facts = {"event": "build.finished", "target": "fw", "seconds": 9.5, "exit_code": int(broken)}
        lines += work(at, f"b{number}", "build", "build:fw", {**facts, "ended": int(broken)}, workspace=name)
        sent = {"event": "upload.finished", "target": "fw", "outcome": dice.choice(("installed", "refused"))}
        lines += work(at + 60, f"u{number}", "upload", "device:k1", sent, workspace=name)
        lines.append(line(at + 70, "worktree.setup", name, ok=not broken, failed=["codegen"] if broken else []))
        whole = line(at, "hook.run", name, target="x")
        lines += dice.choice(([], ['{"at":"2026-03-0'], ["[1]"], [whole], [whole[:-4] + lines.pop()]))
    return lines


def place(root: Path) -> Workspace:
    return Workspace(str(root), str(root), "w")


def append(root: Path, lines: list[str]) -> None:
    folder = root / "ops" / "events"
    folder.mkdir(parents=True, exist_ok=True)
    for text in lines:
        day = text[7:17] if text.startswith('{"at":"') and len(text) > 40 else "2026-03-02"
        with (folder / f"{day}.jsonl").open("a") as f:
            f.write(text + "\n")


def told(tally: Tally) -> dict[str, Any]:
    rows = ("outcomes", "seconds", "series", "turns")  # whose order says nothing
    document = written(tally, Positions())
    return {key: sorted(value, key=str) if key in rows else value for key, value in document.items()}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), cuts=st.lists(st.integers(0, 160), max_size=4))
def test_the_way_to_it_makes_no_difference(
    seed: int, cuts: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Looked at in between, kept or not, days compressed in between, read line by line or many at once: one tally."""
    dice, root, other = Random(seed), tmp_path_factory.mktemp("a"), tmp_path_factory.mktemp("b")
    lines = history(dice, 20)
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(lines)], strict=True):
        append(root, lines[begin:end])
        then = max([BEGAN, *(parse_rfc3339(text[7:31]) for text in lines[:end] if len(text) > 40)])
        look(place(root), now=then, save_after=dice.choice((0, 1000)))
        if dice.random() < 0.5:
            compact(place(root), older=0, now=NOW)
    append(other, lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fold, "_FEW", 0)
        whole = look(place(other), now=NOW)
    assert told(look(place(root), now=NOW, save_after=0)) == told(whole)
    assert told(look(place(root), now=NOW)) == told(whole)
    glued = sum(text.count('{"at":') > 1 for text in lines)
    torn = sum(text.startswith(('{"at":"2026-03-0', "[")) and len(text) < 40 for text in lines)
    assert whole.bad_lines == torn + glued
    assert whole.events + torn == len(lines)


def test_its_turns_are_those_of_capacity(tmp_path: Path) -> None:
    """Their number and their lengths, but for those that are under way."""
    append(tmp_path, history(Random(3), 30))
    tally = look(place(tmp_path), now=BEGAN + 2 * 86400)
    turns = turnlog.turns(turnlog.read(str(tmp_path / "ops")).works, lambda name: name.startswith("build:"))
    found = tally.seconds["turn", ""]
    assert found.count + len(tally.turns) == len(turns) == 30
    assert found.sum + sum(turn.length for turn in tally.turns.values()) == pytest.approx(sum(t.length for t in turns))
    assert sum(one.turns for one in tally.workspaces.values()) == found.count


@pytest.mark.parametrize(
    ("kind", "end", "expected"),
    [
        ("build", {"event": "build.finished", "exit_code": 0, "target": "web"}, ("build", "web", "done", 1)),
        ("build", {"event": "build.finished", "exit_code": 1, "code": "build-failed"}, ("build", "fw", "failed", -1)),
        ("build", {"event": "build.finished", "exit_code": 124, "code": "timed-out"}, ("build", "fw", "timeout", -1)),
        (
            "build",
            {"event": "build.finished", "exit_code": 130, "code": "interrupted"},
            ("build", "fw", "cancelled", 0),
        ),
        ("build", {"ended": 75, "code": "queue-timeout"}, ("build", "fw", "refused", 0)),
        ("upload", {"event": "upload.finished", "outcome": "installed", "target": "fw"}, ("upload", "fw", "done", 1)),
        (
            "upload",
            {"event": "upload.finished", "outcome": "installed", "target": "fw", "verification": "needs-usb"},
            ("upload", "fw", "failed", -1),
        ),
        ("upload", {"event": "upload.finished", "outcome": "refused", "target": "fw"}, ("upload", "fw", "failed", -1)),
        ("upload", {"event": "upload.finished", "outcome": "unreachable"}, ("upload", "fw", "failed", -1)),
        ("upload", {"event": "upload.finished", "outcome": "unknown"}, ("upload", "fw", "unknown", -1)),
        ("upload", {"ended": 75, "code": "queue-timeout"}, ("upload", "fw", "refused", 0)),
        ("upload", {"ended": 143, "code": "cancelled"}, ("upload", "fw", "cancelled", 0)),
        ("device-test", {"event": "test.skipped", "outcome": "skipped", "device": "k2"}, ("test", "k2", "skipped", 0)),
        ("device-test", {"event": "test.finished", "outcome": "failed", "device": "k2"}, ("test", "k2", "failed", -1)),
        ("queue-run", {"ended": 2, "by": "command"}, ("run", "queue-run", "failed", -1)),
        ("queue-run", {"ended": 75, "code": "queue-cancelled"}, ("run", "queue-run", "cancelled", 0)),
        ("queue-run", {"ended": 130, "by": "command"}, ("run", "queue-run", "cancelled", 0)),
        ("queue-run", {"ended": 137, "by": "command"}, ("run", "queue-run", "failed", -1)),
        ("queue-run", {"ended": 75, "by": "k1ctl"}, ("run", "queue-run", "refused", 0)),
        ("hook-run", {"ended": 0, "by": "command"}, ("run", "hook-run", "done", 1)),
    ],
)
def test_each_run_counts_once(kind: str, end: dict[str, Any], expected: tuple[str, str, str, int]) -> None:
    """By the first event that says how it ended; good, bad or neither for objectives."""
    tally = Tally(NOW)
    resource = "build:fw" if expected[1] in ("fw", "web") else "device:k2"
    lines = work(NOW - 100, "r1", kind, resource, dict(end))
    if "event" not in end and kind == "upload":
        lines[-1] = lines[-1].replace('"kind":', '"target":"fw","kind":')
    tally.take_lines("".join(f"{text}\n" for text in lines).encode())
    assert tally.bad_lines == 0
    of, target, result, good = expected
    target = target if end.get("target") or kind not in ("upload",) or "event" not in end else tally.last[0].target
    assert tally.outcomes == {(of, target, result): 1}
    window = tally.window(of, 3600, now=NOW)
    assert (window.good, window.bad, window.ignored) == (int(good > 0), int(good < 0), int(good == 0))
    assert tally.last[0].wait_seconds == 2.0
    assert window.histogram.count == (result == "done")


def test_every_exit_code_has_a_result() -> None:
    """Of k1ctl's own, and of a command, whose exit codes are its own."""
    for code in EXIT_CODES:
        for by in ("k1ctl", "command"):
            event = {"event": "run.ended", "kind": "queue-run", "exit_code": code, "by": by, "code": "x"}
            result = kinds.result_of(kinds.RUN, event)
            assert result in kinds.RESULTS
            assert by == "k1ctl" or result == {0: "done", 77: "skipped"}.get(code, "failed")


def test_an_upload_takes_until_the_devices_ok(tmp_path: Path) -> None:
    """From asking, the wait included; what is watched afterwards is not the upload."""
    end = {"event": "upload.finished", "outcome": "installed", "target": "fw", "soak_seconds": 3.0}
    append(tmp_path, work(NOW - 100, "r1", "upload", "device:k1", dict(end)))
    append(tmp_path, work(NOW - 50, "r2", "upload", "device:k1", {**end, "installed_at": rfc3339(NOW - 50 + 5.5)}))
    assert [one.seconds for one in look(place(tmp_path), now=NOW).last] == [5.5, 9.0]


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"version":1}', "\x00" * 50])
def test_a_damaged_file_is_made_anew(damage: str, tmp_path: Path) -> None:
    """Empty, cut, foreign, of another version: nothing is raised and nothing is lost."""
    append(tmp_path, history(Random(1), 5))
    path = Path(path_of(place(tmp_path)))
    whole = told(look(place(tmp_path), now=NOW, save_after=0))
    kept = json.loads(path.read_text())
    for text in (damage, path.read_text()[:-20], json.dumps({**kept, "series": 7}), json.dumps({**kept, "last": [1]})):
        path.write_text(text)
        assert told(look(place(tmp_path), now=NOW, save_after=0)) == whole


def test_a_long_count_is_kept_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever is killed after the first day has it counted; the next one goes on from there to the same tally."""
    append(tmp_path, history(Random(2), 20))
    whole = told(look(place(tmp_path), now=NOW))
    monkeypatch.setattr(store, "_KEEP_EVERY", 0)
    count = store._fold_part

    def killed(tally: Tally, positions: Positions, folder: str, part: Part) -> int:
        if part.day > "2026-03-02":
            raise KeyboardInterrupt
        return count(tally, positions, folder, part)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "_fold_part", killed)
        look(place(tmp_path), now=NOW)
    assert 0 < json.loads(Path(path_of(place(tmp_path))).read_text())["events"] < whole["events"]
    assert told(look(place(tmp_path), now=NOW)) == whole


def test_nobody_is_waited_for_and_nothing_need_be_written(tmp_path: Path) -> None:
    """Where another one has the lock, or nothing was ever recorded: the figures are told, and no file is made."""
    empty = current(place(tmp_path))
    assert (empty.events, empty.since, empty.last) == (0, "", []) and os.listdir(tmp_path) == []
    append(tmp_path, history(Random(1), 5))
    with Locked(str(tmp_path / "ops" / "metrics" / ".tally.lock")):
        assert look(place(tmp_path), now=NOW, save_after=0).events > 20
        assert os.listdir(tmp_path / "ops" / "metrics") == [".tally.lock"]
    (tmp_path / "ops" / "metrics" / ".tally.lock").unlink()
    (tmp_path / "ops" / "metrics").rmdir()
    (tmp_path / "ops" / "metrics").write_text("in the way")
    assert look(place(tmp_path), now=NOW, save_after=0).events > 20


def names(root: Path, *, now: float = NOW) -> dict[str, int]:
    """What is counted, and kept."""
    return look(place(root), now=now, save_after=0).counts


def test_a_file_that_was_replaced_is_new(tmp_path: Path) -> None:
    """A day's file that somebody removed, and that was made again, is counted as well: no counter goes back."""
    append(tmp_path, [line(BEGAN, "a.b", text="x" * 400), line(BEGAN, "a.b")])
    assert names(tmp_path) == {"a.b": 2}
    day = tmp_path / "ops" / "events" / "2026-03-02.jsonl"
    other = day.with_name("other")
    other.write_text(line(BEGAN, "a.c", text="y" * 900) + "\n")
    other.replace(day)
    assert names(tmp_path) == {"a.b": 2, "a.c": 1}
    with day.open("r+") as f:
        f.truncate(0)
    assert names(tmp_path) == {"a.b": 2, "a.c": 1}
    append(tmp_path, [line(BEGAN, "a.d")])
    assert names(tmp_path) == names(tmp_path) == {"a.b": 2, "a.c": 1, "a.d": 1}
    other.write_text(line(BEGAN, "a.e") + "\n" + line(BEGAN, "a.e") + "\n")
    other.replace(day)
    assert names(tmp_path) == names(tmp_path) == {"a.b": 2, "a.c": 1, "a.d": 1, "a.e": 2}


def test_a_copy_goes_on_where_the_original_was(tmp_path: Path) -> None:
    """Copied, put back from a backup, or unpacked by hand, with events that came since: each counts once."""
    append(tmp_path, [line(BEGAN, "a.b", n=n, text="x" * 90) for n in range(20)])
    append(tmp_path, [line(BEGAN + 86400, "a.b", n=n, text="x" * 90) for n in range(20)])
    assert names(tmp_path) == {"a.b": 40}
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path / "ops", copy / "ops")
    append(copy, [line(BEGAN + 86400, "a.c")])
    assert names(copy) == names(copy) == {"a.b": 40, "a.c": 1}
    compact(place(copy), older=0, now=NOW - 86400)
    packed = copy / "ops" / "events" / "2026-03-02.1.jsonl.gz"
    Path(path_of(place(copy))).unlink()
    assert names(copy) == {"a.b": 40, "a.c": 1}
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert names(copy) == {"a.b": 40, "a.c": 1}
    moved = copy / "ops" / "events" / "2026-03-03.jsonl"
    assert not moved.exists()
    os.utime(packed.with_suffix(""))
    with packed.with_suffix("").open("a") as f:
        f.write(line(BEGAN, "a.d") + "\n")
    assert names(copy) == {"a.b": 40, "a.c": 1, "a.d": 1}


@pytest.mark.parametrize("cut", [0, 700])
def test_a_file_that_was_changed_is_counted_anew(tmp_path: Path, cut: int) -> None:
    """Edited, or an older state of it put back: what the files say now is what is counted, and kept at once."""
    append(tmp_path, [line(BEGAN, "a.b", n=n, text="x" * 90) for n in range(20)])
    append(tmp_path, [line(BEGAN + 86400, "a.b")])
    assert names(tmp_path) == {"a.b": 21}
    day = tmp_path / "ops" / "events" / "2026-03-02.jsonl"
    lines = day.read_text().splitlines(keepends=True)
    day.unlink()
    day.write_text("".join(lines[:10] if cut else [*lines[:5], *lines[6:]]))
    number = 11 if cut else 20
    assert look(place(tmp_path), now=NOW).counts == {"a.b": number}
    assert json.loads(Path(path_of(place(tmp_path))).read_text())["events"] == number


def test_sums_of_years_go_on(tmp_path: Path) -> None:
    """Kept after each event: a sum of a million seconds still grows by milliseconds, and no figure spoils the file."""
    tally = Tally(NOW)
    tally.seconds["build", "fw"] = parse("1234567.125 40:1000")
    for _ in range(5):
        tally.seconds["build", "fw"].add(0.004)
        tally = restored(written(tally, Positions()), NOW)[0]
    assert tally.seconds["build", "fw"].sum == pytest.approx(1234567.145, abs=1e-6)
    text = line(BEGAN, "queue.granted", run="r", resources={"build:fw": 1}, wait_seconds=7).replace(":7", ":1e999")
    append(tmp_path, [text, line(BEGAN, "a.b")])
    assert names(tmp_path) == {"a.b": 1}
    assert json.loads(Path(path_of(place(tmp_path))).read_text())["bad_lines"] == 1


def test_it_stays_small(tmp_path: Path) -> None:
    """However many workspaces, names, targets and runs without an end there are."""
    tally = Tally(NOW)
    lines = []
    for n in range(700):
        name = f"w{n}"
        lines += work(
            NOW - 3 * 86400 + n,
            f"r{n}",
            "build",
            f"build:t{n}",
            {"event": "build.finished", "exit_code": 0},
            workspace=name,
        )
        lines.append(line(NOW, f"odd.name{n}", name))
        lines.append(
            line(NOW, "queue.granted", name, run=f"x{n}", ticket=n, resources={f"tree:{n}": 1}, wait_seconds=1)
        )
    tally.take_lines("".join(f"{text}\n" for text in lines).encode())
    tally.settle()
    assert len(dumps(told(tally))) < 500_000
    assert (len(tally.workspaces), len(tally.last)) == (500, 100)
    assert sum(tally.counts.values()) == tally.events == len(lines)
    assert sum(tally.outcomes.values()) == 700 == tally.window("build", 30 * 86400, now=NOW).good
    assert not any(name.startswith("tree:") for name in tally.waits)
