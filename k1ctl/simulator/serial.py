"""The device's USB port: the app's console, and the ROM loader once a host asks for it.

The board is put into its loader, and reset, by DTR and RTS (`Lines`), where the link has them. A pseudo-terminal has
not: there the loader's first word (a SYNC) does it, and a host that closes the port lets it go, which stands for the
reset that esptool ends with.
"""

from __future__ import annotations

import hashlib
import os
import select
import time
from typing import TYPE_CHECKING

from k1ctl.files import write_atomic
from k1ctl.simulator import console
from k1ctl.simulator.memory import APP0, Memory
from k1ctl.simulator.rom import NO_FAULTS, LinkLost, Rom, RomFaults
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.simulator.device import Device
    from k1ctl.simulator.links import Link

SYNC = b"\xc0\x00\x08"  # how a SYNC frame begins; no key has these bytes
FOREIGN_MAC = "02:4B:31:FF:FF:FF"
_DEAD = "unbootable"  # a file that is there while nothing in the flash starts
_LOOK = 0.1  # seconds between two looks whether the device has restarted
_CRASH_SECONDS = 0.5  # from one panic to the next


class Lines:
    """DTR and RTS as both kinds of board take them: the chip's own USB, and a bridge with two transistors.

    RTS without DTR holds the chip in reset. When RTS goes it starts: into the loader when DTR is there (the bridge
    pulls GPIO0), or when DTR without RTS had been there before (the USB-Serial-JTAG's "download mode" flag, which
    having neither clears). Sources: ESP32-S3 Technical Reference Manual, "USB Serial/JTAG Controller"; esptool's
    documentation, "Boot Mode Selection".
    """

    def __init__(self) -> None:
        self.download = self.held = self.loader = False

    def changed(self, dtr: bool, rts: bool) -> str:
        """What a change does: ``held`` (in reset), ``loader`` or ``app`` (it starts), or nothing: ""."""
        if rts and not dtr:
            self.held, self.loader = True, self.download
            return "held"
        if rts:
            return ""
        was, self.held = self.held, False
        self.download = dtr
        if was:
            return "loader" if dtr or self.loader else "app"
        return ""


class SerialPort:
    """The device's end of ``link``; ``app_ends`` is told when the app ends."""

    def __init__(self, device: Device, link: Link, app_ends: Callable[[], None] = lambda: None) -> None:
        self.device, self.link, self.app_ends = device, link, app_ends
        self.memory = Memory(device.folder)
        self.keys = console.Keys(device)
        self.rom: Rom | None = None
        self.boots, self.reason, self.next_crash = device.boots, console.SOFTWARE, 0.0
        self.dead = os.path.join(device.folder, _DEAD)
        self.flashes, self.stop_fd = 0, -1  # flashes over USB since this start
        self.started, self.started_at = 0.0, ""
        self.lines, self.pressed, self.pulled, self.renamed = Lines(), False, False, False
        self._look_at_the_app()

    def press_reset(self) -> None:
        """Press the board's RESET button; may be called from another thread."""
        self.pressed = True

    def name_again(self) -> None:
        """Be found by the same name again, where somebody cleaned it away; may be called from another thread."""
        self.renamed = not self.link.named

    def unplug(self) -> None:
        """Pull the cable and plug it in again; may be called from another thread."""
        self.pulled = True

    @property
    def bootable(self) -> bool:
        """Whether there is an app that starts."""
        return not os.path.exists(self.dead)

    @bootable.setter
    def bootable(self, value: bool) -> None:
        if value == self.bootable:
            return
        if value:
            os.unlink(self.dead)
        else:
            write_atomic(self.dead, "")

    @property
    def crashing(self) -> bool:
        """Whether the device starts over and over without getting anywhere."""
        return not self.bootable or console.panics(self.device.image())

    def serve(self, stop_fd: int) -> None:
        """Serve until ``stop_fd`` becomes readable."""
        self.stop_fd = stop_fd
        while not select.select([stop_fd], [], [], 0)[0]:
            if self.rom is None:
                self._talk()
            data = self.link.receive(stop_fd, _LOOK)
            if self.pulled:
                self.pulled = False
                self.link.lose()
                if self.rom is not None:
                    self._leave_loader("cut")
            if self.renamed:
                self.renamed = False
                self.link.name_it()
            if self.pressed:
                self.pressed = False
                self._reset(console.POWER_ON)
            for dtr, rts in self.link.lines():
                self._line(self.lines.changed(dtr, rts))
            if data is None:
                if self.rom is not None and not self.link.has_lines:
                    self._leave_loader("")
            elif data:
                self._received(data)
        if self.rom is not None:
            self._leave_loader("power-cut")
        self.link.close()
        self.memory.close()

    def _received(self, data: bytes) -> None:
        if self.rom is None:
            at = -1 if self.link.has_lines else data.find(SYNC)
            if at < 0:
                self._typed(data)
                return
            self._enter_loader()
            data = data[at:]
        assert self.rom is not None
        try:
            answer = self.rom.feed(data)
        except LinkLost:
            self.link.lose()
            self._leave_loader("cut")
            return
        self.link.send(answer)

    def _typed(self, data: bytes) -> None:
        if self.crashing or self.lines.held:
            return
        self.link.send(self.keys.pressed(data).encode())
        if self.keys.crashed:
            self.link.send(console.panic(self.device.image()).encode())
            self.keys = console.Keys(self.device)
            self.device.restart()

    def _line(self, does: str) -> None:
        if does == "held":
            self.device.silent_until = float("inf")
        elif does == "app":
            self._reset(console.USB_RESET)
        elif does == "loader":
            if self.rom is not None:
                self._leave_loader("reset")
            self._enter_loader()
            self.link.send(console.loader(console.USB_RESET).encode())

    def _reset(self, reason: str) -> None:
        """Start the app anew, from the loader or from itself."""
        if self.rom is not None:
            self._leave_loader("")
        else:
            self.app_ends()
            self.device.restart()
            self.keys = console.Keys(self.device)
            self._look_at_the_app()
        self.reason = reason

    # the loader

    def _enter_loader(self) -> None:
        self.memory.follow(self.device.image())
        self.device.silent_until = float("inf")
        self.app_ends()
        self.started, self.started_at = time.monotonic(), rfc3339()
        self.rom = Rom(self.memory, self.device.mac, self._faults(), self._pause)

    def _faults(self) -> RomFaults:
        def value(name: str) -> float | None:
            return self.device.faults.value(f"usb-{name}", self.flashes + 1)

        cut, chip = value("cut"), value("chip")
        return RomFaults(
            silent=value("silent") is not None,
            bad_cell=value("cell") is not None,
            cut_after=None if cut is None else int(cut),
            erase_seconds=value("erase") or 0.0,
            pace=value("pace") or 0.0,
            chip_id=NO_FAULTS.chip_id if chip is None else int(chip),
            mac="" if value("mac") is None else FOREIGN_MAC,
        )

    def _pause(self, seconds: float) -> None:
        select.select([self.stop_fd], [], [], seconds)

    def _leave_loader(self, why: str) -> None:
        """Reset into the app: what is in the flash now is what runs, or nothing does."""
        rom, self.rom = self.rom, None
        assert rom is not None
        before = self.device.image()
        runs = self.memory.boots(before)
        if runs is not None and runs != before:
            self.device.install(runs)
        if rom.written:
            self.flashes += 1
            self.bootable = runs is not None
            self.device.remember(**self._flash(rom, why, runs))
        self.keys = console.Keys(self.device)
        self.reason = console.USB_RESET
        self.device.restart()
        self._look_at_the_app()

    def _flash(self, rom: Rom, why: str, runs: bytes | None) -> dict[str, Any]:
        """One line of the history: installed when all regions came whole and what starts lies at the first app slot."""
        app = next((w for w in rom.written if w.offset == APP0 and w.size), None)
        whole = all(w.received in (0, w.size) for w in rom.written)
        placed = runs is not None and app is not None and self.memory.read(APP0, len(runs)) == runs
        if not why and not (whole and placed):
            other = "no-write" if app is None else "other-app"
            why = "incomplete" if not whole else "no-app" if runs is None else other
        return {
            "flash": len(self.device.flashes()) + 1,
            "transport": "usb",
            "kind": "app",
            "start": self.started,
            "end": time.monotonic(),
            "started_at": self.started_at,
            "ended_at": rfc3339(),
            "outcome": "not-installed" if why else "installed",
            "why": why,
            "said": "",
            "size": app.size if app else 0,
            "received": app.received if app else 0,
            "sha256": hashlib.sha256(runs).hexdigest() if runs else "",
            "regions": [{"offset": w.offset, "size": w.size, "received": w.received} for w in rom.written],
            "peer": self.link.address,
        }

    # the app

    def _look_at_the_app(self) -> None:
        if self.crashing:
            self.device.silent_until = float("inf")
            self.next_crash = time.monotonic()

    def _talk(self) -> None:
        """Print the lines of a start that has happened since, or of the next crash."""
        if self.boots != self.device.boots:
            self.boots = self.device.boots
            if self.reason == console.SOFTWARE:  # restarted by an update over the network
                self.bootable, self.keys = True, console.Keys(self.device)
                self._look_at_the_app()
            if not self.crashing:
                self.link.send(console.boot_log(self.device, self.reason).encode())
                self.reason = console.SOFTWARE
        if self.crashing and time.monotonic() >= self.next_crash:
            self.next_crash = time.monotonic() + _CRASH_SECONDS
            text = console.boot_log(self.device, self.reason) if self.bootable else console.no_app(self.reason)
            self.link.send(text.encode())
            self.reason = console.SOFTWARE
