"""The console on a terminal: keys to the device, its output to the screen, and the terminal as it was afterwards.

All keys are the device's but three: Ctrl-] ends the console (as in pyserial's miniterm), ^C too (as in PlatformIO's
monitor), and Ctrl-T is a prefix (as in esp-idf-monitor): Ctrl-T Ctrl-R resets the device, Ctrl-T and one of the three
sends that to the device.
"""

from __future__ import annotations

import errno
import os
import select
import signal
from typing import Any

from k1ctl.errors import UnreachableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.device.console.session import Session

END, STOP, PREFIX, RESET = b"\x1d", b"\x03", b"\x14", b"\x12"
HELP = "Ctrl-] or ^C ends it, Ctrl-T Ctrl-R resets the device, Ctrl-T Ctrl-C sends ^C"
_WAITS = 1 << 20  # bytes that may wait for a screen that takes nothing
_AT_ONCE = 512  # bytes that a terminal or pipe which is ready takes without blocking (POSIX: _POSIX_PIPE_BUF)


class Keyboard:
    """``with Keyboard(0) as keyboard``: each key as it is pressed; restores the terminal in every case that is not
    SIGKILL. Output is left as it is, so that our own lines look right."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.before: Any = None
        self.handler: Any = None

    def __enter__(self) -> Keyboard:
        import termios

        self.before = termios.tcgetattr(self.fd)
        self._raw()
        self.handler = signal.signal(signal.SIGCONT, lambda *_: self._raw())  # a shell may have changed it meanwhile
        return self

    def _raw(self) -> None:
        import termios

        changed: list[Any] = [each[:] if isinstance(each, list) else each for each in self.before]
        changed[0] &= ~(termios.ICRNL | termios.INLCR | termios.IGNCR | termios.IXON | termios.ISTRIP)
        changed[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        changed[6][termios.VMIN], changed[6][termios.VTIME] = 1, 0
        try:
            termios.tcsetattr(self.fd, termios.TCSANOW, changed)
        except termios.error:
            pass  # it hung up

    def __exit__(self, *exc: object) -> None:
        import termios

        signal.signal(signal.SIGCONT, self.handler)
        try:
            termios.tcflush(self.fd, termios.TCIFLUSH)  # the screen's answers to what the device asked it are no input
            termios.tcsetattr(self.fd, termios.TCSANOW, self.before)
        except termios.error:
            pass


class Screen:
    """Where the device's output goes: never waited for, so that a pager or a stopped terminal keeps nobody."""

    def __init__(self, fd: int) -> None:
        self.fd, self.waiting, self.dropped, self.gone = fd, bytearray(), 0, False

    def show(self, data: bytes) -> None:
        """Write what the reader takes; the rest waits, and past a megabyte the oldest is dropped (the log has it)."""
        if self.gone:
            return
        self.waiting += data
        if len(self.waiting) > _WAITS:
            self.dropped += len(self.waiting) - _WAITS
            del self.waiting[:-_WAITS]
        while self.waiting and select.select([], [self.fd], [], 0)[1]:
            self._write()

    def _write(self) -> None:
        try:
            del self.waiting[: os.write(self.fd, self.waiting[:_AT_ONCE])]
        except BrokenPipeError:
            raise
        except OSError as exc:
            if exc.errno != errno.EIO:
                raise
            self.gone = True  # the terminal was closed; HUP says the same
            self.waiting.clear()

    def finish(self, patience: float | None = None) -> None:
        """Write what waits, at the end; given up where the reader takes nothing for ``patience`` seconds (None: as long
        as it takes), and counted. Raises BrokenPipeError."""
        while self.waiting and select.select([], [self.fd], [], patience)[1]:
            self._write()
        self.dropped += len(self.waiting)
        self.waiting.clear()


class Keys:
    """What is typed: the device's keys, and ours."""

    def __init__(self, session: Session) -> None:
        self.session, self.prefixed = session, False

    def pressed(self, data: bytes) -> bool:
        """Take what was typed; False when it ends the console."""
        out = bytearray()
        for at in range(len(data)):
            key = data[at : at + 1]
            if self.prefixed:
                self.prefixed = False
                if key == RESET:
                    self._sent(out)
                    self._reset()
                elif key in (END, STOP, PREFIX):
                    out += key
                else:
                    self.session.say(HELP)
            elif key == PREFIX:
                self.prefixed = True
            elif key in (END, STOP):
                self._sent(out)
                return False
            else:
                out += key
        self._sent(out)
        return True

    def _sent(self, out: bytearray) -> None:
        if out and not self.session.send(bytes(out)):
            self.session.say(f"not sent: {self.session.away or 'the device takes nothing'}")
        out.clear()

    def _reset(self) -> None:
        try:
            self.session.reset()
        except UnreachableError as exc:
            self.session.say(f"{exc.message}; {exc.hint}")


def interact(session: Session, screen: Screen, stop_fd: int, keyboard: int = 0) -> bool:
    """Be the console until a key of ours or ``stop_fd`` ends it; whether it was a key. The terminal is restored."""
    with Keyboard(keyboard):
        keys = Keys(session)
        while True:
            screen.show(session.pump(1.0, [keyboard, stop_fd]))
            ready = select.select([keyboard, stop_fd], [], [], 0)[0]
            if stop_fd in ready:
                return False
            if keyboard in ready:
                try:
                    typed = os.read(keyboard, 4096)
                except OSError:  # it hung up
                    return False
                if not typed or not keys.pressed(typed):
                    return bool(typed)
