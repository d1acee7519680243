"""What ships for Prometheus and Grafana: made of the configuration, accepted by promtool, right on both sides."""

from __future__ import annotations

import json
import math
import os
import re
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.config import Config, parse_text
from k1ctl.errors import ConfigError
from k1ctl.metrics import alertrules, burnrules
from k1ctl.metrics.rules import DASHBOARD, OBJECTIVES, PROMETHEUS, RULES, cases_of, files, write
from k1ctl.slo.binomial import tail
from k1ctl.slo.burn import LEVEL
from tests.kit import REPOSITORY, Project, needs
from tests.metrics.told import gathered, lived

DATA = REPOSITORY / "k1ctl" / "metrics" / "data"
OTHERS = """
[alerts.queue]
limit = 2
for = "90s"
[alerts.success]
limit = 0
[alerts.disk]
limit = 91
for = "5m"
[alerts.host]
level = "warn"
[alerts.device]
on = false
[metrics]
period = "30s"
port = 9200
[slo.build-success]
percent = 80
of = 'f"w\\x'
[slo.upload-success]
percent = 0
[slo.turn-time]
percent = 0
[slo.upload-time]
percent = 0
"""


def configured(toml: str = "") -> Config:
    return Config("", parse_text(toml, "k1ctl.toml"), {})


def promtool(*words: str, cwd: Path) -> None:
    done = subprocess.run(["promtool", *words], cwd=cwd, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_files_of_the_package_are_those_of_the_defaults() -> None:
    """k1ctl/metrics/data has not drifted."""
    found = {path.name: path.read_text() for path in DATA.iterdir()}
    assert found == files(configured()), "make docs writes them anew"


@needs("promtool")
@pytest.mark.parametrize("toml", ["", OTHERS], ids=["defaults", "others"])
def test_promtool_takes_rules_and_configuration(toml: str, tmp_path: Path) -> None:
    """check config (which checks the rules); test rules: each alert fires on one side of its limit only."""
    write(str(tmp_path), files(configured(toml)))
    promtool("check", "config", PROMETHEUS, cwd=tmp_path)
    promtool("test", "rules", cases_of(RULES), cwd=tmp_path)
    if toml:  # a day of time for each case; those of the defaults are tested by `make soak`
        promtool("test", "rules", cases_of(OBJECTIVES), cwd=tmp_path)


@pytest.mark.soak
@needs("promtool")
def test_promtool_takes_the_objectives_of_the_defaults(tmp_path: Path) -> None:
    """All pairs of windows of both objectives, and both by time."""
    write(str(tmp_path), files(configured()))
    promtool("test", "rules", cases_of(OBJECTIVES), cwd=tmp_path)


def test_samples_are_never_too_far_apart_for_prometheus() -> None:
    """What is 5 minutes old is gone to it; no period at all is no configuration."""
    assert 'scrape_interval: "2m"' in files(configured('[metrics]\nperiod = "1h"\n'))[PROMETHEUS]
    with pytest.raises(ConfigError, match=r"metrics\.period is 0"):
        files(configured('[metrics]\nperiod = "0s"\n'))


def test_no_limit_is_above_one() -> None:
    """A burn rate that not even failures alone would reach makes no rule: 14.4 x 20 % is more than all."""
    config = configured("[slo.build-success]\npercent = 80\n")
    shares = re.findall(r"/ k1:slo_events:\S+ >= (\S+)", files(config)[OBJECTIVES])
    assert len(shares) == 8 and all(0 < float(share) < 1 for share in shares)  # a long and a short window each
    named = [alert.labels for alert in burnrules.alerts(config) if "pair" in alert.labels]
    assert {"objective": "build-success", "pair": "fast"} not in named
    assert {"objective": "upload-success", "pair": "fast"} in named


@settings(max_examples=200)
@given(st.integers(1, 600), st.floats(0.01, 0.5))
def test_the_bound_of_chance_is_never_too_low_and_hardly_too_high(events: int, allowed: float) -> None:
    """More failures than the rules' bound are rarer than 1 in 100 by the exact tail; one less, or two, are not."""
    text = burnrules.chance("N", allowed).replace("N", str(events)).replace("sqrt", "math.sqrt")
    needed = math.floor(eval(text, {"math": math})) + 1
    if needed <= events:
        assert tail(needed, events, allowed) < LEVEL
    if 2 < needed <= events + 2:
        assert tail(needed - 2, events, allowed) >= LEVEL


def test_rules_and_panels_ask_for_what_is_told(workspace: Project) -> None:
    """Every k1_ name in rules and dashboard is one that a plugin tells, with the labels that are asked for."""
    found = gathered(lived(workspace))
    kinds = {family.name: family.kind for family in found.families}
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",), "info": ("_info",)}
    told = {name + suffix for name, kind in kinds.items() for suffix in suffixes[kind]}
    texts = files(configured())
    for name in (RULES, OBJECTIVES, DASHBOARD):
        asked = set(re.findall(r"\bk1_\w+", texts[name]))
        assert asked and asked <= told, asked - told


def test_the_dashboard_is_whole() -> None:
    """Panels have ids of their own, queries, and places that do not overlap within the 24 columns."""
    panels = json.loads(files(configured())[DASHBOARD])["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken and all(x < 24 for x, _ in cells)
        taken |= cells
        assert panel["type"] == "row" or all(target["expr"] for target in panel["targets"])


def test_each_alert_is_tested_on_both_sides() -> None:
    """Each has a case in which it fires and one in which it does not."""
    found = [*alertrules.alerts(configured()), *burnrules.alerts(configured())]
    assert len(found) == 17
    for alert in found:
        assert {bool(case.fires) for case in alert.cases} == {True, False}, alert.name


def test_what_is_somebody_elses_is_kept(tmp_path: Path) -> None:
    """A prometheus.yml of one's own is left as it is; ours are replaced where they differ, and readable by others; a
    dry run writes none."""
    (tmp_path / PROMETHEUS).write_text("global: {}\n")
    texts = files(configured())
    assert {row["state"] for row in write(str(tmp_path), texts, dry_run=True)} == {"kept", "written"}
    assert len(list(tmp_path.iterdir())) == 1
    mask = os.umask(0o077)
    try:
        write(str(tmp_path), texts)
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / RULES).stat().st_mode) == 0o644
    assert (tmp_path / PROMETHEUS).read_text() == "global: {}\n"
    states = {Path(row["path"]).name: row["state"] for row in write(str(tmp_path), files(configured(OTHERS)))}
    assert states == {PROMETHEUS: "kept", RULES: "written", OBJECTIVES: "written", DASHBOARD: "unchanged"} | {
        cases_of(RULES): "written",
        cases_of(OBJECTIVES): "written",
    }
