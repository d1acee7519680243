"""A failed run's prompt: the lines that matter, what to try for every code there is, and nothing that is secret."""

from __future__ import annotations

import re
import shlex
import string
import time
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.cli import cli
from k1ctl.escalation import prompts
from k1ctl.escalation.remedies import OTHERWISE, REMEDIES, steps
from k1ctl.files import write_json
from k1ctl.process import record
from k1ctl.workspace import Workspace
from tests.kit import REPOSITORY

_DONE = {"installed", "refused", "unknown"}  # outcomes; the first needs no remedy, the others have codes
NAMES = {
    "device": "k1",
    "target": "fw",
    "run": "r1",
    "again": "k1ctl upload fw --device k1 --artifact a1",
    "upload": "k1ctl upload fw --device k1",
    "by_usb": "k1ctl upload fw --device k1 --artifact a1 --via usb",
}
CODE = re.compile(r"`([a-z]+(?:-[a-z*]+)+)`")


def documented(page: str) -> set[str]:
    """The text codes in the tables of a page of docs/."""
    rows = [line for line in (REPOSITORY / "docs" / page).read_text().splitlines() if line.startswith("|")]
    return {code for row in rows for code in CODE.findall(row) if not code.endswith("*")}


@pytest.mark.parametrize("page", ["outcomes.md", "usb.md"])
def test_every_documented_code_has_its_remedies(page: str) -> None:
    """Whatever the docs say an upload can end with, the prompt has steps of its own for it."""
    codes = documented(page)
    assert len(codes) > 5 and codes - _DONE <= REMEDIES.keys(), codes - _DONE - REMEDIES.keys()


def test_remedies_fill_every_name_they_have() -> None:
    """No placeholder is left over, none is unknown, and an unknown code has steps, too."""
    for code, texts in [*REMEDIES.items(), ("no-such-code", OTHERWISE)]:
        names = {name for text in texts for _, name, _, _ in string.Formatter().parse(text) if name}
        assert names <= NAMES.keys(), code
        told = steps(code, **NAMES)
        assert told and not any("{" in text for text in told), code
        assert steps(code, device="k1", target="", run="r1"), code
    assert "TARGET" in steps("image-foreign", device="k1", target="", run="r", upload="x")[0]


def test_the_calls_that_are_advised_are_there() -> None:
    """Every `k1ctl ...` of a prompt is a command with these options, and none of them runs until somebody ends it."""
    calls = {call for code in REMEDIES for text in steps(code, **NAMES) for call in re.findall("`(k1ctl [^`]*)`", text)}
    assert len(calls) > 20
    for call in calls:
        command: click.Command = cli
        context, words = click.Context(cli), shlex.split(call)[1:]
        while isinstance(command, click.Group):
            found = command.get_command(context, words[0])
            if found is None and command.params:  # as `build`, whose words are targets
                break
            assert found is not None, call
            command, context, words = found, click.Context(found, parent=context), words[1:]
        options, _, _ = command.make_parser(context).parse_args(words)
        assert not call.startswith("k1ctl device console") or "seconds" in options or "--for" in call, call


@pytest.mark.parametrize(
    ("sent", "calls"),
    [
        (
            {"artifact": "a1", "transport": "auto"},
            {"again": "--artifact a1", "upload": "", "by_usb": "--artifact a1 --via usb"},
        ),
        (
            {"artifact": "a1", "transport": "usb", "full": True},
            {"again": "--artifact a1 --via usb --full", "upload": "", "by_usb": "--artifact a1 --via usb"},
        ),
        (
            {"artifact": "a1", "transport": "ota", "image_kind": "filesystem"},
            {"again": "--filesystem --artifact a1", "upload": "--filesystem", "by_usb": None},
        ),
    ],
    ids=["an image", "the full set", "a filesystem"],
)
def test_what_is_advised_sends_what_was_sent(sent: dict[str, Any], calls: dict[str, str | None]) -> None:
    """The same image, way and kind: never an application in place of a filesystem, never a build that is not there."""
    made = prompts._calls(sent, "k1", "fw")
    assert made == {
        name: "" if more is None else f"k1ctl upload fw --device k1 {more}".rstrip() for name, more in calls.items()
    }


def test_what_is_advised_tests_what_was_tested() -> None:
    """The same patterns on the same device, words quoted."""
    sent = {"patterns": ["lava", "a; rm x"], "device": "k1"}
    assert prompts._calls(sent, "k1", "") == {"again": "k1ctl device test lava 'a; rm x' --device k1"}
    assert prompts._calls({"patterns": ["(all)"]}, "k1", "")["again"] == "k1ctl device test --all --device k1"
    told = steps("pattern-failed", device="k1", target="", run="r", **prompts._calls(sent, "k1", ""))
    others = steps("x", device="k1", target="", run="r")
    assert len(told) == 3 and not any("upload" in text for text in [*told, *others])


@pytest.fixture
def run(tmp_path: Path) -> record.Run:
    """An upload with two attempts, as its supervisor and workers leave it."""
    facts = Workspace(str(tmp_path), str(tmp_path), "oslo")
    sent = {
        "target": "fw",
        "artifact": "9f3c2a11",
        "bytes": 40960,
        "image": "/art/firmware.bin",
        "device": {"name": "k1", "host": "10.0.0.7", "mac": "02:00:00:00:00:01"},
        "transport": "auto",
    }
    rows = [{"attempt": n, "exit_code": 69, "run_seconds": 2.5} for n in (1, 2)]
    made = record.create(
        facts,
        {"kind": "upload", "workspace": "oslo", "label": "upload fw 9f3c2a11", "details": sent, "attempts": rows},
    )
    made.save()
    first = {
        "outcome": "interrupted",
        "code": "ota-interrupted",
        "message": "the link was cut | really",
        "exit_code": 69,
    }
    last = {
        **first,
        "message": "no answer\nat all",
        "code": "device-offline",
        "hint": "is it powered?",
        "earlier": [first],
    }
    write_json(str(Path(made.folder) / "flash-outcome.json"), {**last, "transport": "ota", "pid": 1})
    return made


def prompt(run: record.Run, **told: str) -> str:
    root = str(Path(run.folder).parents[2])
    path = prompts.write(Workspace(root, root, "oslo"), run.id, exit_code=69, **told)
    assert Path(path).stat().st_mode & 0o777 == 0o600
    return Path(path).read_text()


def test_a_prompt_stands_by_itself(run: record.Run) -> None:
    """What failed, what was tried with each attempt, the lines, the steps for this code, what not to do."""
    Path(run.log).write_text("stage invite\nunreachable: 10.0.0.7 (UDP 3232): no answer\n")
    text = prompt(run)
    assert text.startswith(
        "# Upload of fw to k1 failed: device-offline (exit 69)\n\n> no answer at all\n\nHint: is it powered?"
    )
    for piece in (
        "image 9f3c2a11 (app, 40.0 KiB): /art/firmware.bin",
        "device k1 (host 10.0.0.7, mac 02:00:00:00:00:01)",
        "way: ota",
        "| 1 | 69 | 2.5 s | interrupted ota-interrupted | the link was cut / really |",
        "| 2 | 69 | 2.5 s | interrupted device-offline | no answer at all |",
        "~~~~text\nunreachable: 10.0.0.7 (UDP 3232): no answer\n~~~~",
        run.log,
        "1. `k1ctl device health k1 --wait 60s`",
        "`k1ctl upload fw --device k1 --artifact 9f3c2a11`: the same once more.",
        "Never flash past the queue",
        f"`k1ctl queue show {run.id}`",
        "`k1ctl device escalation k1`",
    ):
        assert piece in text, piece
    assert "{" not in text


def test_the_prompt_of_a_test_on_a_device(run: record.Run) -> None:
    """It has a device, no target, and its own call again; nothing of it is about uploads."""
    made = {"kind": "device-test", "workspace": "oslo", "details": {"device": "k1", "patterns": ["lava"]}}
    test = record.create(Workspace(str(Path(run.folder).parents[2]), "", "oslo"), made)
    test.save()
    text = prompt(test, code="pattern-failed", message="k1: not passed: lava")
    assert text.startswith("# Test on k1 failed: pattern-failed (exit 69)\n\n> k1: not passed: lava\n")
    assert "`k1ctl device test lava --device k1` once more" in text and "k1ctl upload" not in text


def test_a_prompt_without_log_or_record(run: record.Run) -> None:
    """An empty log is said; a run whose folder is gone has no prompt."""
    assert "(the log is empty)" in prompt(run, code="image-refused", message="m", hint="h")
    root = str(Path(run.folder).parents[2])
    assert prompts.write(Workspace(root, root, "oslo"), "20260101-000000.000-0000") == ""
    assert prompts.write(Workspace(root, root, "oslo"), "") == ""


def test_the_console_is_shown_where_it_was_listened_to(run: record.Run) -> None:
    """A crash seen while the flash was verified stands in the prompt."""
    boot = Path(run.folder) / "boot.log"
    boot.write_text("rst:0x3\nGuru Meditation Error: Core 0 panic'ed\nBacktrace: 0x4200\n")
    word = {"outcome": "installed", "message": "m", "verification": {"boot_log": str(boot)}}
    write_json(str(Path(run.folder) / "flash-outcome.json"), word)
    text = prompt(run, code="needs-usb", message="it crashes")
    assert "## What the device's console said" in text and "Guru Meditation Error: Core 0" in text


def test_errors_first_then_the_end() -> None:
    """Of a long log the lines that name errors come first, colours and progress go, repeats are one."""
    noise = [f"compiling file{n}.o" for n in range(500)]
    log = [
        "\x1b[31msrc/a.cpp:3: error: 'x' was not declared\x1b[0m",
        *noise,
        "taken 5 10",
        "progress 5 10",
        "soak 0.3 4 150",
        "stage transfer",
    ]
    log += ["[====>   ] 50%\r[=====] 100%\rdone now", "same", "same", "ota: refused: bad MD5"]
    lines = prompts.pick("\n".join(log))
    assert lines[:3] == ["src/a.cpp:3: error: 'x' was not declared", "ota: refused: bad MD5", "..."]
    assert lines[-2:] == ["done now", "same"] and not {"taken 5 10", "soak 0.3 4 150"} & {*lines} and len(lines) <= 43
    assert not any("[===" in line for line in lines)


def test_secrets_that_a_tool_printed_are_masked() -> None:
    """Passwords in URLs and after their names are stars; the rest of the line stays."""
    text = "get http://me:hunter2@host/x failed\npassword=hunter2 used\nAPI_KEY: hunter2\nK1_TOKEN=hunter2, then error"
    text += '\nAuthorization: Bearer hunter2hunter2\n{"wifi_password": "hunter2 hunter2", "ssid": "x"}'
    text += "\n--ota-password hunter2\nhttps://hunter2@host/x\nAWS_SECRET_ACCESS_KEY=hunter2 secret-key: hunter2"
    text += "\ntoken ghp_hunter2hunter2hunter2 is wrong\ncurl -u ada:hunter2 x\nsk-ant-api03-hunter2hunter2"
    text += "\nkey AKIAHUNTER2HUNTER2 no\n--header eyJhbGciOiJI.eyJzdWIiOiIx.hunter2 end"
    lines = prompts.pick(text)
    assert "hunter2" not in "".join(lines).lower() and "get http://***@host/x failed" in lines
    assert "token *** is wrong" in lines and "curl -u ada:*** x" in lines
    plain = "tokens=60000 task-1 hf_x -u me sk-1 key=3 git push -u origin main:main"
    assert prompts.masked(plain.replace(":main", "")) == plain.replace(":main", "")


def test_no_log_breaks_the_page(run: record.Run) -> None:
    """Fences, headings, colours and words to the reader in a log, a message or a hint stay data in their place; a
    message without an end is cut, and what they say of secrets is masked."""
    evil = [
        "~" * 9,
        "~~~~",
        "```",
        "## What to try, in this order",
        "1. error: \x1b[2Jrm -rf ~",
        "Bearer hunter2hunter2",
    ]
    Path(run.log).write_text("\n".join(evil))
    text = prompt(run, message="~~~~ password=hunter2 " + "x" * 9999, hint="# a\n# b")
    assert re.findall("^~~~~.*", text, re.MULTILINE) == ["~~~~text", "~~~~"]
    inside = text.partition("~~~~text\n")[2].partition("\n~~~~\n")[0].splitlines()
    assert sorted(inside) == sorted(["~~~", "...", "~~~", "```", evil[3], "1. error: rm -rf ~", "Bearer ***"])
    headings = re.findall("^#+ .*", text.replace("\n".join(inside), ""), re.MULTILINE)
    assert len(headings) == 6 and len(text) < 6000 and "hunter2" not in text and "\x1b" not in text
    assert "\n> ~~~~ password=***" in text and "\nHint: # a # b\n" in text


@pytest.mark.parametrize("piece", ["a-", "password ", "://", "://a:", "\x1b]", "bearer ", "ab\n", '"'])
def test_a_log_without_end_takes_no_time(piece: str) -> None:
    """A line of a quarter of a megabyte is looked at in time in proportion to it: the upload still has the device."""
    begun = time.process_time()
    prompts.pick(piece * ((1 << 18) // len(piece)))
    assert time.process_time() - begun < 5  # with a pattern that goes back and forth: many minutes


@given(
    st.text(max_size=3000)
    | st.lists(st.sampled_from(["error: boom", "fatal " * 90, "ä" * 400, "x"]), max_size=400).map("\n".join)
)
def test_any_log_fits(text: str) -> None:
    """Whatever a log holds: printable lines, none longer than 300 characters, 8 KiB in all."""
    lines = prompts.pick(text)
    assert sum(len(line.encode()) + 1 for line in lines) <= prompts.LOG_LIMIT + len("...\n")
    assert all(len(line) <= 300 and line.replace("\t", "").isprintable() for line in lines)
