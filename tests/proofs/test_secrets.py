"""Secrets that stand in every place they can come from appear in nothing that k1ctl shows, tells or keeps."""

from __future__ import annotations

import io
import json
import os
import threading
import urllib.request
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import click
import pytest

from k1ctl import overview
from k1ctl.cli import cli
from k1ctl.config import load
from k1ctl.failure import report
from k1ctl.metrics.gathering import gather
from k1ctl.metrics.serving import Server
from k1ctl.plugins import Plugins
from k1ctl_plugins.top.app import TopApp
from tests.kit import Project, run_screen
from tests.proofs.seeded import Seeded, run_of, seeded, ticket_of

RUNS, FOREIGN = "runs a command and hands on what it prints", "shows what a log or the device says, as it is"
NO_REPOSITORY = "has nothing to do with a repository"
# Commands that are not called, and why. One that is new has to be called or stand here.
LEFT_OUT = {
    **dict.fromkeys(("budget run", "capacity baseline", "capacity run", "capacity stress", "hook run"), RUNS),
    **dict.fromkeys(("queue run", "queue submit", "queue acquire", "queue ticket"), RUNS),
    **dict.fromkeys(("build log", "queue wait", "device console", "device logs"), FOREIGN),
    **dict.fromkeys(("demo", "sim faults", "sim reset", "sim start", "sim stop"), NO_REPOSITORY),
    **dict.fromkeys(("device discover", "device watch"), "asks the network until it is told to end"),
    "capacity plan": "computes from figures, for seconds",
    "hook weekly": "calls commands that are called here",
    "metrics serve": "is asked over HTTP instead",
    "top": "is drawn instead",
}
# What leaves something behind, before anything is looked at.
DONE = (
    "archive save oslo",
    "archive push --all",
    "archive push --all --store s3",
    "budget sync",
    "budget keys next",
    "budget github --refresh",
    "device health k1",
    "alert check --notify",
    "notify test",
    "metrics write",
)
# These only look, but for options which `--dry-run` goes with.
LOOKS = ("budget github", "completion", "device escalation", "worktree ports")
# These take half a second: what they print for people is taken from what they print for programs.
SLOW = ("archive run", "capacity forecast", "capacity show", "device metrics")
# With these words, a call for each; {} are names of the repository. Any other command is called without.
WORDS = {
    "alert silence": "success --for 1h",
    **dict.fromkeys(("archive pull", "archive restore", "archive show", "archive verify"), "{archive}"),
    "archive push": "--all",
    **dict.fromkeys(("artifact show", "artifact pin", "artifact unpin", "artifact push"), "{artifact}"),
    "artifact pull": "{artifact}",
    "budget check": "--need 1k",
    "budget reserve": "1k",
    "budget set": "--day 2M",
    "budget model": "--for fix",
    "budget settle": "1 1k",
    **dict.fromkeys(("budget release", "budget extend", "capacity release"), "1"),
    "budget keys report": "first --status 429",
    "build show": "{build}",
    "capacity check": "--need mem=1G",
    "completion": "bash",
    "config get": "notify | devices.k1 | budget.keys | stores",
    "config set": "devices.k1.host k1.local",
    "config unset": "devices.k1.host",
    "device disable": "k1 --reason mending",
    **dict.fromkeys(("device enable", "device rollback"), "k1"),
    "device escalation": "k1",
    "device health": "k1 | k2",
    "device info": "k1 --timeout 10ms",
    "events list": "--limit 1000",
    "events stats": "wait_seconds",
    **dict.fromkeys(("queue bump", "queue cancel"), "{waiting}"),
    **dict.fromkeys(("queue pause", "queue resume"), "lamp"),
    "queue show": "{waiting} | {holding} | {run} | {build} | {upload}",
    "upload": "--device k1 | --device k2",
    "why": "oslo | lima | {waiting} | {holding} | {run} | {build} | {upload} | last | lamp | device:k1 | fw",
    "worktree add": "rome",
    **dict.fromkeys(("worktree show", "worktree doctor"), "oslo"),
    "worktree which": "4000",
}


def leaves(command: click.Command, context: click.Context, *words: str) -> Iterator[tuple[str, click.Command]]:
    """Every command, with the words that call it."""
    if not isinstance(command, click.Group):
        yield " ".join(words), command
        return
    for name in command.list_commands(context):
        child = command.get_command(context, name)
        assert child is not None
        yield from leaves(child, click.Context(child, info_name=name, parent=context), *words, name)


def call(line: str) -> str:
    """What a command prints, whatever its exit code; a bug fails."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(printed):
        try:
            cli.main(args=line.split(), prog_name="k1ctl", standalone_mode=False)
        except BaseException as exc:
            assert report(exc, line.split()) not in (2, 70), f"k1ctl {line}\n{printed.getvalue()}"
    return printed.getvalue()


def called(seeds: Seeded) -> dict[str, str]:
    """{the words of a call: what it printed}: every command, for people and for programs, none for real."""
    archives = json.loads(call("archive list --json"))["archives"]
    names = {
        "archive": archives[0]["archive"],
        "artifact": json.loads(call("artifact list --json"))["artifacts"][0]["id"],
    }
    names |= {"run": run_of(seeds, "queue-run"), "build": run_of(seeds, "build"), "upload": run_of(seeds, "upload")}
    names |= {"waiting": ticket_of(seeds, "waiting"), "holding": ticket_of(seeds, "running")}
    known, told = set(), {}
    for words, command in leaves(cli, click.Context(cli, info_name="k1ctl")):
        known.add(words)
        options = {option for parameter in command.params for option in parameter.opts}
        dry = " --dry-run" if "--dry-run" in options and words not in LOOKS else ""
        for more in WORDS.get(words, "").split(" | ") if words not in LEFT_OUT else ():
            line = f"{words} {more.format(**names)}{dry}"
            forms = [form for form in ("--json", "--jsonl") if form in options]
            told |= {f"{line} {form}": call(f"{line} {form}") for form in [*([] if words in SLOW else [""]), *forms]}
    assert known >= {*LEFT_OUT, *WORDS}, "a command that is no more"
    return told


def served(project: Project) -> str:
    """What a scrape gets, in both formats."""
    facts = project.facts()
    server = Server(0, lambda: gather(Plugins(), facts, load(facts)).families)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        formats = ("text/plain", "application/openmetrics-text")
        requests = [urllib.request.Request(server.url, headers={"Accept": each}) for each in formats]
        return "".join(urllib.request.urlopen(request, timeout=20).read().decode() for request in requests)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def drawn(project: Project) -> str:
    """What `k1ctl top` shows, every panel in full."""
    facts = project.facts()
    app = TopApp(facts, lambda: overview.look(facts, load(facts)), interval=3600)

    async def run() -> str:
        async with app.run_test(size=(250, 70)) as pilot:
            for _ in range(2000):
                if app.looks:
                    break
                await pilot.pause(0.01)
            await pilot.pause()
            return "\n".join(line.text for line in app.screen._compositor.render_strips())

    return run_screen(run())


def kept(seeds: Seeded) -> dict[str, str]:
    """{path: content} of every file that k1ctl wrote and that is not meant to hold what others said or gave: logs of
    runs, and the archive's tar of secrets, are."""
    project, found = seeds.project, {}
    for folder in (project.ops, Path(os.environ["K1CTL_HOST_DIR"]), project.root / ".git" / "k1ctl", seeds.nas):
        for path in folder.rglob("*"):
            if path.is_file() and path.name not in ("log", "log.err", "boot.log", "secrets.tar"):
                found[str(path)] = path.read_bytes().decode("utf-8", "replace")
    return found


def test_no_secret_is_shown_told_or_kept(
    workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """In no output of any command, no scrape, no screen, no notification, no record and no file of ours: passwords
    and keys of devices, accounts, stores and services, logins in URLs, what stood on command lines, in environments,
    in .env files and transcripts, and what tools printed."""
    with seeded(workspace, tmp_path) as seeds, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of apprise's own imports
        monkeypatch.chdir(workspace.root)
        told = {line: call(line) for line in DONE}
        told |= called(seeds)
        told["notification"] = seeds.told.read_text()
        told["scrape"] = served(workspace)
        told["screen"] = drawn(workspace)
        told["what processes printed"] = "".join(capfd.readouterr())
        told |= kept(seeds)
        assert {where: found for where, text in told.items() if (found := seeds.found_in(text))} == {}
        assert "oslo" in told["screen"] and "k1_queue_waiting" in told["scrape"] and "success" in told["notification"]
        assert len(seeds.secrets) >= 20
