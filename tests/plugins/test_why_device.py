"""`k1ctl why`: what builds, uploads and devices left behind: the compiler's lines, refused images, silence."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from k1ctl.device import guard
from k1ctl.events import emit
from k1ctl.files import write_json
from k1ctl.reasons import FAILED, NO_WORK, NOT_VISIBLE, WAITS
from k1ctl.units import rfc3339
from tests.whyscene import Root, proof, scene


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root without git; its tickets are given back at the end."""
    yield from scene(tmp_path)


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


def test_a_device_that_refused_the_last_images_is_in_trouble(root: Root) -> None:
    """Nobody holds it and nobody waits: what failed on it last is the answer, not that it has room."""
    path = root.trouble("agent", since="2026-01-01T00:00:00.000Z")
    found = root.why("k1").first
    assert (found.kind, found.code, found.files) == (FAILED, "device-trouble", [str(path)])
    assert "oslo: run r1 failed there (image-refused: MD5)" in found.text


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
