"""`k1ctl why`: what the line knows: who is before whom, what is paused or held, and how a run ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.events import emit
from k1ctl.process import record
from k1ctl.queue import history, incident, service, view
from k1ctl.reasons import BLOCKED, FAILED, NO_WORK, RUNNING, WAITS
from k1ctl.units import rfc3339
from k1ctl_plugins.queue.reasons_line import Line as Of
from tests.whyscene import DEVICE, Root, proof, scene


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root without git; its tickets are given back at the end."""
    yield from scene(tmp_path)


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
