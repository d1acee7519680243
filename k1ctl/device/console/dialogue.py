"""A dialogue with a device: send, expect, in the order they were given, with pexpect over an open console."""

from __future__ import annotations

import re
import signal
import threading
import time
from codecs import getincrementaldecoder
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from pexpect import EOF, TIMEOUT
from pexpect.spawnbase import SpawnBase

from k1ctl.device.console.panic import ANSI, Reader
from k1ctl.errors import K1ctlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from k1ctl.device.console.session import Session

    _Base = SpawnBase[str]
else:
    _Base = SpawnBase

_SHOWN = 2000  # characters of what came that an error tells
_GAP, _LINE_SECONDS = 0.05, 1.0  # s without a byte after which a line is as it is; s that one may take
_WINDOW = 65536  # characters that an expression may span
_GRACE = 10.0  # s past its limit after which an expression that is still being tried is given up
_LONGEST_ESCAPE = 300  # characters
_PARTIAL = re.compile(r"(?:\r|\x1b(?:\[[0-?]*[ -/]*|\][^\x07\x1b]{0,200})?)\Z")
_ESCAPE = re.compile(r"\\(?:([nrt\\0e])|x([0-9a-fA-F]{2}))")
_NAMES = {"n": b"\n", "r": b"\r", "t": b"\t", "\\": b"\\", "0": b"\0", "e": b"\x1b"}


class Step(NamedTuple):
    """One step: what to ``send`` (bytes), or what to ``expect`` (an expression over the text, which is without colours
    and has ``\\n`` at the end of a line; ``^`` and ``$`` mean lines)."""

    send: bytes = b""
    expect: re.Pattern[str] | None = None


class Match(NamedTuple):
    """What was seen: the ``expect``ation, the ``text`` that matched, its groups, after how many ``seconds``."""

    expect: str
    text: str
    groups: tuple[str | None, ...]
    seconds: float

    def document(self) -> dict[str, Any]:
        """As JSON tells it."""
        return {**self._asdict(), "groups": list(self.groups), "seconds": round(self.seconds, 3)}


def sent(text: str) -> Step:
    r"""A step that sends ``text``, in which ``\n \r \t \e \0 \\ \xNN`` are what they stand for."""
    pieces, at = [], 0
    for found in _ESCAPE.finditer(text):
        pieces += [text[at : found.start()].encode(), _NAMES[found[1]] if found[1] else bytes([int(found[2], 16)])]
        at = found.end()
    return Step(send=b"".join([*pieces, text[at:].encode()]))


def expected(text: str) -> Step:
    """A step that waits for the expression ``text``. Raises UsageError."""
    try:
        return Step(expect=re.compile(text, re.MULTILINE))
    except re.error as exc:
        raise UsageError(f"{text!r} is no regular expression: {exc}", code="bad-expression") from exc


class _Crashed(Exception):
    """The device panicked where that was not expected."""


class _TooSlow(Exception):
    """An expression takes for ever."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise in the midst of what is being done after ``seconds``: only that ends an expression which tries all of many
    ways, as ``(a+)+$``. (In the main thread, where alone signals come; elsewhere there is no limit.)"""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def over(number: int, frame: object) -> None:
        raise _TooSlow

    before, began = signal.signal(signal.SIGALRM, over), time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # whose alarm it was has it back
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - began), 0.001), interval)


class Dialogue(_Base):
    """pexpect's side of an open console; ``show`` is given every byte."""

    def __init__(self, session: Session, show: Callable[[bytes], None], stop_fd: int) -> None:
        super().__init__(encoding="utf-8", codec_errors="replace", searchwindowsize=_WINDOW)
        self.session, self.show, self.stop_fd = session, show, stop_fd
        self.decoder = getincrementaldecoder("utf-8")("replace")
        self.held = ""  # the beginning of an escape sequence or of a line's end
        self.allowed, self.asked = 0, False  # panics that were asked for, or of before; one that has not ended yet
        self.delayafterread = None

    def read_nonblocking(self, size: int = 1, timeout: float | None = None) -> str:
        """What came, as text without colours. Raises TIMEOUT, KeyboardInterrupt."""
        if self.session.reader.count > self.allowed:
            raise _Crashed
        end = None if timeout is None or timeout < 0 else time.monotonic() + timeout
        while True:
            left = 1.0 if end is None else end - time.monotonic()
            data = self._pump(max(min(left, 1.0), 0.0))
            if data:
                data += self._rest_of_the_line(data)
                text = self.held + self.decoder.decode(data)
                partial = _PARTIAL.search(text)
                self.held = partial[0] if partial and len(partial[0]) < _LONGEST_ESCAPE else ""
                return ANSI.sub("", text[: len(text) - len(self.held)]).replace("\r\n", "\n")
            if self.session.reader.count > self.allowed:
                raise _Crashed
            if left <= 0:
                raise TIMEOUT("nothing came")

    def _pump(self, seconds: float) -> bytes:
        data = self.session.pump(seconds, [self.stop_fd])
        self.show(data)
        if _readable(self.stop_fd):
            raise KeyboardInterrupt
        return data

    def _rest_of_the_line(self, data: bytes) -> bytes:
        """What follows at once where ``data`` ends within a line: packets of USB have 64 bytes, and no expression is to
        match half a word. A prompt, which ends no line, costs this wait."""
        more, end = b"", time.monotonic() + _LINE_SECONDS
        while not (data + more).endswith(b"\n") and time.monotonic() < end and len(more) < _WINDOW:
            piece = self._pump(_GAP)
            if not piece:
                break
            more += piece
        return more

    def run(self, steps: Sequence[Step], seconds: float) -> list[Match]:
        """Do the steps, each within ``seconds``.

        Raises K1ctlError: code not-seen (1) telling what came, device-panic (1) when the device crashed where that was
        not expected, device-lost (69) when it is gone.
        """
        self.allowed = self.session.reader.count
        done: list[Match] = []
        for step in steps:
            if step.expect is None:
                self._send(step.send, seconds, done)
                continue
            begun = time.monotonic()
            try:
                with limited(seconds + _GRACE):
                    at = self.expect_list([step.expect, TIMEOUT, EOF], timeout=seconds)
            except _Crashed:
                raise self._crashed(step, done) from None
            except _TooSlow:
                raise _too_slow(step.expect.pattern, done) from None
            if at:
                raise self._not_seen(step, seconds, done)
            found: Any = self.match
            if self._crashed_before_that():
                raise self._crashed(step, done)
            done.append(Match(step.expect.pattern, found[0], found.groups(), time.monotonic() - begun))
            self.asked = self.session.reader.open is not None
            self.allowed = self.session.reader.count + self.asked
        return done

    def _crashed_before_that(self) -> bool:
        """Whether a panic came and was over before what was seen: it is another start of the app that said that."""
        if self.session.reader.count <= self.allowed:
            return False
        reader = Reader()
        reader.crashed = self.asked
        reader.feed(str(self.before).encode())
        return bool(reader.panics)

    def _send(self, data: bytes, seconds: float, done: list[Match]) -> None:
        """Send, once the device is there: its port may be lent to a flash."""
        end = time.monotonic() + seconds
        while self.session.away and time.monotonic() < end:
            self._pump(end - time.monotonic())
        if not self.session.send(data):
            raise self.session.gone() if self.session.away else _deaf(self.session.name, done)

    def _not_seen(self, step: Step, seconds: float, done: list[Match]) -> K1ctlError:
        assert step.expect is not None
        if self.session.away:
            return self.session.gone()
        came = str(self.before or "")
        return K1ctlError(
            f"{step.expect.pattern!r} was not seen in {seconds:g} s; what came: {_tail(came)}",
            hint=f"all of it is in {self.session.log.path}" if self.session.bytes else "does it hang? --reset",
            code="not-seen",
            expect=step.expect.pattern,
            came=came[-_SHOWN:],
            log=self.session.log.path if self.session.bytes else "",
            matched=[m.document() for m in done],
        )

    def _crashed(self, step: Step, done: list[Match]) -> K1ctlError:
        assert step.expect is not None
        reader = self.session.reader
        panic = reader.panics[max(self.allowed - reader.count, -len(reader.panics))]
        return K1ctlError(
            f"{self.session.name} panicked before {step.expect.pattern!r} was seen: {panic}",
            hint=f"all of it is in {self.session.log.path}",
            code="device-panic",
            expect=step.expect.pattern,
            panics=[p.document() for p in reader.panics],
            log=self.session.log.path,
            matched=[m.document() for m in done],
        )


def _deaf(name: str, done: list[Match]) -> K1ctlError:
    return K1ctlError(
        f"{name} does not take what is sent",
        hint="it may hang; k1ctl device console --reset",
        code="device-deaf",
        matched=[m.document() for m in done],
    )


def _too_slow(pattern: str, done: list[Match]) -> UsageError:
    return UsageError(
        f"{pattern!r} takes too long to be tried on what came",
        hint="write it without a repetition of a repetition, as (a+)+",
        code="bad-expression",
        expect=pattern,
        matched=[m.document() for m in done],
    )


def _readable(fd: int) -> bool:
    import select

    return bool(select.select([fd], [], [], 0)[0])


def _tail(text: str) -> str:
    from k1ctl.output import clean

    lines = [clean(line) for line in text.replace("\r", "").split("\n") if line.strip()][-3:]
    return " | ".join(lines)[-300:] or "nothing"
