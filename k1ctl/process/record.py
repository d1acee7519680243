"""A run's folder ``ops/runs/<id>/``: the record ``run.json`` and the log, readable while it runs and after."""

from __future__ import annotations

import fcntl
import os
import time

from k1ctl.errors import K1ctlError
from k1ctl.files import flock, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from threading import Event
    from typing import Any

    from k1ctl.workspace import Workspace

_ID_CHARACTERS = frozenset("0123456789abcdef-.")


class RunNotFoundError(K1ctlError):
    """No run has this id."""

    code = "no-such-run"


def new_id() -> str:
    """A run id that sorts by time: UTC date, time with milliseconds, four random hex digits."""
    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    return f"{stamp}.{int(now * 1000) % 1000:03d}-{os.urandom(2).hex()}"


class Run:
    """One run's folder and record. ``folder`` is absolute; ``log`` its log file; ``record`` what `save` writes."""

    def __init__(self, folder: str, record: dict[str, Any]) -> None:
        self.folder, self.record = folder, record
        self.id: str = record["run"]

    @property
    def log(self) -> str:
        """What the command printed (standard output, and standard error unless the caller keeps them apart)."""
        return os.path.join(self.folder, "log")

    @property
    def error_log(self) -> str:
        """Standard error, when the caller keeps it apart from standard output."""
        return os.path.join(self.folder, "log.err")

    @property
    def begun(self) -> str:
        """A file that a detached run's supervisor makes, and writes to before the command may begin."""
        return os.path.join(self.folder, "begun")

    def never_began(self) -> bool:
        """Whether this is a detached run whose command was not started; only then it is known."""
        try:
            return os.stat(self.begun).st_size == 0
        except FileNotFoundError:
            return False

    def save(self, **fields: Any) -> None:
        """Update the record and replace ``run.json``; a folder that was cleaned away is made again. Raises OSError."""
        self.record.update(fields)
        # what of a command is kept may hold secrets
        write_json(os.path.join(self.folder, "run.json"), self.record, mode=0o600)


def create(workspace: Workspace, record: dict[str, Any]) -> Run:
    """A new run's folder, with an id that no other run has. Raises OSError."""
    base = workspace.ops_path("runs")
    while True:
        run_id = new_id()
        folder = os.path.join(base, run_id)
        try:
            os.mkdir(folder)
        except FileExistsError:
            continue
        except FileNotFoundError:
            os.makedirs(base, exist_ok=True)
            continue
        return Run(folder, {"run": run_id, **record})


def load(workspace: Workspace, run_id: str) -> Run:
    """The run with this id. Raises RunNotFoundError."""
    if not run_id or not _ID_CHARACTERS.issuperset(run_id) or run_id.startswith("."):
        raise RunNotFoundError(f"{run_id!r} is not a run id", hint="k1ctl queue list shows those under way")
    folder = workspace.ops_path("runs", run_id)
    record = read_json(os.path.join(folder, "run.json"))
    if not isinstance(record, dict) or record.get("run") != run_id:
        raise RunNotFoundError(f"no run {run_id} is recorded", hint="k1ctl queue list shows those under way")
    return Run(folder, record)


def alive(run: Run) -> bool:
    """Whether the supervisor or the command still lives: either holds the lock on the log."""
    try:
        fd = os.open(run.log, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB, run.log)
    finally:
        os.close(fd)


def end_of(run: Run) -> Event:
    """An event that is set when the run is over (no supervisor, no command).

    A thread blocks in flock on the log, so the end is seen at once, on every system.
    """
    from threading import Event, Thread

    over = Event()

    def watch() -> None:
        try:
            fd = os.open(run.log, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            over.set()
            return
        flock(fd, fcntl.LOCK_SH, run.log)
        os.close(fd)
        over.set()

    Thread(target=watch, daemon=True).start()
    return over


def wait(run: Run, seconds: float | None) -> bool:
    """Wait until the run is over and read its record anew; False after ``seconds``."""
    if not end_of(run).wait(seconds):
        return False
    reload(run)
    return True


def reload(run: Run) -> None:
    """Read the record anew; one that is gone or damaged leaves what was known."""
    run.record = read_json(os.path.join(run.folder, "run.json")) or run.record


def prune(workspace: Workspace, keep: int) -> int:
    """Remove the oldest ended runs beyond ``keep`` folders; how many went. Runs under way stay."""
    base = workspace.ops_path("runs")
    try:
        ids = sorted(os.listdir(base))
    except FileNotFoundError:
        return 0
    gone = 0
    for run_id in ids[: max(0, len(ids) - keep)]:
        run = Run(os.path.join(base, run_id), {"run": run_id})
        if not alive(run):
            import shutil

            shutil.rmtree(run.folder, ignore_errors=True)
            gone += 1
    return gone
