"""`k1ctl why`: what each plugin knows of waiting, refusal and failure, from files that the engines wrote."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
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
from k1ctl.device import guard
from k1ctl.errors import BusyError, UsageError
from k1ctl.escalation import ladder
from k1ctl.events import emit
from k1ctl.files import write_json
from k1ctl.plugins import Plugins
from k1ctl.process import record
from k1ctl.queue import history, incident, names, service, view
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.reasons import (
    AROUND,
    BLOCKED,
    BUDGET,
    ENDED,
    FAILED,
    HOST,
    IDLE,
    LIMITED,
    NO_WORK,
    NOT_VISIBLE,
    RUNNING,
    RUNS,
    WAITS,
    Reason,
)
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from k1ctl_plugins.queue.reasons_line import Line as Of
from k1ctl_plugins.why import unseen
from k1ctl_plugins.why.answer import Answer, answer, ranked, without_general
from k1ctl_plugins.why.resolve import resolve
from k1ctl_plugins.why.text import lines
from tests.kit import Project, finish, wait_until

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:77"\n'
SECRET = "hunter2-of-this-test"


class Root:
    """A root without git, with workspaces in it, and the engines that write its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ops").mkdir()
        self.configure(DEVICE)
        self.tickets: list[Ticket] = []
        self.logs: list[int] = []

    def configure(self, text: str) -> None:
        (self.root / "ops" / "k1ctl.toml").write_text(text)

    def workspace(self, name: str) -> Workspace:
        (self.root / name).mkdir(exist_ok=True)
        return Workspace(str(self.root), str(self.root / name), name)

    @property
    def queue(self) -> str:
        return str(self.root / "ops" / "queue")

    def why(self, what: str = "", name: str = "oslo") -> Answer:
        """The answer to a call in the workspace ``name``."""
        here = self.workspace(name)
        config = load(here)
        return answer(Plugins(), here, config, resolve(here, config, what))

    def run(self, name: str, kind: str = "queue-run", **fields: Any) -> str:
        """A run that is over, as a supervisor records it; its id."""
        here = self.workspace(name)
        base = {"kind": kind, "workspace": name, "workspace_path": here.path, "argv": ["make", "all"], "label": ""}
        run = record.create(here, {**base, "resources": {}, "created_at": rfc3339(), "details": {}})
        over = {"state": "ended", "ended_at": rfc3339(), "exit_code": 1, "by": "command", "code": "command-failed"}
        run.save(**{**over, "message": "exit code 1", "hint": "", "result": None, "error": None, **fields})
        end = {key: run.record[key] for key in ("exit_code", "by", "code", "message") if key in run.record}
        emit(here, "run.ended", run=run.id, kind=kind, **end)
        return run.id

    def trouble(self, rung: str, **more: Any) -> Path:
        """Images of oslo were refused by k1: where its escalation is kept."""
        moment = {"wall": 1.0, "monotonic": 1.0}
        failure = {"run": "r1", "code": "image-refused", "message": "MD5", "exit_code": 1, "uploads": 2, "tests": 0}
        failures = {"oslo": {**failure, "first": moment, "last": moment}}
        path = self.root / "ops" / "device" / "k1.escalation.json"
        write_json(str(path), {**ladder.fresh(), "rung": rung, "failures": failures, **more})
        return path

    def stand(self, name: str, *resources: str, label: str = "", **facts: Any) -> Ticket:
        """A ticket of ``name`` in line, or let in when there is room."""
        here = self.workspace(name)
        config = load(here)
        run = record.create(here, {"kind": "queue-run", "workspace": name, "state": "waiting", "label": label})
        fd = os.open(run.log, os.O_WRONLY | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.logs.append(fd)
        run.save()
        told = {"run": run.id, "kind": "queue-run", "workspace": name, "label": label, "queued_at": rfc3339(), **facts}
        ticket = Ticket(
            Line(self.queue), dict.fromkeys(resources, 1), config.slots, key=names.stable_key(run.id), facts=told
        )
        if ticket.enqueue():
            ticket.tell(granted_at=rfc3339(), started=time.time(), group=os.getpgid(0))
            emit(here, "queue.granted", run=run.id, ticket=ticket.seq, resources=ticket.needs, wait_seconds=0.0)
        else:
            emit(here, "queue.enqueued", run=run.id, ticket=ticket.seq, resources=ticket.needs, resumed=False)
        self.tickets.append(ticket)
        return ticket


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root; its tickets are given back at the end, and signals are as they were: a ticket hears of them."""
    made = Root(tmp_path)
    heard, handlers = signal.set_wakeup_fd(-1), {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGCHLD)}
    yield made
    for ticket in made.tickets:
        ticket.leave()
        ticket.close()
    for fd in made.logs:
        os.close(fd)
    signal.set_wakeup_fd(heard)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def proof(reason: Reason) -> list[str]:
    return [event["event"] for event in reason.events]


def test_behind_whom_it_waits(root: Root) -> None:
    """The holder, who is before it, how long such a lease lasts, and the events of both; the first in line is told."""
    history.add(root.queue, "device:k1", 40.0)
    root.stand("trondheim", "device:k1", label="flash fw")
    root.stand("bergen", "device:k1", label="soak")
    mine = root.stand("oslo", "device:k1", label="upload")
    found = root.why().first
    assert (found.kind, found.code, found.stage, found.bound) == (BLOCKED, "queued", WAITS, "device:k1")
    assert "trondheim (flash fw" in found.text and "1 before it" in found.text and "expected in about" in found.text
    assert any("usually lasts 40 s: about" in sentence for sentence in found.chain)
    assert any(sentence.startswith("before it: bergen: soak") for sentence in found.chain)
    assert proof(found) == ["queue.granted", "queue.enqueued"]
    assert root.why(str(mine.seq), name="bergen").first.about == root.why(mine.facts["run"]).first.about == found.about
    assert root.why("trondheim").first.kind == RUNNING


def test_slots_that_are_all_held_and_a_holder_that_waits(root: Root) -> None:
    """All slots are named as such; what a holder itself waits for is the next link of the chain."""
    root.configure('[queue.slots]\n"build:fw" = 2\n')
    root.stand("trondheim", "build:fw")
    root.tickets[-1].tell(waits_for="memory: 6.0 GiB needed")
    root.stand("bergen", "build:fw")
    root.stand("oslo", "build:fw")
    found = root.why().first
    assert "all 2 slots held by" in found.text and found.limit == "build:fw: 2"
    assert any("itself waits for room on this host: memory: 6.0 GiB" in sentence for sentence in found.chain)


def test_a_pause_says_whose_it_is(root: Root) -> None:
    """A person's pause, a device out of service, an incident: each is told apart, with who and since when."""
    root.stand("oslo", "device:k1", label="upload").leave()
    here = root.workspace("trondheim")
    view.pause(root.queue, "device:k1", "the cable")
    emit(here, "queue.paused", resource="device:k1", reason="the cable")
    root.stand("oslo", "device:k1", label="upload")
    found = root.why().first
    assert (found.kind, found.code) == (BLOCKED, "paused") and "the cable" in found.text
    assert found.holder == "somebody in trondheim" and proof(found)[0] == "queue.paused"
    assert root.why("k1").first.code == "paused"
    view.resume(root.queue, "device:k1")
    service.disable(root.queue, "k1", "loose cable", "ada in trondheim")
    emit(here, "device.disabled", device="k1", reason="loose cable", by="ada in trondheim")
    found = root.why().first
    assert (found.code, found.holder) == ("out-of-service", "ada in trondheim") and "loose cable" in found.text
    service.enable(root.queue, "k1")
    incident.hold(root.queue, "device:k1", "incident: offline for 10 m", "[incident k1/7]")
    moment = {"wall": 1.0, "monotonic": 1.0}
    path = root.trouble("incident", offline={**moment, "since": 1.0, "seconds": 600.0, "message": "no route"})
    found = root.why().first
    assert (found.code, found.holder) == ("incident", "incident k1/7") and found.files == [str(path)]
    assert [sentence.partition(":")[0] for sentence in found.chain[1:3]] == ["nobody answers there", "oslo"]


def test_a_lease_that_outlived_its_supervisor(root: Root) -> None:
    """Whose process is gone and whose command lives is said of the holder; so is a lease by a script's descriptor."""
    holder = root.stand("trondheim", "device:k1")
    line = Of(root.workspace("oslo"), load(root.workspace("oslo")))
    (entry,) = line.entries
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert line.outlived(entry) == [] and entry["ticket"] == holder.seq
    (told,) = line.outlived({**entry, "pid": gone.pid, "group": 77})
    assert f"process {gone.pid}) is gone" in told and "group 77) lives on and keeps the lease" in told
    (told,) = line.outlived({**entry, "kind": "script", "owner": 88})
    assert told.startswith("a script (process 88)")


def test_a_command_that_stands_still(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the watchdog suspended is not running: it waits for the host's memory."""
    ticket = root.stand("oslo", "t", label="render")
    still = watched.Watched(str(root.root), {"id": f"{ticket.facts['run']}-1"})
    monkeypatch.setattr(watched, "standing_still", lambda: [still])
    emit(root.workspace("oslo"), "run.limited", run=ticket.facts["run"], message="suspended")
    found = root.why()
    assert (found.first.kind, found.first.code, proof(found.first)) == (HOST, "suspended", ["run.limited"])
    assert RUNNING not in {reason.kind for reason in found.reasons}


def test_a_resource_that_is_free_and_one_that_is_held(root: Root) -> None:
    """Why is k1 busy: who has it and who waits; free is said as such."""
    assert (root.why("k1").first.kind, root.why("device:k1").first.code) == (NO_WORK, "free")
    root.stand("trondheim", "device:k1", label="flash")
    root.stand("oslo", "device:k1")
    found = root.why("k1").first
    assert (found.kind, found.code, found.limit) == (BLOCKED, "held", "1 of 1 slot")
    assert "1 waits for it" in found.text and any(s.startswith("waiting: oslo") for s in found.chain)


def test_a_kept_place_and_an_owner_that_is_gone(root: Root) -> None:
    """A waiter that left has its place kept; one whose process died is told so."""
    holder = root.stand("trondheim", "device:k1")
    waiter = root.stand("oslo", "device:k1", run="")  # a script's, of which no run tells
    number = waiter.seq
    waiter.leave()
    found = root.why(str(number)).first
    assert (found.kind, found.code) == (FAILED, "parked") and "nobody waits at it" in found.text
    holder.tell(run="", group=0)
    fcntl.flock(holder.fd, fcntl.LOCK_UN)
    found = root.why(str(holder.seq)).first
    assert (found.kind, found.code) == (FAILED, "owner-gone")


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"exit_code": 75, "by": "k1ctl", "code": "queue-timeout", "message": "waited 2 s for x"}, BLOCKED, "waited 2"),
        ({"exit_code": 75, "by": "k1ctl", "code": "queue-full", "message": "500 tickets wait"}, BLOCKED, "500 tickets"),
        ({"exit_code": 143, "by": "k1ctl", "code": "caller-gone", "message": "its caller is gone"}, FAILED, "SIGTERM"),
        ({"exit_code": 124, "by": "k1ctl", "code": "timed-out", "message": "ran past its limit"}, FAILED, "limit"),
        ({"exit_code": 137, "code": "killed-by-signal", "message": "killed by signal 9"}, FAILED, "SIGKILL"),
        ({"exit_code": 127, "by": "k1ctl", "code": "tool-missing", "message": "x is not there"}, FAILED, "not there"),
        ({"exit_code": 0, "code": "done", "message": "done"}, NO_WORK, "is done"),
    ],
)  # fmt: skip
def test_how_a_run_ended_is_said_in_words(root: Root, fields: dict[str, Any], kind: str, words: str) -> None:
    """What the line, the caller, the clock or a signal did to a run, proved by its events and its record."""
    run = root.run("oslo", **fields)
    for what in ("", run[:-2]):
        found = root.why(what).first
        assert found.kind == kind and words in found.text and found.code == fields["code"]
        assert proof(found) == ["run.ended"] and found.files == [str(root.root / "ops" / "runs" / run / "run.json")]


def test_a_cancelled_run_names_who_did_it_and_a_lost_one_is_known(root: Root) -> None:
    """The event of the cancellation names a person; a record without an end is a killed supervisor."""
    run = root.run("oslo", exit_code=143, by="k1ctl", code="cancelled", message="stopped: the run was cancelled")
    emit(root.workspace("bergen"), "queue.cancelled", ticket=3, run=run, by="ada in bergen")
    assert root.why(run).first.holder == "ada in bergen"
    lost = root.run("oslo", state="running", code="")
    found = root.why(lost).first
    assert (found.kind, found.code) == (FAILED, "run-lost") and "supervisor was killed" in found.text


def test_a_failed_build_shows_its_first_errors(root: Root) -> None:
    """What the kind of build read in the log; newer work of another kind does not hide it, a build that works does."""
    result = {
        "target": "fw",
        "seconds": 3.0,
        "error_lines": ["main.c:3: error: x"],
        "error_message_count": 4,
        "commit": "ab",
    }
    details = {"target": "fw"}
    run = root.run("oslo", "build", code="build-failed", message="fw does not build", result=result, details=details)
    emit(root.workspace("oslo"), "build.finished", run=run, exit_code=1, code="build-failed")  # as written, behind it
    root.run("oslo", exit_code=0, code="done", message="done")
    found = root.why().first
    assert (found.kind, found.code, found.lines) == (FAILED, "build-failed", ["main.c:3: error: x"])
    assert "error: x" in found.text and "4 errors in all, these first" in found.chain
    assert sorted(proof(found)) == ["build.finished", "run.ended"] and f"k1ctl build log {run}" in found.next
    root.run("oslo", "build", exit_code=0, code="done", message="done", details={"target": "web"})
    assert root.why().first.code == "build-failed"
    root.run("oslo", "build", exit_code=0, code="done", message="done", details=details)
    assert root.why().first.kind == NO_WORK


def test_a_run_without_a_place_in_line_is_running(root: Root) -> None:
    """What needs no slot (a command under limits) is seen to work, also behind an older failure of its kind."""
    root.run("oslo", "capacity-run", code="command-failed", message="exit code 1")
    here = root.workspace("oslo")
    told = {"kind": "capacity-run", "workspace": "oslo", "state": "running", "label": "soak", "started_at": rfc3339()}
    run = record.create(here, told)
    run.save()
    fd = os.open(run.log, os.O_WRONLY | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)
    root.logs.append(fd)
    for what in ("", run.id):
        found = root.why(what).first
        assert (found.kind, found.code, found.about) == (RUNNING, "running", run.id) and "soak" in found.text


def test_what_a_command_left_running_holds_the_lease(root: Root) -> None:
    """Its command is over: that is said of the run, and of the holder to who waits behind it."""
    ticket = root.stand("oslo", "device:k1", label="flash")
    run = record.Run(str(root.root / "ops" / "runs" / ticket.facts["run"]), {"run": ticket.facts["run"]})
    run.save(workspace="oslo", state="lingering", exit_code=3, processes=[11, 12])
    found = root.why(run.id).first
    assert found.kind == RUNNING and "is over, and what it left running (processes 11, 12) holds" in found.text
    root.stand("bergen", "device:k1")
    assert any("what it left running (processes 11, 12)" in s for s in root.why(name="bergen").first.chain)


def test_who_tries_again_says_what_became_of_the_first_try(root: Root) -> None:
    """A lease whose command failed and is tried once more: when, and what the log says of the last attempt."""
    ticket = root.stand("oslo", "device:k1", label="upload fw")
    run = ticket.facts["run"]
    (root.root / "ops" / "runs" / run / "log").write_text("k1: unreachable: Connection refused\n")
    emit(root.workspace("oslo"), "run.retry", run=run, attempt=1, exit_code=69, delay_seconds=60.0)
    found = root.why().first
    assert found.kind == RUNNING and "attempt 1 ended with exit code 69, attempt 2 begins in" in found.text
    assert found.lines == ["k1: unreachable: Connection refused"] and "run.retry" in proof(found)
    emit(root.workspace("oslo"), "run.retry", run=run, attempt=2, exit_code=69, delay_seconds=0.0)
    assert "this is attempt 3" in root.why().first.text


def test_a_device_that_refused_the_last_images_is_in_trouble(root: Root) -> None:
    """Nobody holds it and nobody waits: what failed on it last is the answer, not that it has room."""
    path = root.trouble("agent", since="2026-01-01T00:00:00.000Z")
    found = root.why("k1").first
    assert (found.kind, found.code, found.files) == (FAILED, "device-trouble", [str(path)])
    assert "oslo: run r1 failed there (image-refused: MD5)" in found.text


def test_of_several_resources_the_one_that_binds_is_named(root: Root) -> None:
    """Who has another slot of what still has room is not in the way of a build that waits for its own folder."""
    root.configure(f'{DEVICE}[queue.slots]\n"build:web" = 4\n[targets.web]\nkind = "npm"\n')
    root.stand("bergen", "build:web", label="build web")
    root.stand("oslo", "build:fw", "tree:abc", label="build fw")
    root.stand("oslo", "build:web", "tree:abc", label="build web")
    found = root.why().first
    assert "this worktree's build folder: held by oslo (build fw" in found.text and "bergen" not in found.text
    assert found.bound == "this worktree's build folder" and "bergen" not in found.holder


def test_a_script_that_holds_a_resource_is_proved_by_its_ticket(root: Root) -> None:
    """Its ticket names no run: the event with the number of the ticket is the proof; also what is free now is known."""
    ticket = root.stand("bergen", "lamp", run="")
    emit(root.workspace("bergen"), "queue.granted", run="script-1", ticket=ticket.seq, resources={}, wait_seconds=0.0)
    assert [event["run"] for event in root.why("lamp").first.events] == ["script-1"]
    emit(root.workspace("oslo"), "queue.granted", run="x", ticket=99, resources={"vise": 1}, wait_seconds=0.0)
    assert root.why("vise").first.code == "free"


def test_another_repository_with_a_workspace_of_the_same_name(root: Root) -> None:
    """Where repositories share a queue, who is called as we are and is of another one is told as such."""
    root.configure(f'{DEVICE}[queue]\ndir = "{root.queue}"\n')
    root.stand("oslo", "device:k1", run="20260101-000000.000-abcd")
    shutil.rmtree(root.root / "ops" / "runs")  # what is of it here: theirs is in its own root
    root.run("oslo", exit_code=0, code="done", message="done")
    assert root.why().first.code == "done"
    root.stand("oslo", "device:k1")
    assert "held by oslo (another repository)" in root.why().first.text


def test_an_upload_that_the_device_refused(root: Root) -> None:
    """The device's own words, what became of the image, and where it is said what to try."""
    details = {"target": "fw", "device": {"name": "k1"}}
    run = root.run(
        "oslo", "upload", code="image-refused", message="k1 refused the image: MD5", by="k1ctl", hint="another image",
        details=details, started_at=rfc3339(), pid=7, attempts=[{"attempt": 1, "exit_code": 1}], attempt=1,
    )  # fmt: skip
    folder = root.root / "ops" / "runs" / run
    word = {"outcome": "refused", "code": "image-refused", "message": "MD5", "exit_code": 1, "pid": 7}
    (folder / "flash-outcome.json").write_text(json.dumps(word))
    (folder / "prompt.md").write_text("# try\n")
    found = root.why().first
    assert (found.kind, found.code, found.bound) == (FAILED, "image-refused", "device:k1")
    assert "k1 took the image in and rejected it" in found.chain and "prompt.md has what to try" in found.next
    assert [Path(file).name for file in found.files] == ["run.json", "flash-outcome.json", "prompt.md"]
    (folder / "flash-outcome.json").write_text(json.dumps({**word, "outcome": "unknown"}))
    assert "has an unknown outcome" in root.why().first.text and "failed" not in root.why().first.text


def test_a_device_that_does_not_answer_and_a_failed_test(root: Root) -> None:
    """The last look at the device is told with its age; a test that failed with its findings."""
    here = root.workspace("bergen")
    silent = {"outcome": "no-answer", "code": "device-offline", "message": "no route", "hint": "power?"}
    asked = {"/api/health": {"outcome": "not-asked", "code": "", "message": "", "hint": ""}, "/api/device/info": silent}
    seen = {"device": "k1", "probed_at": rfc3339(), "prober": {"workspace": "bergen", "pid": 1}, "answers": asked}
    os.makedirs(here.ops_path("device"))
    write_json(here.ops_path("device", "k1.json"), seen)
    emit(here, "device.state", device="k1", state="offline", was="online", message="no route")
    found = root.why("k1").first
    assert (found.kind, found.code) == (FAILED, "device-offline") and "no route" in found.text
    assert found.chain[0].startswith("bergen asked") and proof(found) == ["device.state"]
    results = [{"pattern": "lava", "message": "98 fps, 120 wanted"}]
    result = {"device": "k1", "outcome": "failed", "code": "pattern-failed", "message": "1 failed", "exit_code": 1}
    root.run("oslo", "device-test", code="pattern-failed", message="1 failed", result={**result, "results": results})
    found = root.why().first
    assert (found.kind, found.code, found.chain) == (FAILED, "pattern-failed", ["lava: 98 fps, 120 wanted"])


def test_who_holds_a_device_past_this_root_is_not_visible(root: Root) -> None:
    """Another repository is named by the host's lock; a process that wrote nothing into it is said to be unknown."""
    path = guard.guard_path("024b31000077")
    held = guard.acquire(path, 0, workspace="/other/repo", run="20260101-000000.000-abcd")
    ticket = root.stand("oslo", "device:k1")
    ticket.tell(group=0)
    emit(root.workspace("oslo"), "device.guarded", run=ticket.facts["run"], who="/other/repo")
    found = root.why().first
    assert (found.kind, found.code, found.stage) == (NOT_VISIBLE, "device-guarded", WAITS)
    assert "/other/repo" in found.text and found.files == [path] and proof(found) == ["device.guarded"]
    ticket.tell(granted_at="")
    root.stand("bergen", "device:k1")
    found = root.why(name="bergen").first
    assert "let in, waits for /other/repo" in found.text and "expected" not in found.text
    held.release()
    with open(path, "w") as foreign:
        fcntl.flock(foreign, fcntl.LOCK_EX)
        found = root.why("device:k1").reasons[0]
        assert found.kind == NOT_VISIBLE and "a process that left no name" in found.text and "lsof" in found.chain[0]


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


def test_who_never_called_is_not_visible(root: Root) -> None:
    """Without an event there is nothing to be known; a process that works there is named; a shell is none."""
    found = root.why(name="ghost").first
    assert (found.kind, found.code) == (NOT_VISIBLE, "never-seen")
    code = "import sys; print(flush=True); sys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    agent = subprocess.Popen([sys.executable, "-c", code], cwd=root.root / "ghost", **pipes)
    try:
        assert agent.stdout is not None and agent.stdout.readline()
        found = root.why(name="ghost").first
        assert f"(pid {agent.pid})" in found.text
        assert not unseen._is_k1ctl(agent.pid)
        emit(root.workspace("ghost"), "hook.run", target="x")
        assert root.why(name="ghost").first.code == "past-k1ctl"
    finally:
        agent.communicate()
    found = root.why(name="ghost").first
    assert (found.kind, found.code, proof(found)) == (NO_WORK, "idle", ["hook.run"])


def test_a_worktree_within_another_one_is_its_own(tmp_path: Path) -> None:
    """Who works in a worktree that lies below the root is not told of the root; who works in a submodule is."""
    git, tree, module = tmp_path / ".git" / "worktrees" / "oslo", tmp_path / "trees" / "oslo", tmp_path / "lib"
    for folder in (git, tree, module / ".git"):
        folder.mkdir(parents=True)
    (git / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {git}\n")
    assert not unseen._is_in(str(tmp_path), str(tree)) and unseen._is_in(str(tree), str(tree))
    assert unseen._is_in(str(tmp_path), str(module)) and unseen._is_in(str(tmp_path), str(tmp_path))


def test_what_was_typed(root: Root, tmp_path: Path) -> None:
    """A path, the beginning of a run's id, a ticket of long ago; what is unknown or ambiguous is an error."""
    root.configure(DEVICE + '[targets.fw]\nkind = "command"\ncommand = ["true"]\noutputs = ["x"]\n')
    first, second = root.run("oslo", ticket=41), root.run("bergen", ticket=42)
    assert root.why("42").subject.run == second and root.why("last").subject.run == first
    assert root.why("fw").subject.resource == "build:fw" and root.why("bergen").subject.kind == "workspace"
    for what, code, words in (
        ("osl", "unknown-subject", "oslo"),
        ("device:k2", "unknown-subject", "device:k1"),
        (first[:6], "ambiguous", first),
        ("99", "unknown-subject", "k1ctl status"),
        ("20200101-000000.000-abcd", "unknown-subject", "another repository"),
        ("/", "unknown-subject", "name a workspace"),
    ):
        with pytest.raises(UsageError) as caught:
            root.why(what)
        assert caught.value.code == code and words in caught.value.message + caught.value.hint


def test_order_and_what_gives_way() -> None:
    """Now before then, the longest wait first, the last end first; a general reason gives way to a better one."""
    general = Reason(FAILED, "exit 1", about="r", general=True, at="3")
    better = Reason(FAILED, "the build failed", about="r", at="2")
    rest = [Reason(NO_WORK, "n"), Reason(HOST, "h", stage=AROUND), Reason(RUNNING, "r"), Reason(BLOCKED, "b2", at="2")]
    found = ranked(
        without_general([*rest, general, better, Reason(FAILED, "older", at="1"), Reason(BLOCKED, "b1", at="1")])
    )
    assert [reason.text for reason in found] == ["b1", "b2", "r", "the build failed", "older", "h", "n"]
    assert without_general([general]) == [general]
    assert [r.stage for r in (rest[0], rest[2], better, rest[3])] == [IDLE, RUNS, ENDED, WAITS]


def test_secrets_are_in_no_answer(root: Root) -> None:
    """A command line, a log and an event with a password: neither the text nor the document has it."""
    cut = "x" * 64  # the cut after 80 characters leaves too little of a token to be known as one
    argv = ["deploy", f"--password={SECRET}", cut[:31], f"ghp_{cut}", f"--psk {SECRET}"]
    run = root.run("oslo", argv=argv, message=f"token: {SECRET}", exit_code=1)
    (root.root / "ops" / "runs" / run / "log").write_text(f"error: api_key={SECRET}\n")
    found = root.why()
    assert found.first.lines == ["error: api_key=***"]
    emit(root.workspace("oslo"), "run.retry", run=run, attempt=1, wifi_password=SECRET)  # a field named as a secret is
    found = root.why()
    assert found.first.events[-1]["wifi_password"] == SECRET
    assert SECRET not in json.dumps(found.document()) and "***" in json.dumps(found.document())
    assert any("what proves it" in line for line in lines(found, root.workspace("oslo")))


def test_a_plugin_that_fails_is_left_out(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that raises, one that returns something else and one that hangs hide nothing and are named."""
    import k1ctl_plugins.archive.reasons as hangs
    import k1ctl_plugins.build.reasons as broken
    import k1ctl_plugins.hook.reasons as wrong
    import k1ctl_plugins.why.answer as asking

    monkeypatch.setattr(broken, "reasons", lambda *_: 1 / 0)
    monkeypatch.setattr(wrong, "reasons", lambda *_: ["no reason"])
    monkeypatch.setattr(hangs, "reasons", lambda *_: time.sleep(60))
    monkeypatch.setattr(asking, "_SECONDS", 0.3)
    root.run("oslo")
    found = root.why()
    assert found.first.kind == FAILED and set(found.left_out) == {"build", "hook", "archive"}
    assert "TimeoutError: no end after 0.3 s" in found.left_out["archive"]
    assert "ZeroDivisionError" in found.left_out["build"] and found.document()["left_out"][1]["plugin"] == "build"


@contextlib.contextmanager
def holding(project: Project, tree: Path, *words: str) -> Iterator[None]:
    """Somebody in ``tree`` who holds the device until the end of the block."""
    held = project.popen("queue", "run", *words, "--", "sh", "-c", "echo up; exec sleep 60", cwd=tree)
    try:
        assert held.stdout is not None and held.stdout.readline() == "up\n"
        yield
    finally:
        held.terminate()
        finish(held)


def test_two_workspaces_and_one_device(workspace: Project) -> None:
    """Through the command line: who waits learns who has the device; nothing is changed by asking; exit code 0."""
    workspace.configure(DEVICE + "[process]\ngrace = '300ms'\n")
    oslo, bergen = workspace.add_worktree("oslo"), workspace.add_worktree("bergen")
    with holding(workspace, bergen, "device:k1", "--label", "flash fw"):
        waiter = workspace.popen("queue", "run", "device:k1", "--", "true", cwd=oslo)
        try:
            wait_until(lambda: workspace.events("queue.enqueued"))
            done = workspace.run("why", "--json", cwd=oslo).assert_ok()
            assert done.json["answer"] == BLOCKED and "bergen (flash fw" in done.json["text"]
            assert {e["event"] for e in done.json["reasons"][0]["events"]} == {"queue.granted", "queue.enqueued"}
            assert not [name for name in done.changed if "metrics" not in name]
            text = workspace.run("why", "k1").assert_ok().stdout
            assert text.startswith("blocked by: device:k1 is held by bergen (flash fw") and "queue.granted" in text
        finally:
            waiter.terminate()
            finish(waiter)
    assert workspace.run("why", "osl").assert_fails(2, "near it: oslo").stdout == ""


def test_from_a_failed_build_and_a_refused_reserve_to_the_answer(workspace: Project) -> None:
    """Both as people meet them: the compiler's line, and the budget's counter with the event of the refusal."""
    broken = "command = ['sh', '-c', 'echo main.c:3: error: no such thing; exit 2']"
    workspace.configure(
        f"[targets.fw]\nkind = 'command'\npath = '.'\n{broken}\noutputs = ['x']\n[budget]\nday = 1000\n"
    )
    workspace.run("build", "fw").assert_fails(1)
    told = workspace.run("why", "last").assert_ok().stdout
    assert told.startswith("failed: ") and "| main.c:3: error: no such thing" in told and "build.finished" in told
    workspace.run("budget", "reserve", "2k").assert_fails(75)
    told = workspace.run("why").assert_ok().stdout
    assert told.startswith("over budget: repo was refused 2k tokens") and "budget.refused" in told
