"""`k1ctl capacity show`: what it reads of the host, what it prints, and bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from k1ctl.capacity import bounds, explain
from k1ctl.capacity.explain import Answer, workload
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.need import Need
from k1ctl.cli import Context
from k1ctl.config import Config, load
from k1ctl.errors import ConfigError
from k1ctl.plugins import Plugins
from k1ctl.workspace import resolve
from k1ctl_plugins.capacity import layout, show_state, show_text
from k1ctl_plugins.capacity.show import show
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


def shown(root: Path | None, *words: str) -> Result:
    """The command, run in this process for ``root``; None: for where we are."""
    context = Context(Plugins(), str(root or ""))
    done = CliRunner().invoke(show, words, obj=context, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done


def test_the_annex_host_is_explained_in_full_within_100_columns(
    workspace: Project, mac: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Short by default; --explain adds matrix, base and slots, turns, bounds and where the figures differ."""
    workspace.configure('[queue.slots]\n"build:fw" = 4\n"build:web" = 6\n')
    answers: list[Answer] = []

    def once(*args: Any, **kwargs: Any) -> Answer:  # the simulation, at its full length, is the same for both
        if not answers:
            answers.append(Answer(*args, **kwargs))
        return answers[0]

    monkeypatch.setattr(explain, "Answer", once)
    short = shown(workspace.root, "--facts", mac).stdout
    full = shown(workspace.root, "--facts", mac, "--explain").stdout
    assert full.startswith(short)
    assert max(map(len, full.splitlines())) <= 100
    assert len(short.splitlines()) <= 24
    matrix = "4 to 8: 2, 4, 8, 12 agents at 16, 32, 64, 128 GiB, which keep 8, 16, 32, 80 GiB back"
    for words in ("12 to 16 steady, 20 in a burst", "10 = max(1, floor((48 - 8) / 4 GiB))", matrix, "thermal nominal"):
        assert words in short
    for words in ("RESERVE IT IMPLIES", "BUSY SLOTS", "TURN P90", "BOUNDS", "WHERE THE FIGURES DIFFER", "knee 16.8"):
        assert words in full


@pytest.mark.usefixtures("rough")
def test_json_has_facts_state_and_answer_in_one_document(workspace: Project, mac: str) -> None:
    """A file of facts is another host's: this one's disk is left out. An old setting is warned of with its line."""
    workspace.configure('[capacity]\nper_agent = "32G"\n')
    told = json.loads(shown(workspace.root, "--facts", mac, "--json").stdout)
    assert told["ok"] is True
    assert (told["facts"]["cores"], told["facts"]["origin"], told["disk"]) == (14, mac, None)
    assert (told["watermark"]["level"], told["watermark"]["admit_percent"]) == (0, 70)
    assert told["root"] == str(workspace.root)
    assert told["promises"]["held"] == []
    assert told["promises"]["memory_free_bytes"] == 40 * GIB
    (warning,) = told["warnings"]
    assert (warning["setting"], warning["unit"]) == ("capacity.per_agent", "bytes")
    assert warning["where"] == f"{workspace.config_file}:2"


@pytest.mark.usefixtures("rough")
def test_outside_a_repository_the_host_is_shown_with_the_defaults(
    workspace: Project, mac: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But a root that was named and is none is an error."""
    outside = tmp_path / "elsewhere"
    outside.mkdir()
    monkeypatch.chdir(outside)
    for name in ("K1CTL_ROOT", "CONDUCTOR_ROOT_PATH"):
        monkeypatch.delenv(name, raising=False)
    run = shown(None, "--facts", mac)
    told = run.stdout
    assert run.stderr == f"k1ctl: {outside} is not inside a git repository; shown with the defaults\n"
    assert "14 cores, 48.0 GiB of memory (17 % in use)" in told
    assert "build:fw" in told
    workspace.run("--root", "/no/such/root", "capacity", "show", cwd=outside).assert_fails(78, "is not a folder")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "is no file of facts"),
        ('{"cores": 4}', "memory_bytes"),
        (None, "cannot be read"),
        ("[4]", "it has no object"),
    ],
)
def test_a_file_of_facts_that_is_none_is_refused(
    workspace: Project, tmp_path: Path, text: str | None, told: str
) -> None:
    """Exit 78 with what is wrong and what such a file looks like."""
    file = tmp_path / "facts.json"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ConfigError, match=told) as refused:
        shown(workspace.root, "--facts", str(file))
    assert refused.value.exit_code == 78


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
    assert "3.0 GiB of memory, 0 B seen in 1 promise" in "\n".join(show_text.short(answer, after))


def told(state: show_state.State, facts: Facts) -> str:
    """The lines of the host as one."""
    return " ".join(" ".join(show_text._host(facts, state)).split())


def test_what_is_promised_is_shown_against_what_may_be_and_what_is_seen(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen beyond its promise counts; nobody's promise of memory lets the first in with what the reserve leaves."""
    from k1ctl.capacity import promises
    from k1ctl.capacity.promises import Promise

    held: list[Promise] = []
    monkeypatch.setattr(promises, "held", lambda **_: held)
    config, facts = Config("", {}, {}), Facts("linux", 8, 32 * GIB, 10 * GIB, origin="a file")
    empty = show_state.State(facts, config, None)
    assert "promised nothing; others use 22.0 GiB, 10.0 GiB may still be promised (to the first 24.0 GiB)" in told(
        empty, facts
    )
    held.append(Promise("1", Need(cpu=1.5, tokens=10_000), seen_bytes=2 * GIB))
    assert "promised 2.0 GiB of memory seen (2.0 GiB of it beyond" in told(show_state.State(facts, config, None), facts)
    held[0].seen_bytes = 0
    assert "promised cores 1.5 of 8, tokens 10k in 1 promise;" in told(show_state.State(facts, config, None), facts)
    held[0].seen_bytes = 2 * GIB
    held.append(Promise("2", Need(mem=4 * GIB), seen_bytes=GIB))
    state = show_state.State(facts, config, None)
    assert "4.0 GiB of memory, 3.0 GiB seen (2.0 GiB of it beyond what was promised)" in told(state, facts)
    assert "cores 1.5 of 8, tokens 10k in 2 promises; others use 19.0 GiB, 7.0 GiB may still be" in told(state, facts)
    promised = state.document()["promises"]
    assert (promised["memory_seen_beyond_bytes"], promised["memory_first_bytes"]) == (2 * GIB, None)
    rows = {row["resource"]: (row["promised"], row["limit"], row["unit"]) for row in promised["resources"]}
    assert rows["cpu"] == (1.5, 8, "cores")
    assert rows["mem"] == (4 * GIB, 24 * GIB, "bytes")
    assert rows["tokens"] == (10_000, None, "tokens")


def test_one_look_above_a_watermark_is_not_called_calm_alone(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The level is entered by a second look; until then the first is told."""
    from k1ctl.capacity.levels import Level

    monkeypatch.setattr(show_state.levels, "now", lambda *_: Level(0, 75.0, 0.0, marks={1: 70.0, 2: 80.0}))
    facts = Facts("linux", 1, 32 * GIB, 8 * GIB, origin="a file")
    text = told(show_state.State(facts, Config("", {}, {}), None), facts)
    assert "host 1 core, 32.0 GiB" in text
    assert "watermark calm, with memory at 75 % by this look (a second one, 0.5 s later, decides)" in text


def test_long_names_and_texts_stay_within_100_columns() -> None:
    """Names in tables are cut, words go on below, a label that is too long has a line of its own."""
    rows = layout.fitted([("x" * 64, 1, "word " * 30)], ("NAME", "N", "WHY")).splitlines()
    assert max(map(len, rows)) <= 100
    assert " ".join(rows).count("word") == 30
    assert rows[1].startswith("x" * 41 + "...  1")
    label, *lines = show_text._line("model:" + "x" * 58, "text " * 30, indent=2)
    assert (label, max(map(len, lines)) <= 100) == ("  model:" + "x" * 58, True)


@pytest.mark.usefixtures("rough")
def test_a_host_too_small_for_its_slots_and_one_too_large_to_simulate() -> None:
    """Few agents are not said to fit beside slots that they cannot fill; a huge host answers at once, without odds."""
    config = Config("", {("queue", "slots", "build:fw"): 4, ("queue", "slots", "build:web"): 6}, {})
    for memory, text in ((16, "2: too few to keep 10 heavy slots busy"), (1 << 33, "with 10 heavy slots")):
        facts = Facts("linux", 14, memory * GIB, memory * GIB, origin="a file")
        state = show_state.State(facts, config, None)
        answer = Answer(facts, config, workload(config), state.seen_by_bounds)
        (line,) = [part for part in show_text.full(answer, state) if part.startswith("base + slots")]
        assert text in line
        assert ("of the time" in line) == (memory == 16)


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
