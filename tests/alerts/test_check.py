"""A check: what is kept is told, at least once and with one key, whoever dies; grouped, throttled, and when over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import alerts, config, events, files, notify
from k1ctl.alerts import FIRING, INACTIVE, PENDING, checking, kept, silences, telling
from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.files import open_locked, write_json
from k1ctl.workspace import Workspace
from tests.kit import Project, killed_at

# two alerts that a test can order about: a stale exporter, and tokens that are nearly spent
SETTINGS = """
[alerts]
resolve = 0
throttle = 0
[budget]
day = 1000
[notify]
command = ["true"]
""" + "".join(f"[alerts.{rule}]\non = false\n" for rule in ("disk", "host", "device", "escalation", "burn", "success"))


class Lamp(notify.Channel):
    """Writes down what it is told; fails while ``broken`` is there."""

    name = "lamp"

    def __init__(self, folder: Path) -> None:
        self.file, self.broken = folder / "told", folder / "broken"

    def send(self, notification: notify.Notification, timeout: float) -> str:
        if self.broken.exists():
            raise OSError("no bulb")
        with self.file.open("a") as f:
            f.write(f"{notification.key} {notification.level} {int(notification.recovered)}\n")
        return "lit"


class Few:
    """Plugins with one channel."""

    def __init__(self, channel: notify.Channel) -> None:
        self.channel = channel

    def each(self, hook: str, **_: Any) -> Iterator[tuple[str, Any]]:
        yield "desk", [self.channel]


class Desk:
    """A root; its exporter is stale, or its day's tokens are spent, as the test says."""

    def __init__(self, root: Path, toml: str = "") -> None:
        (root / "ops" / "metrics").mkdir(parents=True)
        (root / "ops" / "k1ctl.toml").write_text(toml + SETTINGS)
        self.workspace = Workspace(str(root), str(root), "oslo")
        self.config = config.load(self.workspace)
        self.lamp = Lamp(root)
        self.plugins: Any = Few(self.lamp)
        self.file = root / "ops" / "metrics" / "k1ctl.prom"
        self.file.write_text("")

    def stale(self, wrong: bool = True) -> Desk:
        os.utime(self.file, (time.time() - 7200 * wrong,) * 2)
        return self

    def spend(self) -> None:
        from k1ctl.budget.ledger import Ledger

        Ledger(self.workspace, self.config).reserve(950, agent="A")

    def check(self, notified: bool = True, **options: Any) -> checking.Checked:
        return alerts.check(self.workspace, self.config, self.plugins if notified else None, **options)

    @property
    def states(self) -> dict[str, str]:
        return {alert.key: alert.state for alert in alerts.state(self.workspace)}

    def told(self) -> list[str]:
        """What people heard, without the numbers of episodes."""
        lines = self.lamp.file.read_text().splitlines() if self.lamp.file.exists() else []
        return ["/".join(w for w in line.split()[0].split("/") if not w.isdigit()) for line in lines]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in events.read(self.workspace.ops_path("events")) if e["event"] == name]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "root")


def test_from_firing_to_over(desk: Desk) -> None:
    """Told once when it fires and once when it is over, each with an event; nothing while nothing changes."""
    assert not desk.check().alerts and desk.told() == []
    desk.stale()
    first = desk.check()
    assert [(what, alert.key) for what, alert in first.changed] == [("firing", "exporter")] and first.firing
    assert [row["outcome"] for row in first.told[0]["channels"]] == ["sent"]
    assert not desk.check().changed and desk.told() == ["alert/exporter/firing"]
    assert desk.states == {"exporter": FIRING} and alerts.state(desk.workspace)[0].told
    over = desk.stale(False).check()
    assert [what for what, _ in over.changed] == ["over"] and not over.firing
    assert desk.told() == ["alert/exporter/firing", "alert/exporter/over"] and desk.states == {"exporter": INACTIVE}
    assert desk.lamp.file.read_text().splitlines()[1].endswith("info 1")
    assert [e["key"] for e in desk.events("alert.firing") + desk.events("alert.resolved")] == ["exporter"] * 2
    checked = alerts.checked_at(desk.workspace)
    assert checked is not None and abs(time.time() - checked) < 60


def test_all_that_is_new_is_one_message(desk: Desk) -> None:
    """Two that fire at once are one message, one that joins them later another, the worst gives the level."""
    desk.stale().spend()
    found = desk.check()
    assert len(found.told) == 1 and found.told[0]["subject"].startswith("root: 2 alerts: 95 % of day ")
    assert desk.told() == ["alert/budget/day/firing+1"]
    desk.stale(False).check()
    assert desk.told()[1:] == ["alert/exporter/over"]


def test_only_who_is_asked_to_tells(desk: Desk) -> None:
    """Without --notify nobody is told, and with it later whoever still fires is; what came and went is not."""
    desk.stale().check(False)
    assert desk.stale(False).check(False).changed and desk.told() == []
    desk.stale().check(False)
    desk.check()
    assert desk.told() == ["alert/exporter/firing"]


def test_throttled(tmp_path: Path) -> None:
    """What fires anew within the throttle is not told again before it is over, and then if it still fires."""
    desk = Desk(tmp_path / "root", "")
    desk.config.environment[("alerts", "throttle")] = 900.0
    for _ in range(3):
        desk.stale().check()
        desk.stale(False).check()
    assert desk.told() == ["alert/exporter/firing", "alert/exporter/over"]
    desk.stale().check()
    state = kept.load(desk.workspace)
    state["alerts"]["exporter"]["told_at"] -= 901.0
    write_json(kept.path_of(desk.workspace), state)
    desk.check()
    assert desk.told()[2:] == ["alert/exporter/firing"]
    state = kept.load(desk.workspace)
    state["alerts"]["exporter"].update(told=0, told_at=time.time() + 9000.0)
    write_json(kept.path_of(desk.workspace), state)
    desk.check()
    assert len(desk.told()) == 4, "a clock that was set back silences nobody"


def test_a_channel_that_fails_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same message, 30 s later at the earliest, three times in all; then it is given up and said so. Nobody heard
    of it, so it is told anew after the throttle if it still fires, and its end to nobody if it does not."""
    desk.config.environment[("alerts", "throttle")] = 900.0
    desk.lamp.broken.write_text("")
    desk.stale().check()
    assert [e["message"] for e in desk.events("notify.failed")] == ["OSError: no bulb"]
    desk.check()
    assert len(desk.events("notify.failed")) == 1 and not alerts.state(desk.workspace)[0].told
    monkeypatch.setattr(telling, "TRY_AGAIN", 0.0)
    desk.check()
    desk.check()
    desk.check()
    assert len(desk.events("notify.failed")) == 3 and len(desk.events("notify.given-up")) == 1
    assert not alerts.state(desk.workspace)[0].told
    desk.lamp.broken.unlink()
    before = kept.load(desk.workspace)
    desk.stale(False).check()
    assert desk.told() == []
    before["alerts"]["exporter"]["told_at"] -= 900.0
    write_json(kept.path_of(desk.workspace), before)
    desk.stale().check()
    assert desk.told() == ["alert/exporter/firing"] and alerts.state(desk.workspace)[0].told


def test_over_before_anybody_took_the_message(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message that was kept is sent although its alert is over meanwhile, and that it is over behind it."""
    monkeypatch.setattr(telling, "TRY_AGAIN", 0.0)
    desk.lamp.broken.write_text("")
    desk.stale().check()
    desk.lamp.broken.unlink()
    desk.stale(False).check()
    assert desk.told() == ["alert/exporter/firing", "alert/exporter/over"]


def test_it_got_worse(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """People who heard of a warning hear at once that it is critical, whatever the throttle; one that goes to and fro
    is throttled."""
    from k1ctl.alerts import looks
    from k1ctl.alerts.machine import Finding

    desk.config.environment[("alerts", "throttle")] = 900.0
    level = [kept.WARNING]
    monkeypatch.setitem(looks.RULES, "exporter", lambda *_: iter([Finding("exporter", True, "o\nld", level=level[0])]))
    for level[0] in (kept.WARNING, kept.CRITICAL, kept.WARNING, kept.CRITICAL, kept.CRITICAL):
        desk.check()
    assert desk.told() == ["alert/exporter/firing"] * 2 and "critical" in desk.lamp.file.read_text()
    assert [e["subject"] for e in desk.events("notify.sent")] == ["root: o?ld"] * 2, "a title is one line"


def test_what_cannot_be_kept_is_told_all_the_same(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk, or with a check that was stopped, people hear of that and of what fires: once in the throttle."""
    desk.config.environment[("alerts", "throttle")] = 900.0
    desk.check()
    lock = desk.workspace.ops_path("alerts", "telling.lock")
    os.utime(lock, (0, 0))
    full, write = [True], checking.write_json

    def no_room(path: str, value: Any) -> None:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(path, value)

    monkeypatch.setattr(checking, "write_json", no_room)
    desk.lamp.send = lambda n, _: desk.lamp.file.write_text(n.key + " " + n.text) and "lit"  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            desk.stale().check()
    assert len(desk.events("notify.sent")) == 1
    said = desk.lamp.file.read_text()
    assert said.startswith("alert/unkept/") and "the disk is full" in said and "warning: exporter: ops/metrics" in said
    full[0] = False
    held = open_locked(desk.workspace.ops_path("alerts", "state.lock"))
    assert held is not None
    os.utime(lock, (0, 0))
    monkeypatch.setattr(checking.Held.__init__, "__defaults__", (0.01,))
    with pytest.raises(BusyError):
        desk.check()
    assert "is held by another process" in desk.lamp.file.read_text()
    os.close(held)
    desk.check()
    assert desk.lamp.file.read_text().startswith("alert/exporter/"), "kept again, told as ever"


def test_who_tells_people_was_stopped(desk: Desk) -> None:
    """The others say so once it is longer than any channel takes."""
    desk.lamp.broken.write_text("")
    desk.stale().check()
    fd = open_locked(desk.workspace.ops_path("alerts", "telling.lock"))
    assert fd is not None and not desk.check().stuck
    state = kept.load(desk.workspace)
    state["message"]["tried"] -= telling.STUCK + 60
    write_json(kept.path_of(desk.workspace), state)
    assert "another check tells people for 16 m" in desk.check().stuck
    os.close(fd)
    assert not desk.check().stuck


def test_nobody_to_tell(desk: Desk) -> None:
    """Without a channel that is an event, once in the throttle; nobody was told, so whoever has one later is."""
    desk.config.environment[("alerts", "throttle")] = 900.0
    desk.config.file[("notify", "command")] = []
    desk.plugins = Few(desk.lamp)
    desk.plugins.each = lambda hook, **_: iter([])
    desk.stale().check()
    found = desk.check()
    assert len(desk.events("notify.nobody")) == 1 and not found.told and not alerts.state(desk.workspace)[0].told
    desk.config.environment[("alerts", "throttle")] = 0.0
    desk.config.file[("notify", "command")], desk.plugins = ["true"], Few(desk.lamp)
    desk.check()
    assert desk.told() == ["alert/exporter/firing"]


def test_what_somebody_else_tells_is_not_told_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An alert on a device that is in escalation fires and is shown, and the ladder alone tells people; once it is
    closed and the device is still away, people hear it here."""
    from k1ctl.alerts import looks
    from k1ctl.alerts.machine import Finding

    by = ["escalation"]
    monkeypatch.setitem(
        looks.RULES, "exporter", lambda *_: iter([Finding("exporter", True, "k1 is away", told_by=by[0])])
    )
    assert desk.check().firing and desk.check().firing and desk.told() == []
    assert alerts.state(desk.workspace)[0].told_by == "escalation"
    by[0] = ""
    desk.check()
    assert desk.told() == ["alert/exporter/firing"]


def test_silences(desk: Desk) -> None:
    """A rule that is silenced is looked at and shown, does not count as firing, and is told when the silence is over or
    taken back."""
    silences.silence(desk.workspace, "exporter", 3600.0, "moving house")
    found = desk.stale().check()
    assert not found.firing and desk.states == {"exporter": FIRING} and desk.told() == []
    assert alerts.state(desk.workspace)[0].silenced and not alerts.state(desk.workspace, time.time() + 3601)[0].silenced
    assert not alerts.state(desk.workspace, time.time() - 7200)[0].silenced, "a clock set back makes it no longer"
    assert silences.silence(desk.workspace, "exporter", 0.0, "")["changed"]
    assert desk.check().firing and desk.told() == ["alert/exporter/firing"]
    assert not silences.silence(desk.workspace, "exporter", 0.0, "")["changed"]
    for name in ("nope", "nope/k1", "device/", "/k1"):
        with pytest.raises(UsageError, match=f"no alert '{name}'"):
            silences.silence(desk.workspace, name, 60.0, "")
    assert not silences.silence(desk.workspace, "device/k1", 60.0, "unplugged")["known"], "before it fires"
    assert kept.load(desk.workspace)["silences"].keys() == {"device/k1"}


def test_a_dry_run_changes_nothing(desk: Desk) -> None:
    """It says what would fire and be told."""
    found = desk.stale().check(dry_run=True)
    assert [alert.key for alert in found.firing] == ["exporter"] and "ops/metrics/k1ctl.prom is" in found.told[0][
        "subject"
    ]
    assert not os.path.exists(kept.path_of(desk.workspace)) and desk.told() == [] and not desk.events("alert.firing")


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"version": 0}', '{"version": 1, "rare": 0, "checked": 3, "alerts": {}, "silences": {}}'],
)
def test_a_damaged_state_is_a_fresh_one(desk: Desk, content: str) -> None:
    """Nobody who reads it fails, and what fires is told once more."""
    desk.stale().check()
    path = Path(kept.path_of(desk.workspace))
    path.write_text(content)
    assert alerts.state(desk.workspace) == [] and alerts.checked_at(desk.workspace) is None
    desk.check()
    assert desk.told() == ["alert/exporter/firing"] * 2 and kept.sound(files.read_json(str(path)))


def test_a_newer_state_is_left_alone(desk: Desk) -> None:
    """Two versions that throw away what the other one kept would tell people anew each minute."""
    desk.check()
    path = Path(kept.path_of(desk.workspace))
    path.write_text('{"version": 2}')
    for work in (desk.check, lambda: silences.silence(desk.workspace, "disk", 60.0, "")):
        with pytest.raises(ConfigError, match="newer k1ctl"):
            work()
    assert path.read_text() == '{"version": 2}' and alerts.state(desk.workspace) == []


def test_a_figure_that_is_none_is_damage(desk: Desk) -> None:
    """Nothing that is shown fails at what stands in the file."""
    desk.stale().check()
    state = kept.load(desk.workspace)
    for value, sound in ((-3.5, True), (None, True), ("12", False), ([1], False), (True, False)):
        state["alerts"]["exporter"]["value"] = value
        assert kept.sound(state) == sound


def test_two_checks_at_once(desk: Desk) -> None:
    """Of many at the same moment one finds the change, and people hear it once."""
    desk.stale()
    found: list[checking.Checked] = []
    threads = [threading.Thread(target=lambda: found.append(desk.check())) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(len(each.changed) for each in found) == 1 and len(found) == 6
    assert desk.told() == ["alert/exporter/firing"]


def test_a_check_that_was_overtaken(desk: Desk) -> None:
    """Who looked before another one did changes nothing any more; a host that started anew is not overtaken."""
    desk.stale().check()
    state = kept.load(desk.workspace)
    for ahead, changed in ((5.0, 0), (7200.0, 1)):
        seen = {"wall": time.time() + ahead, "monotonic": time.monotonic() + ahead}
        write_json(kept.path_of(desk.workspace), {**state, "checked": seen})
        assert len(desk.stale(False).check().changed) == changed
    assert desk.states == {"exporter": INACTIVE}


def test_a_check_that_is_stopped_holds_up_nobody_for_ever(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others say who holds the state, and end."""
    monkeypatch.setattr(checking.Held.__init__, "__defaults__", (0.05,))
    fd = open_locked(desk.workspace.ops_path("alerts", "state.lock"))
    assert fd is not None
    with pytest.raises(BusyError, match=r"state\.lock is held"):
        desk.stale().check()
    os.close(fd)
    assert desk.check().firing


def test_checks_that_are_too_rare_say_so(tmp_path: Path) -> None:
    """Three in a row that are further apart than the gap; one in time ends it."""
    desk = Desk(tmp_path / "root")
    for number in range(5):
        state = kept.load(desk.workspace)
        if state["checked"]:
            state["checked"] = {clock: value - 3600.0 for clock, value in state["checked"].items()}
            write_json(kept.path_of(desk.workspace), state)
        assert desk.check().rare == (number >= 3)
    assert not desk.check().rare


# killed at every moment

_MOMENTS = ((files, "write_atomic"), (events, "emit"), (notify, "send"), (Lamp, "send"))


@pytest.mark.parametrize("over", [False, True])
def test_a_kill_loses_no_notification(over: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it strikes, on the way to firing or to its end: the next check has people told, twice at most and then
    with the same key."""
    monkeypatch.setattr(telling, "TRY_AGAIN", 0.0)
    word, number, struck = "over" if over else "firing", 0, True
    while struck:
        number += 1
        desk = Desk(tmp_path / str(number)).stale()
        if over:
            desk.check()
            desk.stale(False)
        struck = killed_at(number, desk.check, _MOMENTS)
        desk.check()
        lines = [line for line in desk.lamp.file.read_text().splitlines() if f"/{word} " in line]
        assert len(set(lines)) == 1 and len(lines) <= 1 + struck
        assert desk.states == {"exporter": INACTIVE if over else FIRING}
        assert 1 <= len(desk.events("alert.resolved" if over else "alert.firing")) <= 1 + struck
    assert number >= 14


def test_a_check_that_hangs_ends_itself(workspace: Project) -> None:
    """As at a dead mount, where no alarm arrives: cron would start one more each minute. Its stack is on stderr."""
    program = (
        "import sys, time; from k1ctl.alerts import looks; from k1ctl_plugins.alert import check\n"
        "from k1ctl.__main__ import main\n"
        "def dead_mount(*_): time.sleep(600)\n"
        "check.LIMIT, looks.RULES['disk'] = 0.05, dead_mount\n"
        "sys.argv = ['k1ctl', 'alert', 'check']; sys.exit(main())"
    )
    argv, env = [sys.executable, "-c", program], workspace.environment()
    done = subprocess.run(argv, cwd=workspace.root, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and done.stderr.startswith("Timeout")


def test_the_commands(workspace: Project) -> None:
    """What cron gets: a line for what changed, nothing otherwise; 1 while something fires. The list shows it, with what
    is about to, and where nobody ever looked it says what to do."""
    workspace.configure(SETTINGS + "[alerts.exporter]\nfor = '1h'\n")
    assert "crontab" in workspace.run("alert", "list").assert_ok().stderr
    prom = workspace.write("ops/metrics/k1ctl.prom", "")
    os.utime(prom, (0, 0))
    assert workspace.run("alert", "check", "--notify").assert_ok().stdout == ""
    told = workspace.run("alert", "list", "--json").assert_ok().json
    assert [alert["state"] for alert in told["alerts"]] == [PENDING] and told["checked_at"]
    workspace.configure(SETTINGS.replace("[alerts]", "[alerts]\ngap = '1ms'"))
    assert "nobody looks any more" in workspace.run("alert", "list").assert_ok().stderr
    workspace.configure(SETTINGS)
    done = workspace.run("alert", "check", "--json").assert_fails(1).json
    assert done["error"]["code"] == "alert-firing" and done["changed"] == [{"what": "firing", "key": "exporter"}]
    assert workspace.run("alert", "check").assert_fails(1).stdout == ""
    workspace.run("alert", "silence", "exporter", "--for", "1h").assert_ok()
    workspace.run("alert", "silence", "nope", "--for", "1h").assert_fails(2, "there is no alert", "rules are queue")
