"""What a pattern costs while it is shown: frames a second, drawing times and memory, sampled within the rate limits."""

from __future__ import annotations

import time

from k1ctl.device.http import BadAnswer, RateLimited
from k1ctl.device.pattern.baseline import FPS, MEMORY, RENDER, number
from k1ctl.device.pattern.client import CURRENT, FRAMES, HEALTH, PERFORMANCE, Rest
from k1ctl.device.probe import MILLIS, restarted
from k1ctl.errors import K1ctlError, UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PATIENCE = 2.0  # seconds that a 429 is waited out while figures are taken; the next round asks again
_FRAMES_KEPT = 64  # frame_metrics.h
_AGAIN = 0.2  # seconds between two questions to a device that does not answer


class RestartedError(K1ctlError):
    """The device started anew while a pattern was shown."""

    code = "device-restarted"


class VoidError(K1ctlError):
    """What was measured says nothing about the pattern."""

    code = "sample-void"


class Watch:
    """Notices that the device started anew since the last look, and waits for one that does not answer.

    ``lost_seconds``: without an answer for so long it is lost; ``during`` says what has been going on since the last
    look, as in ``while lava was shown``.
    """

    def __init__(self, rest: Rest, lost_seconds: float) -> None:
        self.rest, self.lost_seconds, self.during = rest, lost_seconds, "before the first pattern was shown"
        self.uptime: tuple[int, float] | None = None  # (milliseconds, when it had been told)

    def look(self) -> None:
        """Raises RestartedError, UnreachableError (it is lost)."""
        asked = time.monotonic()
        try:
            self._same_start(self.rest.get(HEALTH, _PATIENCE), asked)
        except (RateLimited, BadAnswer):
            pass  # the next look tells
        except UnreachableError as exc:
            self.until_back(exc)

    def _same_start(self, health: dict[str, Any], asked: float) -> None:
        told = health.get("uptime_ms")
        if not isinstance(told, int) or isinstance(told, bool) or not 0 <= told < MILLIS:
            return
        before, self.uptime = self.uptime, (told, time.monotonic())
        if before is not None and restarted(before[0], told, max(asked - before[1], 0.0)):
            raise RestartedError(
                f"the device started anew {self.during} (up for {told / 1000:.1f} s)",
                hint="its boot log tells why: k1ctl device console",
            )

    def until_back(self, lost: UnreachableError) -> None:
        """Wait until the device that did not answer does. Raises RestartedError where it started anew meanwhile,
        UnreachableError (code device-vanished) when it does not come back."""
        end = time.monotonic() + self.lost_seconds
        while time.monotonic() < end:
            time.sleep(_AGAIN)
            asked = time.monotonic()
            try:
                self._same_start(self.rest.get(HEALTH, _PATIENCE), asked)
            except UnreachableError as exc:
                lost = exc
                continue
            except (RateLimited, BadAnswer):
                pass
            return
        raise UnreachableError(f"the device vanished: {lost.message}", hint=lost.hint, code="device-vanished") from lost


class Sample:
    """The figures of one pattern, as they grow: `take` fills it, `figures` sums it up whenever it ends."""

    def __init__(self, rest: Rest, pattern: str, watch: Watch) -> None:
        self.rest, self.pattern, self.watch = rest, pattern, watch
        self.fps: list[float] = []
        self.averages: list[float] = []  # microseconds of drawing, as the device averages them
        self.render: list[float] = []  # microseconds of drawing, frame by frame
        self.total: list[float] = []
        self.used: list[float] = []  # KiB
        self.seen = 0  # times that the right pattern was seen
        self.limited = self.garbage = self.silent = 0

    def take(self, seconds: float) -> None:
        """Sample for ``seconds``, at least once.

        Raises RestartedError, VoidError (another pattern was chosen, or nothing could be measured), UnreachableError
        (it is lost).
        """
        end = time.monotonic() + seconds
        while True:
            self._performance(self._ask(PERFORMANCE))
            self._frames(self._ask(FRAMES))
            self._shown(self._ask(CURRENT))
            self.watch.look()
            if time.monotonic() >= end:
                break
        if not self.fps or not self.seen:
            what = "the figures" if self.seen else "which pattern is shown"
            why = [f"{n} {text}" for n, text in self._failures() if n] or ["its answers have none"]
            raise VoidError(f"the device did not tell {what}: {', '.join(why)}", hint="do others poll it? try again")

    def _failures(self) -> tuple[tuple[int, str], ...]:
        answers = ("answers were 429", "answers made no sense", "questions had no answer")
        return tuple(zip((self.limited, self.garbage, self.silent), answers, strict=True))

    def _ask(self, path: str) -> dict[str, Any] | None:
        """The answer; None when there is none that can be used. Raises as `Watch.until_back` for want of any."""
        try:
            return self.rest.get(path, _PATIENCE)
        except RateLimited:
            self.limited += 1
        except BadAnswer:
            self.garbage += 1
        except UnreachableError as exc:
            self.silent += 1
            self.watch.until_back(exc)
        return None

    def _performance(self, found: dict[str, Any] | None) -> None:
        if found is None:
            return
        _add(self.fps, found.get("fps"))
        _add(self.averages, found.get("render_avg_us"))
        free, total = number(found.get("memory_free_kb")), number(found.get("memory_total_kb"))
        if free is not None and total is not None and free <= total:
            self.used.append(total - free)

    def _frames(self, found: dict[str, Any] | None) -> None:
        frames = (found or {}).get("frames")
        for frame in frames[:_FRAMES_KEPT] if isinstance(frames, list) else ():
            if isinstance(frame, dict):
                _add(self.render, frame.get("render_us"))
                _add(self.total, frame.get("total_us"))

    def _shown(self, found: dict[str, Any] | None) -> None:
        word = (found or {}).get("id")
        if not isinstance(word, str):
            return
        if word != self.pattern:
            raise VoidError(
                f"somebody else chose the pattern {word!r} while {self.pattern} was measured",
                hint="leave the device alone during a test; its web page counts, too",
                code="pattern-changed",
            )
        self.seen += 1

    def figures(self) -> dict[str, float | None]:
        """{fps, render_time_ms, memory_kb}: means over the sample, and the most memory in use; None: not told."""
        render = _mean(self.render or self.averages)  # a firmware may keep no frames (FRAME_METRICS_ENABLED)
        return {
            FPS: _rounded(_mean(self.fps), 2),
            RENDER: _rounded(None if render is None else render / 1000, 4),
            MEMORY: _rounded(max(self.used, default=None), 1),
        }

    def details(self) -> dict[str, Any]:
        """What stands behind the figures: extremes, counts, and what went wrong on the way."""
        return {
            "fps_min": min(self.fps, default=None),
            "fps_max": max(self.fps, default=None),
            "render_time_ms_p95": _rounded(_p95(self.render), 4),
            "frame_time_ms_p95": _rounded(_p95(self.total), 4),
            "samples": len(self.fps),
            "frames": len(self.render),
            "limited": self.limited,
            "garbage": self.garbage,
            "silent": self.silent,
        }


def _add(values: list[float], value: Any) -> None:
    known = number(value)
    if known is not None:
        values.append(known)


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _p95(microseconds: list[float]) -> float | None:
    if not microseconds:
        return None
    return sorted(microseconds)[min(int(len(microseconds) * 0.95), len(microseconds) - 1)] / 1000


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
