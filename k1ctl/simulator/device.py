"""What the simulated device is and remembers: uptime, identity, the installed image, every flash it saw."""

from __future__ import annotations

import os
import threading
import time
from typing import Any

from k1ctl.files import append_line, read_bytes, read_json, write_atomic, write_json
from k1ctl.jsontext import dumps, loads
from k1ctl.simulator.console import panics
from k1ctl.simulator.faults import Faults
from k1ctl.simulator.lives import STAYS, after_update
from k1ctl.simulator.settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from k1ctl.simulator.login import Login

IDENTITY, MAC = "K1.reinvented", "02:4B:31:00:00:01"  # a locally administered address: no real device has it
PARTITION = 0x1E0000  # bytes; app0 of the firmware's partitions.csv
FILESYSTEM_SIZE = 0x30000  # bytes; spiffs of the firmware's partitions.csv
APP, FILESYSTEM = "app", "filesystem"  # kinds of image
_FILES = {APP: "image.bin", FILESYSTEM: "filesystem.bin"}
FLASHES, REQUESTS = "flashes.jsonl", "requests.json"
_MILLIS = 1 << 32  # millis() of the firmware counts in 32 bits


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
        self.settings = Settings()  # the REST API and the keys of the console share it
        self.lock = threading.Lock()
        now = time.monotonic()
        self.booted = now - (self.faults.value("uptime", 1) or 0.0)
        self.starts = 1
        self.updated, self.lives = 0, STAYS  # the update that it runs since its start over the network; 0: none
        self.silent_until = self.offline_until = now + (self.faults.value("offline", 1) or 0.0)
        self.selections = 0
        self.routes: dict[str, int] = {}
        self.limited_since = self.boots  # the start in which these were asked
        self.requests: dict[str, dict[str, int]] = {}
        os.makedirs(folder, exist_ok=True)
        self.counted("", 0)
        self._perhaps_panic()

    @property
    def answering(self) -> bool:
        """Whether it answers at all: not while it restarts or is off."""
        now = time.monotonic()
        return now >= self.silent_until and self.lives.at(now - self.booted)[2]

    @property
    def boots(self) -> int:
        """How often it has started."""
        return self.starts + self.lives.at(time.monotonic() - self.booted)[0]

    def uptime_ms(self) -> int:
        """Milliseconds since its last start, as the firmware counts them: after 49.7 days from 0 again."""
        return max(int(self.lives.at(time.monotonic() - self.booted)[1] * 1000), 0) % _MILLIS

    def after_update(self, fault: str) -> float | None:
        """The value of a fault that hits what it runs since its last update over the network, else None."""
        return self.faults.value(fault, self.updated) if self.updated else None

    def restart(self, update: int = 0) -> None:
        """Go away for ``reboot_seconds`` and come back with a new uptime and fresh rate limits; ``update``: the number
        of the one that is why."""
        with self.lock:
            self.starts = self.boots
            self.updated, self.lives = update, after_update(self.faults, update, self.reboot_seconds)
            self.booted = time.monotonic() + self.reboot_seconds
            self.silent_until = max(self.booted, self.offline_until)
            self.starts += 1
            self.settings.rebooted()
            self._perhaps_panic()

    def selected(self) -> None:
        """A client selected a pattern; with the fault ``reset`` that one crashes the app after a while."""
        self.selections += 1
        seconds = self.faults.value("reset", self.selections)
        if seconds is not None and seconds < threading.TIMEOUT_MAX:
            timer = threading.Timer(seconds, self.restart)
            timer.daemon = True
            timer.start()

    def _perhaps_panic(self) -> None:
        """An app that panics as it starts answers nobody, ever again."""
        if panics(self.image()) or self.after_update("no-return") is not None:
            self.silent_until = float("inf")

    def limited(self, route: str, window_ms: int) -> int | None:
        """None when this route answers now (and its window begins anew), else the milliseconds it says to wait.

        webserver_rate_limiter.h: where the uptime wraps within a window it says 0.
        """
        with self.lock:
            if self.boots != self.limited_since:
                self.limited_since = self.boots
                self.routes.clear()
            now, last = self.uptime_ms(), self.routes.get(route)
            if last is not None and (now - last) % _MILLIS < window_ms:
                return max((last + window_ms) % _MILLIS - now, 0)
            self.routes[route] = now
            return None

    def counted(self, route: str, status: int) -> None:
        """Count an answer of the REST API in ``requests.json``, before it is sent."""
        with self.lock:
            if route:
                counts = self.requests.setdefault(route, {"asked": 0})
                counts["asked"] += 1
                counts[str(status)] = counts.get(str(status), 0) + 1
            write_json(os.path.join(self.folder, REQUESTS), self.requests)

    def room(self, kind: str) -> int:
        """Bytes of the partition that takes images of this kind."""
        return self.filesystem_size if kind == FILESYSTEM else self.partition_size

    def install(self, image: bytes, kind: str = APP) -> None:
        """Make ``image`` what the device runs, or what its filesystem's partition holds."""
        write_atomic(os.path.join(self.folder, _FILES[kind]), image)

    def image(self, kind: str = APP) -> bytes | None:
        """What the device runs, or what was written over its filesystem; None before the first flash."""
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


def requests(folder: str) -> dict[str, dict[str, int]]:
    """What the device in ``folder`` was asked since its start: {ROUTE: {"asked": 2, "200": 1, "429": 1}}."""
    found = read_json(os.path.join(folder, REQUESTS))
    return found if isinstance(found, dict) else {}
