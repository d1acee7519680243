"""The keeper of a device's ladder: what is recorded is done, whoever dies, and done to what is the incident's own."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import config as configuration
from k1ctl import events, notify
from k1ctl.config import Config
from k1ctl.escalation import keeper, ladder, prompts, telling
from k1ctl.escalation.ladder import CLOSED, HUMAN, INCIDENT, OFFLINE, ONLINE, RETRY, UPLOAD_FAILED, UPLOAD_INSTALLED
from k1ctl.files import open_locked, read_json, write_json
from k1ctl.process import record as runs
from k1ctl.queue import incident, service, view
from k1ctl.workspace import Workspace
from tests.kit import killed_at, wait_until

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\n'


class Lamp(notify.Channel):
    """Writes down the keys of what it is told."""

    name = "lamp"

    def __init__(self, file: Path) -> None:
        self.file = file

    def send(self, notification: notify.Notification, timeout: float) -> str:
        with self.file.open("a") as f:
            f.write(notification.key + "\n")
        return "lit"


class Few:
    """Plugins with one channel."""

    def __init__(self, *channels: notify.Channel) -> None:
        self.channels = channels

    def each(self, hook: str, **_: Any) -> Iterator[tuple[str, Any]]:
        yield "desk", list(self.channels)


class Desk:
    """A root with a device; ``tell`` is done by the test, not by a process of its own."""

    def __init__(self, root: Path, more: str = '[notify]\ncommand = ["true"]\n') -> None:
        root.mkdir()
        (root / "ops" / "queue").mkdir(parents=True)
        (root / "ops" / "k1ctl.toml").write_text(DEVICE + more)
        self.workspace = Workspace(str(root), str(root), "oslo")
        self.config: Config = configuration.load(self.workspace)
        self.told = root / "told"
        self.plugins: Any = Few(Lamp(self.told))
        self.queue = str(root / "ops" / "queue")
        self.path = keeper.state_path(self.workspace, "k1")

    def see(self, what: str, **facts: Any) -> str:
        return keeper.observe(self.workspace, self.config, "k1", what, apart=False, **facts)

    def tell(self) -> list[Any]:
        return telling.tell(self.workspace, self.config, self.plugins, "k1")

    def away(self, seconds: float = 1e6) -> None:
        """It did not answer for so long, and a look was just now."""
        self.see(OFFLINE, message="no route")
        state = self.state
        if state["offline"]:
            state["offline"]["seconds"] = seconds
            write_json(self.path, state)

    @property
    def state(self) -> Any:
        return keeper.load(self.workspace, "k1")

    @property
    def paused(self) -> str | None:
        return view.paused(self.queue).get("device:k1")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in events.read(self.workspace.ops_path("events")) if e["event"] == name]

    def keys(self) -> list[str]:
        return self.told.read_text().split() if self.told.exists() else []


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


# telling people


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


def test_the_file_reads_as_what_happened(desk: Desk) -> None:
    """One JSON document beside the device's record, for people with jq."""
    desk.away()
    state = read_json(str(Path(desk.workspace.ops_path("device")) / "k1.escalation.json"))
    assert state["rung"] == RETRY and state["offline"]["message"] == "no route"
