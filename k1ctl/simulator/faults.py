"""What can go wrong with the simulated device, written as ``NAME[=VALUE][:N]``: hits only the first N flashes, or for
what concerns the REST API the first N requests, since its start."""

from __future__ import annotations

from typing import NamedTuple

from k1ctl.errors import UsageError
from k1ctl.units import parse_duration, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def _fraction(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise ValueError(f"{text!r} is not a fraction between 0 and 1")
    return value


def _seconds(text: str) -> float:
    return float("inf") if text == "inf" else parse_duration(text)


def _life(text: str) -> float:
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError("no life at all is `no-return`")
    return seconds


def _finite(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a number of 0 or more")
    return value


def _status(text: str) -> int:
    if not (len(text) == 3 and text.isdecimal() and 100 <= int(text) <= 599):
        raise ValueError(f"{text!r} is not an HTTP status")
    return int(text)


def _rate(text: str) -> int:
    rate = parse_size(text)
    if not rate:
        raise ValueError("nothing a second is `hang`")
    return rate


FAULTS: dict[str, tuple[Callable[[str], float] | None, str]] = {
    "drop": (int, "drop=N: the first N invitations of a flash are lost"),
    "cut": (_fraction, "cut=FRACTION: the link is cut after that part of the image; not installed"),
    "refuse": (None, "refuse: the MD5 does not fit, the device says so; not installed"),
    "eof": (None, "eof: the connection is closed without a word; not installed"),
    "lost-ok": (None, "lost-ok: installed, but the final OK is lost"),
    "no-install": (None, "no-install: the OK is lost and the device restarts with the old image"),
    "rolled-back": (None, "rolled-back: it says OK, and its bootloader starts the old image again"),
    "no-return": (None, "no-return: installed, and it does not come back; its console says nothing of a crash"),
    "boot-loop": (_life, "boot-loop=SECONDS: installed, and it starts over and over, up for so long each time"),
    "restart-after": (_life, "restart-after=SECONDS: installed, and it restarts once more after so long"),
    "fps-after": (_finite, "fps-after=N: frames a second it tells from an update over the network on"),
    "swapped": (None, "swapped: after an update another device answers at its address: another MAC"),
    "offline": (_seconds, "offline=SECONDS: nothing is answered for so long after the start (inf: never)"),
    "stall": (_seconds, "stall=SECONDS: the device stops reading half-way for so long"),
    "pace": (parse_size, "pace=BYTES: the device takes so many bytes a second"),
    "drip": (_rate, "drip=BYTES: HTTP answers come with so many bytes a second"),
    "endless": (None, "endless: the body of an HTTP answer never ends"),
    "hang": (None, "hang: HTTP requests are taken and never answered"),
    "html": (None, "html: every HTTP answer is a page, as another program on that address would give"),
    "http": (_status, "http=STATUS: every HTTP answer has this status"),
    "windows": (_finite, "windows=N: a route answers once in N times its window (0: as often as it is asked)"),
    "busy": (None, "busy: every rate limit is used up by others, so 429"),
    "wrong-mac": (None, "wrong-mac: the REST API tells another MAC than the device was started with"),
    "build-id": (None, "build-id: /api/device/info tells build.id, the first 16 hex digits of the image's SHA-256"),
    "uptime": (parse_duration, "uptime=DURATION: up for so long at the start; the counter wraps after 49.7 days"),
    "usb-silent": (None, "usb-silent: the loader answers nothing"),
    "usb-cell": (None, "usb-cell: over USB, a byte of each region does not take its value"),
    "usb-cut": (int, "usb-cut=N: the USB cable is pulled after N frames with data"),
    "usb-erase": (parse_duration, "usb-erase=DURATION: over USB, an erase takes so long"),
    "usb-pace": (parse_size, "usb-pace=BYTES: over USB, the flash takes so many bytes a second"),
    "usb-chip": (int, "usb-chip=ID: the loader says it is another chip, as 5 for an ESP32-C3"),
    "usb-mac": (None, "usb-mac: the loader tells another MAC than the device was started with"),
    "reset": (_seconds, "reset=SECONDS: it restarts so long after a pattern was selected (:N the first N times)"),
    "fps": (_finite, "fps=N: frames a second it tells"),
    "render": (_finite, "render=MICROSECONDS: drawing a frame takes so long, it tells"),
    "heap": (parse_size, "heap=SIZE: free memory it tells"),
    "rssi": (int, "rssi=DBM: signal strength it tells, as in -85"),
}
ENDINGS = ("refuse", "eof", "lost-ok", "no-install", "rolled-back")


class Fault(NamedTuple):
    """One fault; it hits the first ``flashes`` flashes or requests since the simulator's start (None: all)."""

    name: str
    value: float
    flashes: int | None


def parse(text: str) -> Fault:
    """A fault as it is written. Raises UsageError telling its form, or the names there are."""
    word, colon, count = text.partition(":")
    name, equals, value = word.partition("=")
    try:
        convert, _ = FAULTS[name]
        if (convert is None) == bool(equals) or (colon and not count.isdecimal()):
            raise ValueError("wrong form")
        return Fault(name, convert(value) if convert else 0.0, int(count) if colon else None)
    except (KeyError, ValueError) as exc:
        about = f"there are: {', '.join(FAULTS)}"
        if name in FAULTS:
            about = f"{FAULTS[name][1]}; `:N` limits it to the first N flashes or requests"
        hint = f"{about}; k1ctl sim faults lists them"
        raise UsageError(f"{text!r} is not a fault", hint=hint) from exc


class Faults:
    """The faults of a device, asked for by name and by the number of the flash or request since the start."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.all = [parse(text) for text in texts]

    def value(self, name: str, flash: int) -> float | None:
        """The value of a fault that hits this flash or request (0 for one without value), else None."""
        for fault in self.all:
            if fault.name == name and (fault.flashes is None or flash <= fault.flashes):
                return fault.value
        return None

    def ending(self, flash: int) -> str:
        """How this flash ends badly: a name of `ENDINGS`, or ""."""
        return next((name for name in ENDINGS if self.value(name, flash) is not None), "")


class Chance(Faults):
    """Faults that each hit a ``share`` (0 to 1) of the flashes or requests, the same ones for the same ``seed``.

    What is asked several times about one flash has one answer; a stay in the USB loader is drawn anew each time, as
    one that wrote nothing counts as no flash. ``always`` are there all the time.
    """

    def __init__(self, texts: Iterable[str], share: float, seed: int, always: Iterable[str] = ()) -> None:
        super().__init__(texts)
        self.share, self.seed, self.always = share, seed, Faults(always)
        self.stays: dict[str, int] = {}

    def value(self, name: str, flash: int) -> float | None:
        from random import Random

        found = super().value(name, flash)
        if found is None:
            return self.always.value(name, flash)
        if name.startswith("usb-"):
            flash = self.stays[name] = self.stays.get(name, 0) + 1
        return found if Random(f"{self.seed} {name} {flash}").random() < self.share else None
