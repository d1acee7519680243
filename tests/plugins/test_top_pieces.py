"""`k1ctl top` without a screen: tiles, graphs, filters, logs, and the commands that keys call."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl_plugins.top.calls import Calls
from k1ctl_plugins.top.dialogs import Growing, readable, wrapped
from k1ctl_plugins.top.panels import graph
from k1ctl_plugins.top.stream import matches
from k1ctl_plugins.top.tiles import ORDERS, layout, ordered, stands_out, tile
from tests.kit import Project, wait_until

ROW: dict[str, Any] = {
    "name": "oslo",
    "branch": "oslo",
    "state": "idle",
    "missing": False,
    "current": False,
    "doing": [],
    "idle_seconds": 61.0,
    "build": {"result": "done", "age_seconds": 5.0, "run": "r1", "at": "2026-01-01T00:00:00.000Z"},
    "upload": {"result": "failed", "age_seconds": 90.0, "run": "r0", "at": "2025-12-31T00:00:00.000Z"},
}


@given(st.integers(0, 400), st.integers(1, 250), st.integers(1, 90))
def test_tiles_fit_where_they_can(count: int, width: int, height: int) -> None:
    """All of them have their place where tiles of the smallest size have; none is wider than the screen."""
    across, columns, lines = layout(count, width, height)
    assert across >= 1 and lines >= 1 and across * columns <= max(width, 14)
    if -(-count // max(1, width // 14)) <= height:
        assert -(-count // across) * lines <= height


@given(st.text(max_size=40), st.integers(8, 40), st.integers(1, 3))
def test_a_tile_fills_its_place(name: str, columns: int, lines: int) -> None:
    """Whatever a workspace is called, its tile has the lines and columns it was given, and no control character."""
    drawn = tile({**ROW, "name": name}, columns, lines)
    assert len(drawn) == lines
    assert all(line.cell_len == columns and not set(line.plain) & set("\n\r\x1b\t") for line in drawn)


@given(st.lists(st.floats(0, 1000)), st.integers(1, 60))
def test_a_graph_is_as_wide_as_it_was_told(values: list[float], width: int) -> None:
    """One block a value, the last ones; nothing is blank but nothing at all."""
    drawn = graph(values, width)
    assert len(drawn) == width
    assert [block == " " for block in drawn[::-1][: len(values)]] == [not v for v in values[::-1][:width]]


def test_a_filter_takes_names_words_and_their_opposite() -> None:
    """Globs of the name, parts of the line, and ! before either."""
    event = {"at": "2026-01-01T00:00:00.000Z", "event": "queue.granted", "workspace": "oslo", "run": "r1"}
    assert all(matches(event, wanted) for wanted in ("", "queue.*", "oslo r1", "!lima", "QUEUE.* !upload.*"))
    assert not any(matches(event, wanted) for wanted in ("upload.*", "oslo lima", "!queue.*", "queue.* !r1"))


def test_a_log_is_read_as_it_grows(tmp_path: Path) -> None:
    """Whole lines, each once, from the last 128 KiB on; a file made anew is read from its beginning."""
    path = tmp_path / "log"
    log = Growing(str(path))
    assert log.lines() == []
    path.write_bytes(b"x" * 50 + b"\n" + (b"y" * 99 + b"\n") * 2000 + b"to")
    first = log.lines()
    assert len(first) == 1310 and set(first) == {"y" * 99}
    with path.open("ab") as file:
        file.write(b"rn\x1b[2J\n")
    (torn,) = log.lines()
    assert torn == "torn" and log.lines() == [] and log.rest == ""
    path.write_bytes(b"new\nhalf")
    assert log.lines() == ["new"] and log.rest == "half"
    with path.open("r+b") as file:  # 100 MB at once: the end of it is read
        file.truncate(100 << 20)
        file.seek(0, os.SEEK_END)
        file.write(b"\nend\n")
    assert log.lines() == ["end"]


def test_a_line_of_a_log_is_read_as_a_terminal_leaves_it() -> None:
    """Without colours, titles and links; of a progress bar the last state; tabs are spaces."""
    assert readable(b"\x1b[1;32mok\x1b[0m\tin\x1b[K 3 s\r") == "ok      in 3 s"
    assert readable(b"\rWriting 1 %\rWriting \x1b[33m100 %\r") == "Writing 100 %"
    assert readable(b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \xff\x00") == "link \ufffd?"


@given(st.text(alphabet=st.characters(exclude_categories=["Cc", "Zs", "Zl", "Zp"]), max_size=200), st.integers(10, 60))
def test_prose_keeps_its_words(text: str, width: int) -> None:
    """Every character is somewhere, and an empty line stays one."""
    lines = wrapped(text, width)
    assert "".join(lines) == text and max(map(len, lines)) <= width and lines
    assert wrapped("", width) == [""]


def test_what_stands_out_is_told_without_colours() -> None:
    """Signs of the last build and upload, narrow ones too; the orders; nothing where there was nothing."""
    assert tile(ROW, 26, 3)[0].plain.endswith("B+U! ") and tile(ROW, 14, 2)[0].plain.endswith("+! ")
    idle = {**ROW, "name": "lima", "build": None, "upload": None, "idle_seconds": 1.0}
    busy = {**idle, "name": "rome", "state": "waiting", "doing": [{"state": "waiting"}], "idle_seconds": 0.0}
    assert [stands_out(row) for row in (ROW, idle, busy)] == [True, False, True]
    waits = {**busy, "doing": [{"state": "waiting", "position": 3, "resources": ["lamp"], "seconds": 1.0}]}
    assert tile(waits, 14, 1)[0].plain == "rome       #3 "
    assert not set(tile(idle, 26, 3)[0].plain) & set("BU·")
    names = [[row["name"] for row in ordered([idle, ROW, busy], order)] for order in ORDERS]
    assert names == [["lima", "oslo", "rome"], ["rome", "oslo", "lima"], ["rome", "lima", "oslo"]]


def test_no_command_is_left_behind(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is told with its hint; at the end what only looks is ended, and what changes something has its time."""
    said, severity = Calls(workspace.facts()).run(("queue", "cancel", "99"))
    assert severity == "error" and "99" in said and "hint: " in said
    program = tmp_path / "k1ctl"
    program.write_text('#!/bin/sh\necho $$ > "$0.$5"\n[ "$5" = queue ] || exec sleep 600\nsleep 0.2; echo did it\n')
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    calls, found = Calls(workspace.facts()), dict[str, str]()
    words = [("why", "oslo"), ("queue", "cancel", "1")]
    threads = [threading.Thread(target=lambda w=w: found.update({w[0]: calls.run(w)[0]})) for w in words]
    for thread in threads:
        thread.start()
    wait_until(lambda: all((tmp_path / f"k1ctl.{each[0]}").exists() for each in words))
    calls.end()
    for thread in threads:
        thread.join()
    assert found == {"why": "", "queue": "did it"} and calls.run(("why", "x")) == ("", "information")
