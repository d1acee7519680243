"""What people are told by a check: grouped, throttled, tried again, and to nobody twice."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl import alerts
from k1ctl.alerts import checking, kept, telling
from k1ctl.errors import BusyError
from k1ctl.files import open_locked, write_json
from tests.alerts.lamp import Desk, Few


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "root")


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
