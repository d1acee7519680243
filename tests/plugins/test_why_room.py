"""`k1ctl why`: what the host, the gate, set-up, archives and budgets refused, and until when."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import disk
from k1ctl.budget.breaker import LIMIT, Breakers
from k1ctl.budget.ends import after
from k1ctl.budget.github import parse
from k1ctl.budget.github_kept import GitHub
from k1ctl.budget.kept import Kept
from k1ctl.budget.keys import fresh_bucket, shift, tables
from k1ctl.budget.ledger import Ledger
from k1ctl.capacity import gate, promises, watched
from k1ctl.capacity.need import parse as need
from k1ctl.config import load
from k1ctl.errors import BusyError
from k1ctl.events import emit
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.reasons import AROUND, BUDGET, ENDED, FAILED, HOST, LIMITED, NO_WORK, RUNNING, WAITS
from k1ctl.units import rfc3339
from tests.whyscene import Root, proof, scene


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root without git; its tickets are given back at the end."""
    yield from scene(tmp_path)


def test_a_command_that_stands_still(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watchdog suspended is not running: it waits for the host's memory."""
    ticket = root.stand("oslo", "t", label="render")
    still = watched.Watched(str(root.root), {"id": f"{ticket.facts['run']}-1"})
    monkeypatch.setattr(watched, "standing_still", lambda: [still])
    emit(root.workspace("oslo"), "run.limited", run=ticket.facts["run"], message="suspended")
    found = root.why()
    assert (found.first.kind, found.first.code, proof(found.first)) == (HOST, "suspended", ["run.limited"])
    assert RUNNING not in {reason.kind for reason in found.reasons}


def test_room_on_the_host(root: Root, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Who waits for memory sees who has it; above a watermark and on a full disk everybody is told."""
    facts = tmp_path / "host.json"
    calm = {"cores": 4, "memory_bytes": 16 << 30, "available_bytes": 15 << 30}
    facts.write_text(json.dumps(calm))
    monkeypatch.setenv("K1CTL_FACTS", str(facts))
    here = root.workspace("trondheim")
    held = gate.promise(here, load(here), need("mem=7G"), what="tests", kind="capacity-run", run="r1")
    line = Line(promises.folder())
    facts_of = {"workspace": "oslo", "root": str(root.root), "what": "render", "need": {"mem_bytes": 6 << 30}}
    waiting = Ticket(line, {"mem": 6144}, lambda _: 8192, facts={**facts_of, "asked_at": time.time()})
    assert not waiting.enqueue()
    try:
        found = root.why().first
        assert (found.kind, found.code, found.stage) == (HOST, "no-capacity", WAITS)
        assert "render" in found.text and any("trondheim: tests is promised mem=7G" in s for s in found.chain)
    finally:
        waiting.leave()
        waiting.close()
        held.release()
    facts.write_text(json.dumps({**calm, "available_bytes": 1 << 30}))
    root.run("oslo", exit_code=0, code="done", message="done")
    found = root.why().first
    assert (found.kind, found.code, found.stage) == (HOST, "watermark", AROUND) and "memory is at 94 %" in found.text
    facts.write_text(json.dumps(calm))
    monkeypatch.setattr(disk, "statvfs", lambda path: os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255)))
    found = root.why().first
    assert found.code == "disk-full" and f"(disk.stop_percent is {found.limit.removesuffix(' %')})" in found.text


SHORT = {"reasons": [{"resource": "mem", "text": "6 GiB needed"}]}
VERDICT = {"by": "limit", "confidence": "certain", "message": "used 1.1 GiB", "guilty": {"name": "node"}}
LIMITS = {"memory_bytes": 1 << 30, "oom": {**VERDICT, "next_limit_bytes": 1200 << 20}}


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"exit_code": 75, "code": "no-capacity", "message": "no room", "error": SHORT}, HOST, "was refused: no room"),
        ({"exit_code": 78, "code": "never-fits", "message": "mem=90G never fits"}, HOST, "never fits"),
        ({"exit_code": 137, "code": "host-memory", "message": "ended: the host is short"}, HOST, "the host is short"),
        ({"exit_code": 137, "code": "memory-limit", "message": "ended: no memory", "limits": LIMITS}, FAILED, "ended"),
    ],
)
def test_runs_that_memory_refused_or_ended(root: Root, fields: dict[str, Any], kind: str, words: str) -> None:
    """Refused for want of room, ended for the host's sake or by its own limit: each says so once, and what to do."""
    root.run("oslo", by="k1ctl", **fields)
    told = root.why()
    assert told.first.kind == kind and words in told.first.text and len(told.reasons) == 1
    if fields["code"] == "memory-limit":
        assert "certain, by limit: used 1.1 GiB (node)" in told.first.chain and "--mem-limit 1200M" in told.first.next


def test_the_gate_and_the_set_up_and_the_archive_said_no(root: Root) -> None:
    """Refusals that have no run are known by their events, until something newer says otherwise."""
    here = root.workspace("oslo")
    reasons = [{"resource": "mem", "need": 1, "free": 1 << 30, "promised": 0, "seen": 0, "limit": 8 << 30}]
    emit(here, "capacity.refused", kind="worktree", need="agents=1", reasons=reasons, expected_seconds=None)
    assert root.why().first.kind == HOST and "mem (1.0 GiB free of 8.0 GiB)" in root.why().first.text
    emit(here, "worktree.setup", ok=False, failed=["npm", "models"], setup_seconds=1.5)
    found = root.why().first
    assert (found.kind, found.code) == (FAILED, "setup-failed") and "steps npm, models failed" in found.text
    emit(here, "worktree.setup", ok=True, failed=[], setup_seconds=1.5)
    assert root.why().first.kind == HOST
    emit(root.workspace("gone"), "archive.removed", of="gone", archive="20260101-gone-1", path="/x")
    assert (root.why("gone").first.code, root.why("gone").first.kind) == ("archived", NO_WORK)
    emit(
        root.workspace("bergen"), "archive.refused", of="oslo", path=here.path, codes=["unpushed"], message="2 commits"
    )
    assert (root.why().first.code, root.why().first.kind) == ("unpushed", FAILED)
    emit(here, "hook.archived", refused={"code": "not-saved", "message": "disk full", "hint": "make room"})
    found = root.why().first
    assert (found.code, found.next) == ("not-saved", "make room") and "disk full" in found.text
    root.run("oslo", exit_code=0, code="done", message="done")
    assert root.why().first.kind == NO_WORK  # it went on: what was refused before is history
    assert "there is no worktree bergen here now" in root.why("bergen").first.chain[-1]
    emit(here, "archive.refused", of="oslo", path=here.path, codes=["process", "unpushed"], message="2 reasons")
    assert (root.why().first.code, root.why().first.bound) == ("process", "process, unpushed")


def test_over_budget(root: Root) -> None:
    """The counter that had no room, its numbers, who holds what of it, and when it would fit."""
    root.configure('[budget]\nday = "100k"\n')
    here = root.workspace("oslo")
    ledger = Ledger(here, load(here))
    hold = ledger.reserve(80_000, agent="trondheim")
    with pytest.raises(BusyError):
        ledger.reserve(50_000, agent="oslo", task="T")
    found = root.why().first
    assert (found.kind, found.code, found.stage) == (BUDGET, "budget-exhausted", ENDED)
    assert "day" in found.bound and found.limit == "100k tokens" and found.until > rfc3339()
    assert "50k tokens asked, 20k tokens free of 100k tokens" in found.chain[0]
    assert "trondheim holds 80k tokens" in found.chain and proof(found) == ["budget.refused"]
    assert found.holder == "trondheim holds 80k tokens"
    with pytest.raises(BusyError):
        Ledger(root.workspace("narvik"), load(here)).reserve(50_000, agent="helper-7")
    assert root.why(name="narvik").first.text.startswith("narvik (agent helper-7) was refused 50k tokens")
    ledger.settle(hold.id, 100_000)
    assert root.why(name="bergen").reasons[-1].kind == BUDGET
    assert "nothing is left of day" in root.why(name="bergen").reasons[-1].text
    ledger.state.close()


def test_limited_until(root: Root) -> None:
    """A provider's limit, an account that cools down, one that is out, GitHub's: each until its own time."""
    root.configure("[budget.providers.acme]\nfailures = 3\n")
    here = root.workspace("oslo")
    root.run("oslo", exit_code=0, code="done", message="done")
    Breakers(here, load(here)).report("acme", LIMIT, end=after(600.0, time.time(), "429"))
    found = root.why().first
    assert (found.kind, found.code, found.stage) == (LIMITED, "breaker-open", AROUND)
    assert found.until in found.text and proof(found) == ["budget.breaker_opened"] and not found.limit
    cool = {**fresh_bucket(), "cool": after(300.0, time.time(), "status 429")}
    with Kept(here, "keys", tables(), shift).change() as (state, _):
        state["buckets"] = {"one": cool, "two": {**fresh_bucket(), "out": "status 402: no credit"}}
    reset = int(time.time()) + 900
    seen = f"HTTP/2 403\nx-ratelimit-limit: 60\nx-ratelimit-remaining: 0\nx-ratelimit-reset: {reset}\n"
    GitHub(here, load(here)).record(parse(f"{seen}x-ratelimit-resource: core\n\n"))
    codes = {reason.code: reason.kind for reason in root.why().reasons}
    assert codes == {
        "breaker-open": LIMITED, "key-cooling": LIMITED, "key-out": FAILED, "github-limited": LIMITED, "done": NO_WORK,
    }  # fmt: skip
    (root.root / "ops" / "budget" / "keys.json").write_text("{")
    told = root.why()
    assert {reason.code for reason in told.reasons} == {"breaker-open", "github-limited", "done"}
    assert "keys.json is damaged" in told.left_out["budget"]
