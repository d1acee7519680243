"""Steps of `k1ctl worktree setup`: configured ones, those that are left out, and how they are told."""

from __future__ import annotations

import errno
import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from k1ctl import disk
from k1ctl.archive.gitstate import GitState
from k1ctl.config import load
from k1ctl.errors import BusyError, ConfigError, K1ctlError
from k1ctl.plugins import Plugins
from k1ctl.settings import SETTINGS
from k1ctl.setup import SetupStep, StepReport
from k1ctl_plugins.worktree import configured, prepare, reporting, running, steps
from tests.kit import REPOSITORY, Outcome, Project, finish, wait_until

QUIET = '[worktree]\nnpm = false\ntools = []\nskip = ["platformio:*"]\n[ports]\nfirst = 47000\nlast = 47999\n'


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a worktree `oslo` and a folder web with sources in it."""
    files = {"web/schema.json": "1", "web/src/a.ts": "a", ".gitignore": "out\n"}
    return make_workspace(files=files, worktrees=["oslo"])


def step(project: Project, **settings: Any) -> configured.Step:
    """The configured step `gen` with these settings."""
    lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
    project.configure(f"{QUIET}[process]\ngrace = 0.1\n[setup.gen]\n" + "\n".join(lines))
    facts = project.facts(project.worktree("oslo"))
    config = load(facts, {})
    return configured.Step("gen", config.section("setup", "gen"), facts, config, -1)


def run(project: Project, **settings: Any) -> StepReport:
    return step(project, **settings).run()


def results(outcome: Outcome) -> dict[str, dict[str, Any]]:
    document = outcome.json
    return {row["name"]: row for row in document.get("error", document)["steps"]}


COUNT = ["sh", "-c", "echo run >> ../out; pwd"]


def times(project: Project) -> int:
    return len((project.worktree("oslo") / "out").read_text().splitlines())


def test_a_step_runs_when_its_inputs_changed(project: Project) -> None:
    """Unchanged inputs are no reason to run; another content, name or command is, and so is `again`."""
    settings: dict[str, Any] = {"command": COUNT, "path": "web", "inputs": ["schema.json", "src/**"]}
    first = run(project, **settings)
    assert (first.changed, first.details["inputs"]) == (True, 2)
    assert Path(first.details["log"]).read_text() == f"{project.worktree('oslo')}/web\n"
    assert not run(project, **settings).changed and times(project) == 1
    (project.worktree("oslo") / "web" / "schema.json").write_text("2")
    assert run(project, **settings).changed
    (project.worktree("oslo") / "web" / "src" / "a.ts").rename(project.worktree("oslo") / "web" / "src" / "b.ts")
    assert run(project, **settings).changed
    assert run(project, **{**settings, "command": [*COUNT, "more"]}).changed
    assert times(project) == 4
    assert step(project, **{**settings, "command": [*COUNT, "more"]}).run(again=True).changed
    assert times(project) == 5


@pytest.mark.parametrize("inputs", [[], ["no-such-file"]])
def test_without_inputs_a_step_runs_each_time(project: Project, inputs: list[str]) -> None:
    """Nothing tells that it need not; globs that match no file are told."""
    reports = [run(project, command=COUNT, path="web", inputs=inputs) for _ in range(2)]
    assert [report.changed for report in reports] == [True, True]
    assert ("no file matches" in reports[1].summary) == bool(inputs)


def test_a_failed_step_is_not_remembered(project: Project) -> None:
    """Its error has exit code, last lines and log; the same inputs run it again."""
    settings: dict[str, Any] = {"command": ["sh", "-c", "echo one; echo two >&2; test -e ok"], "inputs": [".gitignore"]}
    with pytest.raises(K1ctlError, match=r"sh failed: exit 1: two \(") as caught:
        run(project, **settings)
    assert caught.value.code == "step-failed"
    assert caught.value.details["lines"] == ["one", "two"]
    log = Path(caught.value.details["log"])
    assert log.read_text() == "one\ntwo\n" and log.stat().st_mode & 0o777 == 0o600
    assert str(project.root / ".git" / "worktrees" / "oslo") in str(log)
    (project.worktree("oslo") / "ok").touch()
    assert run(project, **settings).changed


def test_a_step_past_its_limit_is_ended_with_all_it_started(project: Project) -> None:
    """TERM, then KILL to its whole group, a child that ignores TERM too; the message says how long it had."""
    script = "trap '' TERM; sleep 60 & echo $! > out; wait; sleep 60"
    with pytest.raises(K1ctlError, match="ran past its limit of 200 ms") as caught:
        run(project, command=["sh", "-c", script], timeout="200ms")
    assert caught.value.code == "step-timeout"
    child = int((project.worktree("oslo") / "out").read_text())
    wait_until(lambda: not _runs(child))


def _runs(pid: int) -> bool:
    import psutil

    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


CANNOT_RUN: list[tuple[dict[str, Any], str]] = [
    ({"command": []}, "setup.gen.command"),
    ({"command": ["no-such-program-at-all"]}, "is not found"),
    ({"command": ["./web/schema.json"]}, "cannot be run"),
    ({"command": ["true"], "path": "nowhere"}, "is not there"),
    ({"command": ["true"], "path": ".."}, "not in this worktree"),
]


def test_a_step_that_cannot_run_says_why(project: Project) -> None:
    """No command, no such program, a file that may not be run, a folder that is not there or outside."""
    for settings, text in CANNOT_RUN:
        with pytest.raises(K1ctlError, match=text):
            run(project, **settings)


def test_a_step_knows_its_ports_and_no_other_repository(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """K1CTL_PORT and CONDUCTOR_PORT are the worktree's; what git exports for a hook of its own is not passed on."""
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    project.configure(QUIET + '[setup.gen]\ncommand = ["sh", "-c", "echo $K1CTL_PORT $CONDUCTOR_PORT; git branch"]\n')
    facts = project.facts(project.worktree("oslo"))
    config = load(facts, {})
    options = steps.Options(skip=("env",))
    found = {r.name: r for r in prepare.set_up(facts, config, Plugins(), options)}
    words = Path(found["gen"].details["log"]).read_text().split()
    assert words[:2] == [str(found["ports"].details["first"])] * 2
    assert "oslo" in words


def test_what_set_up_keeps_stays_on_this_host(project: Project) -> None:
    """Logs and digests lie in the worktree's own git folder, an archive's secrets; half a file after a kill goes."""
    run(project, command=["echo", "hunter2"], inputs=[".gitignore"])
    own = project.root / ".git" / "worktrees" / "oslo"
    left = own / "k1ctl" / "setup" / ".env.1.abc.tmp"
    left.write_text("hunter2")
    assert GitState(str(own), str(project.root / ".git")).spilled() == {
        f"k1ctl/setup/{name}" for name in ("gen.log", "steps.json", left.name)
    }
    project.run("worktree", "setup", "--only", "tools", cwd=project.worktree("oslo")).assert_ok()
    assert not left.exists()


def test_k1ctl_in_a_step_is_this_one(project: Project) -> None:
    """A first word `k1ctl` needs no PATH and takes no folder of that name in the worktree."""
    (project.worktree("oslo") / "k1ctl").mkdir()
    report = run(project, command=["k1ctl", "--version"])
    assert Path(report.details["log"]).read_text().startswith("k1ctl ")
    assert step(project, command=["sh", "-c", "\n  a\n  b\n"]).run(dry_run=True).summary == "would be run: sh -c a b"


def test_a_killed_set_up_goes_on_when_its_tool_is_done(project: Project) -> None:
    """SIGKILL while a step works: the next call waits for the tool that is left, then does what is missing."""
    fifo = project.worktree("oslo") / "web" / "fifo"
    os.mkfifo(fifo)
    script = "echo begun >> ../out; read word < fifo; echo ended >> ../out"
    project.configure(
        f"{QUIET}[setup.gen]\npath = 'web'\ninputs = ['schema.json']\ncommand = ['sh', '-c', '{script}']\n"
    )
    tree = project.worktree("oslo")
    first = project.popen("worktree", "setup", cwd=tree)
    wait_until(lambda: (tree / "out").exists())
    first.send_signal(signal.SIGKILL)
    finish(first)
    second = project.popen("worktree", "setup", "--json", cwd=tree)
    assert second.stderr is not None and second.stdout is not None
    assert "another set-up" in second.stderr.readline()
    fifo.write_text("go\n")
    wait_until(lambda: (tree / "out").read_text() == "begun\nended\nbegun\n")
    fifo.write_text("go\n")
    document = json.loads(second.stdout.read())
    assert finish(second) == 0
    assert {row["name"]: row["status"] for row in document["steps"]}["gen"] == "done"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_an_interrupt_ends_the_step_and_the_call(project: Project, number: int, code: int) -> None:
    """^C and a hang-up: the command's group gets TERM, the call ends, and the lock is free for the next."""
    script = "trap 'echo told >> out; exit 1' TERM; echo begun > out; while :; do sleep 0.02; done"
    project.configure(f'{QUIET}[setup.gen]\ncommand = ["sh", "-c", "{script}"]\n')
    tree = project.worktree("oslo")
    call = project.popen("worktree", "setup", cwd=tree)
    wait_until(lambda: (tree / "out").exists() and (tree / "out").read_text())
    call.send_signal(number)
    assert finish(call) == code
    assert (tree / "out").read_text() == "begun\ntold\n"
    with prepare.SetupLock(project.facts(tree)):
        assert running.left(project.facts(tree)) is None


def test_a_step_whose_call_was_killed_keeps_to_its_limit(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that hangs with nobody left to end it: who waits for the lock ends it once its limit has passed."""
    monkeypatch.setattr(running, "_SLACK", 0.0)
    script = "trap '' TERM; echo begun > out; while :; do sleep 0.02; done"
    project.configure(f'{QUIET}[setup.gen]\ntimeout = "50ms"\ncommand = ["sh", "-c", "{script}"]\n')
    tree = project.worktree("oslo")
    call = project.popen("worktree", "setup", cwd=tree, env={"K1CTL_PROCESS_GRACE": "60"})
    wait_until(lambda: running.left(project.facts(tree)))
    call.send_signal(signal.SIGKILL)
    finish(call)
    found = running.left(project.facts(tree))
    assert found is not None and (found["step"], found["limit_seconds"]) == ("gen", 0.05)
    with prepare.SetupLock(project.facts(tree), grace=0.05):
        assert not _runs(found["group"])


def test_steps_can_be_left_out_and_chosen(project: Project) -> None:
    """worktree.skip, --skip and --only, with globs; what is chosen brings what it needs; a wrong name is told."""
    extra = '[setup.gen]\ncommand = ["true"]\n[setup.after]\ncommand = ["true"]\nneeds = ["gen"]\n'
    project.configure(QUIET.replace("platformio:*", "tols") + extra)
    tree = project.worktree("oslo")
    told = project.run("worktree", "setup", "--skip", "e*", "--json", cwd=tree).assert_ok()
    assert "worktree.skip names no step of this worktree: tols; did you mean tools?" in told.stderr
    found = results(told)
    assert (found["env"]["status"], found["env"]["summary"]) == ("skipped", "left out (--skip)")
    assert found["after"]["status"] == "done"
    told = project.run("worktree", "setup", "--only", "after", "--json", cwd=tree).assert_ok()
    assert list(results(told)) == ["gen", "after"]
    project.run("worktree", "setup", "--only", "aftr", cwd=tree).assert_fails(2, "did you mean after?", "tools")


def _step(name: str, *needs: str) -> SetupStep:
    return SetupStep(name, lambda: StepReport(False, ""), needs=needs)


def test_what_guards_against_links_is_not_left_out() -> None:
    """`links` stays while a step that needs it is run, and goes when none does."""
    found = [_step("links"), _step("npm:web", "links"), _step("env")]
    kept = steps.choose(found, steps.Options(), ["links", "env"])
    assert [s.name for s in kept.run] == ["links", "npm:web"] and kept.left_out == {"env": "worktree.skip"}
    assert "links is not left out: npm:web" in kept.notes[0]
    gone = steps.choose(found, steps.Options(skip=("npm:*",)), ["links"])
    assert [s.name for s in gone.run] == ["env"] and gone.notes == []
    only = steps.choose(found, steps.Options(only=("npm:web",)), ["npm:web"])
    assert [s.name for s in only.run] == ["links", "npm:web"]


def test_a_need_that_no_step_meets_is_told() -> None:
    """The step is run all the same: the branch may not have what it needs."""
    chosen = steps.choose([_step("npm:web"), _step("gen", "npm:wbe")], steps.Options(), [])
    assert [s.name for s in chosen.run] == ["npm:web", "gen"]
    assert chosen.notes == ["gen needs npm:wbe, which is no step of this worktree; did you mean npm:web?"]


def test_steps_that_need_each_other_are_refused() -> None:
    """None can be the first: exit 78 names them, and leaving one out is a way on."""
    found = [_step("a", "b"), _step("b", "c"), _step("c", "b"), _step("d", "e"), _step("e")]
    with pytest.raises(ConfigError, match=r"each other, or what does: a, b, c$"):
        steps.choose(found, steps.Options(), [])
    assert [s.name for s in steps.choose(found, steps.Options(skip=("c",)), []).run] == ["a", "b", "d", "e"]
    with pytest.raises(ConfigError, match=r"self$"):
        steps.choose([_step("self", "self")], steps.Options(), [])


def test_two_steps_of_one_name_are_refused(project: Project) -> None:
    """A configured step cannot take another's name: exit 78 before anything is done."""
    project.configure('[setup.env]\ncommand = ["true"]\n')
    project.run("worktree", "setup", cwd=project.worktree("oslo")).assert_fails(78, "setup.env", "already")
    assert project.events() == []


def test_the_list_of_steps(project: Project) -> None:
    """Each with what it needs, who brings it, and what leaves it out; nothing is done."""
    project.configure(QUIET + '[setup.gen]\ncommand = ["x"]\nneeds = ["env"]\n')
    tree = project.worktree("oslo")
    rows = {r["name"]: r for r in project.run("worktree", "setup", "--list", "--json", cwd=tree).assert_ok().json}
    assert rows["gen"] == {"name": "gen", "needs": ["env"], "origin": "setup.gen", "run": True, "left_out_by": None}
    assert rows["links"]["origin"] == "built-in"
    table = project.run("worktree", "setup", "--list", "--skip", "env", cwd=tree).assert_ok().stdout
    assert [line.split() for line in table.splitlines() if line.startswith("env")] == [
        ["env", "-", "built-in", "--skip"]
    ]
    assert project.events() == [] and not (tree / ".env").exists()


def test_the_page_on_worktrees_knows_them_all() -> None:
    """docs/worktrees.md names every step of ours, every key of a step of one's own, and the settings of both."""
    page = (REPOSITORY / "docs" / "worktrees.md").read_text()
    keys = {place[2] for place in SETTINGS if place[0] == "setup"}
    assert [key for key in sorted(keys) if f"\n{key} = " not in page] == []
    settings = [".".join(place) for place in SETTINGS if place[0] in ("worktree", "ports")]
    words = [*steps.BUILT_IN, *settings]
    assert [word for word in words if f"`{word}`" not in page and f"({word})" not in page] == []


def _reporting(name: str, **details: int) -> SetupStep:
    return SetupStep(name, lambda: StepReport(True, "brought", details))


def test_what_the_system_refuses_is_said_in_words() -> None:
    """A step that meets a full disk or a lost file fails with the cause, the place and what to do; no errno."""

    def refused(number: int) -> StepReport:
        raise OSError(number, os.strerror(number), "/there")

    codes = (errno.ENOSPC, errno.ENOENT)
    full, lost = prepare.run_steps([SetupStep(str(n), partial(refused, n)) for n in codes])
    assert full.summary == "the disk is full: /there" and full.details["error"]["hint"].startswith("free some space")
    assert lost.summary == "/there: No such file or directory" and lost.status == "failed"


def test_bytes_and_seconds_of_each_step() -> None:
    """Own and shared bytes where a step tells them, None where not; the sums leave out what is unknown."""
    told = [_reporting("a", own_bytes=1000, shared_bytes=50), _reporting("b", own_bytes=24), _step("c")]
    found = prepare.run_steps(told)
    rows = {r.name: r.document() for r in found}
    assert (rows["a"]["own_bytes"], rows["a"]["shared_bytes"]) == (1000, 50)
    assert (rows["b"]["shared_bytes"], rows["c"]["own_bytes"]) == (None, None)
    assert (prepare.total(found, "own_bytes"), prepare.total(found, "shared_bytes")) == (1024, 50)
    assert prepare.total([], "own_bytes") is None
    table = reporting.report(found, 60).splitlines()
    assert table[0].split() == ["STEP", "STATUS", "SECONDS", "OWN", "SHARED", "SUMMARY"]
    assert "1000 B" in table[1] and "50 B" in table[1]


def test_the_table_fits_the_terminal() -> None:
    """Long summaries are cut at the terminal's width."""
    long = prepare.Result("npm:web", "done", "x" * 500, 1.0, {})
    assert max(len(line) for line in reporting.report([long], 100).splitlines()) <= 99


def test_a_full_disk_stops_a_set_up_before_it_begins(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 75 with the figures; no lock, no step, no event."""
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 1000, 500, 500, 0, 255))
    monkeypatch.setattr(disk, "statvfs", lambda path: full)
    facts = project.facts(project.worktree("oslo"))
    with pytest.raises(BusyError, match="the set-up of oslo") as caught:
        prepare.set_up(facts, load(facts, {}), Plugins())
    assert caught.value.code == "disk-full"
    assert project.events() == [] and not (project.root / ".git" / "k1ctl").exists()


def test_on_a_terminal_a_line_moves_and_a_table_ends_it(project: Project) -> None:
    """While a step works its name and time stand in one line; at the end the table, and a failed step's lines."""
    import pexpect

    script = "read word < fifo; echo broken pieces; exit 3"
    project.configure(f'{QUIET}[setup.gen]\ncommand = ["sh", "-c", "{script}"]\n')
    tree = project.worktree("oslo")
    os.mkfifo(tree / "fifo")
    env = project.environment({"TERM": "xterm"})
    argv = ["-m", "k1ctl", "worktree", "setup"]
    child = pexpect.spawn(sys.executable, argv, cwd=str(tree), env=env, encoding="utf-8", dimensions=(24, 120))
    child.expect(r"set-up: gen \(\d of \d\), \d+")
    (tree / "fifo").write_text("go\n")
    child.expect("STEP +STATUS +SECONDS +OWN +SHARED +SUMMARY")
    child.expect(r"gen +failed")
    child.expect(r"gen: sh failed: exit 3: broken pieces")
    child.expect(r"  \| broken pieces")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 1
