"""What was booked under an open hold is part of its settle; what a run spent is not lost with who started it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl import events
from k1ctl.budget import settling, told
from k1ctl.budget.holds import RUN_TTL
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.tokens import Usage
from k1ctl.budget.verify import verify
from k1ctl.errors import BusyError
from tests.budget.ledgers import ledger


def exceed(books: Ledger, id: str, tokens: int) -> None:
    """Book ``tokens`` under an open hold, as `budget sync` does."""
    place = ("2026-06-02", 494444, "m")
    hold, used = books.hold(id), Usage(output=tokens)
    books.state.write(lambda db: settling.exceed(books, db, hold, place, used, (tokens, 0), 1.0))


@pytest.mark.parametrize(("settled", "booked"), [(30, 40), (100, 100), (None, 50)])
def test_a_settle_books_what_is_missing(tmp_path: Path, settled: int | None, booked: int) -> None:
    """Of what was booked under the open hold and what is settled the larger counts, for its task as well."""
    books = ledger(tmp_path)
    hold = books.reserve(50, agent="a", task="t")
    exceed(books, hold.id, 40)
    found = books.settle(hold.id, settled)
    assert (found.booked, found.overrun) == (booked, max(0, booked - 50))
    assert books.figures([("task", "t")])["task", "t"].spent == (booked, 0)
    assert not verify(books.state).wrong
    books.state.close()


@pytest.mark.parametrize(("text", "booked"), [("", 60), ('{"input": 30, "output": 40}', 70), ("{torn", 60)])
def test_a_run_that_nobody_settled_is_booked(tmp_path: Path, text: str, booked: int) -> None:
    """By what its command told, else by the estimate, when somebody would be refused; until then it is held."""
    books = ledger(tmp_path, "day = 100\nsoft = []")
    owner = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    hold = books.reserve(60, agent="a", owner=owner.pid, ttl=RUN_TTL)
    owner.kill()
    owner.communicate()
    path = Path(told.path_of(books.workspace, hold.id))
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert books.ask(41, agent="b"), "it is held, although its owner is gone"
    with pytest.raises(BusyError):
        books.reserve(41, agent="b")
    assert (books.hold(hold.id).state, books.hold(hold.id).booked) == ("settled", booked)
    assert books.settle(hold.id, 5).again and not path.exists()
    found = [event["event"] for event in events.read(str(tmp_path / "ops" / "events"))]
    assert found == ["budget.lost", *["budget.overrun"] * (booked > 60), "budget.refused"]
    assert not verify(books.state).wrong
    books.state.close()
