"""A soak against scripted answers on a clock of its own: what is tolerated, and what is not."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from k1ctl.device import soak as module
from k1ctl.device.http import RateLimited
from k1ctl.device.soak import Broken, Soak
from k1ctl.errors import UnreachableError

DEVICE = {"host": "h", "http_port": 1, "fps_min": 120}


class Desk:
    """A device whose ``script`` gives an answer, or an error, for each second of its life; time passes in pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, script: Callable[[float], Any]) -> None:
        self.now, self.script, self.told = 1000.0, script, 0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(module, "get_json", self.answer)

    def answer(self, *_: Any) -> Any:
        found = self.script(self.now - 1000)
        if isinstance(found, Exception):
            raise found
        return found

    def watch(self, seconds: float, patience: float = 5.0, uptime: int = 3000) -> dict[str, Any]:
        """The figures of a soak that begins at this uptime in ms."""
        soak = Soak(DEVICE, seconds, (uptime, 1000.0), patience)
        try:
            soak.run(self.pause, lambda passed, fps: setattr(self, "told", self.told + 1))
        finally:
            self.figures = soak.figures
        return soak.figures

    def pause(self, seconds: float) -> None:
        self.now += seconds


def health(at: float, fps: Any = 150, since: float = -3.0) -> dict[str, Any]:
    return {"uptime_ms": int((at - since) * 1000), "fps": fps, "memory_free_kb": 165}


def lost(*spans: tuple[float, float], **kinds: Any) -> Callable[[float], Any]:
    """A healthy device that does not answer in these spans of seconds."""
    error = kinds.get("error") or UnreachableError("no answer")
    return lambda at: error if any(a <= at < b for a, b in spans) else health(at)


@pytest.mark.parametrize(("seconds", "samples"), [(0.1, 1), (0.5, 2), (1.0, 4), (20.0, 20), (600.0, 600)])
def test_how_often_it_asks(monkeypatch: pytest.MonkeyPatch, seconds: float, samples: int) -> None:
    """Once a second; a short one up to four times; never twice within the device's window, and once at its end."""
    desk = Desk(monkeypatch, health)
    figures = desk.watch(seconds)
    assert figures["samples"] == desk.told == samples and figures["restarts"] == 0
    assert figures["watched_seconds"] >= seconds and figures["watched_seconds"] / samples >= 0.25


@pytest.mark.parametrize(
    "script",
    [
        lost((4, 8)),
        lost((3, 15), error=RateLimited(0.2)),
        lambda at: health(at, fps=30 if at in (1, 5, 9) else 150),  # one slow second now and then
    ],
)
def test_what_is_tolerated(monkeypatch: pytest.MonkeyPatch, script: Callable[[float], Any]) -> None:
    """A gap shorter than its patience, others who use the rate limit up, single slow samples."""
    assert Desk(monkeypatch, script).watch(20.0)["restarts"] == 0


def test_figures_that_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """What no counter and no memory can tell is left out, and fails nothing."""
    huge = {"memory_free_kb": float("inf"), "uptime_ms": True}
    figures = Desk(monkeypatch, lambda at: {**health(at), **huge}).watch(5.0)
    assert (figures["heap_min_bytes"], figures["restarts"]) == (None, 0)


def test_the_counter_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    """An uptime that begins at 0 again after 49.7 days is no restart."""
    before = (1 << 32) - 5000
    desk = Desk(monkeypatch, lambda at: {**health(at), "uptime_ms": (before + int(at * 1000)) % (1 << 32)})
    assert desk.watch(20.0, uptime=before)["restarts"] == 0


@pytest.mark.parametrize(
    ("script", "message", "silent", "loops"),
    [
        (lost((4, 99)), "it stopped answering 3.0 s into the soak", True, False),
        (lambda at: health(at, since=-3 if at < 7 else 7), "it restarted during the soak", False, False),
        (lambda at: health(at, since=at - at % 4), "it restarted 2 times in", False, True),
        (lambda at: health(at, fps=90 if at > 5 else 150), "90 fps (at least 120)", False, False),
        (lambda at: health(at, fps=None), "no word on fps (at least 120)", False, False),
        (lambda at: health(at, fps=float("nan")), "no word on fps", False, False),
    ],
)
def test_what_is_not(
    monkeypatch: pytest.MonkeyPatch, script: Callable[[float], Any], message: str, silent: bool, loops: bool
) -> None:
    """Silence beyond its patience, a restart, a loop of them, two slow samples in a row, no figure at all."""
    with pytest.raises(Broken) as caught:
        Desk(monkeypatch, script).watch(20.0)
    assert message in caught.value.message and (caught.value.silent, caught.value.loops) == (silent, loops)


def test_nothing_but_429(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that only says that it lives was not watched: no verdict."""
    with pytest.raises(UnreachableError, match="429 all the time"):
        Desk(monkeypatch, lambda at: RateLimited(0.2)).watch(5.0)


def test_a_gap_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A soak does not end on a question that got no answer: it waits for the next, or says that the device is gone."""
    desk = Desk(monkeypatch, lost((18.5, 22)))
    assert desk.watch(20.0)["watched_seconds"] == 22
    with pytest.raises(Broken):
        Desk(monkeypatch, lost((18.5, 99))).watch(20.0)
