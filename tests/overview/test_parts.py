"""The parts of a look where nobody stands in line: from files alone, each by itself, whatever is damaged."""

from __future__ import annotations

import json
import signal
import time
import types
from pathlib import Path
from typing import Any

import pytest

from k1ctl import overview
from k1ctl.budget.ledger import Ledger
from k1ctl.capacity.promises import folder
from k1ctl.config import load
from k1ctl.device.guard import acquire, guard_path
from k1ctl.device.health import state_path
from k1ctl.events import emit
from k1ctl.files import write_json
from k1ctl.overview import PARTS
from k1ctl.overview.text import screen
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from tests.kit import Project
from tests.overview.looking import CONFIG, look, named


def test_builds_uploads_and_what_failed(workspace: Project) -> None:
    """The last ones stand with their results, a day's figures beside them, and a failure that is the last word is a
    problem until a success follows."""
    facts = workspace.facts()
    for result, code in (("one", 1), ("two", 0)):
        run = f"b-{result}"
        emit(facts, "queue.granted", run=run, ticket=1, resources={"build:fw": 1}, wait_seconds=0.5)
        words = {"run": run, "target": "fw", "exit_code": code, "code": "done" if not code else "build-failed"}
        emit(facts, "build.finished", **words, message="" if not code else "main.cpp:3", seconds=2.0)
    emit(facts, "upload.finished", run="u", target="fw", outcome="refused", exit_code=1, message="too large")
    found = look(workspace)
    assert [row["result"] for row in found.builds.rows] == ["done", "failed"]
    assert (found.builds.facts["good"], found.builds.facts["bad"]) == (1, 1)
    assert found.uploads.rows[0]["message"] == "too large"
    row = named(found, facts.name)
    assert row["build"]["result"] == "done" and row["last_event"] == "upload.finished"
    assert [(p["part"], p["text"]) for p in found.problems] == [
        ("uploads", f"the last upload of {facts.name} failed: too large")
    ]
    emit(facts, "upload.finished", run="v", target="fw", outcome="installed", exit_code=0)
    assert look(workspace).problems == []


def record_of(project: Project, outcome: str, wall: float) -> None:
    """Leave the word of a prober on k1."""
    document = {"device": "K1.reinvented", "mac": "", "uptime_ms": 5000, "build": {"id": "abc123"}}
    answer: dict[str, Any] = {"outcome": outcome, "code": "device-offline", "message": "no route", "hint": ""}
    answer |= {"document": document} if outcome == "answered" else {}
    health = {"outcome": outcome, "code": "", "message": "no route", "hint": "", "document": {"fps": 150.2}}
    write_json(
        state_path(project.facts(), "k1"),
        {
            "device": "k1",
            "host": "127.0.0.1",
            "http_port": 9,
            "probed_at": rfc3339(wall),
            "wall": wall,
            "monotonic": 1.0,
            "seconds": 0.1,
            "restarted": None,
            "seen": None,
            "answers": {"/api/device/info": answer, "/api/health": health if outcome == "answered" else dict(answer)},
        },
    )


def test_a_device_is_as_its_last_prober_left_it(workspace: Project) -> None:
    """State, figures, build and age come from the shared record; an old word is told with its age; none is asked."""
    workspace.configure(CONFIG)
    assert look(workspace).devices.rows[0]["state"] == "unknown"
    record_of(workspace, "answered", time.time() - 3)
    row = look(workspace).devices.rows[0]
    assert (row["state"], row["fps"], row["version"]) == ("online", 150.2, "abc123")
    assert 2 < row["age_seconds"] < 60
    record_of(workspace, "no-answer", time.time() - 7200)
    found = look(workspace)
    assert found.devices.rows[0]["state"] == "offline"
    assert found.problems[0]["text"] == "k1 was offline 2 h ago: no route" and found.problems[0]["level"] == "error"


def test_a_device_in_the_hands_of_another_repository(workspace: Project) -> None:
    """Who holds the host's guard of a device is told, although he stands in no line here; and only while he does."""
    workspace.configure(CONFIG)
    path = guard_path("127.0.0.1:3232")
    guard = acquire(path, 1.0, workspace="/home/bo/bergen", run="r")
    assert "bergen (pid" in look(workspace).devices.rows[0]["elsewhere"]
    assert "held by bergen (elsewhere)" in screen(look(workspace))
    guard.release()
    assert look(workspace).devices.rows[0]["elsewhere"] == ""


def test_who_waits_for_room_on_the_host(workspace: Project) -> None:
    """A run that was let in and waits for memory is told as such, and so is who waits for a promise alone."""
    facts, line, tickets = workspace.facts(), Line(folder()), []
    before = signal.set_wakeup_fd(-1)
    try:
        for name, root in (("lima", facts.root), ("oslo", facts.root), ("bergen", "/elsewhere")):
            words: dict[str, Any] = {"workspace": name, "root": root, "kind": "capacity-run", "what": "make", "run": ""}
            words |= {"need": {"mem_bytes": 1 << 30}, "asked_at": time.time() - 60}
            tickets.append(Ticket(line, {"mem": 1024}, lambda r: 1024, facts=words))
        assert [ticket.enqueue() for ticket in tickets] == [True, False, False]
        found = look(workspace)
        assert [(r["workspace"], r["state"]) for r in found.waiting.rows] == [
            ("oslo", "room"),
            ("bergen (another repository)", "room"),
        ]
        assert (named(found, "oslo")["state"], named(found, "lima")["state"]) == ("waiting", "running")
        assert found.host.facts["promised_bytes"] == 1 << 30
        assert all(59 < row["seconds"] < 120 and "mem=" in row["blocked"] for row in found.waiting.rows)
    finally:
        signal.set_wakeup_fd(before)
        for ticket in tickets:
            ticket.close()


def test_the_budget_is_looked_up_and_not_made(workspace: Project) -> None:
    """Without books there is no budget and none appears; with them, the day and each agent stand with their limits."""
    workspace.configure('[budget]\nday = "1M"\n')
    assert look(workspace).budget.rows == [] and not (workspace.ops / "state.db").exists()
    facts = workspace.facts()
    ledger = Ledger(facts, load(facts))
    hold = ledger.reserve(400_000, agent="ada")
    ledger.settle(hold.id, 1_000_000)
    ledger.state.close()
    found = look(workspace)
    day, agent = found.budget.rows
    assert (day["scope"], day["spent_tokens"], day["free_tokens"]) == ("day", 1_000_000, 0)
    assert agent["scope"] == "agent" and agent["limit_tokens"] is None
    assert "nothing is left of 1M tokens for day" in found.problems[0]["text"]


def test_budgets_with_little_left_do_not_hide_the_rest(workspace: Project) -> None:
    """Of agents one stands for all of them; the day is an error, an agent and what is near its limit warnings."""
    workspace.configure('[budget]\nday = "1M"\nagent_day = "100k"\nsoft = [50, 90]\n')
    facts = workspace.facts()
    ledger = Ledger(facts, load(facts))
    for tokens, agents in ((100_000, range(8)), (95_000, range(8, 10))):
        for number in agents:
            ledger.reserve(tokens, agent=f"a{number}")
    ledger.state.close()
    said = {p["text"]: p["level"] for p in look(workspace).problems}
    day = rfc3339()[:10]
    assert said == {
        f"99 % of 1M tokens spent or held for day {day}": "warning",
        f"nothing is left of 100k tokens for 8 agents, one is agent a0 on {day}": "warning",
        f"at least 95 % of 100k tokens spent or held for 2 agents, one is agent a8 on {day}": "warning",
    }


def test_a_setup_that_failed_is_told_until_one_works(workspace: Project) -> None:
    """Worktrees whose set-up failed are not well, whoever looks; and who has no build that went well builds next."""
    workspace.configure(CONFIG)
    for name in ("oslo", "lava"):
        workspace.add_worktree(name)
        facts = Workspace(str(workspace.root), str(workspace.root), name)
        emit(facts, "worktree.setup", ok=False, failed=["npm:web", "codegen"])
        emit(facts, "run.ended", run=name, kind="build", target="fw", exit_code=1, by="command", code="build-failed")
    found = look(workspace, parts=("workspaces", "builds", "uploads", "devices", "slots"))
    assert {
        "level": "warning",
        "part": "workspaces",
        "text": "the set-up of lava and of 1 more failed: npm:web, codegen",
    } in (found.problems)
    assert found.document()["next"] == "k1ctl build"
    emit(facts, "worktree.setup", ok=True, failed=[])
    assert named(look(workspace), "lava")["setup_failed"] is None
    assert named(look(workspace), "oslo")["setup_failed"] == "npm:web, codegen"


def test_alerts_that_nobody_checks_any_more_are_told_with_their_age(
    workspace: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fired at a check of long ago is not told as if it fired now."""
    facts = {
        "name": "disk",
        "key": "disk/host",
        "state": "firing",
        "since": "",
        "value": 91.0,
        "limit": 80.0,
        "unit": "percent",
    }
    alert = types.SimpleNamespace(**facts, text="full", level="critical", silenced="")
    monkeypatch.setattr("k1ctl.alerts.state", lambda workspace: [alert])
    for age, text in ((5, "alert disk/host fires: full"), (7200, "alert disk/host fires (checked 2 h ago): full")):
        at = time.time() - age
        monkeypatch.setattr("k1ctl.alerts.checked_at", lambda workspace, at=at: at)
        [problem] = look(workspace, parts=("alerts",)).problems
        assert (problem["text"], problem["level"]) == (text, "error")
    alert.silenced = "2099-01-01T00:00:00.000Z"
    [problem] = look(workspace, parts=("alerts",)).problems
    assert problem["level"] == "warning" and "is silenced" in problem["text"]


def test_damage_hides_its_own_part_only(workspace: Project) -> None:
    """Each part that cannot be made says so, the others are there, and the whole is still JSON."""
    workspace.configure(CONFIG)
    (workspace.ops / "state.db").write_bytes(b"not a database at all" * 100)
    (workspace.ops / "events").mkdir()
    (workspace.ops / "events" / f"{rfc3339()[:10]}.jsonl").write_bytes(b'{"at":\n\xff\xfe\n[]\n{"at":5,"event":6}\n')
    (workspace.ops / "device").mkdir()
    Path(state_path(workspace.facts(), "k1")).write_text('{"answers": 5')
    found = look(workspace)
    document = json.loads(json.dumps(found.document(), allow_nan=False))
    assert list(found.errors) == ["budget"] and "damaged" in document["errors"]["budget"]
    assert document["devices"]["rows"][0]["state"] == "unknown" and document["host"]["facts"]["memory_bytes"]
    assert set(PARTS) <= set(document)


WEIRD = (
    *(b"", b"{", b"[]", b"null", b'"x"', b"[" * 5000, b"\xff\x00"),
    b'{"state": 5, "steps": 5, "alerts": 5, "answers": []}',
)
FILES = (
    *("device/k1.json", "device/k1.escalation.json", "device/k1.images.json", "alerts/state.json"),
    *("metrics/tally.json", "queue/history/device:k1", "queue/tickets/D.device:k1", "queue/tickets/P.build:fw"),
    *("queue/tickets/w50.0000000007.4711.-.device:k1=1", "queue/tickets/nonsense", "state.db", "runs"),
)


@pytest.mark.parametrize("file", FILES)
def test_whatever_a_file_holds(workspace: Project, file: str) -> None:
    """A file of ours with anything in it, and one where a folder belongs, leave a document with every part."""
    workspace.configure(CONFIG)
    facts, config = workspace.facts(), load(workspace.facts())
    for content in WEIRD:
        workspace.write(f"ops/{file}", content)
        found = overview.look(facts, config)
        json.dumps(found.document(), allow_nan=False)
        assert set(found.errors) <= {"devices", "alerts", "budget"}, (content, found.errors)
        assert named(found, facts.name)["path"] == facts.path


def test_worktrees_are_found_without_git(workspace: Project) -> None:
    """A detached one has no branch, one whose folder was removed is missing; all by git's own files."""
    gone, loose = workspace.add_worktree("gone"), workspace.add_worktree("loose")
    workspace.git("checkout", "-q", "--detach", cwd=loose)
    for file in sorted(gone.rglob("*"), reverse=True):
        file.unlink() if file.is_file() else file.rmdir()
    gone.rmdir()
    found = look(workspace, parts=("workspaces",))
    assert named(found, "gone")["missing"] and named(found, "gone")["branch"] == "gone"
    assert named(found, "loose")["branch"] is None and not named(found, "loose")["missing"]
    assert named(found, workspace.root.name)["main"] and found.slots.rows == []
    bare = overview.look(Workspace(str(workspace.ops), str(workspace.ops), "ops"), load(workspace.facts()))
    assert [row["name"] for row in bare.workspaces.rows] == ["ops"], "outside git the root stands for itself"
