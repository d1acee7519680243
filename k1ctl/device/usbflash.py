"""The flash worker over USB: ``python -m k1ctl.device.usbflash RUN_DIR``, in every other way as `k1ctl.device.flash`.

Written are the app, to the first app slot of the partition table that the device itself holds, and then otadata, so
that this slot is the one that starts: after an update over the network the other one does. An interrupted write of an
app therefore changes nothing in a device that ran from the other slot.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.device import guard, partitions, usb
from k1ctl.device.esptool import Esptool, Report, find_esptool, meaning
from k1ctl.device.esptool_run import run
from k1ctl.device.flash import Flash, serve
from k1ctl.device.ota import Outcome
from k1ctl.device.partitions import TABLE_OFFSET, TABLE_SIZE
from k1ctl.device.port import borrowed, key_of
from k1ctl.errors import WrongDataError
from k1ctl.files import read_bytes, write_atomic

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

BOOTLOADER_OFFSETS = {"esp32": 0x1000, "esp32s2": 0x1000}  # of other chips 0x0
_FOLDER = "usb"  # in the run's folder: what esptool reads and writes


class Region(NamedTuple):
    """A file and where it goes, in bytes."""

    what: str
    offset: int
    path: str
    size: int


class UsbFlash(Flash):
    """A flash with esptool."""

    alone = False  # whether any other board on USB is a reason to refuse

    def __init__(self, folder: str, stop: Any) -> None:
        super().__init__(folder, stop)
        self.guards: dict[str, guard.Guard] = {}
        self.image = b""
        self.record["transport"] = "usb"

    def _flash(self) -> Outcome:
        self._load()
        self._guard(guard.guard_key(self.job["device"]))
        return self._over_usb(*self._ready())

    def _load(self) -> bytes:
        self.image = super()._load()
        return self.image

    def _ready(self) -> tuple[str, Esptool]:
        """The device's port and the esptool for it. Raises K1ctlError."""
        port = usb.choose(self.job["device"], alone=self.alone)
        return port.path, find_esptool(str(self.job["usb"].get("esptool", "")))

    def _over_usb(self, port: str, tool: Esptool) -> Outcome:
        self._stage("connect")
        self.record.update(port=port, esptool=tool.version)
        try:
            with self._port(port):
                usb.check_free(port)
                table = self._asked(tool, port)
                return self._written(tool, port, self._regions(self.image, table))
        finally:
            from shutil import rmtree

            rmtree(os.path.join(self.folder, _FOLDER), ignore_errors=True)

    def _port(self, path: str) -> AbstractContextManager[None]:
        """Our console, if one has the port open, closes it for as long as this lasts. Raises BusyError (port-busy)."""
        return borrowed(
            key_of(self.job["device"], path),
            float(self.job["usb"].get("yield_timeout", 10.0)),
            self.say,
            workspace=str(self.job.get("workspace", "")),
            folder=str(self.job.get("host_dir") or ""),
            check=self._check_stop,
        )

    def _guard(self, key: str) -> guard.Guard:
        path = guard.guard_path(key, str(self.job.get("host_dir") or ""))
        if path not in self.guards:
            held = self.guards[path] = super()._guard(key)
            if held.fd >= 0:
                os.set_inheritable(held.fd, True)  # a write that outlives us keeps the device
        return self.guards[path]

    # what is there

    def _asked(self, tool: Esptool, port: str) -> bytes:
        """The device's partition table, once its MAC is the configured one. Nothing is written.

        Raises WrongDataError (codes wrong-device, wrong-chip), UnreachableError, BusyError.
        """
        kept = self._path("table.bin")
        report = Report()
        words = ("read-flash", hex(TABLE_OFFSET), hex(TABLE_SIZE), kept)
        status = self._run(tool, port, report, *words)
        self._check_stop()
        if report.mac:
            self._check_mac(report.mac, port)
        if status != 0:
            raise meaning(report, status, port)
        if not report.mac:
            raise WrongDataError(f"{port}: esptool told no MAC", hint="is it an ESP32?", code="wrong-device")
        return read_bytes(kept) or b""

    def _check_mac(self, mac: str, port: str) -> None:
        device = self.job["device"]
        self.record["device_mac"] = mac
        if not self._is_it(mac):
            raise WrongDataError(
                f"on {port} is the MAC {mac}, {device['name']} is configured as {device['mac']}",
                hint="it is another board: unplug it, or correct `mac` (or usb_port) of the device",
                code="wrong-device",
            )

    def _is_it(self, mac: str) -> bool:
        return usb.spelled(str(self.job["device"]["mac"])) == mac

    def _regions(self, image: bytes, table: bytes) -> list[Region]:
        """What is written, in this order. Raises WrongDataError where the device or the set has no place for it."""
        full = bool(self.job.get("full"))
        if full:
            table = self._of_the_set("partitions.bin")
        entries = partitions.parse(table)
        slots, otadata = partitions.app_slots(entries), partitions.otadata_of(entries)
        place = slots[0] if slots else next((p for p in entries if p.kind == partitions.APP), None)
        if place is None or len(image) > place.size:
            room = f"its app partition has {place.size}" if place else "its partition table has none for an app"
            raise WrongDataError(
                f"the image has {len(image)} bytes, {room}", hint="is it built for this board?", code="image-too-large"
            )
        regions = [Region("app", place.offset, self._kept("app.bin", image), len(image))]
        if slots and otadata:
            chosen = partitions.selecting(0, otadata.size)
            regions.append(Region("otadata", otadata.offset, self._kept("otadata.bin", chosen), len(chosen)))
        if full:
            boot = self._of_the_set("bootloader.bin")
            at = BOOTLOADER_OFFSETS.get(str(self.job["usb"].get("chip", "")), 0)
            front = [Region("bootloader", at, self._kept("bootloader.bin", boot), len(boot))]
            front.append(Region("partitions", TABLE_OFFSET, self._kept("partitions.bin", table), len(table)))
            regions = [*front, *regions]
        return regions

    def _of_the_set(self, name: str) -> bytes:
        from hashlib import sha256

        told = self.job["full"][name]
        data = read_bytes(told["path"])
        if data is None or sha256(data).hexdigest() != told["sha256"]:
            why = "gone" if data is None else "not what was queued"
            raise WrongDataError(f"{told['path']} is {why}", hint="upload again", code="image-changed")
        return data

    # the write

    def _written(self, tool: Esptool, port: str, regions: list[Region]) -> Outcome:
        sizes = [region.size for region in regions]
        report = Report(sizes, self._moved)
        words = [word for region in regions for word in (hex(region.offset), region.path)]
        self.record["regions"] = [{"what": r.what, "offset": r.offset, "bytes": r.size} for r in regions]
        self._check_stop()
        self.record.update(code="", message="", exit_code=1)
        self._write(outcome="sending", fsync=True)  # before the first byte: whoever finds it knows
        started = time.monotonic()
        status = self._run(tool, port, report, "write-flash", *words)
        seconds, total = time.monotonic() - started, sum(sizes)
        self.record.update(transfer_seconds=round(seconds, 6), bytes=total)
        if not report.began:
            self._check_stop()
            self._check_mac(report.mac or str(self.record["device_mac"]), port)
            raise meaning(report, status, port)
        return self._verdict(report, status, len(regions), seconds, total)

    def _verdict(self, report: Report, status: int | None, regions: int, seconds: float, total: int) -> Outcome:
        if report.mac and not self._is_it(report.mac):
            self.hint = f"the board {report.mac} was plugged in meanwhile: it has this image now, in whole or in part"
            return Outcome("unknown", "the write went to another board", seconds, total, "", 0, 0)
        if status == 0 and report.verified >= regions:
            return Outcome("installed", "hash of data verified", seconds, total, "", 0, 0)
        self.hint = "the device may not start until an upload over USB succeeds: try again, with another cable"
        if "MD5" in report.fatal:
            return Outcome("refused", report.fatal, seconds, total, "", 0, 0)
        why = report.said if status else "esptool ended without having verified what it wrote"
        return Outcome("unknown", f"the write broke off: {why}", seconds, total, "", 0, 0)

    def _began(self) -> None:
        self._stage("transfer")
        self._try_write(outcome="sending")

    def _moved(self, taken: int, total: int) -> None:
        self._progress("taken", taken, total)

    def _run(self, tool: Esptool, port: str, report: Report, *words: str) -> int | None:
        settings = self.job["usb"]
        stub = bool(settings.get("stub", True))
        if words[0] == "write-flash" and not stub:
            words = (words[0], "--no-progress", *words[1:])  # a block has 1 KiB then: too many lines for a pipe
        chip = str(settings["chip"]).replace("none", "auto")
        command = tool.command(port, chip, int(settings["baud"]), stub, *words)
        try:
            return run(
                command,
                report,
                seconds=float(settings["connect_timeout"]),
                stop=self.stop,
                refuse=lambda: bool(report.mac) and not self._is_it(report.mac),
                began=self._began if words[0] == "write-flash" else None,
            )
        finally:
            for line in filter(None, report.lines):
                self.say(f"esptool: {line}")

    def _path(self, name: str) -> str:
        folder = os.path.join(self.folder, _FOLDER)
        os.makedirs(folder, exist_ok=True)
        return os.path.join(folder, name)

    def _kept(self, name: str, data: bytes) -> str:
        path = self._path(name)
        write_atomic(path, data)
        return path


def main(argv: list[str]) -> int:
    """Flash what ``argv[0]`` (a run folder) describes; returns the exit code."""
    return serve(UsbFlash, argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
