"""A thousand random kills of `budget sync` while transcripts grow and holds are settled: all of it is booked once."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from k1ctl.budget.ledger import Ledger
from k1ctl.budget.sync_places import ELSEWHERE
from k1ctl.config import load
from k1ctl.testing import Project
from tests.budget.transcripts import BEGIN, home

KILLS = int(os.environ.get("STORM_KILLS", "1000"))
HOLDS, APART = 60, 4000.0  # number, and s from one to the next


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_long_storm(workspace: Project, tmp_path: Path) -> None:
    """In the end is told what one undisturbed sync of the same transcripts tells, and under each hold is booked the
    larger of what it was settled with and what came under it."""
    chance, kills = random.Random(os.getpid()), 0
    place = workspace.facts()
    books = Ledger(place, load(place), durable=False)
    times = [BEGIN + i * APART for i in range(HOLDS)]
    holds = [books.reserve(10**6, agent=ELSEWHERE, ttl=APART * 0.7, now=now) for now in times]
    settled: dict[str, int] = {}
    full, live = home(tmp_path / "full", sessions=6, answers=40), tmp_path / "live"
    whole = {path.relative_to(full): path.read_bytes() for path in sorted(full.rglob("*.jsonl"))}
    given = dict.fromkeys(whole, 0)
    (live / "claude" / "projects").mkdir(parents=True)
    (live / "codex" / "sessions").mkdir(parents=True)
    words = ("budget", "sync", "--json", "--from", str(live / "claude"), "--from", str(live / "codex"))
    while kills < KILLS:
        for name, data in whole.items():
            end = min(len(data), given[name] + chance.randrange(1, max(2, 20 * len(data) // KILLS)))
            path = live / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as f:
                f.write(data[given[name] : end])
            given[name] = end
        hold, tokens = chance.choice(holds), chance.randrange(3 * 10**6)
        if not books.settle(hold.id, tokens, now=hold.since + APART * chance.random()).again:
            settled[hold.id] = tokens
        process = workspace.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.05, 0.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    for name, data in whole.items():
        with (live / name).open("ab") as f:
            f.write(data[given[name] :])
    booked = workspace.run(*words).assert_ok().json["usage"]
    workspace.run("budget", "verify").assert_ok()
    query = "SELECT hold, SUM(input + output + cache_write + cache_read) FROM usage_messages GROUP BY hold"
    told = dict(books.state.read(lambda db: db.execute(query).fetchall()))
    alone = told.pop("", 0)
    (spent,) = books.state.read(lambda db: db.execute("SELECT SUM(tokens) FROM spend").fetchone())
    assert spent == sum(max(settled.get(id, 0), told.get(id, 0)) for id in {*settled, *told}) + alone
    assert len(told) > HOLDS // 4 and settled
    books.state.close()
    for suffix in ("", "-wal", "-shm"):
        (workspace.ops / f"state.db{suffix}").unlink(missing_ok=True)
    assert workspace.run(*words).assert_ok().json["usage"] == booked and booked
