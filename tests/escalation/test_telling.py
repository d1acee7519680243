"""Telling people of a rung: once, by one process, whatever a channel does."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import warnings
from pathlib import Path

import pytest

from k1ctl import notify
from k1ctl.escalation import keeper, ladder, telling
from k1ctl.escalation.ladder import HUMAN, INCIDENT, OFFLINE, ONLINE, UPLOAD_FAILED
from k1ctl.files import open_locked
from tests.escalation.trouble import Desk, Few, Lamp
from tests.kit import wait_until


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "root")


def test_nobody_to_notify_is_told_as_that(tmp_path: Path) -> None:
    """Without a channel the rung is taken all the same, and no process is started for it."""
    desk = Desk(tmp_path / "root", more="")
    desk.away()
    keeper.observe(desk.workspace, desk.config, "k1", OFFLINE)
    assert [s["told"] for s in desk.state["steps"]] == [None, [], []] and desk.paused
    assert [e["key"].rpartition("/")[2] for e in desk.events("notify.nobody")] == [HUMAN, INCIDENT]


def test_a_failing_channel_hides_no_other_and_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that raises, hangs or is broken is a row and an event; where none took it, it is told again, three times."""

    class Broken(Lamp):
        name = "broken"

        def send(self, notification: notify.Notification, timeout: float) -> str:
            raise RuntimeError("out of oil")

    class Hangs(Lamp):
        name = "hangs"

        def send(self, notification: notify.Notification, timeout: float) -> str:
            try:
                time.sleep(60)
            except Exception:  # not to be had so easily
                time.sleep(60)
            return ""

    monkeypatch.setattr(notify, "_SPARE", 0.0)
    monkeypatch.setattr(notify, "_AGAIN", 0.05)
    monkeypatch.setitem(desk.config.file, ("notify", "timeout"), 0.05)
    desk.away()
    desk.see(OFFLINE)
    desk.plugins = Few(Broken(desk.told), Hangs(desk.told))
    assert [row["settled"] for row in desk.tell()] == [False, False]
    assert desk.tell() == []  # not yet again
    monkeypatch.setattr(keeper, "TRY_AGAIN", 0.0)
    desk.plugins = Few(Broken(desk.told), Lamp(desk.told))
    first, second = desk.tell()
    assert [(r["channel"], r["outcome"]) for r in first["told"]] == [("broken", "failed"), ("lamp", "sent")]
    assert len(desk.keys()) == 2 and second["settled"] and desk.tell() == []
    said = [e["message"] for e in desk.events("notify.failed")]
    assert "RuntimeError: out of oil" in said and any("no end after 0.05 s" in text for text in said)
    desk.see(ONLINE)
    desk.plugins = Few(Broken(desk.told))
    assert [row["settled"] for row in (*desk.tell(), *desk.tell(), *desk.tell())] == [False, False, True]


def test_a_channel_that_no_alarm_reaches_ends_with_its_process(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds the lock of those who tell people: others tell them then."""

    class Deaf(Lamp):
        def send(self, notification: notify.Notification, timeout: float) -> str:
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
            time.sleep(60)
            return ""

    desk.away()
    desk.see(OFFLINE)
    monkeypatch.setattr(telling, "_LIMIT", 0.05)
    monkeypatch.setattr("k1ctl.plugins.Plugins", lambda: Few(Deaf(desk.told)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os._exit(telling.main([desk.workspace.root, "oslo", "k1"]) + 10)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    monkeypatch.setattr(keeper, "TRY_AGAIN", 0.0)
    assert [row["settled"] for row in desk.tell()] == [True, True]


def test_one_process_is_called_however_many_see_it(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs a moment to begin; who looks meanwhile starts no other, but for news; one that died has a successor."""
    called: list[str] = []
    monkeypatch.setattr(keeper, "tell_apart", lambda workspace, device: called.append(device))
    for number in range(4):
        keeper.observe(desk.workspace, desk.config, "k1", UPLOAD_FAILED, run=f"r{number}", code="image-refused")
    assert desk.state["rung"] == HUMAN and called == ["k1"]
    desk.away()
    keeper.observe(desk.workspace, desk.config, "k1", OFFLINE)
    assert desk.state["rung"] == INCIDENT and len(called) == 2
    monkeypatch.setattr(keeper, "CALL_AGAIN", 0.0)
    keeper.observe(desk.workspace, desk.config, "k1", OFFLINE)
    assert len(called) == 3


def test_a_command_gets_exactly_the_json_and_holds_up_nobody(tmp_path: Path) -> None:
    """A process of its own tells it, in the root, with one line of JSON on stdin, while who observed is long gone."""
    gate, got = tmp_path / "gate", tmp_path / "got"
    os.mkfifo(gate)
    script = tmp_path / "tell me"
    script.write_text(
        f'#!/bin/sh\nread line < "{gate}"\ncat > "{got}.new"; pwd >> "{got}.new"\nmv "{got}.new" "{got}"\n'
    )
    script.chmod(0o755)
    desk = Desk(tmp_path / "root", f"[notify]\ncommand = [{json.dumps(str(script))}]\n")
    for number in range(2):
        keeper.observe(desk.workspace, desk.config, "k1", UPLOAD_FAILED, code="image-refused", message=f"m{number}")
    assert [s["told"] for s in desk.state["steps"]] == [None, None, None]
    assert not got.exists() and desk.state["rung"] == HUMAN
    with gate.open("w") as f:
        f.write("go\n")
    wait_until(lambda: not any(ladder.owed(step) for step in desk.state["steps"]))
    line, folder = got.read_text().splitlines()
    human = desk.state["steps"][-1]
    reason = "2 failed uploads of oslo (image-refused): m1"
    assert json.loads(line) == {
        "at": human["at"],
        "device": "k1",
        "key": f"k1/{human['episode']}/human",
        "level": "warning",
        "reason": reason,
        "recovered": False,
        "run": "",
        "subject": "k1 needs a person",
        "text": f"{reason}\nk1ctl device escalation k1",
        "workspace": "oslo",
    }
    assert folder == desk.workspace.root
    assert [row["outcome"] for row in human["told"]] == ["sent"]
    assert [e["message"] for e in desk.events("notify.sent")] == ["exit code 0"]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_who_tells_people_holds_no_descriptor_of_ours(tmp_path: Path) -> None:
    """A slow channel must not hold the lease of the upload that told of the trouble."""
    got = tmp_path / "got"
    desk = Desk(
        tmp_path / "root", f'[notify]\ncommand = ["sh", "-c", "ls -l /proc/$PPID/fd > {got}.n; mv {got}.n {got}"]\n'
    )
    fd = open_locked(str(tmp_path / "lease"))
    assert fd is not None
    os.set_inheritable(fd, True)
    desk.away()
    keeper.observe(desk.workspace, desk.config, "k1", OFFLINE)
    wait_until(lambda: not any(ladder.owed(step) for step in desk.state["steps"]))
    os.close(fd)
    assert "telling.lock" in got.read_text() and "/lease" not in got.read_text()
