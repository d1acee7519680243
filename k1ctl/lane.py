"""The lean lane of `k1ctl queue run`: the same options as the click command, without click.

A hundred calls in one instant start in a third of the time that way. Whatever this parser does not know (``--help``,
a wrong option) it leaves to the click command, which explains; a test holds both equal.
"""

from __future__ import annotations

import os

from k1ctl.errors import K1ctlError, UsageError
from k1ctl.queue import names
from k1ctl.units import parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from k1ctl.capacity.need import Need
    from k1ctl.process.launch import Outcome, Submitted
    from k1ctl.process.spec import RunSpec
    from k1ctl.workspace import Workspace

# option -> (field, kind)
OPTIONS = {
    "--wait": ("wait", "duration"),
    "--timeout": ("timeout", "duration"),
    "--priority": ("priority", "priority"),
    "--retries": ("retries", "int"),
    "--backoff": ("backoff", "backoff"),
    "--delay": ("delay", "duration"),
    "--key": ("key", "str"),
    "--label": ("label", "str"),
    "--on-caller-exit": ("on_caller_exit", "caller"),
    "--result": ("result", "str"),
    "--need": ("need", "need"),
}
CHOICES = {
    "priority": tuple(names.PRIORITIES),
    "backoff": ("fixed", "exponential"),
    "caller": ("stop", "keep"),
}
DEFAULTS: dict[str, Any] = {
    "wait": None,
    "timeout": None,
    "priority": "normal",
    "retries": 0,
    "backoff": "fixed",
    "delay": 0.0,
    "key": "",
    "label": "",
    "on_caller_exit": "stop",
    "result": "",
    "need": None,
}


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], list[str], list[str]] | None:
    """(options, resource words, command), or None for whatever the click command has to look at."""
    options = dict(DEFAULTS)
    words: list[str] = []
    i = 0
    while i < len(argv):
        word = argv[i]
        if word == "--":
            command = list(argv[i + 1 :])
            return (options, words, command) if words and command else None
        if word.startswith("-"):
            name, equals, value = word.partition("=")
            if name not in OPTIONS:
                return None
            if not equals:
                i += 1
                if i >= len(argv):
                    return None
                value = argv[i]
            field, kind = OPTIONS[name]
            try:
                options[field] = _value(kind, value)
            except (ValueError, UsageError):
                return None
        else:
            words.append(word)
        i += 1
    return None


def _value(kind: str, text: str) -> Any:
    if kind == "duration":
        return parse_duration(text)
    if kind == "need":
        return parse_need(text)
    if kind == "int":
        if not (text.isascii() and text.isdigit()):
            raise ValueError(text)
        return int(text)
    if kind in CHOICES and text not in CHOICES[kind]:
        raise ValueError(text)
    return text


def parse_need(text: str) -> Need:
    """What a run needs of the host beside its resources. Raises UsageError."""
    from k1ctl.capacity.need import parse as parse_words

    need = parse_words(text)
    if need.slots:
        raise UsageError(
            f"--need {text}: {next(iter(need.slots))} is a resource of the queue",
            hint=f"name it in front of the command: k1ctl queue run {next(iter(need.slots))} --need mem=2G -- ...",
        )
    return need


def build_spec(
    options: Mapping[str, Any], words: Sequence[str], command: Sequence[str], workspace: Workspace
) -> RunSpec:
    """The run that these options ask for. Raises UsageError for a wrong resource."""
    from k1ctl.process.spec import RunSpec

    needs = names.parse_needs(words)
    wanted = [f"{r}={n}" for r, n in sorted(needs.items())]
    result = options["result"]
    return RunSpec(
        "queue-run",
        list(command),
        needs,
        cwd=os.getcwd(),
        wait=options["wait"],
        timeout=options["timeout"],
        priority=options["priority"],
        attempts=options["retries"] + 1,
        backoff=options["backoff"],
        delay=options["delay"],
        key=names.stable_key(workspace.path, *wanted, *([options["key"]] if options["key"] else command)),
        label=options["label"],
        on_caller_exit=options["on_caller_exit"],
        result=os.path.join(os.getcwd(), result) if result else "",
        need=options["need"],
    )


def submit(options: Mapping[str, Any], words: Sequence[str], command: Sequence[str], workspace: Workspace) -> Submitted:
    """Do what `k1ctl queue submit` does. Raises K1ctlError, OSError."""
    from k1ctl.config import load
    from k1ctl.process import launch

    spec = build_spec(options, words, command, workspace)
    spec.kind, spec.on_caller_exit, spec.detached = "queue-submit", "keep", True
    forget_result(options["result"])
    return launch.submit(workspace, load(workspace), spec)


def forget_result(path: str) -> None:
    """What an earlier call left there must not be taken for ours. Raises UsageError."""
    try:
        if path:
            write_result(path, None, "not-ended", "the run has not ended")
    except OSError as exc:
        raise UsageError(f"{path} cannot be written: {exc.strerror}", code="no-result-file") from exc


def run(options: Mapping[str, Any], words: Sequence[str], command: Sequence[str], workspace: Workspace) -> int:
    """Do what `k1ctl queue run` does; returns the exit code. Raises K1ctlError, OSError."""
    from k1ctl.config import load
    from k1ctl.process.launch import launch

    result = options["result"]
    forget_result(result)
    try:
        outcome = launch(workspace, load(workspace), build_spec(options, words, command, workspace))
    except K1ctlError as exc:
        if result:
            write_result(result, exc.exit_code, exc.code, exc.message)
        raise
    if result and not outcome.folder:  # it failed before there was a record
        ending = outcome.ending
        write_result(result, ending.exit_code, ending.code, ending.message)
    return finish(outcome)


def write_result(path: str, exit_code: int | None, code: str, message: str) -> None:
    """A result file for what has no record. Raises OSError."""
    from k1ctl.files import write_named
    from k1ctl.jsontext import dumps

    facts = {"exit_code": exit_code, "by": "k1ctl", "code": code, "message": message}
    write_named(path, dumps({"run": "", "folder": "", **facts}) + "\n")


def finish(outcome: Outcome) -> int:
    """Tell on stderr what k1ctl itself has to say about the ending; the command speaks for itself."""
    from k1ctl.output import say

    ending = outcome.ending
    if ending.by == "k1ctl" and ending.exit_code and ending.code != "broken-pipe":
        say(f"k1ctl: {ending.message}")
        if ending.hint:
            say(f"k1ctl: {ending.hint}")
    return ending.exit_code


def try_lane(argv: Sequence[str]) -> int | None:
    """Run `queue run ARGV` here, or return None when the click command has to. Raises K1ctlError."""
    parsed = parse(argv)
    if parsed is None:
        return None
    from k1ctl.workspace import resolve

    return run(*parsed, resolve())
