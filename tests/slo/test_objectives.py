"""Objectives from events: kept, broken, or not enough data; what is left, and the steps that failures ask for."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.errors import ConfigError, UsageError
from k1ctl.jsontext import dumps
from k1ctl.slo import BROKEN, KEPT, UNKNOWN, Objective, look, rules
from k1ctl.tally.fold import Tally
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from k1ctl_plugins.slo.report import nagios
from tests.kit import Project

NOW = time.time()


def build(age: float, exit_code: int = 0, *, run: str = "r", workspace: str = "oslo", **more: Any) -> dict[str, Any]:
    return {
        "at": rfc3339(NOW - age),
        "event": "build.finished",
        "workspace": workspace,
        "run": f"{run}{age}",
        "target": "fw",
        "exit_code": exit_code,
        "code": "" if exit_code == 0 else "build-failed",
        "seconds": 9.0,
        **more,
    }


def upload(age: float, seconds: float, outcome: str = "installed", run: str = "u") -> dict[str, Any]:
    return {
        "at": rfc3339(NOW - age),
        "event": "upload.finished",
        "workspace": "oslo",
        "run": f"{run}{age}",
        "target": "fw",
        "outcome": outcome,
        "seconds": seconds,
        "device": {"name": "k1"},
        **({} if outcome == "installed" else {"exit_code": 1, "code": "image-refused"}),
    }


def looked(tmp_path: Path, events: list[dict[str, Any]], toml: str = "", **options: Any) -> dict[str, Objective]:
    (tmp_path / "ops").mkdir(exist_ok=True)
    (tmp_path / "ops" / "k1ctl.toml").write_text(toml)
    workspace = Workspace(str(tmp_path), str(tmp_path), "oslo")
    tally = Tally()
    for event in sorted(events, key=lambda e: str(e["at"])):
        tally.take(event)
    return {o.name: o for o in look(workspace, load(workspace), tally, now=NOW, **options)}


def test_nothing_happened(tmp_path: Path) -> None:
    """No events, no verdict, no figures, no burn."""
    found = looked(tmp_path, [])
    assert list(found) == ["build-success", "upload-success", "upload-time", "turn-time"]
    for each in found.values():
        assert (each.state, each.value, each.budget_left, each.firing, each.steps) == (UNKNOWN, None, None, [], [])
        assert each.text.startswith("no ")


def test_both_sides_of_a_goal(tmp_path: Path) -> None:
    """2 of 40 builds may fail, the third breaks it; what was refused, cancelled or is older counts on neither side."""
    neither = [build(50.0, 75), build(51.0, 1, code="cancelled"), build(8 * 86400.0, 1), build(52.0, 78)]
    good = [build(100.0 + i) for i in range(38)]
    kept = looked(tmp_path, [*neither, *good, build(5000.0, 1), build(9000.0, 124)])["build-success"]
    assert (kept.state, kept.good, kept.bad, kept.ignored) == (KEPT, 38, 2, 3)
    assert kept.value == 0.95 and kept.budget_left == pytest.approx(0.0) and "0 more may fail" in kept.text
    broken = looked(tmp_path, [*good[:37], *(build(5000.0 + i, 1) for i in range(3))])["build-success"]
    assert broken.state == BROKEN and broken.budget_left == pytest.approx(-0.5)
    assert "1 more than allowed" in broken.text


def test_too_few_events_for_a_verdict(tmp_path: Path) -> None:
    """19 builds keep nothing, however good; one failure of them breaks nothing; so many as are no chance do."""
    few = [build(100.0 + i) for i in range(19)]
    assert looked(tmp_path, few)["build-success"].state == UNKNOWN
    assert "it takes 20" in looked(tmp_path, [*few[:18], build(99.0, 1)])["build-success"].text
    assert looked(tmp_path, [*few[:18], build(99.0, 1)])["build-success"].state == UNKNOWN
    assert looked(tmp_path, [build(1.0, 1), build(2.0, 1)])["build-success"].state == BROKEN


def test_time_to_upload(tmp_path: Path) -> None:
    """The p90 of 10 uploads is within a minute with one longer, not with two; a failed one has no time. One above
    two minutes is to be looked into, by its run."""
    nine = [upload(100.0 + i, 20.0) for i in range(9)]
    kept = looked(tmp_path, [*nine, upload(50.0, 100.0)])["upload-time"]
    assert (kept.state, kept.bad, kept.steps) == (KEPT, 1, []) and kept.value is not None and kept.value <= 60.0
    slow = [*nine[:8], upload(50.0, 121.0), upload(60.0, 61.0), upload(70.0, 500.0, "refused")]
    broken = looked(tmp_path, slow)["upload-time"]
    assert (broken.state, broken.good, broken.bad) == (BROKEN, 8, 2)
    assert [(s.what, s.runs) for s in broken.steps] == [("investigate", ["u50.0"])]
    assert "2 m 1 s" in broken.steps[0].text


def test_steps_of_the_annex(tmp_path: Path) -> None:
    """One failed build is nothing yet, two in a row of one workspace are, one failed upload is at once; a success ends
    the row, another workspace's does not."""
    one = looked(tmp_path, [build(9.0), build(8.0, 1), upload(7.0, 9.0, "refused")])
    assert one["build-success"].steps == []
    assert [(s.what, s.count, s.runs) for s in one["upload-success"].steps] == [("escalate", 1, ["u7.0"])]
    assert nagios([one["upload-success"]])[1] == 1 and nagios([one["build-success"]])[1] == 3
    row = [build(9.0, 1), build(8.0, 75), build(7.0, 1), build(6.0, workspace="bergen"), upload(5.0, 9.0)]
    two = looked(tmp_path, row)
    assert [(s.workspace, s.count, s.runs) for s in two["build-success"].steps] == [("oslo", 2, ["r7.0", "r9.0"])]
    assert "2 builds of fw in a row" in two["build-success"].steps[0].text and not two["upload-success"].steps
    assert looked(tmp_path, [*row, build(1.0)])["build-success"].steps == []


def test_settings(tmp_path: Path) -> None:
    """A section changes an objective key by key, 0 takes it away, another name adds one; nonsense names its key."""
    toml = (
        "[slo.build-success]\npercent = 50\n[slo.turn-time]\npercent = 0\n"
        '[slo.web]\nkind = "build"\nof = "web"\npercent = 99\nwindow = "1d"\n'
    )
    found = looked(tmp_path, [build(9.0, 1), build(8.0), build(7.0), build(6.0, 1, target="web")], toml)
    assert list(found) == ["build-success", "upload-success", "upload-time", "web"]
    assert (found["build-success"].state, found["build-success"].bad) == (KEPT, 2)
    assert (found["web"].good, found["web"].bad, found["web"].window) == (0, 1, 86400.0)
    assert list(looked(tmp_path, [], toml, names=("web",), window=60.0)) == ["web"]
    with pytest.raises(UsageError, match="no objective 'nope'"):
        looked(tmp_path, [], names=("nope",))
    for key, text in (
        ("percent = 100", "slo.x.percent"),
        ("percent = 99.99999999", "below 100"),
        ('window = "40d"', "at most 35 d"),
        ('kind = "turn"', "within"),
    ):
        with pytest.raises(ConfigError, match=text):
            looked(tmp_path, [], f"[slo.x]\n{key}\n")
    for percent in ("0.0000001", "1e-12", "99.9999"):
        assert looked(tmp_path, [build(9.0), build(8.0, 1)], f"[slo.x]\npercent = {percent}\n")["x"].document()
    workspace = Workspace(str(tmp_path), str(tmp_path), "oslo")
    (tmp_path / "ops" / "k1ctl.toml").write_text("[slo.x]\nkind = 'build'\npercent = 97.5\n")
    assert [(r.allowed, r.enough) for r in rules(load(workspace), ("x",))] == [(0.025, 40)]


def test_the_command(workspace: Project) -> None:
    """Exit 0 while nothing is broken and 1 when one is, with the runs that count; Nagios gets 3 and 2."""
    folder = workspace.ops / "events"
    folder.mkdir()

    def happened(*events: dict[str, Any]) -> None:
        for event in events:
            with (folder / f"{event['at'][:10]}.jsonl").open("a") as f:
                f.write(dumps(event) + "\n")

    assert "not enough data" in workspace.run("slo", "--format", "nagios").assert_fails(3).stdout
    happened(upload(50.0, 5.0, "refused"))
    assert "escalate: the last upload of fw failed in oslo" in workspace.run("slo").assert_ok().stdout
    happened(build(9.0, 1), build(8.0, 1))
    told = workspace.run("slo", "build-success", "--json").assert_fails(1).json
    assert told["error"]["code"] == "slo-broken" and told["objectives"][0]["burning"]
    assert told["objectives"][0]["steps"][0]["runs"] == ["r8.0", "r9.0"]
    line = workspace.run("slo", "--format", "nagios").assert_fails(2).stdout
    assert line.startswith("K1 CRITICAL - slo: build-success") and "'build-success'=0%;;95:;0;100" in line
    workspace.run("slo", "nope").assert_fails(2, "there are build-success")
    workspace.run("slo", "--window", "36d").assert_fails(2, "35d")
    assert "K1 UNKNOWN" in workspace.run("slo", "nope", "--format=nagios").assert_fails(3).stdout
