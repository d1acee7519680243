"""``ops/state.db``: rows that outlive every command, in SQLite (WAL) behind one flock.

SQLite alone lets writers poll for its lock, and starves some of them under fsync; behind an flock they queue. It is
``ops/state.lock``, held for one transaction and by the kernel, so a killed process holds up nobody. What has to survive
a loss of power is synced after the lock was let go, so that one fsync of the log serves many who wait for theirs. A new
file is built beside and renamed into place: one that is empty or cut off is damage, and never taken for a new one.
"""

from __future__ import annotations

import os
import sys

from k1ctl.errors import BusyError, ConfigError, K1ctlError
from k1ctl.files import sync_data, sync_folders
from k1ctl.state_lock import StateLock, there

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable
    from typing import Any, TypeVar

    from k1ctl.workspace import Workspace

    T = TypeVar("T")

FILE, LOCK = "state.db", "state.lock"
_PATIENCE = 10.0  # s that a foreign writer (the sqlite3 shell) is waited for
_PAGE = 2048  # bytes: a change touches few rows of several tables, and is logged in whole pages
_FOLD = 1000  # transactions, after which the write-ahead log is folded into the file: two fsyncs, so without the lock
_LOG = 60_000  # pages of the log, after which it is folded with the lock held: writers were faster than the disk
_inherited: list[Any] = []  # connections of a parent: SQLite forbids a child even to close them


class State:
    """The state of one root. Connects when first used, and again in a child after a fork; one thread at a time.

    ``patience``: seconds that a writer which is no k1ctl is waited for.
    """

    def __init__(self, workspace: Workspace, *, patience: float = _PATIENCE) -> None:
        self.path, self.lock = workspace.ops_path(FILE), StateLock(workspace.ops_path(LOCK))
        self.patience = patience
        self._db: sqlite3.Connection | None = None
        self._pid = self._log_fd = -1
        self._inode: tuple[int, int] | None = None
        self._until_fold = _FOLD

    @property
    def exists(self) -> bool:
        """Whether there is a file, whole or not, or what is left of one."""
        return os.path.lexists(self.path) or self._log_left()

    def write(self, step: Callable[[sqlite3.Connection], T], *, durable: bool = False) -> T:
        """Run ``step`` in one transaction, alone among all processes; what it returns. Raised in it, nothing happened.

        It survives a kill when this returns; ``durable``: a loss of power as well, also of what ``step`` found done by
        others. Makes the file when there is none. Where the sync fails it raises, and the transaction is there.
        Raises ConfigError (state-damaged, state-read-only, state-newer, state-unwritable), BusyError (state-busy: who
        holds the lock, or the file, was waited for long enough).
        """
        import sqlite3

        self._lock()
        try:
            db = self._connected()
            db.execute("BEGIN IMMEDIATE")
            try:
                found = step(db)
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise self._explained(exc) from exc
        finally:
            self.lock.give()
        if durable:
            self._sync()
        self._until_fold -= 1
        if self._until_fold <= 0:
            self.fold()
        return found

    def read(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``step`` on one consistent view of the rows, without the lock. Raises as `write` does."""
        import sqlite3

        if not self.exists or not self._current():
            self.write(lambda db: None)  # make it, or bring it to the last step
        try:
            assert self._db is not None
            self._db.execute("BEGIN")
            try:
                return step(self._db)
            finally:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
        except sqlite3.Error as exc:
            raise self._explained(exc) from exc

    def glance(self, step: Callable[[sqlite3.Connection], T]) -> T:
        """As `read`, for who only looks: without the lock, making and changing nothing, on a connection of its own.

        Raises as `read` does, and ConfigError (state-older) for a file that another command has to bring forward first.
        """
        import sqlite3

        from k1ctl.state_schema import STEPS

        if not os.path.exists(self.path) or not os.path.getsize(self.path):
            raise self._damaged("it is gone or empty")
        try:
            db = self._open(self.path, "ro")
            try:
                self._check(db)
                if _pragma(db, "user_version") < len(STEPS):
                    text = f"{self.path} was written by an older k1ctl"
                    raise ConfigError(text, hint="k1ctl budget status brings it forward", code="state-older")
                db.execute("BEGIN")
                return step(db)
            finally:
                db.close()
        except sqlite3.Error as exc:
            raise self._explained(exc) from exc

    def close(self) -> None:
        """Let go of the file. It is opened again when used."""
        db, self._db = self._db, None
        if db is not None and self._pid == os.getpid():
            db.close()
        elif db is not None:
            _inherited.append(db)
        self.lock.close()
        self._close_log()

    def _close_log(self) -> None:
        if self._log_fd >= 0:
            os.close(self._log_fd)
        self._log_fd = -1

    def _sync(self) -> None:
        """Bring the log to the disk, as far as it is written: others' transactions, too. One that was folded into the
        file meanwhile is on the disk already. Where it fails the kernel takes what it could not write for written, and
        the next sync would say nothing: only what is folded into the file then is there."""
        try:
            if self._log_fd < 0:
                self._log_fd = os.open(f"{self.path}-wal", os.O_RDONLY | os.O_CLOEXEC)
            sync_data(self._log_fd)
        except OSError as exc:
            if not self.fold():
                raise self._unwritable(exc) from exc

    def _lock(self) -> None:
        """Hold the lock, in a child with a descriptor of its own."""
        if self._pid != os.getpid():
            self.close()
            self._pid = os.getpid()
        self.lock.take()

    def fold(self) -> bool:
        """Fold the log into the file and bring that to the disk: beside others who write, and what they wrote meanwhile
        under the lock, so that the log begins anew. Whether all is there; where it fails nothing is lost."""
        import sqlite3

        self._until_fold = _FOLD
        try:
            if self._folded():
                return True
            self._lock()
            try:
                return self._folded()
            finally:
                self.lock.give()
        except (sqlite3.Error, K1ctlError, OSError):
            return False

    def _folded(self) -> bool:
        if self._db is None:
            return False
        _, size, folded = self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        return bool(size == folded)

    def _current(self) -> bool:
        """Whether this process is connected to the file that is there now."""
        if self._db is None or self._pid != os.getpid():
            return False
        return there(self.path) == self._inode

    def _connected(self) -> sqlite3.Connection:
        """The connection to a file of the last step; to be called with the lock held."""
        if self._current():
            assert self._db is not None
            return self._db
        if self._db is not None:
            self._db.close()  # of a file that was removed or replaced
            self._db = None
            self._close_log()
        if not os.path.lexists(self.path):
            self._make()
        elif not os.path.exists(self.path):
            raise self._damaged("it is a link to nothing")
        elif not os.path.getsize(self.path):
            raise self._damaged("it is empty")
        db = self._open(self.path)
        try:
            self._check(db)
            self._migrate(db)
        except BaseException:
            db.close()
            raise
        self._db, self._inode = db, there(self.path)
        self._until_fold = 1 + int.from_bytes(os.urandom(2)) % _FOLD  # of many writers, each in its turn
        return db

    def _open(self, path: str, mode: str = "rw") -> sqlite3.Connection:
        import sqlite3

        quoted = path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
        db = sqlite3.connect(f"file:{quoted}?mode={mode}", uri=True, timeout=self.patience, isolation_level=None)
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(f"PRAGMA wal_autocheckpoint = {_LOG}")
        db.execute(f"PRAGMA journal_size_limit = {_LOG * _PAGE}")  # what grew beyond while somebody read is given back
        if sys.platform == "darwin":  # fsync(2) leaves it in the drive's cache there
            db.execute("PRAGMA fullfsync = 1")
            db.execute("PRAGMA checkpoint_fullfsync = 1")
        return db

    def _check(self, db: sqlite3.Connection) -> None:
        from k1ctl.state_schema import APPLICATION, STEPS

        application, version = _pragma(db, "application_id"), _pragma(db, "user_version")
        if application != APPLICATION:
            raise self._damaged("it is another program's database")
        if version > len(STEPS):
            raise ConfigError(
                f"{self.path} was written by a newer k1ctl (its step {version}, this one knows {len(STEPS)})",
                hint="update k1ctl here; the file is left as it is",
                code="state-newer",
                file=self.path,
                step=version,
                known=len(STEPS),
            )

    def _migrate(self, db: sqlite3.Connection) -> None:
        """Bring the file to the last step, or leave it as it was."""
        from k1ctl.state_schema import STEPS

        version = _pragma(db, "user_version")
        if version == len(STEPS):
            return
        db.execute("BEGIN IMMEDIATE")
        try:
            _apply(db, version)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def _make(self) -> None:
        """A new file: whole when it gets its name."""
        from k1ctl.state_schema import APPLICATION

        if self._log_left():
            raise self._damaged("it is gone, and its write-ahead log is there")
        for suffix in ("-wal", "-shm"):
            _remove(self.path + suffix)
        new = f"{self.path}.new"  # one that is left was given up: we hold the lock
        for suffix in ("", "-wal", "-shm", "-journal"):
            _remove(new + suffix)
        db = self._open(new, "rwc")
        try:
            db.execute(f"PRAGMA page_size = {_PAGE}")
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            db.execute(f"PRAGMA application_id = {APPLICATION}")
            _apply(db, 0)
            db.execute("COMMIT")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()  # a close would not tell of a full disk
        finally:
            db.close()
        os.rename(new, self.path)
        sync_folders(os.path.dirname(self.path))

    def _log_left(self) -> bool:
        """Whether a write-ahead log has something in it."""
        try:
            return os.path.getsize(f"{self.path}-wal") > 0
        except OSError:
            return False

    def _explained(self, exc: sqlite3.Error) -> Exception:
        """What SQLite met, as an error of ours where it is no bug."""
        name = getattr(exc, "sqlite_errorname", "") or ""
        if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
            return self._damaged(str(exc))
        if name.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM")):
            return self._read_only(str(exc))
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return BusyError(
                f"{self.path} is held by another program for more than {self.patience:g} s",
                hint="a transaction is open in an sqlite3 shell or a backup; end it",
                code="state-busy",
            )
        if name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
            return self._unwritable(exc)
        if name == "SQLITE_ERROR" and (strange := self._strange()):
            return self._damaged(f"its tables are not those of its step ({strange}): {exc}")
        return exc

    def _strange(self) -> str:
        """Which table of the file is not as its step made it; "" where all are."""
        import sqlite3

        from k1ctl.state_schema import different

        try:
            db = self._open(self.path, "ro")
            try:
                return different(db)
            finally:
                db.close()
        except sqlite3.Error:
            return ""

    def _unwritable(self, exc: Exception) -> K1ctlError:
        return ConfigError(
            f"{self.path} cannot be written: {exc}",
            hint="look for a full disk (df -h, df -i); what was written before is kept",
            code="state-unwritable",
            file=self.path,
        )

    def _damaged(self, why: str) -> K1ctlError:
        return ConfigError(
            f"{self.path} is damaged: {why}",
            hint="nothing was changed; bring back a copy, or move it and its -wal aside to begin with empty books",
            code="state-damaged",
            file=self.path,
        )

    def _read_only(self, why: str = "") -> K1ctlError:
        return ConfigError(
            f"{self.path} cannot be written{f': {why}' if why else ''}",
            hint="check who owns it and its folder, and whether the disk is mounted read-only",
            code="state-read-only",
            file=self.path,
        )


def _apply(db: sqlite3.Connection, version: int) -> None:
    from k1ctl.state_schema import STEPS

    for step in STEPS[version:]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version = {len(STEPS)}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
