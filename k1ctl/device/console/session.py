"""A console that stays open: kept in a log, watched for panics, lent to a flash, found again when it was gone."""

from __future__ import annotations

import select
import time

from k1ctl.device import port, usb
from k1ctl.device.cable import BAUD, BUSY, Cable, CableLost, find
from k1ctl.device.console.panic import KEPT_PANICS, Reader
from k1ctl.errors import BusyError, K1ctlError, UnreachableError
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from k1ctl.device.console.backtrace import Decoded, Explainer, Job
    from k1ctl.device.console.log import Log
    from k1ctl.device.console.panic import Panic

_LENT, _LOST = 0.02, 0.2  # s between two tries to have the port again
_QUIET = 1.0  # s without a byte after which a panic without an end is complete
_AGAIN = 60.0  # s in which the same panic is one event
_KINDS = 30  # different ones in twice that time that are events
_AT_THE_END = 20.0  # s that explanations may still take when all else is over
_EXPLAINING = 32  # panics that may wait for addr2line


class Session:
    """The console of ``device`` (its settings and ``name``), once `open` was called.

    ``what`` is what others are told has the port, ``say`` is told what happens to it, ``note(event, **fields)`` records
    an event, ``panicked(panic, decoded)`` is called for each panic. ``folder`` stands for the host's state folder.
    """

    def __init__(
        self,
        device: Mapping[str, Any],
        log: Log,
        explainer: Explainer,
        *,
        what: str,
        workspace: str = "",
        baud: int = BAUD,
        say: Callable[[str], None] = lambda text: None,
        note: Callable[..., None] = lambda event, **fields: None,
        panicked: Callable[[Panic, Decoded], None] = lambda panic, decoded: None,
        folder: str = "",
        lister: Callable[[], Sequence[usb.Port]] = usb.ports,
    ) -> None:
        self.device, self.log, self.explainer, self.baud = device, log, explainer, baud
        self.what, self.workspace, self.folder, self.lister = what, workspace, folder, lister
        self.say, self.note, self.panicked = say, note, panicked
        self.reader = Reader()
        self.cable: Cable | None = None
        self.hold: port.Hold | None = None
        self.path = self.key = self.away = ""
        self.bytes, self.last, self.looked, self.again = 0, time.monotonic(), 0.0, 0.0
        self.jobs: list[Job] = []
        self.explained: list[tuple[Panic, Decoded]] = []
        self.noted: dict[tuple[str, str, str], tuple[float, int]] = {}

    @property
    def name(self) -> str:
        """The device's name."""
        return str(self.device["name"])

    # having the port

    def open(self, wait: float | None = None) -> None:
        """Take the port and open it without a reset, waiting at most ``wait`` seconds (None: as long as it takes) for
        who has it. Raises BusyError (code port-busy), UnreachableError, WrongDataError, ConfigError."""
        found = find(self.device, self.lister)
        self.key = port.key_of(self.device, *found)
        end, told = None if wait is None else time.monotonic() + wait, False
        while (hold := port.take(self.key, what=self.what, workspace=self.workspace, folder=self.folder)) is None:
            who = port.holder_text(self.key, self.folder)
            if end is not None and time.monotonic() >= end:
                raise BusyError(
                    f"{found.path} is held by {who} (waited {format_duration(wait or 0)})",
                    hint="try again when it is done; without --wait it is waited for",
                    code="port-busy",
                )
            if not told:
                self.say(f"waiting for {found.path}, held by {who}")
                told = True
            time.sleep(port.LOOK)
        self.hold = hold
        try:
            self.cable = Cable(found.path, self.baud)
        except K1ctlError:
            self._let_go()
            raise
        self.path = found.path
        self.note("console.opened", device=self.name, port=self.path, log=self.log.path)

    def reset(self) -> None:
        """Reset the device. Raises UnreachableError (code no-reset-lines, or device-lost)."""
        if self.cable is None:
            raise self.gone()
        try:
            self.cable.reset()
        except CableLost as exc:
            self._lost(str(exc))  # as boards do whose USB is the chip's own work: it is found again

    def gone(self) -> UnreachableError:
        """The error where the device is not there."""
        return UnreachableError(
            f"{self.name} is not on its port: {self.away}",
            hint="is it plugged in?" if self.hold else "try again when that is done, or give it a longer --timeout",
            code="device-lost",
        )

    def pump(self, seconds: float, also: Sequence[int] = ()) -> bytes:
        """What the device said within ``seconds``; earlier, also with b"", when one of the descriptors ``also`` becomes
        readable or the port comes or goes."""
        if self.cable is None:
            self._return(seconds, also)
            data = b""
        elif self._asked_for():
            data = self._lend()
        else:
            data = self._receive(min(seconds, port.LOOK), also)
        self._report()
        return data

    def send(self, data: bytes) -> bool:
        """Hand ``data`` to the device; False when it is away or does not take it."""
        if self.cable is None:
            return False
        try:
            return self.cable.send(data)
        except CableLost as exc:
            self._lost(str(exc))
            return False

    def close(self) -> None:
        """Let go of the port; what is still being explained is waited for, for some seconds."""
        self._panics(self.reader.close())
        was = self.hold is not None
        self._let_go()
        self.log.close()
        end = time.monotonic() + _AT_THE_END
        for job in self.jobs:
            job.wait(end - time.monotonic())
        self._report()
        if was or self.away:
            count = self.reader.count
            log = self.log.path if self.bytes else ""  # where nothing was said none is kept
            self.note("console.closed", device=self.name, log=log, bytes=self.bytes, panics=count)

    def _asked_for(self) -> bool:
        """Whether somebody wants the port; looked at ten times a second, however much the device says."""
        now = time.monotonic()
        if now - self.looked < port.LOOK:
            return False
        self.looked = now
        return port.wanted(self.key, self.folder)

    def _let_go(self) -> None:
        if self.cable is not None:
            self.cable.close()
            self.cable = None
        if self.hold is not None:
            self.hold.release()
            self.hold = None

    def _lend(self) -> bytes:
        """Close the port for whoever wants it; what the device had said until then is not lost."""
        data = b""
        while self.cable is not None and (more := self._receive(0)):
            data += more
        self._panics(self.reader.close())  # what comes after that is another start
        self._let_go()
        who = port.wanter_text(self.key, self.folder)
        self.away = f"lent to {who}"
        self.say(f"{self.path} is lent to {who}; the console goes on after it")
        self.note("console.lent", device=self.name, to=who, log=self.log.path, log_bytes=self.log.size)
        return data

    def _lost(self, why: str) -> None:
        if self.cable is not None:
            self.cable.close()
            self.cable = None
        self._panics(self.reader.close())
        self.away = why
        self.say(f"{self.name} is gone from {self.path} ({why}); waiting for it")
        self.note("console.lost", device=self.name, message=why, log=self.log.path, log_bytes=self.log.size)

    def _return(self, seconds: float, also: Sequence[int]) -> None:
        """Try to have the port and the device again, or wait a little."""
        if self.hold is not None and port.wanted(self.key, self.folder):
            self._let_go()
        if self.hold is None:
            self.hold = port.take(self.key, what=self.what, workspace=self.workspace, folder=self.folder)
        if self.hold is not None and time.monotonic() >= self.again:
            try:
                self.path = find(self.device, self.lister).path
                self.cable = Cable(self.path, self.baud)
            except K1ctlError as exc:
                self._still_away(exc)
            else:
                self.away, self.last = "", time.monotonic()
                self.say(f"{self.name} is back on {self.path}")
                self.note("console.resumed", device=self.name, port=self.path, log=self.log.path)
                return
        select.select(also, [], [], min(seconds, _LOST if self.hold else _LENT))

    def _still_away(self, exc: K1ctlError) -> None:
        if isinstance(exc, BusyError):
            self.again = time.monotonic() + BUSY
            if exc.message != self.away:
                self.say(f"{exc.message}; waiting for it")
        self.away = exc.message

    # what it says

    def _receive(self, seconds: float, also: Sequence[int] = ()) -> bytes:
        assert self.cable is not None
        try:
            data = self.cable.receive(seconds, also)
        except CableLost as exc:
            self._lost(str(exc))
            return b""
        if data:
            self.last = time.monotonic()
            self.bytes += len(data)
            self.log.write(data)
            self._panics(self.reader.feed(data))
        elif time.monotonic() - self.last >= _QUIET:
            self._panics(self.reader.settle())
        return data

    def _panics(self, panics: list[Panic]) -> None:
        for panic in panics:
            self.jobs.append(self.explainer.start(panic, now=len(self.jobs) >= _EXPLAINING))

    def _report(self) -> None:
        """Tell of the panics whose explanation is there, in their order."""
        while self.jobs and self.jobs[0].result is not None:
            job = self.jobs.pop(0)
            assert job.result is not None
            self.explained = [*self.explained, (job.panic, job.result)][-KEPT_PANICS:]
            self._note_panic(job.panic, job.result)
            self.panicked(job.panic, job.result)

    def _note_panic(self, panic: Panic, decoded: Decoded) -> None:
        """An event for a panic; one that comes again and again, as in a crash loop, is one a minute."""
        key, now = (panic.kind, panic.reason, panic.pc), time.monotonic()
        before, count = self.noted.get(key, (now - _AGAIN, 0))
        if now - before < _AGAIN:
            self.noted[key] = before, count + 1
            return
        self.noted = {each: row for each, row in self.noted.items() if now - row[0] < 2 * _AGAIN or each == key}
        if len(self.noted) >= _KINDS:
            return  # each is another one: the log has them
        self.noted[key] = now, 0
        self.note(
            "device.panic",
            device=self.name,
            kind=panic.kind,
            reason=panic.reason,
            pc=panic.pc,
            backtrace=decoded.lines or [f"{pc}:{sp}" for pc, sp in panic.backtrace],
            log=self.log.path,
            log_bytes=self.log.size,
            since_the_last=count,
        )
