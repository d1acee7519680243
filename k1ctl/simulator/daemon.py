"""The simulated device as a process of its own, known by its folder.

The process holds a flock on ``FOLDER/lock`` for as long as it lives, so running means locked, never a pid; what it is
stands in ``FOLDER/state.json``.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import Any

from k1ctl.errors import BusyError, K1ctlError
from k1ctl.files import open_locked, read_json, same_file, write_json
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

LOCK, STATE, LOG = "lock", "state.json", "log"
_START_SECONDS, _STOP_SECONDS = 15.0, 5.0
_LOOK_SECONDS = 1.0  # between two looks whether the folder is still ours
_ENDED = 0.02  # seconds between two looks whether a daemon has gone


def serve(folder: str, name: str, faults: Sequence[str], options: dict[str, Any], ready_fd: int = -1) -> int:
    """Be the daemon until TERM; writes a byte to ``ready_fd`` once it answers. Returns the exit code."""
    from k1ctl.device.login import configured as password
    from k1ctl.device.stop import StopRequest
    from k1ctl.simulator.simulated import SimulatedDevice, mac_of

    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, LOCK)
    lock = open_locked(path, blocking=False)
    if lock is None:
        raise K1ctlError(f"a simulated device runs in {folder} already", code="already-running")
    stop = StopRequest()
    stop.on_signal(signal.SIGTERM, signal.SIGINT)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    sources = {key: options.pop(key, "") for key in ("password_env", "password_file")}
    secret = password({"name": name, **sources})
    options["mac"] = options.get("mac") or mac_of(name)
    with SimulatedDevice(folder, *faults, password=secret, **options) as device:
        signal.signal(signal.SIGUSR1, lambda *_: device.press_reset())
        itself = {"pid": os.getpid(), "created": _created(os.getpid()), "started_at": rfc3339()}
        limits = {"partition_size": device.device.partition_size, "reboot_seconds": device.device.reboot_seconds}
        limits["filesystem_size"] = device.device.filesystem_size
        login = device.device.login.rule if device.device.login else ""
        told = {
            **itself,
            **device.settings(name),
            **limits,
            **sources,
            "login": login,
            "faults": list(faults),
            "usb": options.get("usb", ""),
            "mdns": options.get("mdns", ""),
        }
        write_json(os.path.join(folder, STATE), told)
        if ready_fd >= 0:
            os.write(ready_fd, b"x")
            os.close(ready_fd)
        while not select.select([stop.fd], [], [], _LOOK_SECONDS)[0]:
            if same_file(lock, path):
                device.name_again()
                continue
            os.close(lock)  # somebody cleaned the folder away (git clean): be known in it again, or make room
            lock = open_locked(path, blocking=False)
            if lock is None:
                return 0
            write_json(os.path.join(folder, STATE), told)
            device.name_again()
    os.close(lock)
    return 0


def _created(pid: int) -> float:
    """When a process was started, to tell it from a later one with the same number; 0 when there is none."""
    import psutil

    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def running(folder: str) -> bool:
    """Whether a daemon lives in ``folder``."""
    path = os.path.join(folder, LOCK)
    if not os.path.exists(path):
        return False
    fd = open_locked(path, blocking=False)
    if fd is None:
        return True
    os.close(fd)
    return False


def state(folder: str) -> dict[str, Any] | None:
    """What the daemon in ``folder`` is: {name, host, ota_port, http_port, mac, identity, partition_size,
    filesystem_size, usb, usb_port (when it has one), mdns (its host name, else ""), password_env, password_file, login,
    reboot_seconds, faults, pid, started_at, created}; None when none runs.
    """
    if not running(folder):
        return None
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end:  # one that is just starting has the lock before it has written what it is
        found = read_json(os.path.join(folder, STATE))
        if isinstance(found, dict) and abs(_created(int(found["pid"])) - found["created"]) < 0.5:
            return found
        if not running(folder):
            return None
        time.sleep(_ENDED)
    raise K1ctlError(f"something holds {folder}/{LOCK} but is no simulated device", code="sim-unknown")


def start(folder: str, name: str, faults: Sequence[str], options: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Start a daemon in a session of its own and wait until it answers; (its state, whether it is a new one).

    A port that is not given is the one it had before, when that is free. Raises BusyError (code sim-running) when one
    runs with other options, K1ctlError (code sim-failed) with the last line of its log.
    """
    asked = {key: value for key, value in options.items() if value or not key.endswith("_port")}
    found = state(folder)
    if found is not None:
        return _as_asked(found, faults, asked), False
    options = {**_last_ports(folder), **asked}
    import subprocess
    import sys

    os.makedirs(folder, exist_ok=True)
    ready, told = os.pipe()
    command = [sys.executable, "-m", "k1ctl.simulator", "--folder", folder, "--name", name, "--ready-fd", str(told)]
    command += [f"--fault={fault}" for fault in faults]
    command += [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    log = os.path.join(folder, LOG)
    with open(log, "ab") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, pass_fds=[told], start_new_session=True
        )
    os.close(told)
    try:
        seen, _, _ = select.select([ready], [], [], _START_SECONDS)
        if seen and os.read(ready, 1):
            process.returncode = 0  # it is meant to outlive us: no warning about a child that still runs
            found = state(folder)
            if found is not None:
                return found, True
    finally:
        os.close(ready)
    if not seen:
        process.kill()
    process.wait()
    found = state(folder)  # somebody else may have started it in the same moment
    if found is not None:
        return _as_asked(found, faults, asked), False
    with open(log, encoding="utf-8", errors="replace") as text:
        last = ([line.strip() for line in text if line.strip()] or ["it said nothing"])[-1]
    raise K1ctlError(f"the simulated device did not start: {last}", hint=f"its log is {log}", code="sim-failed")


def _as_asked(found: dict[str, Any], faults: Sequence[str], asked: dict[str, Any]) -> dict[str, Any]:
    """``found`` when what was asked for holds for it; nothing asked is always right. Raises BusyError."""
    other = [key.replace("_", "-") for key, value in asked.items() if found.get(key) != value]
    if faults and list(faults) != found["faults"]:
        other.append("faults")
    if other:
        raise BusyError(
            f"the simulated device {found['name']} runs with other options: {', '.join(other)}",
            hint=f"k1ctl sim stop --name {found['name']}, then start it again",
            code="sim-running",
        )
    return found


def _last_ports(folder: str) -> dict[str, int]:
    """The ports of the earlier start that are free, so that a configuration that names them stays right."""
    import socket

    before = read_json(os.path.join(folder, STATE))
    told = before if isinstance(before, dict) else {}
    scheme, _, number = str(told.get("usb_port", "")).rpartition(":")
    told["usb_tcp_port"] = int(number) if "://" in scheme and number.isdigit() else None
    ports = {}
    for key in ("ota_port", "http_port", "usb_tcp_port"):
        port, kind = told.get(key), socket.SOCK_DGRAM if key == "ota_port" else socket.SOCK_STREAM
        if isinstance(port, int):
            with socket.socket(socket.AF_INET, kind) as probe:
                if kind == socket.SOCK_STREAM:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            ports[key] = port
    return ports


def press_reset(folder: str) -> bool:
    """Press RESET on the device in ``folder``; False when none runs."""
    found = state(folder)
    if found is None:
        return False
    os.kill(found["pid"], signal.SIGUSR1)
    return True


def stop(folder: str) -> bool:
    """End the daemon in ``folder``: TERM, then KILL after some seconds; False when none ran.

    It is gone when its lock is free. Raises K1ctlError (code sim-stuck).
    """
    found = state(folder)
    if found is None:
        return False
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(found["pid"], number)
        except ProcessLookupError:
            pass
        end = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < end:
            if not running(folder):
                return True
            time.sleep(_ENDED)
    raise K1ctlError(f"process {found['pid']} does not end", code="sim-stuck")
