"""A check: what is kept is told, at least once and with one key, whoever dies; silenced, and when over."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from k1ctl import alerts, events, files, notify
from k1ctl.alerts import FIRING, INACTIVE, PENDING, checking, kept, silences, telling
from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.files import open_locked, write_json
from tests.alerts.lamp import SETTINGS, Desk, Lamp
from tests.kit import Project, killed_at


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
