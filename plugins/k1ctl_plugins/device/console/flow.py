"""One console from its place in line to its end."""

from __future__ import annotations

import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from k1ctl import events
from k1ctl.device.console import KEPT
from k1ctl.device.console.backtrace import Decoded, Explainer
from k1ctl.device.console.log import Log, folder
from k1ctl.device.console.session import Session
from k1ctl.device.console.terminal import HELP, Screen, interact
from k1ctl.device.stop import StopRequest
from k1ctl.errors import K1ctlError
from k1ctl.output import say
from k1ctl.process.hold import hold
from k1ctl.process.view import View

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.config import Config
    from k1ctl.device.console.dialogue import Match, Step
    from k1ctl.device.console.panic import Panic
    from k1ctl.workspace import Workspace

_PATIENCE = 2.0  # s in which a reader that takes nothing keeps a console that was told to end


def steps(order: Sequence[str], send: Sequence[str], expect: Sequence[str]) -> list[Step]:
    """The dialogue's steps, in the ``order`` of the options ``send`` and ``expect``. Raises UsageError."""
    if not order:
        return []
    from k1ctl.device.console.dialogue import expected, sent

    texts, expressions = iter(send), iter(expect)
    return [sent(next(texts)) if name == "send" else expected(next(expressions)) for name in order]


class Signals:
    """INT, TERM and HUP as a request to end from `take` to `give_back`, but what was ignored before us (nohup) stays
    so: ``number`` is the one that came, 0 until then."""

    def __init__(self) -> None:
        self.number, self.stop = 0, StopRequest()
        self.before: dict[int, Any] = {}

    def take(self) -> None:
        """From now on they are requests."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) != signal.SIG_IGN:
                self.before[number] = signal.signal(number, self._came)

    def give_back(self) -> None:
        """From now on they are what they were."""
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def _came(self, number: int, frame: object) -> None:
        self.number = self.number or number
        self.stop.request()


class Console:
    """A console of one call: what came, and what was told of it."""

    def __init__(self, session: Session, quiet: bool) -> None:
        self.session, self.quiet = session, quiet
        self.kept, self.began, self.signal = b"", time.monotonic(), 0
        self.matched: list[Match] = []
        self.screen = Screen(1)

    def show(self, data: bytes) -> None:
        """Pass on what the device said, or keep the last of it for the document."""
        if self.quiet:
            self.kept = (self.kept + data)[-KEPT:]
        elif data:
            self.screen.show(data)

    def finish(self) -> None:
        """Show what waits, and tell what could not be shown or kept."""
        log = self.session.log
        if not self.quiet:
            self.screen.finish(_PATIENCE if self.signal else None)
            if self.screen.dropped:
                say(f"k1ctl: {self.screen.dropped} bytes were not shown; they are in {log.path}")
        if log.lost:
            say(f"k1ctl: {log.lost} bytes could not be kept in {log.place}: is the disk full?")

    def document(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        session, text = self.session, self.kept.decode("utf-8", "replace")
        lines = text.replace("\r\n", "\n").split("\n")
        return {
            "ok": True,
            "device": session.name,
            "port": session.path,
            "log": session.log.path,
            "bytes": session.bytes,
            "bytes_not_kept": session.log.lost,
            "seconds": round(time.monotonic() - self.began, 3),
            "truncated": session.bytes > len(self.kept),
            "lines": lines if lines[-1] else lines[:-1],
            "panics": [told(panic, decoded) for panic, decoded in session.explained],
            "resets": [reset._asdict() for reset in session.reader.resets],
            "matched": [match.document() for match in self.matched],
        }


def told(panic: Panic, decoded: Decoded) -> dict[str, Any]:
    """A panic with what became of its backtrace."""
    return {**panic.document(), "decoded": decoded.lines, "elf": decoded.elf, "note": decoded.note}


def console(
    workspace: Workspace,
    config: Config,
    name: str | None,
    steps: list[Step],
    *,
    quiet: bool,
    reset: bool,
    seconds: float | None,
    timeout: float,
    fail_on_panic: bool,
    wait: float | None,
    elf: str | None,
) -> Console:
    """Hold the console of device ``name`` (default: [defaults] device) and show it until it ends.

    It ends with the dialogue's last step, after ``seconds``, with a key of ours, or by a signal. Raises K1ctlError.
    """
    device = _device(config, name)
    begun = time.monotonic()
    what = f"device console {device['name']}"
    lease = hold(workspace, config, {f"console:{device['name']}": 1}, what=what, wait=wait, view=View())
    rules = config.section("console")
    log = Log(folder(workspace, device["name"]), keep=rules["keep"], limit=rules["limit"])
    session = Session(
        device,
        log,
        _explainer(workspace, config, device, elf or ""),
        what=f"k1ctl {what}",
        workspace=workspace.name,
        baud=rules["baud"],
        say=lambda text: say(f"k1ctl: {text}"),
        note=partial(events.emit, workspace),
        panicked=_say_panic,
    )
    shown, signals = Console(session, quiet), Signals()
    try:
        session.open(None if wait is None else max(wait - (time.monotonic() - begun), 0.0))
        signals.take()
        if reset:
            session.reset()
        _run(shown, signals, steps, seconds, timeout, fail_on_panic)
    finally:
        session.close()
        log.discard_if_empty()
        lease.release()
        signals.give_back()
        shown.signal = signals.number
        shown.finish()  # when nobody waits for us any more
    return shown


def _device(config: Config, name: str | None) -> dict[str, Any]:
    name = name or str(config.get("defaults", "device"))
    return {**config.named("devices", name), "name": name}


def _explainer(workspace: Workspace, config: Config, device: dict[str, Any], elf: str) -> Explainer:
    targets = [config.section("targets", target) for target in config.names("targets")]
    chips = [t["chip"] for t in targets if t["device"] == device["name"]]
    chips.append(config.section("targets", str(config.get("defaults", "target")))["chip"])
    chip = str(chips[0]).replace("none", "esp32s3")
    return Explainer(workspace, device["name"], elf=elf, addr2line=str(config.get("tools", "addr2line")), chip=chip)


def _run(
    shown: Console,
    signals: Signals,
    steps: list[Step],
    seconds: float | None,
    timeout: float,
    fail_on_panic: bool,
) -> None:
    session, stop = shown.session, signals.stop
    if steps:
        from k1ctl.device.console.dialogue import Dialogue

        try:
            shown.matched = Dialogue(session, shown.show, stop.fd).run(steps, timeout)
        except KeyboardInterrupt:
            return
        if seconds is None:
            return
    elif seconds is None and not shown.quiet and sys.stdin.isatty() and sys.stdout.isatty():
        say(f"k1ctl: {session.name} on {session.path}; {HELP}")
        interact(session, shown.screen, stop.fd)
        return
    end = None if seconds is None else time.monotonic() + seconds
    while not stop.requested and (end is None or time.monotonic() < end):
        shown.show(session.pump(1.0 if end is None else min(max(end - time.monotonic(), 0.0), 1.0), [stop.fd]))
        if fail_on_panic and session.explained:
            panic, decoded = session.explained[0]
            raise K1ctlError(
                f"{session.name} panicked: {panic}",
                hint=f"all of it is in {session.log.path}",
                code="device-panic",
                panics=[told(panic, decoded)],
                log=session.log.path,
            )


def _say_panic(panic: Panic, decoded: Decoded) -> None:
    say(f"k1ctl: panic: {panic}")
    for line in decoded.lines:
        say(f"k1ctl:   {line}")
    if decoded.note:
        say(f"k1ctl:   {decoded.note}")
