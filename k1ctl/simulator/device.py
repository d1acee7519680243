"""What the simulated device is and remembers: uptime, identity, the installed image, every flash it saw."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from k1ctl.files import append_line, read_bytes, write_atomic
from k1ctl.jsontext import dumps, loads
from k1ctl.simulator.faults import Faults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.simulator.login import Login

IDENTITY, MAC = "K1.reinvented", "02:4B:31:00:00:01"  # a locally administered address: no real device has it
PARTITION = 0x1E0000  # bytes; app0 of the firmware's partitions.csv
FILESYSTEM_SIZE = 0x30000  # bytes; spiffs of the firmware's partitions.csv
APP, FILESYSTEM = "app", "filesystem"  # kinds of image
_FILES = {APP: "image.bin", FILESYSTEM: "filesystem.bin"}
FLASHES = "flashes.jsonl"


class Device:
    """The state both servers share. Times are of this host's monotonic clock, in seconds."""

    def __init__(
        self,
        folder: str,
        *,
        faults: Iterable[str] = (),
        mac: str = MAC,
        identity: str = IDENTITY,
        partition_size: int = PARTITION,
        filesystem_size: int = FILESYSTEM_SIZE,
        login: Login | None = None,
        reboot_seconds: float = 0.2,
    ) -> None:
        self.folder, self.mac, self.identity = folder, mac, identity
        self.partition_size, self.reboot_seconds = partition_size, reboot_seconds
        self.filesystem_size, self.login = filesystem_size, login
        self.faults = Faults(faults)
        self.lock = threading.Lock()
        now = time.monotonic()
        self.booted = now
        self.silent_until = now + (self.faults.value("offline", 1) or 0.0)
        self.routes: dict[str, float] = {}
        os.makedirs(folder, exist_ok=True)

    @property
    def answering(self) -> bool:
        """Whether it answers at all: not while it restarts or is off."""
        return time.monotonic() >= self.silent_until

    def uptime_ms(self) -> int:
        """Milliseconds since its last start."""
        return max(int((time.monotonic() - self.booted) * 1000), 0)

    def restart(self) -> None:
        """Go away for ``reboot_seconds`` and come back with a new uptime and fresh rate limits."""
        with self.lock:
            self.booted = self.silent_until = time.monotonic() + self.reboot_seconds
            self.routes.clear()

    def limited(self, path: str, window_ms: int) -> int:
        """Milliseconds until this route answers again, 0 when it does now (and the window begins anew)."""
        with self.lock:
            now = time.monotonic()
            last = self.routes.get(path)
            if last is not None and (now - last) * 1000 < window_ms:
                return max(int(window_ms - (now - last) * 1000), 1)
            self.routes[path] = now
            return 0

    def room(self, kind: str) -> int:
        """Bytes of the partition that takes images of this kind."""
        return self.filesystem_size if kind == FILESYSTEM else self.partition_size

    def install(self, image: bytes, kind: str = APP) -> None:
        """Make ``image`` what the device runs, or what its filesystem holds."""
        write_atomic(os.path.join(self.folder, _FILES[kind]), image)

    def image(self, kind: str = APP) -> bytes | None:
        """What was installed of this kind last; None before the first flash."""
        return read_bytes(os.path.join(self.folder, _FILES[kind]))

    def remember(self, **flash: Any) -> None:
        """Append one flash to the history."""
        append_line(os.path.join(self.folder, FLASHES), dumps(flash))

    def flashes(self) -> list[dict[str, Any]]:
        """Every flash it saw, oldest first."""
        return history(self.folder)


def history(folder: str) -> list[dict[str, Any]]:
    """The flashes that the device in ``folder`` saw, oldest first."""
    data = read_bytes(os.path.join(folder, FLASHES)) or b""
    return [loads(line) for line in data.decode().splitlines()]
