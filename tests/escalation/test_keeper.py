"""The keeper of a device's ladder: what is recorded is done, whoever dies, and done to what is the incident's own."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import notify
from k1ctl.escalation import keeper, ladder, prompts
from k1ctl.escalation.ladder import CLOSED, HUMAN, INCIDENT, OFFLINE, ONLINE, RETRY, UPLOAD_FAILED, UPLOAD_INSTALLED
from k1ctl.files import open_locked, read_json
from k1ctl.process import record as runs
from k1ctl.queue import incident, service, view
from tests.escalation.trouble import Desk, Lamp
from tests.kit import killed_at


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "root")


def failed_run(desk: Desk) -> str:
    """The folder of an upload that failed, as its supervisor leaves it."""
    sent = {"target": "fw", "artifact": "abc", "device": {"name": "k1"}}
    run = runs.create(desk.workspace, {"kind": "upload", "workspace": "oslo", "details": sent})
    run.save()
    Path(run.log).write_text("stage invite\nunreachable: 10.0.0.7 (UDP 3232): no answer\n")
    return run.id


# killed at every moment

_MOMENTS = (
    (keeper, "write_json"),
    (keeper, "emit"),
    (keeper, "record"),
    (incident, "hold"),
    (incident, "lift"),
    (prompts, "write"),
    (notify, "send"),
    (Lamp, "send"),
)


def at_every_moment(tmp_path: Path, trial: Callable[[Desk, int], bool]) -> int:
    """``trial`` with the kill at the first effect, the second, ...; how many there were."""
    number = 1
    while trial(Desk(tmp_path / str(number)), number):
        number += 1
    return number - 1


def test_a_kill_on_the_way_to_an_incident_loses_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes: the next one who looks has the queue paused, each step's event and each notification there,
    twice at most and then with one key; nothing is left open."""
    monkeypatch.setattr(keeper, "TRY_AGAIN", 0.0)

    def trial(desk: Desk, number: int) -> bool:
        desk.away()
        struck = killed_at(number, lambda: (desk.see(OFFLINE), desk.tell()), _MOMENTS)
        desk.see(OFFLINE)
        desk.tell()
        assert desk.paused and desk.paused.startswith("incident: offline since")
        assert [s["rung"] for s in desk.state["steps"]] == [RETRY, HUMAN, INCIDENT]
        assert not any(ladder.owed(step) for step in desk.state["steps"])
        keys = [keeper.key_of("k1", step) for step in desk.state["steps"]]
        said = [e["key"] for e in desk.events("escalation.step")]
        assert set(said) == set(keys) and len(said) <= len(keys) + 1
        assert set(desk.keys()) == set(keys[1:]) and len(desk.keys()) <= 3
        assert struck or desk.keys() == keys[1:]
        return struck

    assert at_every_moment(tmp_path, trial) >= 20


def test_a_kill_in_an_incident_that_is_over_at_once_leaves_no_pause(tmp_path: Path) -> None:
    """Wherever it strikes: when the next who looks finds the device well, the queue goes on."""

    def trial(desk: Desk, number: int) -> bool:
        desk.away(200)
        desk.away()  # a person knows, the incident is the only step
        assert desk.state["rung"] == HUMAN
        struck = killed_at(number, lambda: desk.see(OFFLINE), _MOMENTS)
        desk.see(ONLINE)
        assert desk.paused is None and desk.state["rung"] == "" and all(s["acted"] for s in desk.state["steps"])
        assert len(desk.events("queue.paused")) <= len(desk.events("queue.resumed")) + (1 if struck else 0)
        return struck

    assert at_every_moment(tmp_path, trial) >= 8


def test_a_kill_on_the_way_back_resumes_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes: the queue goes on, and people hear that it is over."""
    monkeypatch.setattr(keeper, "TRY_AGAIN", 0.0)

    def trial(desk: Desk, number: int) -> bool:
        desk.away()
        desk.see(OFFLINE)
        desk.tell()
        before = len(desk.keys())
        assert desk.paused
        struck = killed_at(number, lambda: (desk.see(ONLINE), desk.tell()), _MOMENTS)
        desk.see(ONLINE)
        desk.tell()
        assert desk.paused is None and desk.state["rung"] == ""
        assert not any(ladder.owed(step) for step in desk.state["steps"])
        told = desk.keys()[before:]
        assert {key.rpartition("/")[2] for key in told} == {CLOSED} and len(told) <= (2 if struck else 1)
        return struck

    assert at_every_moment(tmp_path, trial) >= 12


def test_a_kill_while_an_upload_fails_leaves_its_prompt(tmp_path: Path) -> None:
    """Wherever it strikes, the prompt lies in the run's folder once anybody looked again; the failure counts once."""

    def trial(desk: Desk, number: int) -> bool:
        run = failed_run(desk)
        facts = {"run": run, "code": "device-offline", "exit_code": 69, "message": "no answer"}
        struck = killed_at(number, lambda: desk.see(UPLOAD_FAILED, **facts), _MOMENTS)
        path = desk.see(UPLOAD_FAILED, **facts)
        assert path == prompts.path_of(desk.workspace, run) and "(UDP 3232): no answer" in Path(path).read_text()
        assert desk.state["failures"]["oslo"]["uploads"] == 1
        return struck

    assert at_every_moment(tmp_path, trial) >= 10


# what it does and leaves alone


def test_each_step_is_done_once_however_many_look(desk: Desk) -> None:
    """Observers at the same moment: one event a step, one pause."""
    desk.away()
    threads = [threading.Thread(target=lambda: desk.see(OFFLINE)) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [e["rung"] for e in desk.events("escalation.step")] == [RETRY, HUMAN, INCIDENT]
    assert len(desk.events("queue.paused")) == 1 and desk.events("escalation.failed") == []


def test_good_news_of_a_device_without_trouble_cost_nothing(desk: Desk) -> None:
    """Nothing is written, and not even the configuration is read."""
    Path(desk.workspace.config_file).write_text("not toml")
    keeper.observe(desk.workspace, None, "k1", UPLOAD_INSTALLED)
    assert not os.path.exists(os.path.dirname(desk.path)) and desk.events("escalation.failed") == []


def test_it_never_raises(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broken configuration, a folder in the way, senseless facts, a stopped holder: an event, and no more."""
    Path(desk.workspace.config_file).write_text("not toml")
    assert keeper.observe(desk.workspace, None, "k1", OFFLINE) == ""
    desk.see(UPLOAD_FAILED, attempts="nonsense", workspace="x", others=1)
    desk.see(OFFLINE)
    monkeypatch.setattr(keeper, "_PATIENCE", 0.05)
    fd = open_locked(desk.path.removesuffix(".json") + ".lock")
    assert fd is not None
    desk.see(OFFLINE)
    os.close(fd)
    os.remove(desk.path)
    os.mkdir(desk.path)
    desk.see(OFFLINE)
    assert [e["what"] for e in desk.events("escalation.failed")] == [OFFLINE, UPLOAD_FAILED, OFFLINE, OFFLINE]


def test_an_address_of_ones_own_is_no_news_of_the_device(desk: Desk) -> None:
    """One whose environment names another address stops nobody, and resumes nothing; his failed run has a prompt. Where
    the file has no address, the environment's counts."""
    device = ("devices", "k1", "http_port")
    desk.config.environment[device] = 9
    desk.away()
    desk.see(OFFLINE)
    assert not os.path.exists(desk.path)
    assert desk.see(UPLOAD_FAILED, run=failed_run(desk), code="device-offline", exit_code=69)
    del desk.config.environment[device]
    desk.away()
    desk.see(OFFLINE)
    desk.config.environment[device] = 9
    desk.see(ONLINE)
    assert desk.paused
    del desk.config.file["devices", "k1", "host"]
    desk.see(ONLINE)
    assert desk.paused is None


def test_a_queue_that_a_person_paused_is_no_incidents(desk: Desk) -> None:
    """It stands still while a person's pause, or out of service, holds it, and resumes neither."""
    view.pause(desk.queue, "device:k1", "cable is out")
    desk.away()
    desk.see(OFFLINE)
    assert desk.state["rung"] == RETRY
    desk.see(ONLINE)
    assert desk.paused == "cable is out"
    view.resume(desk.queue, "device:k1")
    service.disable(desk.queue, "k1", "on loan", "anna")
    desk.away()
    desk.see(OFFLINE)
    desk.see(ONLINE)
    assert desk.events("queue.paused") == [] and "on loan" in str(desk.paused)


def test_what_a_person_does_in_an_incident_stands(desk: Desk) -> None:
    """A pause of his own over the incident's stays when the device is back; a queue he resumed is not paused again."""
    desk.away()
    desk.see(OFFLINE)
    view.pause(desk.queue, "device:k1", "I look after it")
    desk.see(ONLINE)
    assert desk.paused == "I look after it"
    view.resume(desk.queue, "device:k1")
    desk.away()
    desk.see(OFFLINE)
    assert view.resume(desk.queue, "device:k1")
    desk.see(OFFLINE)
    assert desk.paused is None and desk.state["rung"] == INCIDENT


def test_an_incidents_pause_that_outlived_its_record_is_lifted(desk: Desk) -> None:
    """Its file was damaged or cleaned away: a look lifts the pause, unless it is that of the incident that is open."""
    desk.away()
    desk.see(OFFLINE)
    assert not keeper.tidy(desk.workspace, desk.config, "k1")
    Path(desk.path).write_text('{"rung": 3')
    assert desk.paused and desk.state["rung"] == ""
    assert keeper.tidy(desk.workspace, desk.config, "k1") and desk.paused is None
    view.pause(desk.queue, "device:k1", "by hand")
    assert not keeper.tidy(desk.workspace, desk.config, "k1") and desk.paused == "by hand"


def test_a_person_closes_it(desk: Desk) -> None:
    """The queue goes on, people hear of it with the reason; a second time there is nothing to close."""
    desk.away()
    desk.see(OFFLINE)
    assert keeper.close(desk.workspace, desk.config, "k1", "closed by anna: new cable") and desk.paused is None
    assert not keeper.close(desk.workspace, desk.config, "k1", "again")
    assert desk.state["steps"][-1]["reason"] == "closed by anna: new cable"


# who waits in line


def test_one_asks_for_all_who_wait(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many wait, a device in an incident is asked by one process every 30 s, also where no answer of it can be
    kept; what a person paused, another resource and a device that is not configured are left alone."""
    started: list[list[str]] = []
    monkeypatch.setattr(keeper, "_apart", lambda workspace, words: started.append(words))
    mark = "incident: offline [incident k1/7]"
    others = {"device:k1": "cable is out", "build:fw": mark, "device:k9": mark}

    def wait() -> None:
        for _ in range(3):
            keeper.look_after(desk.workspace, desk.config, others)
            keeper.look_after(desk.workspace, desk.config, {"device:k1": mark})

    threads = [threading.Thread(target=wait) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [words[-3:] for words in started] == [["escalation", "k1", "--check"]]
    [asking] = Path(desk.path).parent.glob("*.asking.lock")
    os.utime(asking, (0, 0))
    wait()
    assert len(started) == 2
    os.utime(asking, (0, 0))
    (asking.parent / "k1.json").write_text("{}")  # somebody else just asked it
    wait()
    assert len(started) == 2


def test_who_waits_is_disturbed_by_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No process can be started: an event, once in 30 s, and the wait goes on."""

    def none_left(*_: Any) -> None:
        raise BlockingIOError("no more processes")

    monkeypatch.setattr(keeper, "_apart", none_left)
    for _ in range(3):
        keeper.look_after(desk.workspace, desk.config, {"device:k1": "incident: offline [incident k1/7]"})
    assert [e["message"] for e in desk.events("escalation.failed")] == ["BlockingIOError: no more processes"]


def test_the_file_reads_as_what_happened(desk: Desk) -> None:
    """One JSON document beside the device's record, for people with jq."""
    desk.away()
    state = read_json(str(Path(desk.workspace.ops_path("device")) / "k1.escalation.json"))
    assert state["rung"] == RETRY and state["offline"]["message"] == "no route"
