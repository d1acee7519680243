"""A request to stop that a wait on sockets can see: a flag and a descriptor that becomes readable with it."""

from __future__ import annotations

import os
import signal


class StopRequest:
    """``requested`` turns True once; ``fd`` is readable from then on, so that poll returns."""

    def __init__(self) -> None:
        self.requested = False
        self.fd, self._write = os.pipe()

    def request(self) -> None:
        """Ask to stop; may be called from a signal handler or another thread."""
        if not self.requested:
            self.requested = True
            os.write(self._write, b"x")

    def on_signal(self, *numbers: signal.Signals) -> None:
        """Turn these signals into requests."""
        for number in numbers:
            signal.signal(number, lambda *_: self.request())

    def close(self) -> None:
        """Free the descriptors."""
        os.close(self.fd)
        os.close(self._write)
