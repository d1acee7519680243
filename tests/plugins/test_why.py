"""`k1ctl why`: what was typed, the order of reasons, what is in no answer and who is left out; and as it is called."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.errors import UsageError
from k1ctl.events import emit
from k1ctl.reasons import AROUND, BLOCKED, ENDED, FAILED, HOST, IDLE, NO_WORK, NOT_VISIBLE, RUNNING, RUNS, WAITS, Reason
from k1ctl_plugins.why import unseen
from k1ctl_plugins.why.answer import ranked, without_general
from k1ctl_plugins.why.text import lines
from tests.kit import Project, finish, wait_until
from tests.whyscene import DEVICE, Root, proof, scene

SECRET = "hunter2-of-this-test"


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    """A root without git; its tickets are given back at the end."""
    yield from scene(tmp_path)


def test_who_never_called_is_not_visible(root: Root) -> None:
    """Without an event there is nothing to be known; a process that works there is named; a shell is none."""
    found = root.why(name="ghost").first
    assert (found.kind, found.code) == (NOT_VISIBLE, "never-seen")
    code = "import sys; print(flush=True); sys.stdin.read()"
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "start_new_session": True}
    agent = subprocess.Popen([sys.executable, "-c", code], cwd=root.root / "ghost", **pipes)
    try:
        assert agent.stdout is not None and agent.stdout.readline()
        found = root.why(name="ghost").first
        assert f"(pid {agent.pid})" in found.text
        assert not unseen._is_k1ctl(agent.pid)
        emit(root.workspace("ghost"), "hook.run", target="x")
        assert root.why(name="ghost").first.code == "past-k1ctl"
    finally:
        agent.communicate()
    found = root.why(name="ghost").first
    assert (found.kind, found.code, proof(found)) == (NO_WORK, "idle", ["hook.run"])


def test_a_worktree_within_another_one_is_its_own(tmp_path: Path) -> None:
    """Who works in a worktree that lies below the root is not told of the root; who works in a submodule is."""
    git, tree, module = tmp_path / ".git" / "worktrees" / "oslo", tmp_path / "trees" / "oslo", tmp_path / "lib"
    for folder in (git, tree, module / ".git"):
        folder.mkdir(parents=True)
    (git / "commondir").write_text("../..\n")
    (tree / ".git").write_text(f"gitdir: {git}\n")
    assert not unseen._is_in(str(tmp_path), str(tree)) and unseen._is_in(str(tree), str(tree))
    assert unseen._is_in(str(tmp_path), str(module)) and unseen._is_in(str(tmp_path), str(tmp_path))


def test_what_was_typed(root: Root) -> None:
    """A path, the beginning of a run's id, a ticket of long ago; what is unknown or ambiguous is an error."""
    root.configure(DEVICE + '[targets.fw]\nkind = "command"\ncommand = ["true"]\noutputs = ["x"]\n')
    first, second = root.run("oslo", ticket=41), root.run("bergen", ticket=42)
    assert root.why("42").subject.run == second and root.why("last").subject.run == first
    assert root.why("fw").subject.resource == "build:fw" and root.why("bergen").subject.kind == "workspace"
    for what, code, words in (
        ("osl", "unknown-subject", "oslo"),
        ("device:k2", "unknown-subject", "device:k1"),
        (first[:6], "ambiguous", first),
        ("99", "unknown-subject", "k1ctl status"),
        ("20200101-000000.000-abcd", "unknown-subject", "another repository"),
        ("/", "unknown-subject", "name a workspace"),
    ):
        with pytest.raises(UsageError) as caught:
            root.why(what)
        assert caught.value.code == code and words in caught.value.message + caught.value.hint


def test_order_and_what_gives_way() -> None:
    """Now before then, the longest wait first, the last end first; a general reason gives way to a better one."""
    general = Reason(FAILED, "exit 1", about="r", general=True, at="3")
    better = Reason(FAILED, "the build failed", about="r", at="2")
    rest = [Reason(NO_WORK, "n"), Reason(HOST, "h", stage=AROUND), Reason(RUNNING, "r"), Reason(BLOCKED, "b2", at="2")]
    found = ranked(
        without_general([*rest, general, better, Reason(FAILED, "older", at="1"), Reason(BLOCKED, "b1", at="1")])
    )
    assert [reason.text for reason in found] == ["b1", "b2", "r", "the build failed", "older", "h", "n"]
    assert without_general([general]) == [general]
    assert [r.stage for r in (rest[0], rest[2], better, rest[3])] == [IDLE, RUNS, ENDED, WAITS]


def test_secrets_are_in_no_answer(root: Root) -> None:
    """A command line, a log and an event with a password: neither the text nor the document has it."""
    cut = "x" * 64  # the cut after 80 characters leaves too little of a token to be known as one
    argv = ["deploy", f"--password={SECRET}", cut[:31], f"ghp_{cut}", f"--psk {SECRET}"]
    run = root.run("oslo", argv=argv, message=f"token: {SECRET}", exit_code=1)
    (root.root / "ops" / "runs" / run / "log").write_text(f"error: api_key={SECRET}\n")
    found = root.why()
    assert found.first.lines == ["error: api_key=***"]
    emit(root.workspace("oslo"), "run.retry", run=run, attempt=1, wifi_password=SECRET)  # a field named as a secret is
    found = root.why()
    assert found.first.events[-1]["wifi_password"] == SECRET
    assert SECRET not in json.dumps(found.document()) and "***" in json.dumps(found.document())
    assert any("what proves it" in line for line in lines(found, root.workspace("oslo")))


def test_a_plugin_that_fails_is_left_out(root: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that raises, one that returns something else and one that hangs hide nothing and are named."""
    import k1ctl_plugins.archive.reasons as hangs
    import k1ctl_plugins.build.reasons as broken
    import k1ctl_plugins.hook.reasons as wrong
    import k1ctl_plugins.why.answer as asking

    monkeypatch.setattr(broken, "reasons", lambda *_: 1 / 0)
    monkeypatch.setattr(wrong, "reasons", lambda *_: ["no reason"])
    monkeypatch.setattr(hangs, "reasons", lambda *_: time.sleep(60))
    monkeypatch.setattr(asking, "_SECONDS", 0.3)
    root.run("oslo")
    found = root.why()
    assert found.first.kind == FAILED and set(found.left_out) == {"build", "hook", "archive"}
    assert "TimeoutError: no end after 0.3 s" in found.left_out["archive"]
    assert "ZeroDivisionError" in found.left_out["build"] and found.document()["left_out"][1]["plugin"] == "build"


@contextlib.contextmanager
def holding(project: Project, tree: Path, *words: str) -> Iterator[None]:
    """Somebody in ``tree`` who holds the device until the end of the block."""
    held = project.popen("queue", "run", *words, "--", "sh", "-c", "echo up; exec sleep 60", cwd=tree)
    try:
        assert held.stdout is not None and held.stdout.readline() == "up\n"
        yield
    finally:
        held.terminate()
        finish(held)


def test_two_workspaces_and_one_device(workspace: Project) -> None:
    """Through the command line: who waits learns who has the device; nothing is changed by asking; exit code 0."""
    workspace.configure(DEVICE + "[process]\ngrace = '300ms'\n")
    oslo, bergen = workspace.add_worktree("oslo"), workspace.add_worktree("bergen")
    with holding(workspace, bergen, "device:k1", "--label", "flash fw"):
        waiter = workspace.popen("queue", "run", "device:k1", "--", "true", cwd=oslo)
        try:
            wait_until(lambda: workspace.events("queue.enqueued"))
            done = workspace.run("why", "--json", cwd=oslo).assert_ok()
            assert done.json["answer"] == BLOCKED and "bergen (flash fw" in done.json["text"]
            assert {e["event"] for e in done.json["reasons"][0]["events"]} == {"queue.granted", "queue.enqueued"}
            assert not [name for name in done.changed if "metrics" not in name]
            text = workspace.run("why", "k1").assert_ok().stdout
            assert text.startswith("blocked by: device:k1 is held by bergen (flash fw") and "queue.granted" in text
        finally:
            waiter.terminate()
            finish(waiter)
    assert workspace.run("why", "osl").assert_fails(2, "near it: oslo").stdout == ""


def test_from_a_failed_build_and_a_refused_reserve_to_the_answer(workspace: Project) -> None:
    """Both as people meet them: the compiler's line, and the budget's counter with the event of the refusal."""
    broken = "command = ['sh', '-c', 'echo main.c:3: error: no such thing; exit 2']"
    workspace.configure(
        f"[targets.fw]\nkind = 'command'\npath = '.'\n{broken}\noutputs = ['x']\n[budget]\nday = 1000\n"
    )
    workspace.run("build", "fw").assert_fails(1)
    told = workspace.run("why", "last").assert_ok().stdout
    assert told.startswith("failed: ") and "| main.c:3: error: no such thing" in told and "build.finished" in told
    workspace.run("budget", "reserve", "2k").assert_fails(75)
    told = workspace.run("why").assert_ok().stdout
    assert told.startswith("over budget: repo was refused 2k tokens") and "budget.refused" in told
