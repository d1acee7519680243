"""A soak: watch a device for a while and see that its uptime grows, that it never restarts, and that it is fast enough.

``/api/health`` is asked, which answers once in 200 ms for all clients together; a soak asks once a second, and one of
less than 20 s up to four times a second. A 429 says that the device lives, and no more.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from k1ctl.device.http import RateLimited, get_json
from k1ctl.device.probe import restarted
from k1ctl.device.verdict import HEALTH
from k1ctl.errors import K1ctlError, UnreachableError
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_SLOWEST, _FASTEST, _SAMPLES = 1.0, 0.25, 20  # s between two samples, at most and at least; samples of a short soak
_LOW_RUNNING = 2  # samples in a row below the floor: one alone may be a hiccup, or the first after a start
_LOOP = 2  # restarts that make a loop


class Broken(Exception):
    """The soak failed: ``message``, ``hint``; ``silent``: the device answers no more; ``loops``: it starts over and
    over."""

    def __init__(self, message: str, hint: str = "", *, silent: bool = False, loops: bool = False) -> None:
        super().__init__(message)
        self.message, self.hint, self.silent, self.loops = message, hint, silent, loops


class Soak:
    """One soak of ``seconds``; ``figures`` is what it saw so far.

    ``health`` is an (uptime in ms, time asked) from before it, or None; ``patience``: seconds without an answer after
    which the device is gone.
    """

    def __init__(
        self, device: Mapping[str, Any], seconds: float, health: tuple[int, float] | None, patience: float
    ) -> None:
        self.device, self.seconds, self.last, self.patience = device, seconds, health, patience
        self.floor = float(device.get("fps_min") or 0)
        self.low, self.sum, self.told = 0, 0.0, 0
        self.failed = ""
        self.figures: dict[str, Any] = {
            "seconds": seconds,
            "watched_seconds": 0.0,
            "samples": 0,
            "limited": 0,
            "missed": 0,
            "restarts": 0,
            "fps_min": None,
            "fps_mean": None,
            "heap_min_bytes": None,
        }

    def run(self, pause: Callable[[float], None], progress: Callable[[float, str], None]) -> None:
        """Watch to the end. ``pause(seconds)`` waits and may raise; ``progress(seconds passed, fps)`` tells. Raises
        Broken, UnreachableError (it lives, and told nothing)."""
        begun = heard = time.monotonic()
        often = min(_SLOWEST, max(_FASTEST, self.seconds / _SAMPLES))
        interval = max(self.seconds / max(round(self.seconds / often), 1), _FASTEST)
        while True:
            pause(interval)  # first, too: it has just been asked whether it is back
            asked = time.monotonic()
            alive = self._sample(asked)
            now = time.monotonic()
            heard = now if alive else heard
            self.figures["watched_seconds"] = round(now - begun, 3)
            if self.figures["restarts"] >= _LOOP:
                passed = format_duration(now - begun)
                raise Broken(f"it restarted {self.figures['restarts']} times in {passed}", loops=True)
            if now - heard >= self.patience:
                passed = format_duration(heard - begun)
                raise Broken(f"it stopped answering {passed} into the soak", silent=True)
            if alive:
                progress(now - begun, "" if self.told == 0 else f"{self.sum / self.told:.0f}")
                if now - begun >= self.seconds:
                    break
        if not self.figures["samples"]:
            raise UnreachableError("it answered 429 all the time", hint="others poll it too often: look who does")
        if self.figures["restarts"]:
            raise Broken("it restarted during the soak", "did the image crash? its console says (k1ctl device console)")
        if self.failed:
            raise Broken(self.failed, "fps_min of the device's section is the floor")

    def _sample(self, asked: float) -> bool:
        """Ask once; whether the device lives."""
        try:
            health = get_json(str(self.device["host"]), int(self.device["http_port"]), HEALTH, self.patience)
        except RateLimited:
            self.figures["limited"] += 1
            return True
        except K1ctlError:
            self.figures["missed"] += 1
            return False
        health = health if isinstance(health, dict) else {}
        self.figures["samples"] += 1
        uptime, free = health.get("uptime_ms"), _number(health.get("memory_free_kb"))
        if isinstance(uptime, int) and not isinstance(uptime, bool):
            if self.last is not None and restarted(self.last[0], uptime, asked - self.last[1]):
                self.figures["restarts"] += 1
            self.last = uptime, time.monotonic()
        if free is not None:
            least = self.figures["heap_min_bytes"]
            self.figures["heap_min_bytes"] = min(int(free * 1024), least if least is not None else int(free * 1024))
        self._frames(_number(health.get("fps")))
        return True

    def _frames(self, fps: float | None) -> None:
        if fps is not None:
            self.sum, self.told = self.sum + fps, self.told + 1
            least = self.figures["fps_min"]
            self.figures["fps_min"] = fps if least is None else min(fps, least)
            self.figures["fps_mean"] = round(self.sum / self.told, 2)
        if self.floor and (fps is None or fps < self.floor):
            self.low += 1
            if self.low >= _LOW_RUNNING and not self.failed:
                said = "no word on fps" if fps is None else f"{fps:g} fps"
                self.failed = f"{said} (at least {self.floor:g})"
        else:
            self.low = 0

    def text(self) -> str:
        """What it saw, for people: ``soak 20s ok (min 148 fps)``."""
        least = self.figures["fps_min"]
        frames = "" if least is None else f" (min {least:.0f} fps)"
        return f"soak {format_duration(self.seconds)} ok{frames}"


def _number(told: Any) -> float | None:
    """A figure of the device; None for what cannot be one."""
    known = isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < 1e9
    return told if known else None
