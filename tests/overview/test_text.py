"""One screen: it fits, it cuts long lists and says so, and nobody's name moves the cursor."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.overview import PARTS, Overview, Part
from k1ctl.overview.phrases import ordinal
from k1ctl.overview.text import screen
from k1ctl.workspace import Workspace

WORK = {"window_seconds": 86400.0, "good": 3, "bad": 1, "ignored": 0, "p50_seconds": 31.0, "p90_seconds": 80.0}
HOST: dict[str, Any] = {
    "cores": 2,
    "load_1m": 0.5,
    "memory_bytes": 1 << 34,
    "available_bytes": 1 << 33,
    "promised_bytes": 0,
    "limit_bytes": 1 << 33,
    "level": 0,
    "stalled_percent": 0.0,
    "stop_percent": 95,
    "disk": {"used_percent": 44},
}


def worker(name: str, state: str = "idle", waits: int = 0) -> dict[str, Any]:
    doing = []
    if state != "idle":
        doing = [{"state": state, "label": "x", "resources": ["device:k1"], "position": waits or None, "seconds": 12.0}]
    ended = {"result": "failed", "at": "2026-11-21T10:00:00.000Z", "message": "main.cpp:3: error", "code": ""}
    idle = 0.0 if doing else 60.0
    facts = {"name": name, "path": f"/w/{name}", "branch": name, "main": False, "current": False, "missing": False}
    facts["setup_failed"] = None
    return {**facts, "state": state, "doing": doing, "idle_seconds": idle, "build": ended, "upload": None}


def waiter(number: int) -> dict[str, Any]:
    facts = {"state": "waiting", "position": number, "workspace": f"w{number}", "label": "", "resources": ["device:k1"]}
    return {**facts, "seconds": 61.0, "expected_seconds": 20.0 * number, "blocked": ""}


def ended(number: int) -> dict[str, Any]:
    facts = {"result": "done", "workspace": f"w{number}", "target": "fw", "device": "", "age_seconds": 5.0 * number}
    return {**facts, "seconds": 30.0, "wait_seconds": 0.0, "message": "", "code": ""}


def found(workers: int, waiting: int, works: int) -> Overview:
    parts = {name: Part() for name in PARTS}
    rows = [worker(f"w{n}", "waiting" if n <= waiting else "idle", n) for n in range(1, workers + 1)]
    parts["workspaces"] = Part(rows, {"count": workers, "idle": workers - waiting})
    parts["waiting"] = Part([waiter(n) for n in range(1, waiting + 1)])
    parts["slots"] = Part([slot(f"build:t{n}") for n in range(min(workers, 6))])
    parts["builds"] = parts["uploads"] = Part([ended(n) for n in range(works)], dict(WORK))
    parts["host"] = Part(facts=dict(HOST))
    return Overview(Workspace("/nowhere", "/nowhere", "w1"), 0.0, parts)


def slot(resource: str) -> dict[str, Any]:
    facts = {"resource": resource, "slots": 2, "held_slots": 0, "held": [], "waiting": 0}
    return {**facts, "typical_seconds": None, "paused": None}


@given(st.integers(1, 120), st.integers(0, 120), st.integers(0, 20), st.integers(60, 200), st.integers(24, 90))
def test_it_fits(workers: int, waiting: int, works: int, width: int, height: int) -> None:
    """Whatever happens, a screen is enough, and what has no room is counted."""
    text = screen(found(workers, min(waiting, workers), works), width=width, height=height)
    lines = text.splitlines()
    assert len(lines) < height and max(map(len, lines)) <= width
    if workers > height:
        [told] = [line for line in lines if "more (k1ctl status --all)" in line]
        assert int(told.split("and ")[1].split(" ")[0]) > workers - height


def test_a_part_with_one_line_tells_its_first() -> None:
    """How many builds went well in a day stands there, however little room there is, not only that there are more."""
    text = screen(found(40, 20, 20), width=120, height=24)
    assert "builds     3 of 4 went well in 24 h" in text and text.count("and 20 more") == 2


def test_nothing_is_left_out_when_all_is_asked_for() -> None:
    """--all has a line for each; where there is no screen, lists are cut, and lines are whole."""
    everything = screen(found(100, 40, 20), every=True)
    assert all(f" w{n} " in everything for n in range(1, 101)) and "--all" not in everything
    piped = screen(found(100, 40, 20))
    assert "and 89 more" in piped and len(piped.splitlines()) < 80


def test_long_names_hide_no_place_and_no_time() -> None:
    """On a screen the end of a name goes; in a pipe nothing does, so that a name is found by grep."""
    look = found(2, 2, 0)
    look.workspaces.rows[0]["doing"][0]["resources"] = ["device:a-board-with-a-long-name", "build:fw"]
    look.workspaces.rows[1]["name"] = "w" * 40
    look.waiting.rows[1]["workspace"] = "w2 (another repository)"
    drawn, piped = screen(look, width=120, height=40), screen(look)
    assert "w" * 10 + "…" + "w" * 9 in drawn
    assert ", 1st for 12 s" in drawn and "w" * 40 not in drawn and "w2 (elsewhere)" in drawn
    assert "waiting device:a-board-with-a-long-name, build:fw, 1st for 12 s" in piped and "w" * 40 in piped


def test_what_others_named_is_shown_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name or a message with control characters does nothing to the terminal."""
    monkeypatch.setenv("NO_COLOR", "1")
    look = found(2, 1, 1)
    for part in (look.workspaces, look.waiting, look.builds):
        for row in part.rows:
            row["workspace"] = row["name"] = "a\x1b[2Jb\n"
            row["message"] = "\x07bell"
            row["result"] = "failed"
    assert not any(c in screen(look, width=80, height=30).replace("\n", "") for c in "\x1b\x07\r")


def test_colours_are_for_terminals(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forced colours change nothing but colours: the width is that of the letters."""
    monkeypatch.setenv("NO_COLOR", "1")
    plain = screen(found(5, 2, 3), width=80, height=24)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    coloured = screen(found(5, 2, 3), width=80, height=24)
    import re

    assert "\x1b[" in coloured and re.sub("\x1b\\[[0-9;]*m", "", coloured) == plain


def test_ordinals() -> None:
    """As people count."""
    assert [ordinal(n) for n in (1, 2, 3, 4, 11, 12, 21, 111, 102)] == [
        *("1st", "2nd", "3rd", "4th", "11th", "12th", "21st", "111th", "102nd"),
    ]
