"""Work beside the caller's own: its value, or its error, comes when it is asked for."""

from __future__ import annotations

from threading import Event

import pytest

from k1ctl.archive.aside import aside


def test_it_goes_on_meanwhile() -> None:
    """The caller goes on, and waits only when it wants the value."""
    go = Event()
    wait = aside(lambda word: (go.wait(10), word), "done")
    go.set()
    assert wait() == (True, "done") == wait()


def test_its_error_is_the_callers() -> None:
    """Raised where the value is asked for."""
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 // 0)()
