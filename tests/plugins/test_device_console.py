"""`device console` and `device logs`: live, in scripts and on a terminal; the port goes to a flash and comes back."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import termios
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from k1ctl import artifacts
from k1ctl.config import load
from k1ctl.device.console.log import Log, kept
from k1ctl.device.http import get_json
from k1ctl.device.port import key_of, wanted
from k1ctl.errors import K1ctlError
from k1ctl.simulator.console import PROMPT
from k1ctl.testing import SimulatedDevice
from k1ctl_plugins.device.logs import flow
from tests.device.fakes import make_image
from tests.kit import Project, finish, wait_until
from tests.usb import UsbJob, app


class Desk:
    """A repository with a device on a terminal, and consoles of it in processes of their own."""

    def __init__(self, project: Project, device: SimulatedDevice) -> None:
        self.project, self.device = project, device
        project.configure(device.toml())
        self.folder = project.ops / "device" / "k1.console"

    def console(self, *words: str, **kwargs: Any) -> subprocess.Popen[str]:
        """A console in a pipe, once it has the port open."""
        before = len(self.project.events("console.opened"))
        process = self.project.popen("device", "console", *words, **kwargs)
        wait_until(lambda: process.poll() is not None or len(self.project.events("console.opened")) > before)
        return process

    def say(self, text: bytes) -> None:
        """Have the device say something."""
        assert self.device.usb is not None
        wait_until(lambda: self.device.usb is not None and self.device.usb.link.is_open)
        self.device.usb.link.send(text)

    def log(self) -> bytes:
        """All that was kept."""
        return b"".join(Path(row.path).read_bytes() for row in kept(str(self.folder)))


@pytest.fixture
def desk(workspace: Project, tmp_path: Path) -> Iterator[Desk]:
    with SimulatedDevice(tmp_path / "device", usb=True) as device:
        yield Desk(workspace, device)


def test_a_dialogue(desk: Desk) -> None:
    """Send and expect in the order they were given; what was seen is told; nothing else is on stdout."""
    words = ("--send", r"\r", "--expect", "(k1)> $", "--send", "m", "--expect", "^0 (exit)$", "--send", "0")
    done = desk.project.run("device", "console", *words, "--expect", "k1>", "--json").assert_ok().json
    assert [m["groups"] for m in done["matched"]] == [["k1"], ["exit"], []]
    assert done["lines"][1:4] == [f"{PROMPT}1 log level", "2 audio", "3 heartbeat"]
    assert done["ok"] and done["panics"] == [] and Path(done["log"]).read_bytes() == desk.log()


def test_not_seen(desk: Desk) -> None:
    """What does not come in time is exit 1, and the error says what came; a wrong expression is told at once."""
    words = ("device", "console", "--send", "m", "--expect", "nothing of the kind", "--timeout", "100ms")
    done = desk.project.run(*words, "--json")
    error = done.assert_fails(1, "'nothing of the kind' was not seen in 0.1 s", "4 tags | 0 exit").json["error"]
    assert error["code"] == "not-seen" and "2 audio" in error["came"]
    assert Path(error["log"]).read_bytes() == desk.log()
    desk.project.run("device", "console", "--expect", "(").assert_fails(2, "no regular expression")
    desk.project.run("device", "console", "--json").assert_fails(2, "--for D")


def test_a_panic(desk: Desk) -> None:
    """A panic that was asked for is no failure; one that was not is exit 1; it is an event with the log's name."""
    asked = desk.project.run("device", "console", "--send", "!", "--expect", "Guru", "--expect", "k1>", "--json")
    (panic,) = asked.assert_ok().json["panics"]
    assert panic["kind"] == "guru" and panic["pc"] == "0x4200a1b2" and "--elf" in panic["note"]
    (event,) = desk.project.events("device.panic")
    assert event["kind"] == "guru" and event["backtrace"][0] == "0x4200a1af:0x3fcebe20"
    assert Path(event["log"]).read_bytes() == desk.log()
    fails = ("device", "console", "--send", "!", "--fail-on-panic", "--expect")
    desk.project.run(*fails, "never").assert_fails(1, "panicked before 'never' was seen: guru")
    desk.project.run(*fails, "Core  1 reg", "--for", "10s").assert_fails(1, "k1 panicked: guru: StoreProhibited")


def test_a_backtrace_is_decoded(desk: Desk, tmp_path: Path) -> None:
    """The kept ELF that the panic names, and the toolchain that is configured, make lines of it: shown, in the document
    and in the event."""
    elf, tool = tmp_path / "firmware.elf", tmp_path / "addr2line"
    elf.write_bytes(b"an ELF")
    digest = sha256(elf.read_bytes()).digest()
    tool.write_text('#!/bin/sh\nshift 3\nfor a; do echo "$a: crash at main.cpp:7"; done\n')
    tool.chmod(0o755)
    image = tmp_path / "firmware.bin"
    image.write_bytes(make_image(description=bytes.fromhex("3254cdab") + bytes(140) + digest + bytes(80)))
    files = {"firmware.bin": str(image), "firmware.elf": str(elf)}
    artifacts.store(desk.project.facts(), "fw", files, {})
    desk.device.device.install(image.read_bytes())
    desk.project.configure(f'{desk.device.toml()}[tools]\naddr2line = "{tool}"\n')
    done = desk.project.run("device", "console", "--send", "!", "--expect", "Rebooting", "--json").assert_ok()
    (panic,) = done.json["panics"]
    assert panic["elf_sha256"] == digest.hex()[:16] and panic["note"] == ""
    assert panic["decoded"][0] == "0x4200a1af: crash at main.cpp:7" and len(panic["decoded"]) == 3
    assert "k1ctl:   0x4200a1af: crash at main.cpp:7" in done.stderr
    assert desk.project.events("device.panic")[0]["backtrace"] == panic["decoded"]


def test_no_reset_without_lines(desk: Desk) -> None:
    """A terminal has no DTR and RTS: --reset says so, and what to do."""
    desk.project.run("device", "console", "--reset").assert_fails(69, "has no DTR and RTS", "sim reset")


def uptime(project: Project) -> float:
    """The uptime that the simulated device tells, in ms; infinite while it starts anew."""
    port = int(load(project.facts(), {}).section("devices", "k1")["http_port"])
    try:
        return float(get_json("127.0.0.1", port, "/api/device/info", 1)["uptime_ms"])
    except K1ctlError:
        return float("inf")


HASTY = """
import time, types
import serial.rfc2217
serial.rfc2217.time = types.SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, 0.002)))
"""  # pyserial sleeps 50 ms at each change of a line, and 300 ms as it closes


def test_a_reset(workspace: Project, tmp_path: Path) -> None:
    """--reset where there are DTR and RTS: open first, reset after, so nothing of the first lines is lost; `sim reset`
    is the board's button."""
    workspace.run("sim", "reset").assert_fails(1, "not running")
    workspace.configure(workspace.run("sim", "start", "--usb-link", "rfc2217", "--reboot", "50ms").assert_ok().stdout)
    (tmp_path / "sitecustomize.py").write_text(HASTY)
    words = ("device", "console", "--reset", "--expect", "build (\\S+)$", "--json")
    done = workspace.run(*words, env={"PYTHONPATH": str(tmp_path)}).assert_ok().json
    assert done["lines"][0].startswith("ESP-ROM:") and done["matched"][0]["groups"] == ["factory"]
    assert done["resets"][0]["reason"] == "USB_UART_CHIP_RESET"
    before = uptime(workspace)
    assert before < float("inf")
    workspace.run("sim", "reset").assert_ok()
    wait_until(lambda: uptime(workspace) < before)
    workspace.run("sim", "stop").assert_ok()


def test_a_flash_gets_the_port_and_gives_it_back(desk: Desk, tmp_path: Path) -> None:
    """Real esptool flashes while a console is open whose reader stands still: it steps aside by itself, and every byte
    before and after is in its log and its output."""
    before, after = b"before\n" * 30_000, b"after\n"
    console = desk.console()
    desk.say(before)
    wait_until(lambda: len(desk.log()) == len(before))
    job = UsbJob(tmp_path / "run", desk.device.settings(), app("lent"))
    assert job.run()[0] == 0 and desk.device.image() == app("lent")
    wait_until(lambda: len(desk.project.events("console.resumed")) == 1)
    desk.say(after)
    wait_until(lambda: desk.log().endswith(after))
    console.terminate()
    out, err = console.communicate(timeout=20)
    assert console.returncode == 143
    assert "is lent to a flash over USB of oslo" in err and "k1 is back on" in err
    assert out.encode() == desk.log().replace(b"\r\n", b"\n")
    assert out.startswith(before.decode()) and out.endswith(after.decode())


def test_a_killed_console_is_in_nobodys_way(desk: Desk, tmp_path: Path) -> None:
    """kill -9 of a console frees the port and the place in line at once."""
    console = desk.console(stderr=subprocess.DEVNULL)
    console.kill()
    console.communicate()
    desk.project.run("device", "console", "--for", "10ms", "--wait", "5s").assert_ok()
    assert desk.project.run("queue", "list", "--json").json["tickets"] == []


def test_a_stopped_console_is_named(desk: Desk, tmp_path: Path) -> None:
    """A flash waits for a console that does not answer as long as it may, and then says who it is: port-busy, 75."""
    console = desk.console(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    console.send_signal(signal.SIGSTOP)
    job = UsbJob(tmp_path / "run", desk.device.settings(), app("stopped"), usb={"yield_timeout": 0.2})
    code, lines = job.run()
    assert (code, job.outcome["code"]) == (75, "port-busy") and f"(pid {console.pid})" in job.outcome["message"]
    assert any(line.startswith("waiting for the port: k1ctl device console k1 of ") for line in lines)
    console.send_signal(signal.SIGCONT)
    console.terminate()
    assert finish(console) == 143


def test_a_failed_console_holds_nothing(desk: Desk) -> None:
    """What its reader has not read yet waits for him, but neither the port nor the line does, and TERM ends it."""
    console = desk.console("--fail-on-panic", "--for", "30s")
    desk.say(b"x" * 300_000 + b"\nabort() was called at PC 0x42001234 on core 0\nRebooting...\n")
    desk.project.run("device", "console", "--for", "10ms", "--wait", "20s").assert_ok()
    assert console.poll() is None
    console.terminate()
    console.communicate(timeout=20)
    assert console.returncode == -signal.SIGTERM


def test_one_console_at_a_time(desk: Desk) -> None:
    """The second one waits in line as long as it may, and is told who has it; `queue cancel` ends the first, which HUP
    does not where that was ignored (nohup)."""
    console = desk.console(
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    console.send_signal(signal.SIGHUP)
    done = desk.project.run("device", "console", "--wait", "100ms", "--for", "1s")
    done.assert_fails(75, "console:k1", f"device console k1 (pid {console.pid})")
    ticket = str(desk.project.run("queue", "list", "--json").json["tickets"][0]["ticket"])
    assert desk.project.run("queue", "cancel", ticket, "--dry-run").assert_ok() and console.poll() is None
    desk.project.run("queue", "cancel", ticket).assert_ok()
    assert finish(console) == 143


def test_a_device_that_goes_and_comes_back(desk: Desk) -> None:
    """The cable is pulled and plugged in: the console says so and goes on."""
    console = desk.console("--for", "30s")
    desk.say(b"one\n")
    wait_until(lambda: b"one" in desk.log())
    assert desk.device.usb is not None
    desk.device.usb.unplug()
    wait_until(lambda: len(desk.project.events("console.resumed")) == 1)
    desk.say(b"two\n")
    wait_until(lambda: b"two" in desk.log())
    console.terminate()
    out, err = console.communicate(timeout=20)
    assert out == "one\ntwo\n" and "waiting for it" in err and "is back on" in err
    assert len(desk.project.events("console.lost")) == 1


def test_whatever_a_device_says(desk: Desk, tmp_path: Path) -> None:
    """No UTF-8, NULs and half a megabyte without an end of line pass through, and into the log, byte for byte."""
    noise = b"\xff\xfe\x00\x1b[" * 100_000
    out = tmp_path / "out"
    with out.open("wb") as f:
        console = desk.console(stdout=f)
    desk.say(noise)
    wait_until(lambda: out.stat().st_size == len(noise))
    console.terminate()
    console.communicate(timeout=20)
    assert desk.log() == noise and out.read_bytes() == noise


def test_logs(desk: Desk) -> None:
    """What consoles kept is listed and printed; the last session alone; followed while another console is open."""
    desk.project.run("device", "logs", "other").assert_fails(78, "other")
    first, second = (Log(str(desk.folder), keep=9, limit=99) for _ in range(2))
    first.write(b"one\n")
    second.write(b"two\n")
    first.close()
    assert desk.project.run("device", "logs").assert_ok().stdout == "one\ntwo\n"
    rows = desk.project.run("device", "logs", "--list", "--json").assert_ok().json["logs"]
    assert [(row["path"], row["open"]) for row in rows] == [(first.path, False), (second.path, True)]
    follow = desk.project.popen("device", "logs", "--last", "--follow")
    assert follow.stdout is not None and follow.stdout.readline() == "two\n"
    second.write(b"more\n")
    assert follow.stdout.readline() == "more\n"
    second.close()
    desk.project.run("device", "console", "--send", "0 ", "--expect", "Lava").assert_ok()
    while "Lava" not in follow.stdout.readline():
        pass
    follow.send_signal(signal.SIGINT)
    follow.communicate(timeout=20)
    assert follow.returncode == 130


def test_a_follower_misses_no_session(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What begins while the older logs are still printed is followed, too."""
    logs = [Log(str(desk.folder), keep=9, limit=99)]
    logs[0].write(b"one\n")
    found = flow.chosen(desk.project.facts(), load(desk.project.facts(), {}), "k1", last=True, since=None)
    logs.append(Log(str(desk.folder), keep=9, limit=99))
    logs[1].write(b"two\n")
    monkeypatch.setattr(flow.time, "sleep", Mock(side_effect=[None, KeyboardInterrupt]))
    with pytest.raises(KeyboardInterrupt):
        flow.show(*found, follow=True)
    assert capfd.readouterr().out == "one\ntwo\n"
    for log in logs:
        log.close()


class Terminal:
    """A console on a terminal of its own."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.seen = desk, b""
        self.master, slave = pty.openpty()
        self.slave = slave
        self.before = termios.tcgetattr(slave)
        self.process = desk.project.popen("device", "console", stdin=slave, stdout=slave, stderr=slave)
        self.until(b"Ctrl-]")
        wait_until(lambda: not termios.tcgetattr(slave)[3] & termios.ICANON)

    def until(self, text: bytes) -> None:
        while text not in self.seen:
            self.seen += os.read(self.master, 4096)

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def close(self) -> int:
        """Its exit code, once the terminal is as it was."""
        code = finish(self.process)
        assert termios.tcgetattr(self.slave) == self.before
        os.close(self.master)
        os.close(self.slave)
        return code


@pytest.mark.parametrize("end", [b"\x1d", b"\x03", signal.SIGTERM, signal.SIGHUP])
def test_on_a_terminal(desk: Desk, end: bytes | signal.Signals) -> None:
    """Keys go to the device and its answers to the screen; Ctrl-] and ^C end it, so do TERM and HUP; the terminal is
    as it was in every case."""
    terminal = Terminal(desk)
    terminal.type(b" ")
    terminal.until(b"pattern 1: Lava")
    terminal.type(b"\x14?")
    terminal.until(b"Ctrl-T Ctrl-C sends ^C")
    terminal.type(b"\x14\x12")
    terminal.until(b"has no DTR and RTS")
    if isinstance(end, bytes):
        terminal.type(end)
        assert terminal.close() == 0
    else:
        terminal.process.send_signal(end)
        assert terminal.close() == 128 + end


@pytest.mark.parametrize("exclusive", [True, None])
def test_a_port_that_another_program_has(desk: Desk, exclusive: bool | None) -> None:
    """A foreign program that has the port open is named: port-busy, exit 75; also one that locks nothing, as most
    monitors: two readers would take each other's bytes."""
    import serial

    with serial.Serial(desk.device.usb_port, exclusive=exclusive):
        done = desk.project.run("device", "console", "--for", "1s", "--json")
    done.assert_fails(75, f"(pid {os.getpid()})")
    assert json.loads(done.stdout)["error"]["code"] == "port-busy"
    assert not wanted(key_of(desk.device.settings()))
