"""`k1ctl capacity show`: what it reads of the host, what it prints, and bad input."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from k1ctl.capacity import bounds
from k1ctl.capacity.explain import Answer, workload
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.need import Need
from k1ctl.config import Config, load
from k1ctl.workspace import resolve
from k1ctl_plugins.capacity import show_state, show_text
from tests.kit import Project, finish, wait_until

GIB = 1 << 30
MAC = {
    "system": "macos",
    "cores": 14,
    "memory_bytes": 48 * GIB,
    "available_bytes": 40 * GIB,
    "pressure_level": "normal",
    "thermal": "nominal",
}


@pytest.fixture
def mac(tmp_path: Path) -> str:
    file = tmp_path / "mac.json"
    file.write_text(json.dumps(MAC))
    return str(file)


@pytest.fixture
def rough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Turns are simulated roughly, where a test is about something else."""
    monkeypatch.setattr(bounds, "_TURNS", 400)


def test_the_annex_host_is_explained_in_full_within_100_columns(workspace: Project, mac: str) -> None:
    """Short by default; --explain adds matrix, base and slots, turns, bounds and where the figures differ."""
    workspace.configure('[queue.slots]\n"build:fw" = 4\n"build:web" = 6\n')
    short = workspace.run("capacity", "show", "--facts", mac).assert_ok().stdout
    full = workspace.run("capacity", "show", "--facts", mac, "--explain").assert_ok().stdout
    assert full.startswith(short)
    assert max(map(len, full.splitlines())) <= 100
    assert len(short.splitlines()) <= 24
    for words in ("12 to 16 steady, 20 in a burst", "10 = max(1, floor((48 - 8) / 4 GiB))", "thermal nominal"):
        assert words in short
    for words in ("RESERVE IT IMPLIES", "BUSY SLOTS", "TURN P90", "BOUNDS", "WHERE THE FIGURES DIFFER", "knee 16.8"):
        assert words in full


def test_json_has_facts_state_and_answer_in_one_document(workspace: Project, mac: str) -> None:
    """A file of facts is another host's: this one's disk is left out. An old setting is warned of with its line."""
    workspace.configure('[capacity]\nper_agent = "32G"\n')
    told = json.loads(workspace.run("capacity", "show", "--facts", mac, "--json").assert_ok().stdout)
    assert told["ok"] is True
    assert (told["facts"]["cores"], told["facts"]["origin"], told["disk"]) == (14, mac, None)
    assert told["watermark"]["level"] == 0
    assert told["promises"]["held"] == []
    assert told["promises"]["memory_free_bytes"] == 40 * GIB
    (warning,) = told["warnings"]
    assert warning["setting"] == "capacity.per_agent"
    assert warning["where"] == f"{workspace.config_file}:2"


def test_outside_a_repository_the_host_is_shown_with_the_defaults(workspace: Project, mac: str, tmp_path: Path) -> None:
    """But a root that was named and is none is an error."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    told = workspace.run("capacity", "show", "--facts", mac, cwd=outside).assert_ok().stdout
    assert "14 cores, 48.0 GiB of memory (17 % in use)" in told
    assert "build:fw" in told
    workspace.run("--root", "/no/such/root", "capacity", "show", cwd=outside).assert_fails(78, "is not a folder")


@pytest.mark.parametrize(
    ("text", "told"),
    [("{", "is no file of facts"), ('{"cores": 4}', "memory_bytes"), (None, "cannot be read")],
)
def test_a_file_of_facts_that_is_none_is_refused(
    workspace: Project, tmp_path: Path, text: str | None, told: str
) -> None:
    """Exit 78 with what is wrong and what such a file looks like."""
    file = tmp_path / "facts.json"
    if text is not None:
        file.write_text(text)
    workspace.run("capacity", "show", "--facts", str(file)).assert_fails(78, told)


@pytest.mark.usefixtures("rough")
def test_slots_in_use_and_promises_are_counted(workspace: Project) -> None:
    """A lease of a build slot is busy there; a promise is in the sum, and less may still be promised."""
    from k1ctl.capacity import gate

    place = resolve(cwd=str(workspace.root))
    config = load(place)
    facts = Facts("linux", 8, 32 * GIB, 30 * GIB, origin="a file")

    def slots(state: show_state.State) -> list[tuple[int, int]]:
        return [(row["busy"], row["waiting"]) for row in state.pools if row["resource"] == "build:fw"]

    before = show_state.State(facts, config, place)
    assert (before.promised, before.free, slots(before)) == (0, 24 * GIB, [(0, 0)])
    run = workspace.popen("queue", "run", "build:fw", "--", "sleep", "60")
    wait_until(lambda: slots(show_state.State(facts, config, place)) == [(1, 0)])
    held = gate.promise(place, config, Need(mem=3 * GIB), what="a test", kind="capacity-run")
    after = show_state.State(facts, config, place)
    held.release()
    run.terminate()
    finish(run)
    assert (after.promised, after.free, len(after.held)) == (3 * GIB, 21 * GIB, 1)
    answer = Answer(facts, config, workload(config), after.seen_by_bounds)
    assert "3.0 GiB of memory (0 B of it seen) in 1 promise" in "\n".join(show_text.short(answer, after))


@pytest.mark.usefixtures("rough")
def test_what_was_measured_is_shown_and_a_damaged_history_is_warned_of(workspace: Project) -> None:
    """A row for each class with runs; a file that cannot be read is named and not counted."""
    from k1ctl.capacity import histogram, levels

    for _ in range(5):
        histogram.add("build:fw", GIB, 60.0)
    (Path(levels.folder_of()) / "history" / "bad.json").write_text("{")
    facts, config = Facts("linux", 8, 32 * GIB, 32 * GIB, origin="a file"), Config("", {}, {})
    state = show_state.State(facts, config, None)
    assert [(one.class_, one.runs) for one in state.classes] == [("build:fw", 5)]
    text = "\n".join(show_text.full(Answer(facts, config, workload(config), state.seen_by_bounds), state))
    assert "measured: p95 of 5 runs of class build:fw, and 15 %" in text
    assert "bad.json is damaged" in " ".join(text.split())


def test_worktrees_count_with_what_du_saw_of_them(workspace: Project, tmp_path: Path) -> None:
    """Those that are there, by git's own folder; the size of one is the mean of scans, the default without any."""
    workspace.git("worktree", "add", "-q", str(tmp_path / "oslo"))
    workspace.git("worktree", "add", "-q", str(tmp_path / "rome"))
    place = resolve(cwd=str(workspace.root))
    config = Config(place.config_file, {("disk", "total_quota"): 10 * GIB}, {})
    facts = Facts("linux", 8, 32 * GIB, 32 * GIB)
    found = show_state.State(facts, config, place)
    assert found.disk is not None
    seen = found.seen_by_bounds
    assert (seen.worktrees, seen.worktree_origin.partition(":")[0]) == (2, "default")
    assert seen.quota_free == 10 * GIB - 2 * seen.worktree_bytes
    workspace.run("worktree", "du", "oslo").assert_ok()
    seen = show_state.State(facts, config, place).seen_by_bounds
    assert seen.worktree_origin == "mean of 1 as `k1ctl worktree du` saw them"
    assert 0 < seen.worktree_bytes < GIB
