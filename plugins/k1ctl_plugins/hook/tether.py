"""Keeps a lease for a command in the foreground: runs until nobody has the other end of a pipe any more.

Run as a script of its own, without site packages: PID SESSION HELD HELLO SECONDS. HELD is the pipe, HELLO where it says
that it is there. Told to end by TERM, it tells the command (process PID of session SESSION) first, kills it SECONDS
later, and ends when the command and its children have.
"""

from __future__ import annotations

import os
import signal
import sys

_MARKS = ("K1CTL_RUN", "K1CTL_LEASES", "K1CTL_GUARDS", "K1CTL_DEVICE", "K1CTL_DEFAULTS_DEVICE")


def main(pid: int, session: int, held: int, hello: int, seconds: float) -> None:
    """Hold on until ``held`` is at its end."""

    def send(*numbers: int) -> None:
        try:
            if os.getsid(pid) == session:  # else the number is another process's by now
                for number in numbers:
                    os.kill(pid, number)
        except OSError:
            pass

    def told(*_: object) -> None:
        send(signal.SIGTERM, signal.SIGCONT)
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.001))

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGALRM, lambda *_: send(signal.SIGKILL))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    marks = b"".join(os.fsencode(f"{n}={os.environ[n]}") + b"\0" for n in _MARKS if n in os.environ)
    os.write(hello, marks + b"\0\0")
    os.close(hello)
    while os.read(held, 4096):
        pass


if __name__ == "__main__":
    numbers = [int(word) for word in sys.argv[1:5]]
    main(numbers[0], numbers[1], numbers[2], numbers[3], float(sys.argv[5]))
