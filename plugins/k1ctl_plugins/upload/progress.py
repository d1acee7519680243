"""The flash worker's plain lines as a progress bar."""

from __future__ import annotations

import time

from k1ctl.output import say
from k1ctl.process.view import View
from k1ctl.units import format_duration, format_size

_STAGES = {
    "connect": "asking the board on USB who it is",
    "probe": "asking the device who it is",
    "invite": "inviting the device",
    "transfer": "sending",
    "verify": "asking the device what became of it",
    "restart": "waiting for the device to come back",
    "soak": "watching how it runs",
    "console": "listening to its console",
}
_SPEED_AFTER = 1.0  # s; what is measured over less says nothing
_ENDS = ("refused:", "unknown:", "interrupted:", "unreachable:", "busy:", "wrong:", "failed:")  # of an attempt


class FlashView(View):
    """Shows stages and progress of a flash on one live line, and why it is tried again.

    The bar is what the device said that it took: what was sent may wait in the buffers between for a while. The speed
    is of what it took since we look: an upload that is taken up is told of in one piece up to then.
    """

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self._rest = device, b""
        self._taken = 0
        self._from: tuple[float, int] | None = None  # when we began to look, and what it had then
        self._ended = ""  # how the attempt ended, in its worker's words

    def chosen(self, device: str) -> None:
        """From now on it is about this one."""
        self.device = device
        super().chosen(device)

    def created(self, run: str) -> None:
        """By this name the upload can be taken up again, whatever becomes of this call."""
        say(f"run {run}")

    def output(self, fd: int, data: bytes) -> None:
        """Read what the worker printed instead of passing it through."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._line(line.decode("utf-8", "replace"))
        if self._taken and self._from is None:
            self._from = time.monotonic(), self._taken

    def _line(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "stage":
            self._taken, self._from, self._ended = 0, None, ""
            if rest != "guard":  # nearly always free; a wait for it is told by a line of its own
                self.live.update(f"{self.device}: {_STAGES.get(rest, rest)}")
        elif word == "taken" and len(rest.split()) == 2 and rest.replace(" ", "").isdigit():
            taken, total = map(int, rest.split())
            self._bar(taken, total)
        elif word == "soak" and rest.split():
            self._soak(*rest.split())
        elif line.startswith("waiting:"):
            self.live.update(f"{self.device}: {line}")
        elif word in _ENDS:
            self._ended = line

    def _soak(self, passed: str, total: str, fps: str = "") -> None:
        try:
            now, end = float(passed), float(total)
        except ValueError:
            return
        frames = f", {fps} fps" if fps else ""
        text = f"{self.device}: soak {format_duration(min(now, end))} of {format_duration(end)}{frames}"
        self.live.update(text, key=("soak", int(4 * now / end) if end else 4))

    def message(self, text: str) -> None:
        """What the caller should know, behind the reason for it."""
        self.live.clear()
        if self._ended:
            say(f"{self.device}: {self._ended}")
            self._ended = ""
        super().message(text)

    def _bar(self, taken: int, total: int) -> None:
        self._taken = taken
        share = taken / total if total else 1.0
        bar = "#" * round(share * 24)
        text = f"{self.device}: [{bar.ljust(24)}] {share:4.0%}  {format_size(taken)} of {format_size(total)}"
        self.live.update(text + self._speed(), key=("progress", int(share * 4)))

    def _speed(self) -> str:
        since, had = self._from or (time.monotonic(), 0)
        seconds = time.monotonic() - since
        return f"  {format_size((self._taken - had) / seconds)}/s" if seconds >= _SPEED_AFTER else ""
