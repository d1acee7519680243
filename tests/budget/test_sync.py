"""`budget sync` books what was used once: for its workspace, under its hold, whatever happens in between."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl import events
from k1ctl.budget import sync_store
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.sync import LOCK, Report, Sync, readers
from k1ctl.budget.sync_places import ELSEWHERE, Places
from k1ctl.budget.transcripts_claude import ClaudeCode
from k1ctl.budget.transcripts_codex import Codex
from k1ctl.budget.verify import verify
from k1ctl.config import load
from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.files import open_locked
from k1ctl.testing import Project
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from tests.budget.ledgers import ledger
from tests.budget.transcripts import BEGIN, MODELS, answer, home, lines, rollout
from tests.kit import REPOSITORY

CCUSAGE = "20.0.24"  # the newest that npm has with a program for Linux on x64


def synced(folder: Path, **words: Any) -> Report:
    """A sync of the root ``folder``, with the configuration that is there, from ``folder``/claude and /codex."""
    place = Workspace(str(folder), str(folder), folder.name)
    ops = folder / "ops"
    ops.mkdir(exist_ok=True)
    if not (ops / "k1ctl.toml").exists():
        (ops / "k1ctl.toml").write_text('[budget]\nzone = "UTC"\n')
    given = [str(folder / name) for name in ("claude", "codex") if (folder / name).exists()]
    sync = Sync(place, load(place), [ClaudeCode(), Codex()], **{"folders": given, **words})
    sync.ledger.durable = False
    return sync.run()


def put(folder: Path, name: str, records: list[Any]) -> Path:
    path = folder / "claude" / "projects" / "p" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as f:
        f.write(lines(records))
    return path


def spent(folder: Path, agent: str = "") -> tuple[int, int]:
    """(tokens, micro-dollars) of the ledger; its record is proved on the way."""
    books = ledger_of(folder)
    proof = verify(books.state)
    assert not proof.wrong, proof.differences
    query = "SELECT COALESCE(SUM(input + output + cache_write + cache_read), 0), COALESCE(SUM(micro_usd), 0) FROM spend"
    found = books.state.read(lambda db: db.execute(query + " WHERE agent LIKE ?", (agent or "%",)).fetchone())
    books.state.close()
    return found[0], found[1]


def ledger_of(folder: Path) -> Ledger:
    place = Workspace(str(folder), str(folder), folder.name)
    return Ledger(place, load(place), durable=False)


def test_a_message_is_booked_once_and_by_what_it_grew(tmp_path: Path) -> None:
    """A streamed message is booked as far as it is told, then by what came on; a copy in a resumed session adds none.
    A second call books nothing and reads nothing."""
    put(tmp_path, "a.jsonl", [answer(1, output=1), answer(1, output=20)])
    assert synced(tmp_path).booked["messages"] == 1 and spent(tmp_path)[0] == 30
    again = synced(tmp_path)
    assert (again.files["unchanged"], again.files["read"], again.booked["messages"]) == (1, 0, 0)
    put(tmp_path, "a.jsonl", [answer(1, output=45), answer(2)])
    put(tmp_path, "b.jsonl", [answer(1, output=45), answer(2), answer(3)])
    report = synced(tmp_path)
    assert (report.booked["messages"], report.booked["grown"], report.copies) == (2, 1, 3)
    assert spent(tmp_path)[0] == 55 + 60 + 60
    assert sum(use["output"] for use in report.usage) == 45 + 50 + 50
    assert sum(use["messages"] for use in report.usage) == 3


def test_a_crash_before_the_commit_loses_and_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised in the last step of the transaction: neither a message, nor a booking, nor a position was kept."""
    put(tmp_path, "a.jsonl", [answer(n) for n in range(5)])

    def crash(*args: object) -> None:
        raise RuntimeError("power")

    with monkeypatch.context() as m:
        m.setattr(sync_store, "keep_positions", crash)
        with pytest.raises(RuntimeError):
            synced(tmp_path)
    assert spent(tmp_path) == (0, 0)
    assert synced(tmp_path).booked["messages"] == 5 and spent(tmp_path)[0] == 300


def test_a_dry_run_changes_nothing(tmp_path: Path) -> None:
    """It tells what the call would book, makes no file, tells no event, and the next call books it all."""
    (tmp_path / "ops").mkdir()
    (tmp_path / "ops" / "k1ctl.toml").write_text('[budget]\nzone = "UTC"\nday = "150"\n')
    put(tmp_path, "a.jsonl", [answer(1), answer(1), answer(2)])
    for _ in range(2):
        report = synced(tmp_path, dry_run=True)
        assert report.booked["messages"] == 2 and report.usage[0]["output"] == 100
        assert not (tmp_path / "ops" / "state.db").exists()
    assert not (tmp_path / "ops" / "events").exists()
    synced(tmp_path)
    told = [event["event"] for event in events.read(str(tmp_path / "ops" / "events"))]
    assert told == ["budget.soft", "budget.soft", "budget.synced"]
    put(tmp_path, "a.jsonl", [answer(3)])
    assert synced(tmp_path, dry_run=True).booked["messages"] == 1
    assert len([*events.read(str(tmp_path / "ops" / "events"))]) == 3
    assert synced(tmp_path).booked["messages"] == 1 and spent(tmp_path)[0] == 180


def test_what_was_used_settles_the_hold_it_was_used_under(tmp_path: Path) -> None:
    """The worktree's newest hold that was open then, for that model or any, whatever its agent is called; all else is
    booked by itself."""
    here = tmp_path.name
    books = ledger(tmp_path, "day = 1000000")
    early = books.reserve(5000, agent=here, task="T", now=BEGIN - 100)
    late = books.reserve(40, agent=here, now=BEGIN + 100)
    other = books.reserve(7000, agent="A", model="claude-opus-4-5", now=BEGIN + 150)
    strange = books.reserve(9000, agent=ELSEWHERE, now=BEGIN + 100)
    cwd = str(tmp_path)
    put(
        tmp_path,
        "a.jsonl",
        [
            answer(1, at=BEGIN - 500, cwd=cwd),
            answer(2, at=BEGIN, cwd=cwd),
            answer(3, at=BEGIN + 200, cwd=cwd),
            answer(4, at=BEGIN + 200, cwd=cwd, model=MODELS[0]),
            answer(5, at=BEGIN, cwd="/nowhere/else"),
        ],
    )
    report = synced(tmp_path)
    told = {s["hold"]["id"]: (s["booked_tokens"], s["overrun_tokens"]) for s in report.settled}
    assert told == {early.id: (60, 0), late.id: (60, 20), other.id: (60, 0)}
    assert books.hold(strange.id).state == "open" and books.hold(early.id).state == "settled"
    assert spent(tmp_path, here)[0] == 180 and spent(tmp_path, "A")[0] == 60 == spent(tmp_path, ELSEWHERE)[0]
    put(tmp_path, "a.jsonl", [answer(6, at=BEGIN + 1, cwd=cwd)])
    assert synced(tmp_path).settled == [] and spent(tmp_path, here)[0] == 240
    books.state.close()


def test_a_hold_is_of_the_worktree_it_was_made_in(tmp_path: Path) -> None:
    """By its path: whatever --agent says, with two folders of one name, with a name of Conductor's, and when it is
    gone; one of the root that names another workspace is for that. A name that was given stays."""
    config = ledger(tmp_path, "soft = []").workspace
    names = {"x/oslo": "oslo", "y/oslo": "oslo", "z/lima": "foo", "": tmp_path.name}
    said = {"x/oslo": "A", "y/oslo": "oslo", "z/lima": "foo", "": "B"}
    held: dict[str, str] = {}
    for folder, name in names.items():
        place = Workspace(str(tmp_path), str(tmp_path / folder), name)
        books = Ledger(place, load(config), durable=False)
        held[books.reserve(500, agent=said[folder], now=BEGIN - 50).id] = folder
        if not folder:
            held[books.reserve(500, agent="foo", now=BEGIN + 50).id] = "root for foo"
        books.state.close()
    folders = [*names, "z/lima"]
    at = [BEGIN] * 4 + [BEGIN + 60]
    put(tmp_path, "a.jsonl", [answer(i, at=at[i], cwd=str(tmp_path / folders[i] / "src")) for i in range(5)])
    report = synced(tmp_path)
    assert {(held[s["hold"]["id"]], s["booked_tokens"]) for s in report.settled} == {
        ("x/oslo", 60), ("y/oslo", 60), ("z/lima", 60), ("", 60), ("root for foo", 60)
    }  # fmt: skip
    assert {use["workspace"]: use["messages"] for use in report.usage} == {"oslo": 2, "foo": 2, tmp_path.name: 1}
    put(tmp_path, "a.jsonl", [answer(9, at=BEGIN + 700, cwd=str(tmp_path / "z" / "lima"))])
    assert synced(tmp_path).usage[0]["messages"] == 3 and spent(tmp_path, "foo")[0] == 180


def test_a_hold_that_lives_or_has_ended_is_not_settled(tmp_path: Path) -> None:
    """What came after the deadline of a hold that nobody took back counts for its own day; a living owner keeps its
    hold, which explains the tokens, and not the money that it does not hold; one whose owner is gone is settled."""
    books, here, now = ledger(tmp_path, "day = 1000000"), tmp_path.name, time.time()
    stale = books.reserve(5000, agent=here, ttl=600, now=now - 5 * 86400)
    owned = books.reserve(5000, agent=here, ttl=600, owner=os.getpid(), now=now - 10)
    put(tmp_path, "a.jsonl", [answer(1, at=now, cwd=str(tmp_path))])
    assert synced(tmp_path).settled == []
    assert {hold.id for hold in books.holds()} == {stale.id, owned.id}
    day = rfc3339(now)[:10]
    booked = "SELECT day, tokens, micro_usd > 0 FROM spend"
    assert books.state.read(lambda db: db.execute(booked).fetchall()) == [(day, 0, 1)]
    books.state.write(
        lambda db: db.execute("UPDATE open_holds SET since_monotonic = 0, since = 1 WHERE id = ?", (owned.id,))
    )
    books.state.write(lambda db: db.execute("UPDATE open_holds SET ttl = ? WHERE id = ?", (now, owned.id)))
    put(tmp_path, "a.jsonl", [answer(2, at=now - 1, cwd=str(tmp_path))])
    assert [told["hold"]["id"] for told in synced(tmp_path).settled] == [owned.id]
    books.state.close()


@pytest.mark.parametrize(
    ("broken", "messages"),
    [
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, 1),
        ({"timestamp": "9999-12-31T23:59:59-14:00"}, 1),
        ({"requestId": "\ud800"}, 1),
        ({"message": {**answer(2)["message"], "id": "msg_\ud800"}}, 1),
        ({"cwd": "/a\0b"}, 2),
        ({"cwd": "/a\ud800"}, 2),
    ],
)
def test_one_strange_record_stops_no_sync(tmp_path: Path, broken: dict[str, Any], messages: int) -> None:
    """Times of no calendar, ids and folders that are no text: it is counted, or is elsewhere; all else is booked."""
    put(tmp_path, "a.jsonl", [{**answer(2), **broken}, answer(1)])
    report = synced(tmp_path)
    assert report.booked["messages"] == messages
    assert sum(report.document()["unknown"].get("claude", {}).values()) == 2 - messages


def test_a_sync_does_not_wait_for_ever(tmp_path: Path) -> None:
    """While another one holds the lock it is refused as busy; a dry run needs it not, and tells what is booked too."""
    put(tmp_path, "a.jsonl", [answer(1)])
    assert synced(tmp_path).booked["messages"] == 1
    put(tmp_path, "a.jsonl", [answer(2)])
    fd = open_locked(str(tmp_path / "ops" / LOCK))
    assert fd is not None
    place = Workspace(str(tmp_path), str(tmp_path), "here")
    sync = Sync(place, load(place), [ClaudeCode()], folders=[str(tmp_path / "claude")])
    sync.patience = 0.0
    with pytest.raises(BusyError, match="another budget sync"):
        sync.run()
    tried = synced(tmp_path, dry_run=True)
    assert tried.booked["messages"] == 1 and sum(use["messages"] for use in tried.usage) == 2
    os.close(fd)
    assert synced(tmp_path).booked["messages"] == 1
    assert sum(use["messages"] for use in synced(tmp_path, dry_run=True).usage) == 2


def test_a_reader_or_a_file_that_is_broken_stops_no_other(tmp_path: Path) -> None:
    """A foreign reader that raises and a file whose name is no text are told; the others' messages are booked."""

    class Broken(Codex):
        name = "broken"

        def read(self, *_: Any) -> Any:
            raise RuntimeError("of its own")

    good = put(tmp_path, "a.jsonl", [answer(1)])
    rollouts = tmp_path / "codex" / "sessions"
    rollouts.mkdir(parents=True)
    (rollouts / "r.jsonl").write_text(lines(rollout("s", [(10, 0, 5)])))
    try:
        Path(os.fsdecode(os.fsencode(good.parent) + b"/\xff.jsonl")).write_text("{}\n")
    except OSError:  # APFS takes no such name
        pass
    place = Workspace(str(tmp_path), str(tmp_path), "here")
    folders = [str(tmp_path / "claude"), str(tmp_path / "codex")]
    report = Sync(place, load(place), [Broken(), ClaudeCode()], folders=folders).run()
    assert report.booked["messages"] == 1
    assert "the reader broken failed: RuntimeError: of its own" in report.failed.values()
    json.dumps(report.document(), ensure_ascii=False).encode()


def test_a_folder_is_the_innermost_worktrees(tmp_path: Path) -> None:
    """The longest of the worktrees around it, links resolved; a name that begins alike is another folder."""
    (tmp_path / "real" / "inner").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    places = Places([f"{tmp_path}/real", f"{tmp_path}/real/inner", f"{tmp_path}/x/oslo", f"{tmp_path}/y/oslo"])
    of = {name: places.of(f"{tmp_path}/{name}").name for name in ("real/src", "real/inner/src", "real2", "link/inner")}
    assert of == {"real/src": "real", "real/inner/src": "inner", "real2": ELSEWHERE, "link/inner": "inner"}
    one, other = places.of(f"{tmp_path}/x/oslo/a"), places.of(f"{tmp_path}/y/oslo")
    assert one.name == "oslo" == other.name and one.worktree != other.worktree and places.of("").name == ELSEWHERE


def test_a_model_without_a_price(tmp_path: Path) -> None:
    """Priced as the dearest and told; or refused, with its whole file, until a price is there."""
    put(tmp_path, "a.jsonl", [answer(1, model="glm-9", input=0, output=1_000_000)])
    put(tmp_path, "b.jsonl", [answer(2)])
    own = tmp_path / "prices.json"
    own.write_text('{"models": {"glm-9": {"input": 1, "output": 2000000, "cache_write": 1, "cache_read": 1}}}')
    toml = tmp_path / "ops" / "k1ctl.toml"
    (tmp_path / "ops").mkdir()
    toml.write_text('[budget]\nunknown_model = "refuse"\n')
    report = synced(tmp_path)
    assert [*report.refused.values()] == [["glm-9"]] and spent(tmp_path)[0] == 60
    assert not report.document()["ok"]
    toml.write_text(f'[budget]\nunknown_model = "refuse"\nprices = "{own}"\n')
    before = spent(tmp_path)[1]
    assert synced(tmp_path).refused == {} and spent(tmp_path)[1] - before == 2_000_000
    toml.write_text("[budget]\n")
    put(tmp_path, "a.jsonl", [answer(3, model="glm-9", output=1_000_000)])
    report = synced(tmp_path)
    assert report.unpriced["glm-9"]["messages"] == 1 and report.unpriced["glm-9"]["micro_usd"] >= 50_000_000


def test_since_leaves_older_files_for_another_time(tmp_path: Path) -> None:
    """A file that nobody wrote to since is neither read nor remembered; the report begins with that day."""
    old = put(tmp_path, "old.jsonl", [answer(1)])
    os.utime(old, (BEGIN, BEGIN))
    put(tmp_path, "new.jsonl", [answer(2), answer(3, at=BEGIN + 90_000)])
    report = synced(tmp_path, since=BEGIN + 90_000)
    assert (report.files["seen"], report.booked["messages"]) == (1, 2) and len(report.usage) == 1
    assert synced(tmp_path).booked["messages"] == 1


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A file that went away is named; a folder without transcripts is a wrong call, with the kinds there are."""
    put(tmp_path, "a.jsonl", [answer(1)])
    (tmp_path / "claude" / "projects" / "p" / "gone.jsonl").symlink_to(tmp_path / "nothing")
    assert synced(tmp_path).booked["messages"] == 1
    with pytest.raises(UsageError) as found:
        synced(tmp_path, folders=[str(tmp_path / "ops")])
    assert found.value.code == "no-transcripts" and "claude, codex" in found.value.message


class Given:
    """Plugins that answer the hook as told."""

    def __init__(self, *answers: tuple[str, list[Any] | K1ctlError]) -> None:
        self.answers = answers

    def each(self, hook: str) -> tuple[tuple[str, list[Any] | K1ctlError], ...]:
        assert hook == "k1ctl_usage_readers"
        return self.answers


def test_readers_are_those_of_all_plugins() -> None:
    """A plugin that fails is told and hides no other; two readers of one name are an error that names both plugins."""
    found, said = readers(Given(("a", [ClaudeCode()]), ("b", K1ctlError("b broke")), ("c", [Codex()])))
    assert [reader.name for reader in found] == ["claude", "codex"] and said == ["b broke"]
    with pytest.raises(UsageError) as error:
        readers(Given(("a", [Codex()]), ("b", [Codex()])))
    assert error.value.code == "two-readers" and "a and b" in error.value.message


def test_the_command(workspace: Project, tmp_path: Path) -> None:
    """`budget sync --from FOLDER` books for worktrees and prints one document; its second call books nothing."""
    oslo = workspace.add_worktree("oslo")
    put(tmp_path, "a.jsonl", [answer(1, cwd=f"{oslo}/src"), answer(2, cwd=str(workspace.root)), {"type": "new"}])
    day = tmp_path / "codex" / "sessions" / "2026"
    day.mkdir(parents=True)
    (day / "rollout-1.jsonl").write_text(lines(rollout("a", [(100, 40, 5)], cwd=str(oslo))))
    words = ("budget", "sync", "--offline", "--json", "--from", str(tmp_path / "claude"))
    document = workspace.run(*words, "--from", str(tmp_path / "codex")).assert_ok().json
    used = {(use["workspace"], use["model"]): use["output"] for use in document["usage"]}
    assert used == {("oslo", MODELS[1]): 50, ("oslo", "gpt-5.2-codex"): 5, (workspace.root.name, MODELS[1]): 50}
    assert document["unknown"] == {"claude": {"record new": 1}} and document["booked"]["messages"] == 3
    told = workspace.run("budget", "sync", "--from", str(tmp_path / "claude"), "--since", "2025-01-01").assert_ok()
    assert "booked: 0 messages" in told.stdout and "1 unchanged" in told.stdout and "$" in told.stdout
    workspace.run(*words, "--since", "soon").assert_fails(2, "no time")


def ccusage() -> str:
    """The program of ccusage, kept for the next run. Skips where npm cannot bring it."""
    place = REPOSITORY / ".bench" / f"ccusage-{CCUSAGE}"
    program = place / "node_modules" / ".bin" / "ccusage"
    if not program.exists() and shutil.which("npm"):
        place.mkdir(parents=True, exist_ok=True)
        words = ["npm", "install", "--no-audit", "--no-fund", "--prefix", str(place), f"ccusage@{CCUSAGE}"]
        subprocess.run(words, capture_output=True, timeout=60)
    if not program.exists() or subprocess.run([program, "--version"], capture_output=True).returncode:
        pytest.skip("ccusage is not here, and npm cannot bring it")
    return str(program)


def test_totals_are_those_of_ccusage(tmp_path: Path) -> None:
    """On the same transcripts: every class of tokens, and the dollars up to the rounding of each message."""
    program = ccusage()
    home(tmp_path, sessions=3, answers=20)
    report = synced(tmp_path)
    env = {**os.environ, "HOME": str(tmp_path), "TZ": "UTC"}
    env |= {"CLAUDE_CONFIG_DIR": str(tmp_path / "claude"), "CODEX_HOME": str(tmp_path / "codex")}
    names = ("inputTokens", "outputTokens", "cacheCreationTokens", "cacheReadTokens")
    for agent, words in (("claude", ["--mode", "calculate"]), ("codex", [])):
        done = subprocess.run([program, agent, "daily", "--json", "--offline", *words], env=env, capture_output=True)
        theirs = json.loads(done.stdout)["totals"]
        ours = [use for use in report.usage if use["model"].startswith("gpt") == (agent == "codex")]
        sums = [sum(u[name] for u in ours) for name in ("input", "output", "cache_write", "cache_read", "micro_usd")]
        assert sums[:4] == [theirs.get(name, 0) for name in names], agent
        messages = sum(use["messages"] for use in ours)
        assert 0 <= sums[4] - theirs.get("totalCost", theirs.get("costUSD")) * 1e6 <= messages + 1
