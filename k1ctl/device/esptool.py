"""Espressif's esptool, of version 4 or 5: where it is, how it wants its words spelled, what its output says.

Source: esptool's documentation ("Migration Guide": v5 writes ``write-flash`` and ``default-reset`` where v4 has
underscores) and its output on real runs of 4.12 and 5.6; docs/usb.md tells what is relied on.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from k1ctl.errors import K1ctlError, NotExecutableError, NotFoundError
from k1ctl.output import clean
from k1ctl.programs import find_tool, runnable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PROGRAMS = ("esptool", "esptool.py")
OLDEST = 4  # major version; PlatformIO's espressif32 6 brings 4.9
_VERSION_SECONDS = 30.0
_STRANGERS = ("PYTHONPATH", "PYTHONHOME", "ESPTOOL_PORT", "ESPTOOL_BAUD", "ESPTOOL_CHIP", "ESPTOOL_CFGFILE")
_BEGAN = re.compile(r"(Writing|Flash will be erased|Erasing|Compressed)\b")
_WROTE = re.compile(r"Wrote (\d+) bytes")
_PERCENT = re.compile(r"Writing at 0x[0-9a-f]+.*?(\d+(?:\.\d+)?) ?%")
_MAC = re.compile(r"MAC:\s*((?:[0-9a-f]{2}:){5}[0-9a-f]{2})", re.IGNORECASE)
_FATAL = re.compile(r"(?:ERROR: )?A (?:fatal|serial exception) error occurred: (.+)")
_VERIFIED = "Hash of data verified"


class Esptool(NamedTuple):
    """An esptool that can be run: the words that start it, who named it (configured, PATH, platformio, tools) and its
    version."""

    argv: tuple[str, ...]
    origin: str
    version: str

    def spelled(self, word: str) -> str:
        """A word of v5 (``write-flash``) as this version writes it."""
        return word if int(self.version.split(".")[0]) >= 5 else word.replace("-", "_")

    def command(self, port: str, chip: str, baud: int, stub: bool, *words: str) -> list[str]:
        """The call with these ``words`` (the first one a command in v5's spelling) on ``port``."""
        resets = ["--before", self.spelled("default-reset"), "--after", self.spelled("hard-reset")]
        options = ["--chip", chip, "--port", port, "--baud", str(baud), *resets, *([] if stub else ["--no-stub"])]
        return [*self.argv, *options, self.spelled(words[0]), *words[1:]]


def find_esptool(configured: str = "", environ: Mapping[str, str] | None = None) -> Esptool:
    """The esptool to use: the setting ``tools.esptool``, PATH and the usual places, PlatformIO's own, last the one
    that ``k1ctl tools install esptool`` made.

    Raises NotFoundError (127) when there is none or the configured one is missing, NotExecutableError (126) when it
    cannot be run or is older than `OLDEST`.
    """
    env = os.environ if environ is None else environ
    if configured:
        return _asked((_configured(configured),), "configured")
    for name in PROGRAMS:
        path = find_tool(name, env)
        if path:
            return _asked((path,), "PATH")
    words = _platformio(env)
    if words:
        return _asked(words, "platformio")
    from k1ctl.device.esptool_install import installed

    tools = installed(environ=env)
    if tools is None:
        raise NotFoundError(
            "esptool is not found", hint="k1ctl tools install esptool, or set tools.esptool", tool="esptool"
        )
    return Esptool((tools["esptool"],), "tools", str(tools["version"]))


def _configured(given: str) -> str:
    path = os.path.expanduser(given)
    if not os.path.isfile(path):
        raise NotFoundError(f"tools.esptool names {path}, which is not there", hint="correct it", tool="esptool")
    if not os.access(path, os.X_OK):
        raise NotExecutableError(f"tools.esptool names {path}, which cannot be run", hint="chmod +x it", tool="esptool")
    return path


def _platformio(env: Mapping[str, str]) -> tuple[str, ...]:
    """The esptool that PlatformIO keeps as a package, run by PlatformIO's Python; () when there is none."""
    core = os.path.expanduser(env.get("PLATFORMIO_CORE_DIR") or "~/.platformio")
    script, python = (
        os.path.join(core, "packages", "tool-esptoolpy", "esptool.py"),
        os.path.join(core, "penv/bin/python"),
    )
    return (python, script) if os.path.isfile(script) and runnable(python) else ()


def _asked(argv: tuple[str, ...], origin: str) -> Esptool:
    import subprocess

    try:
        done = subprocess.run(
            [*argv, "version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise NotExecutableError(f"{argv[0]} cannot be run: {exc}", hint="set tools.esptool", tool="esptool") from exc
    found = re.search(r"esptool(?:\.py)? v(\d+\.\d+[\w.]*)", done.stdout)
    if not found:
        said = clean((done.stdout + done.stderr).strip()[-200:])
        raise NotExecutableError(
            f"{argv[-1]} did not tell its version: {said or 'it said nothing'}",
            hint="k1ctl tools install esptool, and set tools.esptool",
            tool="esptool",
        )
    if int(found[1].split(".")[0]) < OLDEST:
        raise NotExecutableError(
            f"{argv[-1]} is esptool {found[1]}, which is too old: {OLDEST} or newer is needed",
            hint="k1ctl tools install esptool, and set tools.esptool",
            tool="esptool",
        )
    return Esptool(argv, origin, found[1])


def environment() -> dict[str, str]:
    """The environment esptool runs in: each line at once, no colours, nothing that changes what it was asked."""
    env = {k: v for k, v in os.environ.items() if k not in _STRANGERS}
    return {**env, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "TERM": "dumb", "COLUMNS": "200"}


class Report:
    """Reads what esptool prints. ``sizes`` are those of the files being written, in their order."""

    def __init__(self, sizes: Sequence[int] = (), progress: Callable[[int, int], None] | None = None) -> None:
        self.sizes, self.progress = sizes, progress
        self.began, self.verified, self.wrote, self.percent = False, 0, 0, 0.0
        self.mac, self.fatal, self.lines = "", "", [""]
        self.rest = b""

    def feed(self, data: bytes) -> None:
        """Take a piece of the output."""
        pieces = re.split(rb"[\r\n\x08]+", self.rest + data)
        self.rest = pieces.pop()
        for piece in pieces:
            self._line(clean(piece.decode("utf-8", "replace")).strip())

    def close(self) -> None:
        """Take the last line, which may have no end."""
        self.feed(b"\n")

    def _line(self, line: str) -> None:
        if not line:
            return
        self.began = self.began or bool(_BEGAN.match(line))
        percent, mac, fatal = _PERCENT.match(line), _MAC.search(line), _FATAL.search(line)
        if mac and not self.mac:
            self.mac = mac[1].lower()
        if fatal:
            self.fatal = fatal[1]
        if _WROTE.match(line):
            self.wrote, self.percent = self.wrote + 1, 0.0
            self._tell()
        elif percent:
            self.percent = float(percent[1])
            self._tell()
            return  # hundreds of these are no use to anybody
        self.verified += line.startswith(_VERIFIED)
        self.lines = [*self.lines[-40:], line]

    def _tell(self) -> None:
        total = sum(self.sizes)
        if self.progress and total:
            now = self.sizes[self.wrote] if self.wrote < len(self.sizes) else 0
            self.progress(min(total, sum(self.sizes[: self.wrote]) + int(now * self.percent / 100)), total)

    @property
    def said(self) -> str:
        """Its fatal error, else its last line."""
        return (self.fatal or self.lines[-1] or "it said nothing")[:300]


def meaning(report: Report, status: int | None, port: str) -> K1ctlError:
    """The error for a call that ended with ``status`` (None: at our limit) before anything was written."""
    from k1ctl.errors import UnreachableError, WrongDataError

    text, said = "\n".join(report.lines), report.said
    if os.path.isabs(port) and not os.path.exists(port):  # esptool says of it: "busy or doesn't exist"
        return UnreachableError(f"{port} is gone: {said}", hint="is it plugged in?", code="usb-lost")
    if "exclusively lock" in text or "Resource temporarily unavailable" in text or "is busy" in text:
        from k1ctl.device.usb import busy, users

        return busy(port, users(port))
    if "This chip is" in said or "Wrong chip argument" in said:
        return WrongDataError(f"{port}: {said}", hint="correct `chip` of the target", code="wrong-chip")
    hint = "is it plugged in? holding BOOT and pressing RESET puts a board into its loader by hand"
    if status is None:
        return UnreachableError(f"{port}: no answer within the limit; {said}", hint=hint, code="usb-no-answer")
    if status == 1 or not report.fatal:  # v4 and v5 end with 2 on what they found wrong, with 1 on a lost port
        return UnreachableError(f"{port}: esptool ended with {status}: {said}", hint=hint, code="usb-lost")
    return UnreachableError(f"{port}: {said}", hint=hint, code="usb-no-answer")
