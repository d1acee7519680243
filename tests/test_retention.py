"""What of ops/artifacts is kept, and what goes when it takes more than its limit."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl import artifacts, artifacts_pins, retention, retention_reasons
from k1ctl.artifacts import Artifact
from k1ctl.config import load
from k1ctl.device import images
from k1ctl.errors import WrongDataError
from k1ctl.files import Locked, read_json, write_json
from k1ctl.units import rfc3339
from tests.kit import Project

DAY = 86400.0


def keep(
    project: Project, name: str, *, days: float = 1.0, cwd: Path | None = None, target: str = "fw", size: int = 1000
) -> Artifact:
    """Store an image of ``size`` bytes that was built ``days`` ago."""
    source = project.root.parent / "image.bin"
    source.write_bytes(name.encode().ljust(size, b"."))
    real, at = artifacts.rfc3339, rfc3339(time.time() - days * DAY)
    artifacts.rfc3339 = lambda *_: at  # type: ignore[assignment]
    try:
        return artifacts.store(project.facts(cwd), target, {"firmware.bin": str(source)}, {"commit": "c", "run": "r"})
    finally:
        artifacts.rfc3339 = real  # type: ignore[assignment]


def prune(project: Project, limit: int | None, **kwargs: Any) -> list[str]:
    """The ids, or names, that went."""
    facts = project.facts()
    done = retention.prune(facts, load(facts), limit=limit, **kwargs)
    return [row["id"] for row in done.removed]


def reasons(project: Project) -> dict[str, list[str]]:
    facts = project.facts()
    stock = retention.survey(facts, load(facts))
    return {kept.artifact.id: [reason.kind for reason in kept.reasons] for kept in stock.kept}


@pytest.fixture
def desk(workspace: Project) -> Project:
    """A repository that keeps one artifact of each worktree and target."""
    workspace.configure('[artifact]\nkeep = 1\n[devices.k1]\nhost = "127.0.0.1"\n')
    return workspace


def test_the_oldest_go_until_the_rest_fits(desk: Project) -> None:
    """In the order in which they were built last, and not one more than needed."""
    kept = [keep(desk, f"image {i}", days=10 - i) for i in range(5)]
    keep(desk, "image 0", days=2)  # built once more: now the newest
    total = retention.survey(desk.facts(), load(desk.facts())).bytes
    assert prune(desk, total - 1) == [kept[1].id]
    assert prune(desk, total - 1) == []
    assert prune(desk, 0) == [kept[2].id, kept[3].id, kept[4].id]
    assert artifacts.find(desk.facts(), "fw").id == kept[0].id
    (first, *_) = desk.events("artifact.pruned")
    assert first["artifacts"] == [kept[1].id] and first["freed_bytes"] > 1000 and first["limit_bytes"] == total - 1


def test_what_is_always_kept(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinned, newest of a living worktree and target, on a device, rollback image, wanted by a run, and just come."""
    oslo = desk.add_worktree("oslo")
    old = [keep(desk, f"old {i}", days=20 - i) for i in range(6)]
    of_oslo = keep(desk, "of oslo", days=30, cwd=oslo)
    of_web = keep(desk, "web", days=40, target="web")
    new = keep(desk, "new", days=0)
    mine = keep(desk, "mine", days=0.0001)
    artifacts_pins.pin(desk.facts(), old[0], "the demo of May")
    sent = {"run": "r1", "workspace": "repo", "target": "fw", "at": rfc3339()}
    entries = [{"artifact": each.id, "sha256": each.sha256, **sent} for each in old]
    well = {"outcome": "installed", "verification": {"state": "ok", "soak": {"seconds": 5, "fps_min": 100}}}
    for entry, done in ((entries[1], well), (entries[2], {"outcome": "installed"})):
        images.begin(desk.facts(), "k1", entry)
        images.settle(desk.facts(), "k1", entry, done)
    monkeypatch.setattr("k1ctl.queue.view.entries", lambda folder: [{"run": "20260101-000000.000-abcd"}])
    write_json(str(desk.ops / "runs/20260101-000000.000-abcd/run.json"), {"details": {"artifact": old[3].id}})
    told = reasons(desk)
    assert told[old[0].id] == ["pinned"]
    assert told[old[1].id] == ["rollback"] and told[old[2].id] == ["device"] and told[old[3].id] == ["run"]
    assert told[old[4].id] == told[old[5].id] == []
    assert told[of_oslo.id] == told[of_web.id] == ["newest"]
    assert "recent" in told[new.id] and "recent" in told[mine.id]
    assert set(prune(desk, 0)) == {old[4].id, old[5].id}


def test_what_a_device_runs_is_kept_while_another_is_sent(desk: Project) -> None:
    """The flash may be abandoned, and then the device goes on with what it has."""
    runs, sent = [keep(desk, "runs", days=9), keep(desk, "sent", days=8)]
    keep(desk, "newest")
    facts = {"workspace": "repo", "target": "fw", "at": rfc3339()}
    entries = [{"artifact": a.id, "sha256": a.sha256, "run": f"r-{a.id}", **facts} for a in (runs, sent)]
    images.begin(desk.facts(), "k1", entries[0])
    images.settle(desk.facts(), "k1", entries[0], {"outcome": "installed"})
    images.begin(desk.facts(), "k1", entries[1])
    write_json(str(desk.ops / "runs" / entries[1]["run"] / "flash-outcome.json"), {"outcome": "sending"})
    assert reasons(desk)[runs.id] == reasons(desk)[sent.id] == ["device"]


def test_a_worktree_that_is_gone_keeps_nothing(desk: Project) -> None:
    """Nor the file that names its newest build."""
    oslo = desk.add_worktree("oslo")
    kept = keep(desk, "of oslo", cwd=oslo)
    assert prune(desk, 0) == []
    desk.git("worktree", "remove", str(oslo))
    latest = desk.ops / "artifacts" / "fw" / "latest"
    assert len(os.listdir(latest)) == 1
    assert prune(desk, 0, dry_run=True) == [kept.id] and Path(kept.folder).is_dir()
    assert prune(desk, 0) == [kept.id]
    assert os.listdir(latest) == [] and not Path(kept.folder).exists()


def test_what_is_damaged_and_what_killed_calls_left_goes_first(desk: Project) -> None:
    """Leftovers always; damaged folders before any artifact; files of others count and stay."""
    idle, newest = keep(desk, "idle", days=5), keep(desk, "newest")
    base = Path(idle.folder).parent
    aside = base / f"{idle.id}.damaged-00000000"
    left, pulled, busy = base / ".tmp-1", base / ".pull-1", base / ".pull-2"
    for folder in (aside, left, pulled, busy):
        folder.mkdir()
        (folder / "x").write_bytes(bytes(1000))
    notes = desk.write("ops/artifacts/device-logs/notes.txt", "x" * 500)
    with Locked(str(busy / artifacts.PULLING)):
        assert sorted(prune(desk, None)) == [".pull-1", ".tmp-1"]
    total = retention.survey(desk.facts(), load(desk.facts())).bytes
    assert prune(desk, total - 900)[0] == ".pull-2"
    assert aside.exists()
    assert prune(desk, total - 1900) == [aside.name]
    assert prune(desk, 0) == [idle.id]
    assert notes.exists() and Path(newest.folder).exists()


def test_a_pinned_artifact_stays_also_when_its_manifest_is_damaged(desk: Project) -> None:
    """Its image may be whole; the next build takes the pin over, and then what was set aside goes."""
    kept = keep(desk, "pinned", days=9)
    keep(desk, "newest")
    artifacts_pins.pin(desk.facts(), kept, "why")
    manifest = Path(kept.folder, artifacts.MANIFEST)
    manifest.chmod(0o644)
    manifest.write_text("{")
    facts = desk.facts()
    done = retention.prune(facts, load(facts), limit=0)
    assert done.removed == [] and done.kept >= 1000
    aside = Path(f"{kept.folder}.damaged-0badbeef")
    Path(kept.folder).rename(aside)  # a build that was killed before its artifact had its name
    assert prune(desk, 0) == []
    again = keep(desk, "pinned")
    assert not (aside / artifacts.PIN).exists()
    assert "pinned" in reasons(desk)[again.id] and aside.name in prune(desk, 0)


def test_what_is_no_artifact_keeps_nobody_from_looking(desk: Project) -> None:
    """A file beside the targets (.DS_Store), one in an artifact's place, and facts of the wrong type."""
    desk.write("ops/artifacts/.DS_Store", "x")
    odd = [keep(desk, f"odd {i}", days=9) for i in range(5)]
    newest = keep(desk, "newest")
    for each, change in zip(odd, ({"files": 5}, {"workspace_path": [1]}, {"at": 5}, {"image": 7}, {}), strict=True):
        path = Path(each.folder, artifacts.MANIFEST)
        path.chmod(0o644)
        write_json(str(path), {**each.manifest, **change})
    Path(odd[4].folder, artifacts.BUILDS).write_text('{"workspace_path": [1]}\n{"at": 5}\n7\n')
    desk.write("ops/artifacts/fw/latest/odd.json", '{"workspace_path": 5, "id": {}}')
    desk.write(f"ops/artifacts/fw/{'0' * 16}", "a file")
    assert set(reasons(desk)) == {newest.id, odd[4].id}
    assert set(prune(desk, 0)) == {*(each.id for each in odd[:4]), "0" * 16, odd[4].id}
    assert not [name for name in os.listdir(desk.ops / "artifacts" / "fw") if name.startswith(".tmp")]


def test_what_was_built_in_the_future_is_not_just_come(desk: Project) -> None:
    """A clock that was set back keeps nothing for a year."""
    future = keep(desk, "future", days=-300)
    keep(desk, "newest")
    assert prune(desk, 0) == [future.id]


def test_one_that_cannot_be_removed_keeps_no_other(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of another user; it is told, and what a killed write left goes, too."""
    idle = [keep(desk, f"idle {i}", days=9 - i) for i in range(2)]
    keep(desk, "newest")
    left = [desk.write(f"ops/artifacts/fw/{where}.x.json.1.aa.tmp", "half") for where in ("", "latest/")]
    real = artifacts.discard

    def refuse(path: str) -> None:
        if idle[0].id in path:
            raise PermissionError(13, "Permission denied", path)
        real(path)

    monkeypatch.setattr(artifacts, "discard", refuse)
    facts = desk.facts()
    done = retention.prune(facts, load(facts), limit=0)
    assert [row["id"] for row in done.removed if not row["id"].endswith(".tmp")] == [idle[1].id]
    assert done.failed == [{"path": idle[0].folder, "why": "Permission denied"}] and done.document()["failed"]
    assert not any(path.exists() for path in left)


def test_a_link_among_them_is_taken_away_as_a_link(desk: Project) -> None:
    """What it leads to is nobody's artifact, and stays."""
    keep(desk, "newest")
    outside = desk.root.parent / "outside"
    outside.mkdir()
    (outside / "work").write_text("work")
    link = desk.ops / "artifacts" / "fw" / ("0" * 16)
    link.symlink_to(outside)
    assert prune(desk, 0) == ["0" * 16]
    assert not link.is_symlink() and (outside / "work").read_text() == "work"


def test_a_reader_reads_on_and_a_later_one_is_told(desk: Project) -> None:
    """An open file is whole after its artifact went; an upload that comes to it then sends nothing."""
    idle = keep(desk, "idle", days=5)
    keep(desk, "newest")
    with open(idle.image, "rb") as f:
        assert prune(desk, 0) == [idle.id]
        assert f.read() == b"idle".ljust(1000, b".")
    with pytest.raises(WrongDataError, match="is missing") as caught:
        idle.read()
    assert caught.value.hint == "k1ctl build fw"
    with pytest.raises(WrongDataError):
        artifacts.find(desk.facts(), "fw", idle.id)


def test_stores_and_prunings_at_once_lose_nothing_that_is_kept(desk: Project) -> None:
    """Worktrees build while others prune to nothing: each finds its newest whole, and no folder is left half."""
    trees = [desk.add_worktree(f"w{i}") for i in range(3)]
    sources = [desk.write(f"image{i}", bytes([i]) * 20000) for i in range(12)]
    facts, config = [desk.facts(tree) for tree in trees], load(desk.facts())
    stop, failed = threading.Event(), []

    def build(which: int) -> None:
        try:
            for i in range(12):
                made = {"firmware.bin": str(sources[(i + which) % 12])}
                kept = artifacts.store(facts[which], "fw", made, {"commit": "c", "run": "r"})
                assert artifacts.find(facts[which], "fw").id == kept.id and len(kept.read()) == 20000
        except BaseException as exc:
            failed.append(exc)

    def clear() -> None:
        while not stop.is_set():
            retention.prune(facts[0], config, limit=0)

    recent, retention_reasons.RECENT = retention_reasons.RECENT, 0.0
    threads = [threading.Thread(target=build, args=(i,)) for i in range(3)]
    clearers = [threading.Thread(target=clear) for _ in range(2)]
    try:
        for thread in [*threads, *clearers]:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        stop.set()
        for thread in clearers:
            thread.join()
        retention_reasons.RECENT = recent
    assert failed == []
    assert {a.id for a in artifacts.list_artifacts(facts[0], "fw")} <= {
        artifacts.find(each, "fw").id for each in facts
    } | {kept.artifact.id for kept in retention.survey(facts[0], config).kept if kept.reasons}
    assert not [n for n in os.listdir(desk.ops / "artifacts" / "fw") if n.startswith((".tmp", ".pull"))]


def test_a_pin_holds_through_damage_and_crash(desk: Project) -> None:
    """It is written whole; the build that replaces a damaged artifact takes it over, and can lose it again."""
    kept = keep(desk, "pinned", days=5)
    keep(desk, "newest")
    assert artifacts_pins.pin(desk.facts(), kept, "why") and not artifacts_pins.pin(desk.facts(), kept)
    assert not artifacts_pins.pin(desk.facts(), kept, "why") and artifacts_pins.pin(desk.facts(), kept, "else")
    os.chmod(kept.image, 0o644)
    Path(kept.image).write_bytes(b"x" * 1000)
    assert kept.problems() == ["firmware.bin does not have the recorded SHA-256"]
    again = keep(desk, "pinned", days=4)
    assert again.id == kept.id and again.problems() == []
    found = artifacts_pins.read(again.folder)
    assert found is not None and found["reason"] == "else"
    assert len(retention.builds(again)) == 2
    assert artifacts_pins.unpin(desk.facts(), again) and not artifacts_pins.unpin(desk.facts(), again)
    Path(again.folder, artifacts.PIN).write_text('{"rea')  # half of one, of another program
    assert "pinned" in reasons(desk)[again.id]
    assert [e["event"] for e in desk.events() if e["event"].startswith("artifact")] == [
        *("artifact.pinned", "artifact.pinned", "artifact.unpinned")
    ]


def test_a_pin_of_what_went_meanwhile_is_refused(desk: Project) -> None:
    """And leaves nothing behind that looks like an artifact."""
    idle = keep(desk, "idle", days=5)
    keep(desk, "newest")
    prune(desk, 0)
    with pytest.raises(WrongDataError, match="removed meanwhile"):
        artifacts_pins.pin(desk.facts(), idle)
    assert not Path(idle.folder).exists()


def test_a_build_prunes_by_a_sum_that_is_kept(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """While there is room it looks at nothing; the sum follows what is stored and pruned."""
    idle = [keep(desk, f"idle {i}", days=5 + i) for i in range(3)]
    facts, size = desk.facts(), desk.ops / "artifacts" / "fw" / artifacts.SIZES
    total = retention.survey(facts, load(facts)).bytes
    config = load(facts, environ={"K1CTL_ARTIFACT_LIMIT": str(total + 500)})
    monkeypatch.setattr(retention, "survey", None)
    retention.trim(facts, config)
    known = read_json(str(size))["bytes"]
    keep(desk, "newest", size=1500)
    assert read_json(str(size))["bytes"] == known + 1500
    monkeypatch.undo()
    retention.trim(facts, config)
    assert [Path(a.folder).exists() for a in idle] == [True, False, False]
    assert read_json(str(size))["bytes"] <= total + 500
    size.write_text("{")
    retention.trim(facts, config)
    assert abs(read_json(str(size))["bytes"] - retention.survey(facts, config).bytes) < 100
    for nothing in ("0", "100M"):
        retention.trim(facts, load(facts, environ={"K1CTL_ARTIFACT_LIMIT": nothing}))
    assert Path(idle[0].folder).exists()


@pytest.mark.parametrize("name", ["fw", "a/b", "..", "ä\n", "a%2Fb", "fw.filesystem"])
def test_a_targets_name_comes_back_from_its_folder(name: str) -> None:
    """As `file_name` wrote it."""
    assert artifacts.target_of(artifacts.file_name(name)) == name


def test_a_pruning_that_is_killed_is_finished_by_the_next(desk: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between rename and removal nobody finds the artifact any more, and what is left of it goes the next time."""

    class Killed(BaseException):
        pass

    def die(folder: str) -> None:
        os.unlink(os.path.join(folder, "firmware.bin"))
        raise Killed

    idle = keep(desk, "idle", days=5)
    keep(desk, "newest")
    monkeypatch.setattr(artifacts, "discard", die)
    with pytest.raises(Killed):
        prune(desk, 0)
    monkeypatch.undo()
    with pytest.raises(WrongDataError):
        artifacts.find(desk.facts(), "fw", idle.id)
    (left,) = (name for name in os.listdir(desk.ops / "artifacts" / "fw") if name.startswith(".tmp-"))
    assert idle.id in left and prune(desk, None) == [left]
    again = keep(desk, "idle")
    assert again.id == idle.id and again.problems() == []
