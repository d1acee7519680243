"""The lean lane and the click command are one command: same options, same run, same refusals."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from k1ctl import lane
from k1ctl.cli import cli
from k1ctl.errors import K1ctlError
from k1ctl.workspace import Workspace
from tests.kit import Project, base_environment

PLACE = Workspace("/r", "/r/w", "w")
DURATIONS = st.sampled_from(["0", "250ms", "10s", "1h30m", "1.5", "2d", "5M", " 3s "])
VALUES = {
    "duration": DURATIONS,
    "priority": st.sampled_from(lane.CHOICES["priority"]),
    "int": st.integers(0, 99).map(str),
    "backoff": st.sampled_from(lane.CHOICES["backoff"]),
    "str": st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8),
    "caller": st.sampled_from(lane.CHOICES["caller"]),
    "need": st.sampled_from(["mem=4G", "mem=512M,cpu=0.5", "cpu=2,tokens=10k,disk=1G", "agents=1,model:opus=2"]),
}
WILD = st.sampled_from(
    ["", "-", "--", "-1", "+1", "x", "HIGH", "--wait", "--help", "-h", "1_0", "٣", "nan", "inf", "1e3", "a\nb", "mem=4"]
)
RESOURCE = st.sampled_from(["device:k1", "build:fw=2", "a", "b=3", "port:3000"])
COMMAND = st.lists(st.sampled_from(["make", "-j4", "--", "--help", "--key=v", "", "ü", "a b"]), min_size=1, max_size=4)


@st.composite
def option(draw: st.DrawFn, wild: bool = False) -> list[str]:
    """One option, as one word or two; a wild one may have any value."""
    name = draw(st.sampled_from(sorted(lane.OPTIONS)))
    value = draw(VALUES[lane.OPTIONS[name][1]])
    if wild and draw(st.booleans()):
        value = draw(WILD)
    return [f"{name}={value}"] if draw(st.booleans()) else [name, value]


@st.composite
def valid_call(draw: st.DrawFn) -> list[str]:
    """A call of `queue run` that is right."""
    resources = draw(st.lists(RESOURCE, min_size=1, max_size=3, unique_by=lambda r: r.partition("=")[0]))
    parts = draw(st.permutations([[r] for r in resources] + draw(st.lists(option(), max_size=5))))
    return [*(word for part in parts for word in part), "--", *draw(COMMAND)]


@st.composite
def any_call(draw: st.DrawFn) -> list[str]:
    """A call that may be wrong in every way."""
    words = [draw(st.one_of(option(wild=True), RESOURCE.map(lambda r: [r]), WILD.map(lambda w: [w])))]
    words += draw(
        st.lists(st.one_of(option(wild=True), RESOURCE.map(lambda r: [r]), WILD.map(lambda w: [w])), max_size=5)
    )
    tail = draw(st.one_of(st.just([]), st.just(["--"]), COMMAND.map(lambda c: ["--", *c])))
    return [word for part in words for word in part] + tail


def through_click(words: list[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any] | None:
    """The run that the click command asks for; None when it refuses or prints help."""
    asked: list[dict[str, Any]] = []

    def run(options: dict[str, Any], resources: list[str], command: list[str], workspace: Workspace) -> int:
        asked.append(lane.build_spec(options, resources, command, PLACE).same())
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(lane, "run", run)
        patch.setattr(sys, "argv", ["k1ctl", "--root", "/", "queue", "run", *words])
        try:
            cli.main(args=sys.argv[1:], prog_name="k1ctl", standalone_mode=False)
        except (click.ClickException, click.exceptions.Exit, K1ctlError):
            return None
    return asked[0] if asked else None


def through_lane(words: list[str]) -> dict[str, Any] | None:
    """The run that the lane asks for; None when it leaves the call to click."""
    parsed = lane.parse(words)
    return None if parsed is None else lane.build_spec(*parsed, PLACE).same()


SLACK = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


@given(words=valid_call())
@settings(max_examples=150, suppress_health_check=SLACK, deadline=None)
def test_both_ask_for_the_same_run(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A right call gives the same run either way, and the lane takes it."""
    spec = through_lane(words)
    assert spec is not None
    assert spec == through_click(words, monkeypatch)


@given(words=any_call())
@settings(max_examples=300, suppress_health_check=SLACK, deadline=None)
def test_they_never_disagree(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the lane takes, click would have done the same with; what it does not take is left to click."""
    try:
        spec = through_lane(words)
    except K1ctlError:
        assert through_click(words, monkeypatch) is None
        return
    if spec is not None:
        assert spec == through_click(words, monkeypatch)
    else:
        through_click(words, monkeypatch)  # runs, refuses or explains; a traceback would be a failure


@pytest.mark.parametrize(
    "words",
    [
        ["--key", "--", "r", "--", "true"],
        ["r", "--label=--", "--", "--", "true"],
        ["--key", "--", "r", "--label", "--", "--", "--"],
        ["r", "--label", "--help", "--", "--help"],
    ],
)
def test_dashes_as_a_value_do_not_start_the_command(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """An option's value may be ``--`` or look like an option; the command starts behind the ``--`` that is neither."""
    spec = through_lane(words)
    assert spec is not None
    assert spec == through_click(words, monkeypatch)


def test_every_option_is_in_both() -> None:
    """The click command has the lane's options and no others, with the same defaults."""
    from k1ctl_plugins.queue import run

    options = [p for p in run.params if isinstance(p, click.Option)]
    assert {o.opts[0]: o.name for o in options} == {name: field for name, (field, _) in lane.OPTIONS.items()}
    context = run.make_context("run", ["--", "true"])
    assert {str(o.name): context.params[str(o.name)] for o in options} == lane.DEFAULTS


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        ([], ["no command"]),
        (["device:k1"], ["no command"]),
        (["device:k1", "--"], ["no command"]),
        (["--", "true"], ["name at least one resource"]),
        (["device:k1", "--wait", "soon", "--", "true"], ["--wait", "'soon' is not a duration"]),
        (["device:k1", "--wait"], ["--wait"]),
        (["device:k1", "--priority", "urgent", "--", "true"], ["urgent", "critical"]),
        (["device:k1", "--retries", "-1", "--", "true"], ["--retries"]),
        (["device:k1", "--wiat", "3", "--", "true"], ["--wiat", "--wait"]),
        (["../etc", "--", "true"], ["'../etc' is not a resource name"]),
        (["a", "a", "--", "true"], ["named twice"]),
    ],
)
def test_a_wrong_call_is_explained(workspace: Project, words: list[str], texts: list[str]) -> None:
    """Exit 2, one line that names what is wrong, and nothing is written."""
    outcome = workspace.run("queue", "run", *words).assert_fails(2, *texts)
    assert outcome.stdout == ""
    assert not (workspace.ops / "runs").exists()


def test_a_result_goes_into_a_pipe(workspace: Project) -> None:
    """A wrong call tells it, too, and replaces nothing that is no file."""
    os.mkfifo(workspace.root / "pipe")
    reader = os.open(workspace.root / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    workspace.run("queue", "run", "--result", "pipe", "--", "true").assert_fails(2)
    assert b'"exit_code":2' in os.read(reader, 4096) and (workspace.root / "pipe").is_fifo()
    os.close(reader)


def test_help_is_clicks(workspace: Project) -> None:
    """`queue run --help` lists every option of the lane, with an example."""
    told = workspace.run("queue", "run", "--help").assert_ok().stdout
    assert [name for name in lane.OPTIONS if name not in told] == []
    assert "k1ctl queue run device:k1 -- " in told


LEAN = "click pluggy json subprocess re typing enum dataclasses threading signal tempfile tomllib psutil socket logging"


def _imports(script: str, words: list[str], root: Path) -> set[str]:
    """The modules that ``queue run`` imported, as the interpreter itself tells them (-X importtime)."""
    env = {**base_environment(root), "PYTHONPROFILEIMPORTTIME": "1"}
    done = subprocess.run(
        [script, "queue", "run", *words], cwd=root, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert len(told) > 10
    return {line.rpartition("|")[2].strip() for line in told}


@pytest.mark.skipif(not os.path.exists(os.path.join(os.path.dirname(sys.executable), "k1ctl")), reason="needs k1ctl")
def test_a_run_imports_next_to_nothing(workspace: Project) -> None:
    """A run through the installed entry imports none of the modules that cost; neither does one that waits."""
    workspace.configure('[queue.slots]\n"device:k1" = 1\n')
    workspace.run("config", "get", "ota.attempts").assert_ok()
    workspace.run("queue", "run", "a", "--", "true").assert_ok()  # makes the folders, so the configuration is kept
    workspace.run("config", "get", "ota.attempts").assert_ok()
    script = os.path.join(os.path.dirname(sys.executable), "k1ctl")
    bare = _imports_of_nothing(script)
    found = _imports(script, ["device:k1", "--wait", "1m", "--", "true"], workspace.root) - bare
    assert found & set(LEAN.split()) == set()
    assert "k1ctl.lane" in found
    assert len(found) < 60, sorted(found)


@pytest.mark.skipif(not os.path.exists("/proc/meminfo"), reason="elsewhere the facts are imported for one look")
def test_a_run_without_a_need_imports_nothing_of_the_gate(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is only held back by a watermark looks at one file; for a device not even that module is loaded."""
    monkeypatch.delenv("K1CTL_FACTS")
    seen = {}
    for resource in ("test:web", "device:k1"):
        words = ("queue", "run", resource, "--label", "x", "--", "true")
        workspace.run(*words, env={"PYTHONPROFILEIMPORTTIME": "1", "K1CTL_CAPACITY_BUILD_PERCENT": "100"}).assert_ok()
        (run,) = (workspace.ops / "runs").iterdir()
        told = "".join((run / log).read_text() for log in ("log", "log.err") if (run / log).exists())
        seen[resource] = {line.rpartition("|")[2].strip() for line in told.splitlines()}
        shutil.rmtree(run)
    assert "k1ctl.process.attempt" not in seen["test:web"] and "k1ctl.process.admission" in seen["test:web"]
    assert not any(m.startswith("k1ctl.capacity") for m in seen["test:web"] | seen["device:k1"])
    assert "k1ctl.process.admission" not in seen["device:k1"]


def _imports_of_nothing(script: str) -> set[str]:
    """What the interpreter of this environment imports anyway (site, .pth files)."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", ""],
        capture_output=True,
        text=True,
        env=base_environment("/"),
        timeout=60,
    )
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
