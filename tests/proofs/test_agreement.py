"""Whatever happened, no two commands tell different stories of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import overview, slo
from k1ctl.alerts.looks import queue as long_line
from k1ctl.alerts.looks import success
from k1ctl.capacity import turnlog
from k1ctl.config import Config, load
from k1ctl.events_find import Wanted
from k1ctl.metrics.aliases import figures
from k1ctl.metrics.gathering import Gathered, gather
from k1ctl.overview.parts import Sources
from k1ctl.plugins import Plugins
from k1ctl.queue import view
from k1ctl.reasons import BLOCKED, FAILED, NO_WORK
from k1ctl.tally import current
from k1ctl.workspace import Workspace
from k1ctl_plugins.events import figures as stats
from k1ctl_plugins.queue import past
from k1ctl_plugins.why.answer import answer
from k1ctl_plugins.why.resolve import resolve
from tests.proofs.lived import ENDS, History, Job, counted, judged, standing

DAY = 1440  # minutes
CONFIGURATION = """
[devices.k1]
host = "127.0.0.1"
http_port = 9
[targets.fw]
[alerts.success]
events = 1
[slo.build-success]
window = "24h"
[slo.upload-success]
window = "24h"
[slo.upload-time]
window = "24h"
"""
PLUGINS = Plugins()
# of a day; what counts by the hour is a little longer, so nothing lies at its edge
AGES = st.integers(1, DAY - 100) | st.integers(DAY + 100, 3 * DAY)
NAMES = st.sampled_from(["oslo", "lima", "rome"])
JOBS = st.tuples(
    st.sampled_from(sorted(ENDS)),
    st.sampled_from(["oslo", "lima", "rome"]),
    AGES,
    st.integers(0, 90),
    st.integers(1, 900),
).map(lambda drawn: Job(*drawn[0], *drawn[1:]))


class Told:
    """What each of those who tell says of a history."""

    def __init__(self, history: History, config: Config, here: Workspace) -> None:
        self.history, self.config, self.here = history, config, here
        self.tally = current(here)
        self.status = overview.look(here, config)
        self.metrics: Gathered = gather(PLUGINS, here, config)
        self.alerts = Sources(here, config)
        self.rules = {name: config.section("alerts", name) for name in ("success", "queue")}

    def metric(self, family: str, **labels: str) -> float:
        """The sum of a family's samples that have these labels."""
        rows = self.metrics.family(family).samples
        return sum(value for given, value in rows if given.items() >= labels.items())

    def answer(self, what: str) -> Any:
        return answer(PLUGINS, self.here, self.config, resolve(self.here, self.config, what)).first


def ends_agree(told: Told, kind: str) -> None:
    """Good, bad and neither of a day, and by result since ever."""
    jobs, good_bad = told.history.jobs, judged(told.history.jobs, kind, DAY)
    facts = getattr(told.status, f"{kind}s").facts
    assert (facts["good"], facts["bad"], facts["ignored"]) == good_bad
    verdicts = ("good", "bad", "ignored")
    assert tuple(told.metric("k1_recent_outcomes", kind=kind, verdict=each) for each in verdicts) == good_bad
    objective = next(each for each in slo.look(told.here, told.config, told.tally) if each.name == f"{kind}-success")
    assert (objective.good, objective.bad, objective.ignored) == good_bad
    ever = counted(jobs, kind)
    assert {of[2]: number for of, number in told.tally.outcomes.items() if of[0] == kind} == ever
    assert all(told.metric(f"k1_{kind}s", result=result) == number for result, number in ever.items())
    rows = [row for row in past.runs(told.here) if row["kind"] == kind]
    assert len(rows) == ever.total() and sum(row["exit_code"] == 0 for row in rows) == ever["done"]
    done = [job for job in jobs if (job.kind, job.result) == (kind, "done")]
    took = told.metrics.family(f"k1_{kind}_duration_seconds").histograms
    seconds = sum(job.seconds + (job.wait if kind == "upload" else 0) for job in done)
    assert sum(each[2] for each in took) == len(done) and abs(sum(each[3] for each in took) - seconds) < 1


def success_agrees(told: Told) -> None:
    """The alert, the metric of the annex and plain counting have one share of what went well."""
    good, bad = (sum(judged(told.history.jobs, kind, DAY)[which] for kind in ("build", "upload")) for which in (0, 1))
    (finding,) = success(told.alerts, told.rules["success"])
    share = figures({family.name: family for family in told.metrics.families}, told.config)["agent_success_rate"]
    if good + bad:
        assert share == good / (good + bad) and finding.value == round(share, 4) and finding.bad == (share < 0.8)
    else:
        assert share is None and not finding.bad
    within = judged(told.history.jobs, "upload", DAY)[0]
    (objective,) = slo.look(told.here, told.config, told.tally, names=["upload-time"])
    assert objective.good + objective.bad == within


def line_agrees(told: Told, names: list[str]) -> None:
    """Who waits, behind how many, by the queue, status, metrics, the alert and why."""
    waiting = max(0, len(names) - 1)
    rows = told.status.waiting.rows
    assert [(row["workspace"], row["position"]) for row in rows] == [(n, p) for p, n in enumerate(names[1:], 1)]
    assert told.status.waiting.facts["waiting"] == waiting == told.metric("k1_queue_waiting", resource="device:k1")
    assert figures({f.name: f for f in told.metrics.families}, told.config)["device_upload_queue_length"] == waiting
    assert told.metric("k1_queue_held", resource="device:k1") == bool(names)
    assert sum(finding.value for finding in long_line(told.alerts, told.rules["queue"])) == waiting
    for row in rows:
        stands = view.standing(str(told.history.root / "ops" / "queue"), row["ticket"], told.config.slots)
        assert stands is not None and stands.position == row["position"]
        why = told.answer(str(row["ticket"]))
        assert why.kind == BLOCKED and names[0] in why.text
        assert row["position"] == 1 or f"{row['position'] - 1} before it" in why.text


def times_agree(told: Told) -> None:
    """Waits by the events themselves, the tally, the records and the metrics; turns by the log of capacity."""
    begun = [job for job in told.history.jobs if job.begun]
    folder, ops = told.here.ops_path("events"), told.here.ops_path()
    found = stats.look(folder, "wait_seconds", wanted=Wanted(["queue.granted"]))
    figure = found[0].document() if found else {"count": 0, "sum": 0.0}
    records = [row["wait_seconds"] for row in past.runs(told.here) if row["started_at"]]
    histograms = told.metrics.family("k1_queue_wait_seconds").histograms
    sums = [(figure["count"], figure["sum"]), (len(records), sum(records))]
    sums.append((sum(each.count for each in told.tally.waits.values()), sum(e.sum for e in told.tally.waits.values())))
    sums.append((sum(each[2] for each in histograms), sum(each[3] for each in histograms)))
    assert sums == [(len(begun), sum(job.wait for job in begun))] * 4
    turns = turnlog.turns(turnlog.read(ops).works, lambda name: name.startswith("build:"))
    builds = sum(job.kind == "build" for job in begun)
    turned = told.tally.seconds.get(("turn", ""))
    assert len(turns) == builds == (turned.count if turned else 0) + len(told.tally.turns)
    lengths = (turned.sum if turned else 0.0) + sum(turn.length for turn in told.tally.turns.values())
    assert lengths == pytest.approx(sum(turn.length for turn in turns), abs=0.01)


def last_agree(told: Told) -> None:
    """The last build and upload of each workspace, and why its last run ended as it did."""
    shown = {row["name"]: row for row in told.status.workspaces.rows}
    for name in {job.workspace for job in told.history.jobs}:
        for kind in ("build", "upload"):
            mine = [job.result for job in told.history.jobs if (job.workspace, job.kind) == (name, kind)]
            activity = getattr(told.tally.workspaces[name], kind)
            assert (activity.result if activity else None) == (mine[-1] if mine else None)
            assert (shown[name][kind] or {}).get("result") == (mine[-1] if mine else None)
    for job, run in [*zip(told.history.jobs, told.history.runs, strict=True)][-3:]:
        kinds = {"done": [NO_WORK], "refused": [BLOCKED], "cancelled": [FAILED, NO_WORK]}.get(job.result, [FAILED])
        assert told.answer(run).kind in kinds, (job, told.answer(run).text)


@settings(max_examples=25)
@given(jobs=st.lists(JOBS, max_size=12), names=st.lists(NAMES, max_size=4))
def test_all_tell_one_story(jobs: list[Job], names: list[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    """status, metrics, slo, alerts, why, events stats, queue history and the turns of capacity say of builds, uploads,
    waits and the line what plain counting of the history says."""
    root = tmp_path_factory.mktemp("root")
    (root / "ops").mkdir()
    (root / "ops" / "k1ctl.toml").write_text(CONFIGURATION)
    history = History(root, jobs)
    here = history.place("oslo")
    with standing(root, names):
        told = Told(history, load(here), here)
        ends_agree(told, "build")
        ends_agree(told, "upload")
        success_agrees(told)
        line_agrees(told, names)
        times_agree(told)
        last_agree(told)
