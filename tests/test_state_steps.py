"""The steps of ops/state.db: one that was released is never changed, and books of the first one go on in the last."""

from __future__ import annotations

import hashlib
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from k1ctl import state_schema
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.sync import Sync
from k1ctl.budget.transcripts_claude import ClaudeCode
from k1ctl.budget.verify import verify
from k1ctl.config import load
from k1ctl.errors import ConfigError
from k1ctl.state import State
from k1ctl.workspace import Workspace
from tests.budget.transcripts import MODELS, answer, lines

# A step is frozen with the first release that has it: files that went through it are out there, and are never made
# anew. What is to be different is a further step behind it, whose digest is added here.
FROZEN = (
    "2cb405b08d3e71f8ab4e0220622655d16f06e0adb0bcacbcfd6f53f0aafdcd9e",
    "c80fdc5908e94eb5ecd072334d4e6c11ab1368c17f2a64bd21f66847094f7d3a",
)
FIRST = Path(__file__).with_name("state-step-1.sql")  # holds of each state, a folded and a fresh part of the record
WORKTREE = "/home/ada/k1/.conductor/oslo"  # where they were made


@pytest.fixture
def first(tmp_path: Path) -> Workspace:
    """A root with the books of step 1."""
    place = Workspace(str(tmp_path), str(tmp_path), tmp_path.name)
    path = Path(State(place).path)
    path.parent.mkdir()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(FIRST.read_text())
    db.close()
    return place


def rows_of(table: str, db: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """All rows of a table."""
    return db.execute(f"SELECT * FROM {table}").fetchall()


def test_a_step_that_was_released_is_never_changed() -> None:
    """The statements of each step are those of the release that it came with; spaces apart."""
    steps = ["\n".join(" ".join(statement.split()) for statement in step) for step in state_schema.STEPS]
    assert tuple(hashlib.sha256(step.encode()).hexdigest() for step in steps) == FROZEN


def test_books_of_the_first_step_go_on(first: Workspace, tmp_path: Path) -> None:
    """All of them come out in the last one, under its tables: holds end, a late settle stays one, and a transcript
    settles the hold that was open then."""
    before = sqlite3.connect(State(first).path)
    record, spend, holds = (rows_of(table, before) for table in ("record", "spend", "holds"))
    before.close()
    books = Ledger(first, load(first), durable=False)
    assert [hold.id for hold in books.holds()] == ["still-open"]
    for table, rows in (("record", record), ("spend", spend), ("holds", holds)):
        assert books.state.read(partial(rows_of, table)) == rows
    version = books.state.read(lambda db: db.execute("PRAGMA user_version").fetchone()[0])
    assert version == len(state_schema.STEPS) and not books.state.read(state_schema.different)
    proof = verify(books.state)
    assert (proof.wrong, proof.entries, proof.holds, proof.tokens) == (0, 15, 6, 77_640), proof.differences
    told = tmp_path / "claude" / "projects" / "p" / "a.jsonl"
    told.parent.mkdir(parents=True)
    told.write_text(lines([answer(1, input=0, output=900, at=1_780_000_800.0, cwd=f"{WORKTREE}/src")]))
    report = Sync(first, load(first), [ClaudeCode()], folders=[str(tmp_path / "claude")]).run()
    assert [(s["hold"]["id"], s["booked_tokens"]) for s in report.settled] == [("still-open", 900)]
    assert report.usage[0]["workspace"] == "oslo"
    assert books.settle("still-open", 5).again and books.settle("b19e704a064000000004", 1000).late
    by_model = books.state.read(lambda db: dict(db.execute("SELECT model, SUM(tokens) FROM spend GROUP BY model")))
    assert by_model[MODELS[1]] == 900
    proof = verify(books.state)
    assert (proof.wrong, proof.tokens) == (0, 77_640 + 900 + 1000), proof.differences
    books.state.close()


@pytest.mark.parametrize(("damage", "code"), [("cut off", "state-damaged"), ("newer", "state-newer")])
def test_an_old_file_that_is_wrong_is_left_alone(first: Workspace, damage: str, code: str) -> None:
    """It is looked at before it is brought forward: refused as any other, and not a byte is written."""
    path = Path(State(first).path)
    if damage == "newer":
        db = sqlite3.connect(path)
        db.execute(f"PRAGMA user_version = {len(state_schema.STEPS) + 1}")
        db.close()
    else:
        path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    before = path.read_bytes()
    for act in (State(first).read, State(first).write):
        with pytest.raises(ConfigError) as found:
            act(partial(rows_of, "marks"))
        assert found.value.code == code
    assert path.read_bytes() == before
