"""Each rule, on both sides of its limit."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl import disk
from k1ctl.alerts import looks
from k1ctl.alerts.machine import Finding
from k1ctl.budget.ledger import Ledger
from k1ctl.capacity import facts as host_facts
from k1ctl.capacity import health as host_health
from k1ctl.config import load
from k1ctl.errors import ConfigError
from k1ctl.escalation import keeper
from k1ctl.files import write_json
from k1ctl.overview.parts import Sources
from k1ctl.workspace import Workspace
from tests.kit import Project

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\n'


class Place:
    """A root, and what one rule finds there."""

    def __init__(self, root: Path) -> None:
        (root / "ops").mkdir(parents=True)
        self.root, self.workspace = root, Workspace(str(root), str(root), "oslo")
        self.kept: dict[str, Any] = {}

    def look(self, rule: str, toml: str = "") -> list[Finding]:
        (self.root / "ops" / "k1ctl.toml").write_text(toml)
        sources = Sources(self.workspace, load(self.workspace))
        sources._kept.update(self.kept)
        return list(looks.RULES[rule](sources, sources.config.section("alerts", rule)))

    def bad(self, rule: str, toml: str = "") -> list[str]:
        return [finding.key for finding in self.look(rule, toml) if finding.bad]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "root")


def test_queue(place: Place) -> None:
    """Five may wait for one resource, six are too many; who holds it, has kept his place or waits elsewhere does not
    count; a pause is named."""
    tickets = [{"state": "waiting", "resources": {"device:k1": 1, "build:fw": 1}} for _ in range(5)]
    tickets += [{"state": "waiting", "resources": {"tree:0a1b2c": 1}}] * 9  # the lock of a build folder
    tickets += [{"state": state, "resources": {"device:k1": 1}} for state in ("running", "parked")]
    place.kept = {"tickets": tickets, "paused": {"device:k1": "cable"}}
    assert place.bad("queue") == []
    tickets.append({"state": "waiting", "resources": {"device:k1": 1}})
    assert place.bad("queue") == ["queue/device:k1"] and place.bad("queue", "[alerts.queue]\nlimit = 6\n") == []
    found = place.look("queue")[0]
    assert (found.value, found.limit) == (6, 5) and "6 wait for device:k1" in found.text and "cable" in found.text


def test_success(place: Place) -> None:
    """Below 0.80 is too little, at it is not; fewer than ten ends tell nothing, runs of other kinds do not count."""
    from tests.slo.test_objectives import build, upload

    def tally(good: int, bad: int) -> list[str]:
        from k1ctl.tally.fold import Tally

        place.kept["tally"] = made = Tally()
        for i in range(good):
            made.take(build(5.0 + i))
        for i in range(bad):
            made.take(upload(200.0 + i, 5.0, "refused"))
        made.take({**build(1.0, 1), "event": "run.ended", "kind": "queue-run"})
        return place.bad("success")

    assert tally(8, 2) == [] and tally(7, 3) == ["success"] and tally(2, 7) == []
    for toml, text in (("limit = 80", "a share"), ('window = "36d"', "at most 35 d"), ("window = 0", "above 0")):
        with pytest.raises(ConfigError) as wrong:
            place.look("success", f"[alerts.success]\n{toml}\n")
        assert text in f"{wrong.value.message} {wrong.value.hint}"
    tally(159, 41)
    assert place.look("success")[0].text.startswith("79.5 % of 200 "), "not 80 % where 80 % should"
    tally(7, 3)
    assert "70 % of 10" in place.look("success")[0].text and "3 of 3 uploads failed" in place.look("success")[0].text


def test_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """80 percent is well, 81 is not, and what could go is named; above disk.stop_percent it is critical."""

    def at(percent: int) -> list[Finding]:
        real = os.statvfs(place.root)
        used = os.statvfs_result((4096, 4096, 100, 100 - percent, 100 - percent, *tuple(real)[5:10]))
        monkeypatch.setattr(disk, "statvfs", lambda path: used)
        return [finding for finding in place.look("disk") if finding.subject == "root"]

    assert [f.bad for f in at(80)] == [False] and [f.level for f in at(81) if f.bad] == ["warning"]
    assert [f.level for f in at(96)] == ["critical"] and "archive run --dry-run" in at(81)[0].hint


def record(place: Place, outcome: str, age: float = 0.0) -> None:
    answer = {"outcome": outcome, "code": "device-offline", "message": "no route", "hint": ""}
    document = {"device": "K1.reinvented"} if outcome == "answered" else None
    answers = {
        path: {**answer, **({"document": document} if document else {})} for path in ("/api/health", "/api/device/info")
    }
    now = {"wall": time.time() - age, "monotonic": time.monotonic() - age}
    write_json(
        place.workspace.ops_path("device", "k1.json"), {"host": "127.0.0.1", "http_port": 80, "answers": answers, **now}
    )


def test_device(place: Place) -> None:
    """One that did not answer is away, one that did is not; nobody asked, or long ago, is not known; out of service is
    well; in an escalation the ladder tells people, and the rule of escalations shows it, and tells it where the ladder
    could not."""
    assert [f.bad for f in place.look("device", DEVICE)] == [None] and place.bad("device") == []
    record(place, "no-answer")
    found = place.look("device", DEVICE)[0]
    assert found.bad and found.key == "device/k1" and found.told_by == "" and "no route" in found.text
    record(place, "no-answer", 601)
    assert [f.bad for f in place.look("device", DEVICE)] == [None]
    record(place, "answered")
    assert [f.bad for f in place.look("device", DEVICE)] == [False]
    record(place, "no-answer")
    place.kept = {"paused": {"device:k1": "out of service: cable"}}
    assert place.bad("device", DEVICE) == []
    place.kept = {}
    assert place.bad("escalation", DEVICE) == []
    keeper.observe(place.workspace, load(place.workspace), "k1", "offline", apart=False, message="no route")
    found = place.look("device", DEVICE)[0]
    assert found.bad and found.told_by == "escalation" and "retry" in found.text
    mute = "[escalation]\noffline_human = 0\noffline_incident = 0\n"
    assert [f.told_by for f in place.look("device", DEVICE + mute)] == [""], "a ladder that tells nobody"
    assert place.bad("escalation", DEVICE) == [], "nobody is needed yet"
    state = keeper.load(place.workspace, "k1")
    state["offline"]["seconds"] = 601.0
    write_json(keeper.state_path(place.workspace, "k1"), state)
    keeper.observe(place.workspace, load(place.workspace), "k1", "offline", apart=False, message="no route")
    shown = place.look("escalation", DEVICE)[0]
    assert (shown.bad, shown.level) == (True, "critical") and "incident" in shown.text
    state = keeper.load(place.workspace, "k1")
    ladders = (None, [{"outcome": "sent"}])
    for told in (*ladders, [{"outcome": "failed"}], []):
        state["steps"][-1]["told"] = told
        write_json(keeper.state_path(place.workspace, "k1"), state)
        by = place.look("escalation", DEVICE)[0].told_by
        assert by == "escalation" * (told in ladders), "who tells what the ladder gave up"


def test_burn(place: Place) -> None:
    """Two failed uploads of two burn, one does not; the runs that count are named."""
    from k1ctl.tally.fold import Tally
    from tests.slo.test_objectives import upload

    place.kept["tally"] = tally = Tally()
    tally.take(upload(60.0, 5.0, "refused"))
    assert place.bad("burn") == []
    tally.take(upload(50.0, 5.0, "refused"))
    assert place.bad("burn") == ["burn/upload-success"]
    assert "u50.0, u60.0" in next(f.text for f in place.look("burn") if f.bad)


def test_budget(place: Place) -> None:
    """89 percent of a day's tokens spent and held are well, 90 are not; without limits there is nothing."""
    toml = '[budget]\nday = "1k"\nagent_day = "10k"\n'
    assert place.look("budget", toml) == []
    ledger = Ledger(place.workspace, load(place.workspace))
    ledger.reserve(890, agent="A")
    assert place.bad("budget", toml) == []
    ledger.reserve(10, agent="A")
    found = [finding for finding in place.look("budget", toml) if finding.bad]
    assert [(f.key, f.value, f.level) for f in found] == [("budget/day", 90, "warning")]
    assert place.bad("budget", "[budget]\n") == []


def test_exporter(place: Place) -> None:
    """Twice the period is well, more is stale; where nothing is written there is no alert."""
    assert place.look("exporter") == []
    path = place.root / "ops" / "metrics" / "k1ctl.prom"
    path.parent.mkdir()
    path.write_text("")
    for age, bad in ((0, []), (115, []), (130, ["exporter"]), (-30, []), (-3600, ["exporter"])):
        os.utime(path, (time.time() - age,) * 2)
        assert place.bad("exporter") == bad
    assert place.bad("exporter", '[metrics]\nperiod = "2h"\n') == ["exporter"], "a file of later is of a set clock"


def test_host(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A critical check is wrong, a warning only where that is asked for; disks are another rule's."""
    checks: list[host_health.Check] = []
    monkeypatch.setattr(host_facts, "read", lambda: None)
    monkeypatch.setattr(host_health, "look", lambda *_: checks)
    assert place.bad("host") == []
    checks.append(host_health.Check("disk_root", "crit", message="full"))
    checks.append(host_health.Check("swap", "warn", message="half of the swap"))
    assert place.bad("host") == [] and place.bad("host", '[alerts.host]\nlevel = "warn"\n') == ["host"]
    checks.append(host_health.Check("memory_full", "crit", message="all waited"))
    assert [(f.text, f.level) for f in place.look("host") if f.bad] == [("all waited", "critical")]


def test_a_rule_that_fails_hides_no_other(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be looked at is named with its reason, a bug too, and what is switched off is not looked at."""
    workspace.configure("[slo.x]\npercent = 100\n[alerts.host]\non = false\n")
    facts = workspace.facts()
    found = looks.look(Sources(facts, load(facts)))
    assert list(found.failed) == ["burn"] and "slo.x.percent" in found.failed["burn"]
    assert {"queue", "disk", "success"} <= set(found.rules) and "host" not in found.rules
    monkeypatch.setitem(looks.RULES, "disk", lambda *_: iter([{}["x"]]))
    assert looks.look(Sources(facts, load(facts))).failed["disk"] == "KeyError: 'x'"
    assert json.dumps([finding.facts() for finding in found.findings])
    assert [finding.key for finding in found.findings if finding.bad] == ["rule/burn"], "who is blind has to know it"
