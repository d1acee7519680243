"""Look what is to be saved of a worktree and where each part of it goes, before anything is written."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.archive import nested
from k1ctl.archive.calls import Calls
from k1ctl.archive.files import Look, Places, look, place
from k1ctl.archive.gitstate import GitState
from k1ctl.archive.patterns import Globs
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.units import format_size
from k1ctl.worktrees import own_git_dir

if TYPE_CHECKING:
    from k1ctl.archive.files import Files
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

_TICK = 0.025  # seconds: two changes closer than a timer tick of the kernel (10 ms at most) may get the same ctime
_LARGEST = 5
_LOOK = "look-"  # what a folder for a look begins with
_FRESH = 60  # seconds in which it may not be held yet by who made it


class TooLargeError(K1ctlError):
    """A worktree has more to save than ``archive.limit``."""

    code = "over-limit"


class Plan(NamedTuple):
    """What is to be saved, and where each part goes; ``kept`` are the nested repositories that are saved whole."""

    entry: Entry
    own: str
    found: Look
    state: GitState
    places: Places
    kept: dict[str, Files]
    secrets: Globs

    @property
    def bytes(self) -> int:
        """Bytes to save at most, beside changes of tracked files."""
        untracked = (f for p, f in self.found.files.items() if p in self.found.others and p not in self.places.secrets)
        parts = (untracked, (f for _, f in self.places.in_tars), self.state.files.values())
        return sum(facts.st_size for part in parts for facts in part)


def check(workspace: Workspace, entry: Entry) -> str:
    """Make sure that ``entry`` is a linked worktree of this repository that is there; returns its own git folder.

    Raises ConfigError, K1ctlError.
    """
    if entry.main:
        raise K1ctlError(
            f"{entry.path} is the main checkout, which is never archived", hint="name a worktree", code="main-checkout"
        )
    own = own_git_dir(entry.path) if os.path.isdir(entry.path) else ""
    base = os.path.realpath(os.path.join(workspace.git_dir, "worktrees"))
    if not own or os.path.dirname(os.path.realpath(own)) != base:
        raise ConfigError(
            f"{entry.path} is no worktree of {workspace.root}, or not there",
            hint="k1ctl worktree list shows them; git worktree repair mends the links of one that was moved",
            code="no-worktree",
        )
    with open(os.path.join(own, "gitdir"), "rb") as f:
        back = os.path.join(own, os.fsdecode(f.read().rstrip(b"\r\n")))
    if os.path.realpath(back) != os.path.realpath(os.path.join(entry.path, ".git")):
        raise ConfigError(
            f"{entry.path} points to {own}, which points to {back}", hint="git worktree repair", code="no-worktree"
        )
    return os.path.realpath(own)


def plan(workspace: Workspace, config: Config, entry: Entry) -> Plan:
    """Look what would be saved, and write nothing. Raises K1ctlError: unreadable, nested-worktree, over-limit,
    disk-full."""
    own = check(workspace, entry)
    nested.check_no_worktree_below(entry.path, workspace.git_dir)
    with ScratchFolder(workspace) as folder, Calls(entry.path, folder) as calls:
        found = make_plan(calls, config, workspace, entry, own)
        check_room(config, folder, found)
        return found


class ScratchFolder:
    """A folder for a look that keeps nothing."""

    def __init__(self, workspace: Workspace) -> None:
        self.base = os.path.join(workspace.git_dir, "k1ctl")

    def __enter__(self) -> str:
        import fcntl
        import tempfile

        os.makedirs(self.base, exist_ok=True)
        self._clear()
        self.folder = tempfile.mkdtemp(prefix=_LOOK, dir=self.base)
        self.fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        return self.folder

    def __exit__(self, *exc: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        os.close(self.fd)

    def _clear(self) -> None:
        """Take away those of killed calls: nobody holds them any more."""
        import fcntl

        for name in os.listdir(self.base):
            path = os.path.join(self.base, name)
            try:
                if not name.startswith(_LOOK) or time.time() - os.stat(path).st_mtime < _FRESH:
                    continue
                fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path, ignore_errors=True)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)


def make_plan(calls: Calls, config: Config, workspace: Workspace, entry: Entry, own: str) -> Plan:
    regenerable = Globs(config.get("archive", "regenerable"))
    secrets = Globs(config.get("archive", "secrets"))
    while True:
        started = time.time()
        found = look(calls, entry.path, own, regenerable)
        wait = found.newest / 1e9 + _TICK - started
        if wait <= 0 or wait > 2 * _TICK:  # a clock that went back is no reason to wait
            break
        time.sleep(wait)
    found.check_readable()
    state = GitState(own, workspace.git_dir)
    kept = nested.to_keep(found)
    spilled = nested.spilled(found, kept)
    places = place(found, secrets, kept, spilled)
    return Plan(entry, own, found, state, places, kept, secrets)


def check_room(config: Config, folder: str, task: Plan) -> None:
    """Raises TooLargeError, BusyError (disk-full)."""
    from k1ctl import disk

    limit, need = config.get("archive", "limit"), task.bytes
    if limit and need > limit:
        sizes = sorted(((f.st_size, p) for p, f in task.places.in_tars), reverse=True)
        named = ", ".join(f"{path} ({format_size(size)})" for size, path in sizes[:_LARGEST] if size)
        raise TooLargeError(
            f"{task.entry.path} has {format_size(need)} to save, and archive.limit is {format_size(limit)}: {named}",
            hint="move away what need not be kept, name what can be made again in archive.regenerable, or raise it",
            need_bytes=need,
            limit_bytes=limit,
        )
    disk.check_room(config, folder, need, f"the archive of {task.entry.path}", frees=True)
