"""`capacity plan` and `capacity forecast` as they are called."""

from __future__ import annotations

import json
from heapq import heapify, heapreplace
from pathlib import Path
from random import Random

import click
import pytest
from click.testing import CliRunner

from k1ctl.cli import Context
from k1ctl.errors import ConfigError, UsageError
from k1ctl.plugins import Plugins
from k1ctl_plugins.capacity.forecast import forecast
from k1ctl_plugins.capacity.plan import plan
from tests.capacity.test_calibrate import BEGAN, History, Place, a_week
from tests.kit import Project

HOST = '{"cores": 14, "memory_bytes": 51539607552}'


def told(project: Project, command: click.Command, *words: str) -> str:
    """What the command prints on stdout, run in this process, for a Mac of 14 cores and 48 GiB."""
    facts = project.write("mac.json", HOST)
    context = Context(Plugins(), str(project.root))
    done = CliRunner().invoke(command, [*words, "--facts", str(facts)], obj=context, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_annexs_table(workspace: Project) -> None:
    """Without history: the four loads beside the annex's minutes, what binds, levers, and that all is a default."""
    text = told(workspace, plan, "--what-if", "slots=5", "--turns", "400")
    rows = {line.split()[0]: line.split() for line in text.splitlines() if line.strip()}
    assert [rows[name][1] for name in ("light", "mixed", "heavy", "burst")] == ["12", "12", "16", "20"]
    assert "12 to 15" in text
    assert text.count("  slots=5") == 4
    assert "slots     build:fw 4; 1 device\n" in text
    assert "\n\n\n" not in text
    assert "WHAT IF slots 4 -> 5" in text
    assert "cannot hold: one transfer in ten takes 76 s" in text
    assert "history counts from 10 on" in text


def test_a_load_without_uploads_has_no_goal_for_them(workspace: Project) -> None:
    """20 builds, no upload: it is said that there are none, not that their goal does not hold."""
    history = History(workspace.ops)
    for n in range(20):
        history.work("w", "build", "build:fw", BEGAN + 300 * n, 1.0, 30.0)
    for n in range(10):
        history.work("v", "upload", "device:k1", BEGAN + 300 * n, 0.0, 5.0)
    history.save()
    text = told(workspace, plan, "--days", "3650", "--turns", "200", "--scenario", "usual")
    assert "uploads   none in this load" in text
    assert "p90 within 60 s" not in text


def test_the_plan_as_json(workspace: Project) -> None:
    """One load: p90 near 13.2 min, the knee, goals, the what-if with its difference, ranked levers."""
    words = ("--scenario", "heavy", "--what-if", "slots=5", "--turns", "6000", "--json")
    found = json.loads(told(workspace, plan, *words))
    (heavy,) = found["scenarios"]
    assert heavy["turn_p90_seconds"] / 60 == pytest.approx(13.2, rel=0.04)
    assert heavy["knee_agents"] == pytest.approx(17.4, abs=0.05)
    assert (heavy["binds"], heavy["bottleneck"], heavy["annex_minutes"]) == ("build:fw", "build:fw", [12, 15])
    assert heavy["upload_goal"]["holds"] is False
    (then,) = heavy["what_if"]
    assert then["changes"] == [{"what": "slots", "before": "4", "after": "5"}]
    difference = then["turn_p90_seconds"] - heavy["turn_p90_seconds"]
    assert then["difference"]["p90_seconds"] == pytest.approx(difference, abs=0.01)
    assert difference < -60
    gains = [row["p90_gain_seconds"] for row in found["levers"]["ranked"] if not row["within_noise"]]
    assert gains == sorted(gains, reverse=True)


def test_the_hosts_own_history_is_the_usual_load(workspace: Project) -> None:
    """90 turns of three workspaces: `usual` is a load, its numbers are from history, the others scaled to it."""
    a_week(Place(workspace.root))
    found = json.loads(told(workspace, plan, "--days", "3650", "--turns", "200", "--json"))
    assert [row["name"] for row in found["scenarios"]] == ["usual", "light", "mixed", "heavy", "burst"]
    origins = {row["name"]: (row["origin"], row["samples"]) for row in found["calibration"]["parameters"]}
    assert origins["build:fw"] == ("history", 90)
    usual, heavy = found["scenarios"][0], found["scenarios"][3]
    assert heavy["kinds"][0]["build_seconds"] == pytest.approx(usual["kinds"][0]["build_seconds"] * 5.5 / 4.5, abs=0.01)
    assert found["calibration"]["observed"]["turns"] == 90


def a_shift(project: Project, *, agents: int, slots: int, builds: int) -> None:
    """The history of a real line: agents that think 840 s, wait in order for a slot, build 270 s (exponential), and
    upload 40 s to the one device after every second build."""
    history, rnd = History(project.ops), Random(7)
    free, device = [0.0] * slots, 0.0
    ready = [(rnd.expovariate(1 / 840), w, 0, 0.0) for w in range(agents)]  # (when, who, what: build or upload)
    heapify(ready)
    for _ in range(2 * builds):
        at, w, upload, _ = ready[0]
        if upload:
            begin = max(at, device)
            device = end = begin + 40.0
            history.work(f"w{w}", "upload", "device:k1", BEGAN + at, begin - at, 40.0)
        else:
            begin = max(at, free[0])
            end = begin + rnd.expovariate(1 / 270)
            heapreplace(free, end)
            history.work(f"w{w}", "build", "build:fw", BEGAN + at, begin - at, end - begin)
            if rnd.random() < 0.5:
                heapreplace(ready, (end, w, 1, 0.0))
                continue
        heapreplace(ready, (end + rnd.expovariate(1 / 840), w, 0, 0.0))
    history.save()


def test_a_model_of_history_replays_it(workspace: Project) -> None:
    """Of a line that really was one, with 16 agents on 3 slots: the model fed with its events alone gives the recorded
    p90 of turns and waits within a tenth; with one slot set it does not, and that is said."""
    workspace.configure('[queue.slots]\n"build:fw" = 3\n')
    a_shift(workspace, agents=16, slots=3, builds=1500)
    words = ("--scenario", "usual", "--days", "3650", "--turns", "2000")
    found = json.loads(told(workspace, plan, *words, "--json"))
    seen, replay = found["calibration"]["observed"], found["replay"]
    assert replay["agents"] == 16
    assert replay["turn_p90_seconds"] == pytest.approx(seen["turn_p90_seconds"], rel=0.1)
    assert replay["wait_p90_seconds"] == pytest.approx(seen["wait_p90_seconds"], rel=0.15)
    assert replay["misfit"] is False
    workspace.configure('[queue.slots]\n"build:fw" = 1\n')
    assert "the model misses something" in told(workspace, plan, *words, "--turns", "400")


def test_whatever_was_built_is_shown_in_100_columns(workspace: Project) -> None:
    """Ten kinds of builds with long names and a what-if that changes all there is: the eight most frequent kinds are in
    the model, names are cut, and words go on below."""
    history = History(workspace.ops)
    for kind in range(10):
        at = BEGAN
        for _ in range(20 - kind):
            at = 60 + history.work(f"w{kind}", "build", f"build:{'long-' * 9}{kind}", at, 1.0, 30.0)
    history.save()
    what_if = "agents=1,slots=5,devices=2,hosts=2,build=3m,think=3m,upload=20s,uploads=0.4,cv=0.1"
    words = ("--days", "3650", "--turns", "200", "--scenario", "usual", "--agents", "1", "--what-if", what_if)
    text = told(workspace, plan, *words) + told(workspace, forecast, "--days", "3650", "--growth", "10%")
    assert max(map(len, text.splitlines())) <= 100
    assert " 1 agents" not in text
    assert "no difference" in text
    kinds = json.loads(told(workspace, plan, *words, "--json"))["scenarios"][0]["kinds"]
    assert [kind["resource"][-1] for kind in kinds] == [*"01234567"]


@pytest.mark.parametrize(("command", "words"), [(plan, ["--turns", "200"]), (forecast, [])])
def test_outside_a_repository_the_defaults_hold(
    command: click.Command, words: list[str], workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The annex's load with the default slots, and stderr says so; a root that was given has to be one."""
    facts = workspace.write("mac.json", HOST)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for name in ("K1CTL_ROOT", "CONDUCTOR_ROOT_PATH"):
        monkeypatch.delenv(name, raising=False)
    words = [*words, "--facts", str(facts), "--json"]
    done = CliRunner().invoke(command, words, obj=Context(Plugins()), catch_exceptions=False)
    assert json.loads(done.stdout)["ok"]
    assert "is not inside a git repository; shown with the defaults" in done.stderr
    with pytest.raises(ConfigError, match="is not a folder"):
        CliRunner().invoke(command, [], obj=Context(Plugins(), "/no/such/root"), catch_exceptions=False)


def test_a_plot_of_turns_over_agents(workspace: Project) -> None:
    """--plot writes an SVG with the load's and the what-if's curves."""
    path = workspace.root / "t.svg"
    words = ("--scenario", "light", "--turns", "200", "--what-if", "agents=3")
    told(workspace, plan, *words, "--plot", str(path))
    assert path.read_text().startswith("<svg")
    assert "light, p90" in path.read_text()
    assert "agents=3, p90" in path.read_text()


@pytest.mark.parametrize(
    ("command", "words", "text"),
    [
        (plan, ("--agents", "0"), "--agents"),
        (plan, ("--turns", "5"), "--turns"),
        (forecast, ("--growth", "10"), "no growth"),
        (forecast, ("--growth", "-95%"), "no growth"),
        (forecast, ("--tasks-per-hour", "inf"), "no number above 0"),
        (forecast, ("--efficiency", "1e-300"), "no number from 0.01 to 1"),
    ],
)
def test_a_wrong_value_is_told(command: click.Command, words: tuple[str, ...], text: str) -> None:
    """Exit 2, and what is wrong with it."""
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 2
    assert text in done.output


@pytest.mark.parametrize(
    ("command", "words", "text"),
    [
        (plan, ("--what-if", "slot=5"), "no key 'slot'"),
        (plan, ("--plot", "t.gif"), "is an .svg"),
        (forecast, ("--growth", "100%", "--months", "120"), "beyond any forecast"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    workspace: Project, command: click.Command, words: tuple[str, ...], text: str
) -> None:
    """A usage error that says what is wrong, with a hint or the form."""
    with pytest.raises(UsageError, match=text):
        told(workspace, command, *words)


def test_a_wrong_what_if_ends_with_two(workspace: Project) -> None:
    """As a child process: exit 2, one line, and a hint that names the keys; stdout stays empty."""
    done = workspace.run("capacity", "plan", "--what-if", "slot=5")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "keys: slots, devices, hosts, agents" in done.stderr


def test_the_forecast(workspace: Project) -> None:
    """30 tasks an hour of half an hour on 12 at once: 2 instances, 3 with headroom, 4 at a peak; with 10 % a month two
    hosts are outgrown in the third; 20 places by Erlang C."""
    words = ("--tasks-per-hour", "30", "--hours-per-task", "0.5", "--concurrency", "12", "--growth", "10%/month")
    found = json.loads(told(workspace, forecast, *words, "--hosts", "2", "--json"))
    assert [found[f"required{name}"] for name in ("", "_with_headroom", "_at_peak")] == [2, 3, 4]
    assert found["outgrown"]["required"]["month"] == 3
    assert found["growth"]["per_month"] == 0.1
    assert len(found["months"]) == 13
    assert found["square_root_staffing"]["exact_servers"] == 20


def test_the_forecast_without_a_number_is_that_of_the_usual_load(workspace: Project) -> None:
    """Nothing asked: turns of the annex's load, on as many agents as this host carries; no growth is made up."""
    found = json.loads(told(workspace, forecast, "--json"))
    assert found["tasks_at_once"] == pytest.approx(12, abs=1e-4), "the annex's 12 agents, by Little's law"
    text = " ".join(told(workspace, forecast).split())
    assert "of the annex's mixed load" in text
    assert "agents this host carries" in text
    assert "none is assumed" in text
    assert "HARDWARE" in text
