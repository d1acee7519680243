"""Run esptool so that a write, once begun, ends by itself whatever happens around it.

It works in the worker's process group and deaf to HUP, INT and TERM; the descriptors of lease and guards go with it,
and the read end of its own output too, so that a killed worker breaks no pipe in the middle of a write.
"""

from __future__ import annotations

import os
import select
import signal
import time

from k1ctl.device.esptool import environment

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from k1ctl.device.esptool import Report
    from k1ctl.device.stop import StopRequest

_PIPE_BYTES = 1 << 20  # what it may print with nobody reading, where the system lets a pipe grow
_LOOK = 0.2


def run(
    command: list[str],
    report: Report,
    *,
    seconds: float,
    stop: StopRequest | None = None,
    refuse: Callable[[], bool] | None = None,
    began: Callable[[], None] | None = None,
) -> int | None:
    """Run ``command``, handing its output to ``report``; its exit status, or None when it was ended by us.

    Until a write begins it is ended after ``seconds``, when ``stop`` is requested, or when ``refuse()`` says so of
    what it has printed; afterwards by nothing. ``began()`` is called once. Raises OSError.
    """
    reading, writing = os.pipe()
    try:
        _grow(reading)
        os.set_inheritable(reading, True)
        os.set_blocking(reading, False)
        try:
            process = _start(command, writing)
        finally:
            os.close(writing)
        deadline = time.monotonic() + seconds

        def unwanted() -> bool:
            stopped = stop is not None and stop.requested
            return stopped or time.monotonic() >= deadline or (refuse is not None and refuse())

        return _follow(process, reading, report, stop, unwanted, began)
    finally:
        os.close(reading)


def _start(command: list[str], output: int) -> subprocess.Popen[bytes]:
    import subprocess

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment(),
        close_fds=False,  # what may be inherited is the lease, the guards and the read end
        preexec_fn=_deaf,
    )


def _deaf() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _follow(
    process: subprocess.Popen[bytes],
    reading: int,
    report: Report,
    stop: StopRequest | None,
    unwanted: Callable[[], bool],
    began: Callable[[], None] | None,
) -> int | None:
    told = False
    while True:
        watched = [reading] if stop is None or stop.requested or report.began else [reading, stop.fd]
        select.select(watched, [], [], _LOOK)
        over = _drain(reading, report)
        if report.began and not told:
            told = True
            if began:
                began()
        if over:
            report.close()
            return process.wait()
        if not report.began and unwanted() and _ended(process, reading, report):
            return None


def _drain(reading: int, report: Report) -> bool:
    """Read what is there; whether the output is over."""
    while True:
        try:
            data = os.read(reading, 65536)
        except BlockingIOError:
            return False
        if not data:
            return True
        report.feed(data)


def _ended(process: subprocess.Popen[bytes], reading: int, report: Report) -> bool:
    """End it unless a write has begun: it is stopped first, so that what it said last is true while we decide."""
    process.send_signal(signal.SIGSTOP)
    _drain(reading, report)
    if report.began:
        process.send_signal(signal.SIGCONT)
        return False
    process.kill()
    process.wait()
    report.close()
    return True


def _grow(pipe: int) -> None:
    import fcntl

    try:
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
    except (AttributeError, OSError):
        pass  # macOS has 64 KiB, which is more than a call without progress lines prints
