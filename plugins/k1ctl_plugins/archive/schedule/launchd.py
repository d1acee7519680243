"""A launch agent of the user: a property list in ~/Library/LaunchAgents that launchctl(1) loads."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.files import read_bytes, write_atomic
from k1ctl.programs import which
from k1ctl.workspace import host_dir
from k1ctl_plugins.archive.schedule.times import When

_SECONDS = 20.0
_SETTLING = 5.0  # s that launchd gets to let an agent go; it answers before it has
_LOOK = 0.1  # s between two looks
_IN_PROGRESS = (5, 37)  # launchctl(1) error: an input/output error or an operation in progress, while one is unloaded


class LaunchdError(K1ctlError):
    """launchctl(1) did not do what it was asked to."""

    code = "launchctl-failed"


def preferred() -> bool:
    """Whether this system's own scheduler is launchd."""
    return sys.platform == "darwin"


def label(root: str) -> str:
    """The agent's name: one for each root."""
    from hashlib import sha256

    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in os.path.basename(root))[:40]
    return f"k1ctl.archive.{name}-{sha256(os.fsencode(root)).hexdigest()[:8]}"


def path_of(root: str) -> str:
    """Where its property list lies."""
    return os.path.join(os.path.expanduser("~"), "Library", "LaunchAgents", f"{label(root)}.plist")


def output_of(root: str) -> str:
    """Where what the script itself says goes. Not below the root: launchd starts nothing when the folder is gone, and
    `git clean -fdx` takes ops/archive."""
    return os.path.join(host_dir(), "archive", f"{label(root)}.out")


def text(root: str, script: str, when: When) -> bytes:
    """The property list, launchd.plist(5). A run that was missed while the Mac slept is made up for when it wakes.

    Raises ConfigError for what no XML can hold.
    """
    import plistlib

    log = output_of(root)
    calendar = {"Hour": when.hour, "Minute": when.minute}
    agent: dict[str, Any] = {
        "Label": label(root),
        "ProgramArguments": [script],
        "StartCalendarInterval": calendar if when.weekday is None else {**calendar, "Weekday": when.weekday},
        "StandardOutPath": log,
        "StandardErrorPath": log,
        "ProcessType": "Background",
        "LowPriorityIO": True,
    }
    try:
        return plistlib.dumps(agent)
    except ValueError:  # a control character, or bytes that are no UTF-8
        raise ConfigError(f"{script!r} cannot stand in a property list", hint="--cron may take it") from None


def when_of(data: bytes) -> When | None:
    """What a property list says of the time; None when it is not of this form."""
    import plistlib

    try:
        at = plistlib.loads(data)["StartCalendarInterval"]
        return When(int(at["Hour"]), int(at["Minute"]), int(at["Weekday"]) % 7 if "Weekday" in at else None)
    except (ValueError, KeyError, TypeError, AttributeError, plistlib.InvalidFileException):
        return None
    except Exception as exc:  # plistlib lets its XML parser's own errors through
        if type(exc).__name__ != "ExpatError":
            raise
        return None


def loaded(root: str) -> bool:
    """Whether launchd has the agent. Raises NotFoundError, LaunchdError."""
    return _launchctl("print", _service(root))[0] == 0


def install(root: str, data: bytes) -> bool:
    """Write the property list and load it; whether anything changed. Where it cannot be loaded a list that was not
    there before goes again. Raises NotFoundError, LaunchdError, OSError.

    What is loaded goes first: killed in between, it is not taken for the new one.
    """
    path = path_of(root)
    before = read_bytes(path)
    there = loaded(root)
    if before == data and there:
        return False
    if there:
        _unload(root)
    os.makedirs(os.path.dirname(output_of(root)), exist_ok=True)
    write_atomic(path, data, mode=0o644)
    deadline = time.monotonic() + _SETTLING
    while True:
        code, said = _launchctl("bootstrap", _domain(), path)
        if code == 0:
            return True
        if code not in _IN_PROGRESS or time.monotonic() > deadline:
            break
        time.sleep(_LOOK)
    if before is None:
        os.unlink(path)
    raise _failed("bootstrap", code, said)


def remove(root: str) -> bool:
    """Unload the agent and take its property list away; whether there was any. Raises as `install`."""
    there = loaded(root)
    if there:
        _unload(root)
    try:
        os.unlink(path_of(root))
    except FileNotFoundError:
        return there
    return True


def _unload(root: str) -> None:
    code, said = _launchctl("bootout", _service(root))
    deadline = time.monotonic() + _SETTLING
    while loaded(root):
        if time.monotonic() > deadline:
            raise _failed("bootout", code, said)
        time.sleep(_LOOK)


def _domain() -> str:
    return f"gui/{os.getuid()}"


def _service(root: str) -> str:
    return f"{_domain()}/{label(root)}"


def _failed(word: str, code: int, said: str) -> LaunchdError:
    lines = said.strip().splitlines()
    hint = "launch agents are loaded in a session at the screen; --cron works without one"
    return LaunchdError(f"launchctl {word}: {lines[-1] if lines else f'exit {code}'}", hint=hint)


def _launchctl(*args: str) -> tuple[int, str]:
    """(Its exit code, what it said)."""
    import subprocess

    program = which("launchctl")
    if not program:
        raise NotFoundError("launchctl was not found: launchd is macOS's scheduler", hint="--cron, or --print")
    try:
        done = subprocess.run([program, *args], capture_output=True, text=True, errors="replace", timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        raise LaunchdError(f"launchctl {args[0]} took longer than {_SECONDS:g} s") from None
    return done.returncode, done.stderr or done.stdout
