"""`k1ctl doctor`: every plugin's checks in one report, whatever one of them does; nothing is changed."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import sys
import time
import types
from collections.abc import Iterator
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from k1ctl import discovery
from k1ctl.checks import ERROR, LEVELS, Check
from k1ctl.cli import Context
from k1ctl.config import load
from k1ctl.errors import K1ctlError
from k1ctl.events import emit
from k1ctl.files import write_json
from k1ctl.hookscripts import put
from k1ctl.hookspecs import hookimpl
from k1ctl.plugins import Plugins
from k1ctl.queue import view
from k1ctl.queue.incident import hold
from k1ctl.queue.line import Line
from k1ctl.queue.service import disable
from k1ctl_plugins.doctor import doctor, rounds
from tests.kit import Project

CONFIG = '[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\nmac = "02:4B:31:00:00:01"\n[targets.fw]\npath = "."\n'
PLUGINS = {
    *("alert", "archive", "budget", "capacity", "config", "device", "events", "hook", "host", "metrics"),
    *("notify", "plugins", "queue", "tools", "worktree"),
}


def run(project: Project, *words: str, plugins: Plugins | None = None) -> Result:
    context = Context(plugins or Plugins(), str(project.root))
    return CliRunner().invoke(doctor, words, obj=context, catch_exceptions=False, standalone_mode=False)


def found(project: Project, *words: str, plugins: Plugins | None = None) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run(project, "--json", *words, plugins=plugins).stdout)
    return document


def codes(document: dict[str, Any], plugin: str) -> set[str]:
    return {each["code"] for each in document["findings"] if each["plugin"] == plugin and each["level"] != "ok"}


def test_every_plugin_answers_and_nothing_changes(workspace: Project) -> None:
    """All have checks, what is not in order says how it is mended, and not a file of ops/ is touched."""
    workspace.configure(CONFIG)
    load(workspace.facts())
    before = {path: path.stat().st_mtime_ns for path in workspace.ops.rglob("*")}
    document = found(workspace)
    assert {each["plugin"] for each in document["plugins"]} == PLUGINS
    wrong = [each for each in document["findings"] if each["level"] == "error" and each["plugin"] != "host"]
    assert not wrong and sum(document["counts"].values()) > 15, wrong
    levels = [LEVELS.index(each["level"]) for each in document["findings"]]
    assert levels == sorted(levels, reverse=True), "the worst comes first"
    for each in document["findings"]:
        assert each["what"] and (each["fix"] or each["level"] == "ok"), each
    assert {path: path.stat().st_mtime_ns for path in workspace.ops.rglob("*")} == before


def test_what_is_wrong_is_found(workspace: Project) -> None:
    """A broken thing of each kind has its finding, errors make the exit code, and names limit who is asked."""
    config = CONFIG.replace('path = "."', 'path = "gone"')
    workspace.configure(config.replace("http_port", 'password_file = "~/k1.password"\nhttp_port'))
    facts = workspace.facts()
    (workspace.ops / "state.db").write_bytes(b"no database" * 200)
    folder = str(workspace.ops / "queue")
    Line(folder).close()
    view.pause(folder, "build:fw", "a test")
    disable(folder, "k1", "loose cable", "ada")
    emit(facts, "device.state", device="k1")
    with open(next((workspace.ops / "events").glob("*.jsonl")), "a") as f:
        f.write("torn\n")
    (workspace.ops / "events" / "2020-01-01.jsonl").write_text("")
    put(facts, ["conductor-run"])
    (workspace.ops / "hooks" / "conductor-run").write_text("#!/bin/sh\n# k1ctl hook: of old\n")
    workspace.write("conductor.json", '{"runScriptMode": "nonconcurrent"}')
    os.makedirs(workspace.ops / "metrics", exist_ok=True)
    (workspace.ops / "metrics" / "k1ctl.prom").write_text("# EOF\n")
    os.utime(workspace.ops / "metrics" / "k1ctl.prom", (1, 1))
    document = found(workspace)
    assert codes(document, "budget") == {"state-damaged"}
    assert codes(document, "queue") == {"paused", "out-of-service"}
    assert codes(document, "events") == {"bad-lines", "not-compacted"}
    assert codes(document, "hook") >= {"old-script", "nonconcurrent"}
    assert codes(document, "config") == {"no-project"}
    assert "password-missing" in codes(document, "device")
    assert codes(document, "metrics") == {"stale"}
    assert codes(document, "alert") == {"never-checked"}
    assert not document["ok"] and run(workspace).return_value == 1
    only = found(workspace, "queue", "events")
    assert {each["plugin"] for each in only["plugins"]} == {"queue", "events"} and only["ok"]


def test_files_where_folders_belong(workspace: Project) -> None:
    """Where no queue can be made, or no event written, it is an error, and not that nothing happened yet."""
    for name in ("queue", "events"):
        workspace.write(f"ops/{name}", "")
    document = found(workspace, "queue", "events")
    assert {each["code"] for each in document["findings"]} == {"no-folder", "not-written"} and not document["ok"]


def test_the_pause_of_an_incident_is_not_to_be_lifted_by_hand(workspace: Project) -> None:
    """It ends with the incident, whose steps are named."""
    workspace.configure(CONFIG)
    Line(str(workspace.ops / "queue")).close()
    hold(str(workspace.ops / "queue"), "device:k1", "k1 does not answer", "[incident k1/1]")
    [fix] = [each["fix"] for each in found(workspace, "queue")["findings"] if each["code"] == "paused"]
    assert "`k1ctl device escalation k1`" in fix and "resume" not in fix


def test_a_broken_configuration_is_a_finding(workspace: Project) -> None:
    """What no other command survives is told here, and all else is examined with the defaults."""
    workspace.configure("[queue]\npark = never\n")
    document = found(workspace)
    first = document["findings"][0]
    assert (first["plugin"], first["code"], first["level"]) == ("config", "broken-config", "error")
    assert "k1ctl.toml:2" in first["what"] and {each["plugin"] for each in document["plugins"]} == PLUGINS


def test_devices_by_the_last_word_of_them(workspace: Project) -> None:
    """A device that is another one is an error, one that is away a warning; one nobody asked a note."""
    workspace.configure(CONFIG)
    assert "never-asked" in codes(found(workspace, "device"), "device")
    answer = {"outcome": "answered", "code": "", "message": "", "hint": "", "document": {"device": "other", "mac": ""}}
    record = {"device": "k1", "host": "127.0.0.1", "http_port": 9, "probed_at": "", "wall": 1.0, "monotonic": 1.0}
    answers = {"/api/device/info": answer, "/api/health": {**answer, "document": {"fps": 150}}}
    write_json(str(workspace.ops / "device" / "k1.json"), {**record, "answers": answers})
    document = found(workspace, "device")
    assert "device-wrong-device" in codes(document, "device") and not document["ok"]


def typed(fix: str) -> list[list[str]]:
    """The commands of a fix: all of it, or what stands in backquotes."""
    quoted = re.findall("`([^`]+)`", fix)
    whole = [fix] if fix.startswith(("k1ctl ", "chmod ", "ls ", "fuser ")) and not quoted else []
    prose = "" if whole else re.sub("`[^`]+`", "", fix)
    assert not re.search("k1ctl [a-z]", prose), f"a command without backquotes: {fix}"
    return [shlex.split(command) for command in (*quoted, *whole)]


def parses(words: list[str]) -> None:
    """Raises where k1ctl has no such command, option or number of arguments; nothing is called."""
    command: click.Command = Plugins().command(words[1])
    context = command.make_context(words[1], words[2:])
    if isinstance(command, click.Group):
        name, child, rest = command.resolve_command(context, [*context._protected_args, *context.args])
        assert child is not None
        child.make_context(name, rest, parent=context)


def test_what_mends_can_be_typed(workspace: Project) -> None:
    """Each command of each fix exists and takes what it is given; where a worktree is meant, it is named."""
    workspace.configure(CONFIG.replace('path = "."', 'path = "gone"') + '[budget]\nreserve_pool = "1k"\n')
    facts, folder = workspace.facts(), str(workspace.ops / "queue")
    tree = workspace.add_worktree("oslo")
    (tree / ".git").unlink()
    Line(folder).close()
    view.pause(folder, "build:fw", "a test")
    disable(folder, "k1", "loose cable", "ada")
    put(facts, ["conductor-run"])
    (workspace.ops / "hooks" / "conductor-run").chmod(0o644)
    (workspace.ops / "state.db").write_bytes(b"no database" * 200)
    emit(facts, "device.state", device="k1")
    (workspace.ops / "events" / "2020-01-01.jsonl").write_text("torn\n")
    findings = found(workspace)["findings"]
    fixes = {each["fix"] for each in findings if each["fix"]}
    assert "k1ctl worktree repair oslo" in fixes and "k1ctl queue resume build:fw" in fixes
    for fix in fixes:
        for words in [words for words in typed(fix) if words[0] == "k1ctl"]:
            try:
                parses(words)
            except click.MissingParameter:
                assert "`" in fix, f"{fix} lacks what it needs"  # in prose what is missing is said


def test_what_a_fresh_repository_lacks_is_no_trouble(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing was built yet, and without esptool or PlatformIO, there are notes alone."""
    workspace.run("init", "--conductor").assert_ok()
    monkeypatch.setenv("PATH", os.path.dirname(shutil.which("git") or ""))
    monkeypatch.setattr("k1ctl.platformio.locate.find_pio", _nothing)
    monkeypatch.setattr("k1ctl.device.esptool.find_esptool", _nothing)
    with open(workspace.ops / "k1ctl.toml", "a") as f:
        f.write('[devices.k1]\nhost = "k1.local"\nmac = "02:4B:31:00:00:01"\n')
    document = found(workspace)
    wrong = [each for each in document["findings"] if each["level"] in ("warning", "error")]
    assert [each for each in wrong if each["plugin"] != "host"] == []
    assert {"no-pio", "no-project"} <= {each["code"] for each in document["findings"]}


def _nothing(*arguments: Any) -> None:
    raise K1ctlError("it is not there")


class Bad(types.ModuleType):
    """A plugin whose check raises."""

    def __init__(self, name: str, answer: Any) -> None:
        super().__init__(name)

        @hookimpl
        def k1ctl_checks() -> Any:
            if isinstance(answer, Exception):
                raise answer
            if isinstance(answer, float):
                print("I begin")
                time.sleep(answer)
            return answer

        self.k1ctl_checks = k1ctl_checks


@pytest.fixture
def plugins() -> Iterator[Plugins]:
    """The real ones, and some that fail in each way."""
    answers = {
        "foreign": [Check("x", ERROR, "it is so"), "no check", Check("y", ERROR, 5)],  # type: ignore[arg-type]
        "hangs": 60.0,
        "none": 5,
        "raises": ValueError("oh"),
    }
    for name, answer in answers.items():
        sys.modules[f"bad_{name}"] = Bad(f"bad_{name}", answer)
    queue = {"queue": discovery.entry_points()["queue"]}
    yield Plugins({**queue, **{name: f"bad_{name}" for name in answers}, "gone": "there_is_no_such_module"})
    for name in answers:
        del sys.modules[f"bad_{name}"]


def test_a_plugin_that_fails_is_a_finding_itself(
    workspace: Project, plugins: Plugins, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that raises, one that answers nonsense or never, and one that cannot be loaded hide no other's checks."""
    monkeypatch.setattr(rounds, "LIMIT", 0.3)
    document = found(workspace, plugins=plugins)
    [hangs] = [each for each in document["findings"] if each["plugin"] == "hangs"]
    assert "no end after 0.3 s" in hangs["what"] and hangs["level"] == "error"
    assert codes(document, "raises") == codes(document, "none") == codes(document, "gone") == {"broken-plugin"}
    assert codes(document, "foreign") == {"x", "bad-check"}
    assert any(each["plugin"] == "queue" and each["level"] == "ok" for each in document["findings"])
    text = run(workspace, plugins=plugins).stdout
    assert "ValueError: oh" in text and text.count("fix: ") >= 4


def test_people_see_why_and_what_to_do(workspace: Project) -> None:
    """A line for each finding, with its reason; what is in order only when asked for; a wrong name is refused."""
    workspace.configure(CONFIG)
    view.pause(str(workspace.ops / "queue"), "build:fw", "a test")
    text = run(workspace, "queue").stdout
    assert "warning  queue: build:fw is paused: a test (paused)\n    why: who waits for it waits on" in text
    assert "ok  queue" not in text and "ok  queue: locks work" in run(workspace, "queue", "--all").stdout
    workspace.run("doctor", "quueue").assert_fails(2, "no plugin that checks anything", "worktree")
