"""The ledger: never more than there is, nothing booked twice, nothing lost."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl import events
from k1ctl.budget import bound, waiting
from k1ctl.budget.days import hour_of
from k1ctl.budget.holds import RUN_TTL, HoldEndedError, HoldNotFoundError
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.limits import key_of
from k1ctl.budget.tokens import Usage
from k1ctl.budget.verify import verify
from k1ctl.config import load
from k1ctl.errors import BusyError, UsageError
from k1ctl.units import parse_rfc3339
from tests.budget.ledgers import Clock, ledger


def told(books: Ledger, name: str) -> list[dict[str, Any]]:
    """The events of one name."""
    return [e for e in events.read(books.workspace.ops_path("events")) if e["event"] == name]


def refused(books: Ledger, need: int, **words: Any) -> dict[str, Any]:
    """The details of the refusal."""
    with pytest.raises(BusyError) as found:
        books.reserve(need, agent=words.pop("agent", "a"), **words)
    assert found.value.code == "budget-exhausted" and found.value.exit_code == 75
    return found.value.details


def proved(books: Ledger) -> None:
    """The record comes to what stands in the tables."""
    proof = verify(books.state)
    assert not proof.wrong, proof.differences


def test_a_hold_counts_until_it_is_settled(tmp_path: Path) -> None:
    """What is held is not there for others; what a settle did not use is."""
    books = ledger(tmp_path, "day = 100")
    hold = books.reserve(80, agent="a")
    reason = refused(books, 30)["reasons"][0]
    assert (reason["free"], reason["held"], reason["spent"], reason["limit"]) == (20, 80, 0, 100)
    settled = books.settle(hold.id, 50)
    assert (settled.booked, settled.overrun, settled.late) == (50, 0, False)
    books.reserve(50, agent="b")
    assert refused(books, 1)["reasons"][0]["free"] == 0
    proved(books)


@pytest.mark.parametrize(
    ("limits", "scope"),
    [("day = 10", "day"), ("agent_day = 10", "agent"), ("task = 10", "task"), ("hour = 10", "hour"),
     ("[budget.pools]\nweb = 10", "pool"), ("day_usd = 0.00001", "day"), ("task_usd = 0.00001", "task")],
)  # fmt: skip
def test_each_limit_refuses_by_itself(tmp_path: Path, limits: str, scope: str) -> None:
    """Up to the limit and no further, with the limit that is in the way named; others' agents and tasks are apart."""
    books = ledger(tmp_path, limits)
    words = {"agent": "a", "task": "t", "pool": "web"}
    books.reserve(10, micro_usd=10, **words)
    found = refused(books, 1, micro_usd=1, **words)
    assert [reason["scope"] for reason in found["reasons"]] == [scope]
    if scope == "agent":
        books.reserve(10, agent="other")
    if scope == "task":
        books.reserve(10, agent="a", task="other", micro_usd=10)
    proved(books)


def test_a_need_above_the_limit_never_fits(tmp_path: Path) -> None:
    """It is said so, and no time is promised."""
    found = refused(ledger(tmp_path, "day = 100"), 101)
    assert found["never"] is True and found["expected_seconds"] is None


def test_a_misspelt_pool_has_no_limit_to_hide_behind(tmp_path: Path) -> None:
    """Where pools are limited, another name is refused."""
    with pytest.raises(UsageError, match="no pool 'wbe'"):
        ledger(tmp_path, "[budget.pools]\nweb = 10").reserve(1, agent="a", pool="wbe")


def test_only_critical_work_uses_the_reserve(tmp_path: Path) -> None:
    """Others stop where it begins."""
    books = ledger(tmp_path, "day = 100\nreserve_pool = 20")
    books.reserve(80, agent="a")
    assert "critical" in refused(books, 1)["reasons"][0]["text"]
    books.reserve(20, agent="a", critical=True)
    refused(books, 1, critical=True)


def test_a_repeated_reserve_is_one(tmp_path: Path) -> None:
    """By its id; for something else, or once it has ended, it is an error."""
    books = ledger(tmp_path, "day = 100")
    first = books.reserve(60, agent="a", id="mine")
    again = books.reserve(60, agent="a", id="mine")
    assert (first.again, again.again, len(books.holds())) == (False, True, 1)
    with pytest.raises(UsageError, match="another hold's, of 60 tokens"):
        books.reserve(61, agent="a", id="mine")
    with pytest.raises(UsageError, match="another hold's, of model ''"):
        books.reserve(60, agent="a", id="mine", model="claude-opus-4-1")
    books.settle("mine", 1)
    with pytest.raises(HoldEndedError):
        books.reserve(60, agent="a", id="mine")
    proved(books)


def test_a_repeated_reserve_gets_no_hold_that_anybody_may_take(tmp_path: Path) -> None:
    """Past its deadline it holds nothing, though nobody has taken it back yet."""
    clock = Clock()
    books = ledger(tmp_path, "day = 100", clock=clock)
    books.reserve(60, agent="a", id="mine", ttl=10)
    clock.pass_(11)
    with pytest.raises(HoldEndedError, match="past its deadline"):
        books.reserve(60, agent="a", id="mine", ttl=10)
    assert books.holds()[0].state == "open"


def test_a_refusal_counts_on_no_hold_that_is_gone(tmp_path: Path) -> None:
    """Neither as held nor as room to come: it would fit when one that holds comes to its end."""
    clock = Clock()
    books = ledger(tmp_path, "day = 100", clock=clock)
    books.reserve(40, agent="a", ttl=10)
    books.reserve(60, agent="a", ttl=500)
    clock.pass_(11)
    (reason,) = books.ask(60, agent="b")
    assert (reason.free, reason.expected_seconds) == (40, 489)


def test_a_refusal_looks_again_at_what_others_took_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two who are about to be refused find the same gone hold: whoever takes it back, there is room for both."""
    clock = Clock()
    books, other = (ledger(tmp_path, "day = 100", clock=clock) for _ in range(2))
    books.reserve(100, agent="a", ttl=10)
    clock.pass_(11)
    monkeypatch.setattr(books, "reclaim", lambda now: [] if other.reclaim(now) else None)
    assert books.reserve(50, agent="b").tokens == 50
    proved(books)


def test_a_settle_books_once(tmp_path: Path) -> None:
    """A second one, with whatever numbers, changes nothing; an unknown id is an error."""
    books = ledger(tmp_path, "day = 100")
    hold = books.reserve(60, agent="a")
    books.settle(hold.id, 10)
    again = books.settle(hold.id, 99)
    assert (again.booked, again.again) == (10, True)
    assert books.figures([("day", hold.day)])["day", hold.day].spent[0] == 10
    with pytest.raises(HoldNotFoundError):
        books.settle("b0", 1)
    proved(books)


def test_an_overrun_is_booked_in_full_and_blocks_the_next(tmp_path: Path) -> None:
    """It is flagged, in the answer and as an event; the limit is passed, so nobody else gets anything."""
    books = ledger(tmp_path, "day = 100")
    hold = books.reserve(60, agent="a")
    assert books.settle(hold.id, 150).overrun == 90
    assert "overrun by 50 tokens" in refused(books, 1)["reasons"][0]["text"]
    assert [e["booked_tokens"] for e in told(books, "budget.overrun")] == [150]
    proved(books)


def test_an_overrun_of_money_is_told_as_one_of_tokens_is(tmp_path: Path) -> None:
    """Where the hold had a price: in the record, as an event, and in what the settle comes to."""
    books = ledger(tmp_path, "day_usd = 100")
    for held in (0, 500):
        settled = books.settle(books.reserve(60, agent="a", micro_usd=held).id, 50, micro_usd=700)
        assert (settled.overrun, settled.overrun_micro_usd) == (0, 200 if held else 0)
    (event,) = told(books, "budget.overrun")
    assert (event["held_micro_usd"], event["booked_micro_usd"]) == (500, 700)
    notes = books.state.read(lambda db: db.execute("SELECT note FROM record WHERE what = 'settle'").fetchall())
    assert notes == [("",), ("overrun",)]
    proved(books)


def test_a_hold_ends_at_its_deadline_and_is_settled_late(tmp_path: Path) -> None:
    """Past it others get the tokens; what was spent all the same is booked, once."""
    clock = Clock()
    books = ledger(tmp_path, "day = 100", clock=clock)
    hold = books.reserve(100, agent="a", ttl=60)
    assert refused(books, 1)["expected_seconds"] == 60
    clock.pass_(60)
    books.reserve(90, agent="b")
    assert books.hold(hold.id).state == "lost" and [e["why"] for e in told(books, "budget.lost")] == ["deadline"]
    settled = books.settle(hold.id, 70)
    assert (settled.late, settled.booked) == (True, 70)
    assert books.settle(hold.id, 70).again
    refused(books, 1)
    proved(books)


def test_an_extended_hold_goes_on(tmp_path: Path) -> None:
    """From now on, never for less than before; once it has ended it cannot be brought back."""
    clock = Clock()
    books = ledger(tmp_path, "day = 100", clock=clock)
    hold = books.reserve(100, agent="a", ttl=60)
    clock.pass_(50)
    assert books.extend(hold.id, 30).ttl == 80 and books.extend(hold.id, 1).ttl == 80
    clock.pass_(29)
    refused(books, 1)
    clock.pass_(1)
    books.reserve(1, agent="b")
    with pytest.raises(HoldEndedError):
        books.extend(hold.id, 60)
    proved(books)


def test_what_is_given_back_is_there_again(tmp_path: Path) -> None:
    """Once; a settle after it is late, and booked."""
    books = ledger(tmp_path, "day = 100")
    hold = books.reserve(100, agent="a")
    assert not books.release(hold.id).again and books.release(hold.id).again
    other = books.reserve(100, agent="a")
    assert books.settle(hold.id, 5).late
    assert books.release(other.id).state == "released"
    proved(books)


def test_an_owner_that_is_gone_frees_its_hold(tmp_path: Path) -> None:
    """When somebody else is about to be refused, and not while it lives."""
    books = ledger(tmp_path, "day = 100")
    owner = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        books.reserve(100, agent="a", owner=owner.pid, ttl=3600)
        refused(books, 1)
    finally:
        owner.kill()
        owner.communicate()
    books.reserve(100, agent="b")
    assert [e["why"] for e in told(books, "budget.lost")] == ["owner"]
    proved(books)


def test_a_hold_of_a_run_is_kept_until_its_command_is_settled(tmp_path: Path) -> None:
    """A command that ended is looked at by who began it: until it is, nobody else gets what it spent."""
    books = ledger(tmp_path, "day = 100")
    owner = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        run = books.reserve(60, agent="a", owner=owner.pid, ttl=RUN_TTL)
        books.reserve(40, agent="a", owner=owner.pid, ttl=3600)
        owner.kill()
        os.waitid(os.P_PID, owner.pid, os.WEXITED | os.WNOWAIT)
        assert refused(books, 41)["reasons"][0]["held"] == 60
        assert not books.settle(run.id, 60).late
    finally:
        owner.kill()
        owner.communicate()
    proved(books)


def test_no_hold_of_ones_own_is_taken_for_a_runs(tmp_path: Path) -> None:
    """Whatever time to live is asked for, at once or by extending it: it is given back when its owner is gone."""
    books = ledger(tmp_path, "day = 100")
    hold = books.reserve(60, agent="a", owner=os.getpid(), ttl=365 * 86400)
    assert not books.extend(hold.id, 365.9 * 86400).of_run
    books.state.write(lambda db: db.execute("UPDATE open_holds SET owner = 99999999"))
    assert not books.extend(hold.id, 365.9 * 86400).of_run
    assert [(lost.state, lost.booked) for lost in books.reclaim()] == [("lost", 0)]
    with pytest.raises(UsageError, match="at most a year"):
        books.reserve(60, agent="a", ttl=RUN_TTL)
    run = books.reserve(60, agent="a", owner=os.getpid(), ttl=RUN_TTL)
    assert books.extend(run.id, 365.9 * 86400).of_run
    proved(books)


def test_a_refusal_says_what_is_in_the_way(tmp_path: Path) -> None:
    """The reserve pool is no overrun; an hour is a time; a run has no deadline that room could come with; who asks for
    what never fits has waited for nothing."""
    books = ledger(tmp_path, "day = 100\nreserve_pool = 80\nhour = 90")
    books.settle(books.reserve(60, agent="a", critical=True).id, 60)
    day = refused(books, 10)["reasons"][0]
    assert "overrun" not in day["text"] and "80 tokens above that are for critical work only" in day["text"]
    (hour,) = refused(books, 35, critical=True)["reasons"]
    assert hour["scope"] == "hour" and key_of("hour", hour["name"])[1] == str(hour_of(parse_rfc3339(hour["name"])))
    assert {e["name"] for e in told(books, "budget.soft") if e["scope"] == "hour"} == {hour["name"]}
    books.settle(books.reserve(30, agent="a", critical=True).id, 70)
    assert "overrun by 30 tokens" in refused(books, 1)["reasons"][0]["text"]
    with pytest.raises(BusyError, match=r"^no budget for 200 tokens"):
        waiting.reserve(books, 200, agent="a", critical=True, wait=5)
    other = ledger(tmp_path / "other", "task = 50")
    other.reserve(40, agent="a", task="t", owner=os.getpid(), ttl=RUN_TTL)
    assert refused(other, 20, task="t")["expected_seconds"] is None


def test_soft_limits_of_money_are_told_beside_those_of_tokens(tmp_path: Path) -> None:
    """One limit's events hide no other's."""
    books = ledger(tmp_path, "day = 100\nday_usd = 1\nsoft = [60]")
    books.reserve(60, agent="a", micro_usd=0)
    books.reserve(1, agent="a", micro_usd=700_000)
    assert [e["unit"] for e in told(books, "budget.soft")] == ["tokens", "micro_usd"]


def test_capacity_asks_for_money_too(tmp_path: Path) -> None:
    """What a start will cost is not known there, but where none is left it is refused."""
    books = ledger(tmp_path, "day_usd = 1")
    config = load(books.workspace)
    assert not bound.ask(books.workspace, config, 1000)
    books.reserve(1, agent="a", micro_usd=1_000_000)
    assert [(r.key[0], r.unit) for r in bound.ask(books.workspace, config, 1000)] == [("day", 1)]


def test_soft_limits_are_told_once(tmp_path: Path) -> None:
    """At each share, when it is first passed, and not for a reserve that was refused."""
    books = ledger(tmp_path, "day = 100")
    refused(books, 101)
    assert not told(books, "budget.soft")
    hold = books.reserve(85, agent="a")
    books.release(hold.id)
    books.reserve(96, agent="a")
    assert [(e["percent"], e["limit"]) for e in told(books, "budget.soft")] == [(60, 100), (80, 100), (95, 100)]


def test_soft_limits_are_told_anew_of_another_limit(tmp_path: Path) -> None:
    """A limit that was raised has its own; of one that was lowered what is passed already is told with the next spend,
    once."""
    books = ledger(tmp_path, "day = 100\nsoft = [60]")
    books.reserve(60, agent="a")
    books = ledger(tmp_path, "day = 1000\nsoft = [60]")
    books.reserve(540, agent="a")
    books = ledger(tmp_path, "day = 700\nsoft = [60, 90]")
    books.reserve(1, agent="a")
    books.reserve(1, agent="a")
    found = [(e["percent"], e["limit"], e["used"]) for e in told(books, "budget.soft")]
    assert found == [(60, 100, 60), (60, 1000, 600), (60, 700, 601)]


def test_a_hold_that_was_left_to_sync_meanwhile_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who saw its owner gone, before it was made one without, does not take it back."""
    books = ledger(tmp_path, "day = 100")
    run = books.reserve(60, agent="a", owner=99999999, ttl=RUN_TTL)
    seen = books.holds()
    assert books.extend(run.id, 3600, orphan=True).owner == 0
    monkeypatch.setattr(books, "holds", lambda: seen)
    assert not books.reclaim() and books.hold(run.id).state == "open"
    proved(books)


def test_a_repeated_settle_brings_the_books_to_the_disk(tmp_path: Path) -> None:
    """Where the first one's sync failed a second sync of the log tells nothing: the file itself has it then."""
    books = ledger(tmp_path, "day = 100")
    books.durable = True
    hold = books.reserve(60, agent="a")
    assert not books.settle(hold.id, 60).again and books.settle(hold.id, 60).again
    alone = tmp_path / "alone.db"
    alone.write_bytes(Path(books.state.path).read_bytes())
    copied = sqlite3.connect(alone)
    assert copied.execute("SELECT booked FROM ended_holds").fetchall() == [(60,)]
    copied.close()


def test_classes_count_by_their_weights(tmp_path: Path) -> None:
    """Four classes are kept apart; what counts is their weighted sum, rounded up."""
    books = ledger(tmp_path, "day = 1000\n[budget.weights]\noutput = 5\ncache_read = 0.1")
    hold = books.reserve(Usage(input=100, output=50, cache_read=1001), agent="a")
    assert hold.tokens == 100 + 250 + 101
    assert books.settle(hold.id, Usage(1, 2, 3, 4)).booked == 1 + 10 + 3 + 1
    row = books.state.read(lambda db: db.execute("SELECT input, output, cache_write, cache_read FROM spend").fetchone())
    assert row == (1, 2, 3, 4)
    proved(books)


def test_a_message_is_booked_once_with_its_largest_numbers(tmp_path: Path) -> None:
    """Reported block by block, each class counts with the most that was reported."""
    books = ledger(tmp_path, "day = 1000")
    words = {"agent": "a", "model": "", "message_id": "m1"}
    assert books.book(Usage(10, 1, 0, 5), **words) == 16
    assert books.book(Usage(10, 7, 0, 5), **words) == 6
    assert books.book(Usage(10, 3), **words) == 0
    assert books.book(Usage(1), agent="a") == 1 == books.book(Usage(1), agent="a")
    assert verify(books.state).tokens == 24
    proved(books)


def test_money_needs_a_price(tmp_path: Path) -> None:
    """Where dollars are limited, a model or the dollars have to be named; an unknown model is priced as the dearest."""
    books = ledger(tmp_path, "day_usd = 1000")
    with pytest.raises(UsageError) as found:
        books.reserve(10, agent="a")
    assert found.value.code == "no-price"
    dear = books.reserve(Usage(output=1_000_000), agent="a", model="no-such-model")
    known = books.reserve(Usage(output=1_000_000), agent="a", model="claude-sonnet-4-5")
    assert dear.micro_usd >= known.micro_usd > 1_000_000
    assert books.settle(known.id, Usage(output=500_000)).micro_usd == known.micro_usd // 2
    proved(books)


def test_verify_finds_what_was_changed_by_hand(tmp_path: Path) -> None:
    """A counter, a hold, a spend, and the record, which SQLite itself keeps whole."""
    books = ledger(tmp_path, "day = 100")
    books.settle(books.reserve(60, agent="a").id, 10)
    books.book(Usage(3), agent="a", message_id="m1")
    for change in (
        "UPDATE messages SET input = 2",
        "DELETE FROM messages",
        "UPDATE ended_holds SET agent = 'b'",
        "UPDATE counters SET spent = spent - 1 WHERE scope = 'day'",
        "UPDATE ended_holds SET booked = 1",
        "UPDATE ended_holds SET output = 1",
        "INSERT INTO open_holds SELECT * FROM ended_holds",
        "INSERT INTO open_holds SELECT * FROM ended_holds; DELETE FROM ended_holds",
        "UPDATE folded SET seq = 2",
        "INSERT INTO folded_spend SELECT * FROM spend",
        "DROP TRIGGER record_is_kept; DELETE FROM record WHERE seq = 1",
        "DROP TRIGGER record_is_kept; DELETE FROM record WHERE seq = 2",
    ):
        pristine = Path(books.state.path).read_bytes(), Path(f"{books.state.path}-wal").read_bytes()

        def undone(db: Any, change: str = change) -> int:
            for statement in change.split("; "):
                db.execute(statement)
            from k1ctl.budget import verify as module

            proof = module.Proof()
            module._verify(db, proof)
            db.execute("ROLLBACK")
            db.execute("BEGIN")
            return proof.wrong

        assert books.state.write(undone) > 0, change
        assert pristine[0] == Path(books.state.path).read_bytes()
    with pytest.raises(Exception, match="final"):
        books.state.write(lambda db: db.execute("UPDATE record SET tokens = 0"))
    proved(books)


def test_spend_is_the_same_however_far_it_is_folded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the record tells is folded now and then, and comes to the same sums by place before and after it."""
    monkeypatch.setattr("k1ctl.budget.rows._FOLD", 4)
    books, spent = ledger(tmp_path, "day = 1000"), 0
    for n in range(1, 12):
        hold = books.reserve(9, agent=f"a{n % 2}", task="t")
        books.settle(hold.id, n)
        books.book(Usage(output=1), agent="b", model=f"m{n % 3}")
        spent += n + 1
        sums = "SELECT COUNT(*), SUM(tokens), SUM(output) FROM spend"
        assert books.state.read(lambda db, sums=sums: db.execute(sums).fetchone())[1:] == (spent, n)
        proved(books)
    folded, rows = "SELECT seq FROM folded", "SELECT agent, task, model, tokens FROM spend ORDER BY agent, model"
    assert books.state.read(lambda db: db.execute(folded).fetchone()) == (32,)
    found = books.state.read(lambda db: db.execute(rows).fetchall())
    assert [row[:3] for row in found] == [("a0", "t", ""), ("a1", "t", ""), *(("b", "", f"m{n}") for n in range(3))]
    assert [row[3] for row in found] == [30, 36, 3, 4, 4]


def test_a_hundred_at_once_get_what_there_is(tmp_path: Path) -> None:
    """A hundred processes reserve in one instant against room for twenty: exactly twenty get it, and each other one
    is refused with the reason."""
    books = ledger(tmp_path, "day = 100000")
    books.reserve(1, agent="warm", id="warm")
    books.settle("warm", 0)
    books.state.close()
    begin, go = os.pipe()
    pids = []
    for i in range(100):
        pid = os.fork()
        if pid == 0:
            code = 2
            try:
                os.close(go)
                os.read(begin, 1)
                books.reserve(5000, agent=f"a{i % 10}", ttl=3600)
                code = 0
            except BusyError:
                code = 75
            finally:
                os._exit(code)
        pids.append(pid)
    os.close(begin)
    os.close(go)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert (codes.count(0), codes.count(75)) == (20, 80)
    assert sum(hold.tokens for hold in books.holds()) == 100000
    proved(books)


def test_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    """Workers killed in the middle of what they do: never over the limit, every acknowledged settle is there, all that
    they held comes back."""
    books = ledger(tmp_path, "day = 1000000")
    books.reserve(1, agent="warm", id="warm")
    books.settle("warm", 0)
    books.state.close()
    acknowledged = tmp_path / "acknowledged"

    def work(number: int) -> None:
        fd = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        count = 0
        while True:
            count += 1
            hold = books.reserve(900, agent=f"a{number % 3}", owner=os.getpid(), ttl=3600)
            books.settle(hold.id, 1)
            os.write(fd, f"{hold.id}\n".encode())

    def start(number: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                work(number)
            finally:
                os._exit(1)
        return pid

    pids = [start(n) for n in range(4)]
    for n in range(24):
        seen = acknowledged.stat().st_size if acknowledged.exists() else 0
        while not acknowledged.exists() or acknowledged.stat().st_size < seen + 40 * (n % 3 + 1):
            os.sched_yield()
        os.kill(pids[n % 4], signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(pids[n % 4], 0)[1]) == signal.SIGKILL
        pids[n % 4] = start(n)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    settled = set(acknowledged.read_text().split())
    states = {id: books.hold(id).state for id in settled}
    assert set(states.values()) == {"settled"}
    spent = verify(books.state).tokens
    assert len(settled) <= spent <= len(settled) + 28
    books.reserve(1000000 - spent, agent="z")
    proved(books)
