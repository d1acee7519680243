"""Being woken: threads blocked on the tickets that a waiter watches, signals, and the pipe on which all arrives."""

from __future__ import annotations

import os
import select
import time
from _thread import start_new_thread

from k1ctl.files import flock
from k1ctl.queue.line import SH
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.queue.names import Name

NET = 60.0  # s between two looks that nothing asked for
NEAR_NET = 1.0  # s, for those near the head, who must notice a stopped one before them


class Watch:
    """What one waiter waits for: that somebody gives up one of the ``tickets``, or that ``net`` seconds are over.

    A helper thread blocks in flock(SHARED) on each ticket, so an exit, a crash or a kill -9 of its owner wakes us.
    """

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.tickets: list[Name] = []
        self.net = NET
        self._watched: set[int] = set()
        self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        for number in (signals.SIGUSR1, signals.SIGCHLD):
            signals.signal(number, lambda *_: None)
        signals.set_wakeup_fd(self.wake_write, warn_on_full_buffer=False)
        self._poll = select.poll()
        self._poll.register(self.wake_read, select.POLLIN)

    def nothing(self) -> None:
        """From now on only a signal wakes us, and the longest interval."""
        self.tickets, self.net = [], NET

    def anew(self) -> None:
        """The numbers of those we watched stand for others now."""
        self._watched = set()

    def listen(self, fd: int) -> None:
        """`pause` ends also when there is something to read from ``fd``."""
        if fd >= 0:
            self._poll.register(fd, select.POLLIN | select.POLLHUP)

    def close(self) -> None:
        """Close the pipe, unless a thread still blocks that would write to it: then it stays open."""
        if not self._watched:
            os.close(self.wake_read)
            os.close(self.wake_write)

    def pause(self, until: float | None, listened: int) -> bool:
        """Wait until something wakes us, at most until ``until`` (CLOCK_MONOTONIC); whether ``listened`` spoke."""
        if not self._begin():
            return False
        left = self.net if until is None else min(self.net, until - time.monotonic())
        events = self._poll.poll(max(left, 0) * 1000)
        if any(fd == listened for fd, _ in events):
            return True
        try:
            os.read(self.wake_read, 512)
        except BlockingIOError:
            pass
        return False

    def _begin(self) -> bool:
        """A thread for each ticket to watch; False when one of them is gone already, so look again at once."""
        complete = True
        for name in self.tickets:
            if name.seq in self._watched:
                continue
            fd = self._open(name)
            if fd < 0:
                complete = False
                continue
            self._watched.add(name.seq)
            try:
                start_new_thread(self._until_given_up, (name.seq, fd))
            except RuntimeError:  # no more threads on this host: look now and then instead
                self._watched.discard(name.seq)
                os.close(fd)
                self.net = NEAR_NET
        return complete

    def _open(self, name: Name) -> int:
        for file in (name.file, name.with_state("r")):  # it may have been let in since
            try:
                return os.open(self.folder + file, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
        return -1

    def _until_given_up(self, seq: int, fd: int) -> None:
        try:
            flock(fd, SH, "")
        finally:
            os.close(fd)
            self._watched.discard(seq)
            try:
                os.write(self.wake_write, b"d")
            except OSError:
                pass
