"""What a flash and a console are worth on a desk that is shared: k1ctl, esptool and PlatformIO, found out by doing it.

Each line is one question, tried on each tool with a simulated ESP32-S3 of its own (docs/simulator.md) whose history is
the truth. esptool is the real one, of the version that k1ctl uses; `pio device monitor` and `pio device list --mdns`
are PlatformIO's. Nothing here is a bar; the table is for choosing.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kit
from ota_transfer import APP_OFFSET, Simulator
from report import Report

NOT_ITS_JOB = "-"
K1CTL, ESPTOOL, PIO = "k1ctl", "esptool", "pio"


class Place(contextlib.ExitStack):
    """A repository, a simulated device with these options, and images. A context manager."""

    tools: dict[str, str] = {}  # where esptool and pio are

    def __init__(self, *options: str, size: int = 60_000) -> None:
        super().__init__()
        self.repository = self.enter_context(kit.Repository())
        self.simulator = self.enter_context(Simulator(self.repository, *options))
        facts = self.simulator.facts
        self.folder, self.port, self.size = Path(facts["folder"]), facts.get("usb_port", ""), size
        rules = '[targets.fw]\n[ota]\nattempts = 1\nidle_timeout = "1s"\n[tools]\nesptool = "{}"\n'
        text = rules.format(self.tools[ESPTOOL]) + facts["toml"] + '\nboot_timeout = "3s"\n'
        (self.repository.ops / "k1ctl.toml").write_text(text)

    def image(self, name: str, *, crashing: bool = False) -> str:
        """The path of a valid application image that no other name gives."""
        from k1ctl.platformio.host_platform.builder.image import write
        from k1ctl.simulator.console import PANIC_MARK

        data = random.Random(name).randbytes(self.size) + (PANIC_MARK if crashing else b"")
        path = Path(self.repository.folder) / f"{name}.bin"
        path.write_bytes(write(b"", data, version="1", project=name, digest=bytes(32)))
        return str(path)

    def argv(self, tool: str, path: str, via: str = "usb") -> list[str]:
        """The call that flashes the image at ``path``."""
        if tool == K1CTL:
            return [kit.K1CTL, "upload", "--via", via, "--artifact", path, "--json"]
        options = ["--chip", "esp32s3", "--port", self.port, "--after", "hard-reset"]
        return [self.tools[ESPTOOL], *options, "write-flash", hex(APP_OFFSET), path]

    def start(self, argv: list[str], **more: Any) -> subprocess.Popen[str]:
        """Start a call in the worktree, in a process group of its own."""
        streams: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, **more}
        cwd, env = self.repository.worktree, self.repository.env
        return subprocess.Popen(argv, cwd=cwd, env=env, text=True, start_new_session=True, **streams)

    def call(self, argv: list[str], **more: Any) -> tuple[int, str]:
        """(exit code, stdout) of a call."""
        process = self.start(argv, **more)
        out, _ = process.communicate(timeout=90)
        return process.returncode, out

    def runs(self, path: str) -> bool:
        """Whether the device runs the image at ``path``."""
        kept = self.folder / "image.bin"
        return kept.exists() and kept.read_bytes() == Path(path).read_bytes()

    def flashes(self) -> list[dict[str, Any]]:
        """What the device saw."""
        history = self.folder / "flashes.jsonl"
        return [json.loads(line) for line in history.read_text().splitlines()] if history.exists() else []

    def until(self, condition: Callable[[], bool], seconds: float = 30.0) -> bool:
        """Wait for a condition; whether it came."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                return False
            time.sleep(0.02)
        return True


def another_board(tool: str) -> str:
    """The board on the cable is not the one that is meant: does it stay as it was?"""
    with Place("--usb", "--fault", "usb-mac") as place:
        code, _ = place.call(place.argv(tool, place.image("a")))
        return f"no, it is written, exit {code}" if place.flashes() else f"yes, exit {code}"


def behind_an_update(tool: str) -> str:
    """After an update over the network the other slot starts: does what is flashed over USB run?"""
    with Place("--usb") as place:
        place.call(place.argv(K1CTL, place.image("first"), "usb"))
        place.call(place.argv(K1CTL, place.image("second"), "ota"))
        path = place.image("third")
        code, _ = place.call(place.argv(tool, path))
        return "yes" if place.runs(path) else f"no, exit {code}, the update before runs"


def interrupted(tool: str) -> str:
    """TERM to the caller and its group in the middle of a write: does the device run what it was sent?"""
    with Place("--usb", "--fault", "usb-pace=40k") as place:
        path = place.image("a")
        process = place.start(place.argv(tool, path))
        place.until(lambda: _erased(place))
        time.sleep(0.3)
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate()
        place.until(lambda: bool(place.flashes()))
        return "yes" if place.runs(path) else "no, nothing starts"


def _erased(place: Place) -> bool:
    """Whether the app's first bytes lie in the flash."""
    with contextlib.suppress(FileNotFoundError), open(place.folder / "flash.bin", "rb") as f:
        f.seek(APP_OFFSET)
        return f.read(1) == b"\xe9"
    return False


def two_at_once(tool: str) -> str:
    """A second flash while one is under way: does it come after it?"""
    with Place("--usb", "--fault", "usb-pace=40k") as place:
        paths = [place.image("a"), place.image("b")]
        first = place.start(place.argv(tool, paths[0]))
        place.until(lambda: _erased(place))
        code, _ = place.call(place.argv(tool, paths[1]))
        first.communicate()
        return "yes, in line" if place.runs(paths[1]) and not code else f"no, exit {code} at once"


def console_open(tool: str) -> str:
    """The tool's own console is open: does a flash succeed, and the console go on after it?"""
    with Place("--usb") as place:
        words = {
            K1CTL: [kit.K1CTL, "device", "console"],
            PIO: [place.tools[PIO], "device", "monitor", "--port", place.port, "--quiet", "--raw"],
        }
        place.call(place.argv(K1CTL, place.image("before")))
        master, slave = os.openpty()
        console = place.start(words[tool], stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        try:
            place.until(lambda: _has_open(console.pid, place.port), 10)
            path = place.image("a")
            code, _ = place.call(place.argv(K1CTL if tool == K1CTL else ESPTOOL, path))
            if not place.runs(path):
                return f"no, exit {code}"
            return "yes" if _says(master, b"m", b"0 exit") else "flashed, the console is dead"
        finally:
            console.kill()
            console.communicate()
            os.close(master)


def _has_open(pid: int, port: str) -> bool:
    real = os.path.realpath(port)
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with contextlib.suppress(OSError):
            if os.getsid(int(folder.parent.name)) == pid and any(os.readlink(f) == real for f in folder.iterdir()):
                return True
    return False


def _says(master: int, key: bytes, wanted: bytes) -> bool:
    """Whether the console, given a key, shows the device's answer within 5 s."""
    os.set_blocking(master, False)
    said, end = b"", time.monotonic() + 5
    while wanted not in said and time.monotonic() < end:
        with contextlib.suppress(BlockingIOError, OSError):
            os.write(master, key)
        time.sleep(0.3)
        with contextlib.suppress(BlockingIOError, OSError):
            said += os.read(master, 65536)
    return wanted in said


def crash_loop(tool: str) -> str:
    """The image was written whole and crashes as it starts: does the tool say that the device is not well?"""
    with Place("--usb") as place:
        code, out = place.call(place.argv(tool, place.image("bad", crashing=True)))
        if tool != K1CTL:
            return f"no, exit {code}" if not code else f"yes, exit {code}"
        return f"{'yes' if code else 'no'}, {json.loads(out)['error']['code'] if code else ''}, exit {code}"


def no_install(tool: str) -> str:
    """Over the network all bytes went, the device said nothing and restarted with the old image: what is said?"""
    if tool != K1CTL:
        return NOT_ITS_JOB
    with Place("--fault", "no-install") as place:
        code, out = place.call(place.argv(tool, place.image("a"), "ota"))
        return f"{json.loads(out)['error']['outcome']}, exit {code}"


def discovery(tool: str) -> str:
    """A device is announced by mDNS and another one is on USB: what does it tell of them?"""
    with Place("--usb", "--mdns") as place:
        if tool == K1CTL:
            _, out = place.call([kit.K1CTL, "device", "discover", "--json"])
            (board,) = [b for b in json.loads(out)["boards"] if b["device"] == "k1"]
            told = [word for word, key in (("mDNS", "mdns"), ("USB port", "usb_port")) if board[key]]
            return f"one board by its MAC: {' and '.join(told)}"
        _, out = place.call([place.tools[PIO], "device", "list", "--mdns", "--json-output"])
        found = "_arduino" in out and "k1-reinvented" in out
        return "services of the network, no MAC" if found and "02:4b:31" not in out.lower() else f"found: {found}"


QUESTIONS: dict[str, tuple[Callable[[str], str], tuple[str, ...]]] = {
    "another board on the cable gets no byte": (another_board, (K1CTL, ESPTOOL)),
    "what is flashed over USB runs, also behind an update over the network": (behind_an_update, (K1CTL, ESPTOOL)),
    "TERM in the middle of a write leaves a device that starts": (interrupted, (K1CTL, ESPTOOL)),
    "a second flash meanwhile": (two_at_once, (K1CTL, ESPTOOL)),
    "a flash while its own console is open": (console_open, (K1CTL, PIO)),
    "an image that crashes is told": (crash_loop, (K1CTL, ESPTOOL)),
    "restarted without having installed": (no_install, (K1CTL,)),
    "discovery": (discovery, (K1CTL, PIO)),
}


def find_tools(env: dict[str, str]) -> dict[str, str]:
    """esptool and pio as `k1ctl tools install` made them."""
    found = {}
    for name, words in ((ESPTOOL, ["esptool"]), (PIO, [])):
        argv = [kit.K1CTL, "tools", "install", *words, "--json"]
        done = subprocess.run(argv, env=env, stdout=subprocess.PIPE, text=True, check=True)
        told = json.loads(done.stdout)
        found[name] = str(told[name])
    return found


def main() -> int:
    if sys.executable != kit.PYTHON:  # the images are made by the installed one
        kit.prepare()
        os.execv(kit.PYTHON, [kit.PYTHON, *sys.argv])
    report = Report(__doc__ or "")
    quiet = ["-qq", "--disable-pip-version-check"]
    subprocess.run([kit.PYTHON, "-m", "pip", "install", *quiet, "zeroconf>=0.132"], stdout=sys.stderr, check=True)
    with kit.Repository() as repository:
        Place.tools = find_tools(repository.env)
    for question, (ask, tools) in QUESTIONS.items():
        answers = {}
        for tool in (K1CTL, ESPTOOL, PIO):
            try:
                answers[tool] = ask(tool) if tool in tools else NOT_ITS_JOB
            except (OSError, ValueError, KeyError, subprocess.SubprocessError) as exc:
                answers[tool] = f"failed: {type(exc).__name__} {exc}"[:80]
        report.put("device", tool=question, **answers)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
