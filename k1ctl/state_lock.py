"""The flock that writers of ``ops/state.db`` stand behind: waited for with a limit, as its holder may be stopped."""

from __future__ import annotations

import errno
import os
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN

from k1ctl.errors import BusyError, ConfigError
from k1ctl.files import flock
from k1ctl.signals import signals

PATIENCE = 60.0  # s: a transaction takes milliseconds, the largest portion of a sync a second or two


class StateLock:
    """The lock at ``path``, held by the kernel for as long as this process has it; one thread at a time.

    ``patience``: seconds that it is waited for; without a limit where no alarm can be set: outside of the main thread,
    and where somebody else has set one, which ends this wait as well.
    """

    def __init__(self, path: str, *, patience: float = PATIENCE) -> None:
        self.path, self.patience = path, patience
        self._fd = -1
        self._inode: tuple[int, int] | None = None

    def take(self) -> None:
        """Hold the file that has the lock's name now. Raises BusyError (state-busy), ConfigError (state-read-only)."""
        while True:
            if self._fd < 0:
                self._fd = self._open()
                self._inode = inode(os.fstat(self._fd))
            if not flock(self._fd, LOCK_EX | LOCK_NB, self.path):
                self._wait()
            if there(self.path) == self._inode:
                return
            self.close()

    def give(self) -> None:
        """Hold it no longer."""
        if self._fd >= 0:
            flock(self._fd, LOCK_UN, self.path)

    def close(self) -> None:
        """Let go of the file."""
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = -1

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(self.path), exist_ok=True)
            return self._open()
        except OSError as exc:
            if exc.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise ConfigError(
                    f"{self.path} cannot be written: {exc.strerror}",
                    hint="check who owns it and its folder, and whether the disk is mounted read-only",
                    code="state-read-only",
                    file=self.path,
                ) from exc
            raise

    def _wait(self) -> None:
        """Block in flock, which keeps the order of those who wait, with an alarm as its limit."""
        try:
            if signals.getitimer(signals.ITIMER_REAL)[0]:
                raise ValueError
            before = signals.signal(signals.SIGALRM, _over)
        except ValueError:
            flock(self._fd, LOCK_EX, self.path)
            return
        try:
            signals.setitimer(signals.ITIMER_REAL, self.patience)
            try:
                flock(self._fd, LOCK_EX, self.path)
            finally:
                signals.setitimer(signals.ITIMER_REAL, 0)
        except _Over:
            self.close()  # it may have been got in that very instant
            raise self._busy() from None
        finally:
            signals.signal(signals.SIGALRM, signals.SIG_DFL if before is None else before)

    def _busy(self) -> BusyError:
        pid = holder(self.path)
        who = f"process {pid}" if pid else "another process"
        return BusyError(
            f"{self.path} is held by {who} for more than {self.patience:g} s",
            hint=f"whether it was stopped (T): ps -o pid,stat,args -p {pid}" if pid else f"who it is: lsof {self.path}",
            code="state-busy",
            file=self.path,
            holder_pid=pid or None,
        )


class _Over(Exception):
    """The alarm."""


def _over(number: int, frame: object) -> None:
    raise _Over


def holder(path: str) -> int:
    """The process that holds the flock of ``path``, as proc_locks(5) has it; 0 where that is not known (macOS)."""
    try:
        number = str(os.stat(path).st_ino)
        with open("/proc/locks", encoding="ascii", errors="replace") as f:
            found = [words for line in f if len(words := line.split()) > 5]
    except OSError:
        return 0
    for words in found:  # 1: FLOCK ADVISORY WRITE 4711 fe:00:1234 0 EOF; one that waits has an arrow before the kind
        if words[1] == "FLOCK" and words[5].rpartition(":")[2] == number and words[4].isdecimal():
            return int(words[4])
    return 0


def inode(stat: os.stat_result) -> tuple[int, int]:
    """What tells a file from any other."""
    return stat.st_dev, stat.st_ino


def there(path: str) -> tuple[int, int] | None:
    """Which file has this name now."""
    try:
        return inode(os.stat(path))
    except FileNotFoundError:
        return None
