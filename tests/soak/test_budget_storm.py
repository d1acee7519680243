"""The ledger in a storm of kills: a thousand SIGKILLs, and not one token too many, lost, or booked twice."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest

from k1ctl.budget.ledger import Ledger
from k1ctl.budget.verify import verify
from k1ctl.errors import BusyError
from tests.budget.ledgers import ledger

KILLS, WORKERS, DAY = 1000, 30, 60_000


def _work(books: Ledger, number: int, acknowledged: Path) -> None:
    fd = os.open(acknowledged, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    draw = random.Random(os.getpid())
    while True:
        try:
            need = draw.randint(500, 3000)
            hold = books.reserve(need, agent=f"a{number % 7}", task=f"t{number % 3}", owner=os.getpid(), ttl=3600)
        except BusyError:
            time.sleep(0.003)
            continue
        if draw.random() < 0.2:
            books.extend(hold.id, 4000)
        if draw.random() < 0.2:
            books.release(hold.id)
            continue
        books.settle(hold.id, int(draw.random() < 0.5))
        os.write(fd, f"{hold.id}\n".encode())


def _start(books: Ledger, number: int, acknowledged: Path) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            _work(books, number, acknowledged)
        finally:
            os._exit(1)
    return pid


@pytest.mark.soak
def test_a_thousand_kills(tmp_path: Path) -> None:
    """At no moment is more held and spent than there is; every settle that was acknowledged is there; the record comes
    to what stands in the tables; and all that the dead held can be reserved by the next."""
    books = ledger(tmp_path, f"day = {DAY}\nagent_day = 20000")
    books.reserve(1, agent="warm", id="warm")
    books.settle("warm", 0)
    books.state.close()
    acknowledged = tmp_path / "acknowledged"
    pids = [_start(books, n, acknowledged) for n in range(WORKERS)]
    draw, looks = random.Random(7), 0
    for kill in range(KILLS):
        time.sleep(draw.uniform(0, 0.02))
        n = draw.randrange(WORKERS)
        os.kill(pids[n], signal.SIGKILL)
        os.waitpid(pids[n], 0)
        if kill % 10 == 0:
            query = "SELECT spent + held FROM counters WHERE scope = 'day'"
            used = books.state.read(lambda db, query=query: [row[0] for row in db.execute(query)])
            assert max(used) <= DAY
            looks += 1
            books.state.close()  # no connection crosses a fork
        pids[n] = _start(books, n, acknowledged)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    settled = acknowledged.read_text().split()
    assert looks == KILLS // 10 and len(settled) == len(set(settled)) > 0
    query = "SELECT id FROM holds WHERE state = 'settled'"
    there = books.state.read(lambda db: {id for (id,) in db.execute(query)})
    assert set(settled) <= there and len(there) <= len(settled) + KILLS + WORKERS + 1
    proof = verify(books.state)
    assert not proof.wrong, proof.differences
    books.limits.tokens.pop("agent")
    books.reserve(DAY - proof.tokens, agent="z")
    with pytest.raises(BusyError):
        books.reserve(1, agent="z")
    assert not verify(books.state).wrong
