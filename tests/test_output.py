"""stdout is data, stderr is talk."""

from __future__ import annotations

import io
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.output import LiveLine, clean, emit_json, emit_jsonl, say, style, table
from tests.kit import Project, finish, wait_until


def test_json_goes_to_stdout_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """One document a call; talk goes to stderr."""
    emit_json([])
    emit_jsonl([{"a": 1}, {"a": 2}])
    say("talk")
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [[], {"a": 1}, {"a": 2}]
    assert err == "talk\n"


@given(st.text())
def test_what_others_named_cannot_move_the_cursor(text: str) -> None:
    """No control character is left, and the length stays."""
    assert len(clean(text)) == len(text)
    assert all(c.isprintable() for c in clean(text))


@given(st.lists(st.tuples(st.text(max_size=9), st.integers()), max_size=6))
def test_a_table_has_a_line_a_row(rows: list[tuple[str, int]]) -> None:
    """Header and rows, each on one line, whatever the cells hold."""
    assert len(table(rows, ("NAME", "N")).split("\n")) == len(rows) + 1


def test_colour_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """FORCE_COLOR gives colour without a terminal, NO_COLOR takes it away from anything."""
    stream = io.StringIO()
    assert style("x", "red", stream=stream) == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert style("x", "red", "bold", stream=stream) == "\x1b[31;1mx\x1b[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert style("x", "red", stream=stream) == "x"


def test_off_a_terminal_a_line_is_printed_once_per_change() -> None:
    """A log gets plain lines at changes, no carriage return."""
    stream = io.StringIO()
    line = LiveLine(stream)
    for seconds in range(5):
        line.update(f"waiting {seconds} s", key="waiting")
    line.update("running", key="running")
    line.clear()
    assert stream.getvalue() == "waiting 0 s\nrunning\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_characters_that_stdout_lacks_are_escaped(workspace: Project, encoding: str) -> None:
    """A label is shown as well as the encoding allows; no command fails over it."""
    gate = workspace.root / "gate"
    os.mkfifo(gate)
    holder = workspace.popen("queue", "run", "x:y", "--label", "K1 – ☃", "--", "cat", str(gate))
    try:
        wait_until(lambda: workspace.run("queue", "list", "--json").json["tickets"])
        shown = workspace.run("queue", "list", env={"LC_ALL": "C", "PYTHONIOENCODING": encoding}).assert_ok().stdout
        assert ("☃" if encoding == "utf-8" else "\\u2603") in shown
    finally:
        with open(gate, "w"):
            pass
        finish(holder)
