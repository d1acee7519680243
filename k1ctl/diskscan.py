"""What each worktree takes of the disk, scanned and kept; and the quotas of ``[disk]``.

A scan is kept under ``ops/cache/disk/`` with the time it was made. It is used again for `FRESH` seconds, and for `KEEP`
as long as its signs are the same: the times of the worktree, its index, and the folders that tools fill.
"""

from __future__ import annotations

import os
import time
import zlib

from k1ctl import disk
from k1ctl.archive.globs import matches
from k1ctl.errors import BusyError
from k1ctl.files import read_json, write_json
from k1ctl.units import format_duration, format_size, rfc3339
from k1ctl.worktrees import Entry, own_git_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

FRESH, KEEP = 600.0, 86400.0  # seconds
QUICK = 0.1  # seconds: a scan that took less is made again as soon as a sign differs
PARTS = ("sources", "node_modules", "pio", "regenerable", "git")
_SIGNS = 64  # folders watched


class Scan:
    """One worktree's scan: bytes by part (`PARTS`), how many ``entries`` were counted and how many folders ``denied``,
    ``at`` when (seconds since 1970), ``seconds`` how long it took, ``signs`` what was so ({path: mtime in ns})."""

    __slots__ = ("at", "denied", "entries", "parts", "path", "seconds", "signs")

    def __init__(
        self,
        path: str,
        parts: dict[str, int],
        *,
        entries: int,
        denied: int,
        at: float,
        seconds: float,
        signs: dict[str, int],
    ) -> None:
        self.path, self.parts, self.entries, self.denied = path, parts, entries, denied
        self.at, self.seconds, self.signs = at, seconds, signs

    @property
    def total(self) -> int:
        """Bytes of the worktree with its own git folder."""
        return sum(self.parts.values())

    def kept(self) -> dict[str, Any]:
        """As it is written down."""
        return {key: getattr(self, key) for key in self.__slots__}

    def document(self) -> dict[str, Any]:
        """The scan as JSON."""
        sizes = {f"{part}_bytes": self.parts.get(part, 0) for part in PARTS}
        return {
            "bytes": self.total,
            **sizes,
            "entry_count": self.entries,
            "unreadable_count": self.denied,
            "scanned_at": rfc3339(self.at),
            "scan_seconds": self.seconds,
        }


def scan(
    workspace: Workspace, config: Config, entry: Entry, all_entries: Iterable[Entry], *, refresh: bool = False
) -> Scan:
    """What the worktree ``entry`` takes; ``all_entries``: the repository's worktrees, since one may lie in another.

    ``ops/`` and the repository's own git folder without archives and other worktrees' parts count for the main one.
    """
    file = _file(workspace, entry.path)
    there = None if refresh else _read(file, entry.path)
    if there is not None and _usable(there):
        return there
    begun, at = time.monotonic(), time.time()
    signs = [entry.path, os.path.join(own_git_dir(entry.path) or workspace.git_dir, "index")]
    skip = {other.path for other in all_entries} - {entry.path}
    if entry.main:
        skip |= {workspace.git_dir, os.path.realpath(workspace.git_dir), workspace.ops}
    kinds = _Kinds(entry.path, config.get("archive", "regenerable"), signs)
    taken = disk.Taken() if entry.bare else disk.walk(entry.path, skip=skip, kind=kinds.of)
    taken.bytes["sources"] = taken.bytes.get("sources", 0) + taken.bytes.pop("", 0)
    taken.bytes["git"] = _git_bytes(workspace, entry)
    found = Scan(
        entry.path,
        {part: taken.bytes.get(part, 0) for part in PARTS},
        entries=taken.entries,
        denied=taken.denied,
        at=at,
        seconds=round(time.monotonic() - begun, 3),
        signs=_times(signs),
    )
    _keep(workspace, file, found)
    return found


def folder(workspace: Workspace, path: str, *, skip: frozenset[str] = frozenset(), refresh: bool = False) -> Scan:
    """What any other folder takes (archives, artifacts), kept in the same way; all of it is ``sources``."""
    file = _file(workspace, path)
    there = None if refresh else _read(file, path)
    if there is not None and _usable(there):
        return there
    begun, at = time.monotonic(), time.time()
    taken = disk.walk(path, skip=skip)
    found = Scan(
        path,
        {"sources": taken.total},
        entries=taken.entries,
        denied=taken.denied,
        at=at,
        seconds=round(time.monotonic() - begun, 3),
        signs=_times([path]),
    )
    _keep(workspace, file, found)
    return found


def recent(workspace: Workspace, path: str) -> Scan | None:
    """The last scan of the worktree at ``path``, however old; None without one."""
    return _read(_file(workspace, path), path)


def check_quota(workspace: Workspace, config: Config, all_entries: list[Entry], need_bytes: int, what: str) -> None:
    """Make sure that all worktrees but the main one, and ``need_bytes`` more, stay within ``disk.total_quota``.

    Raises BusyError (over-quota), naming the largest that are idle.
    """
    quota = config.get("disk", "total_quota")
    if not quota:
        return
    linked = [entry for entry in all_entries if not entry.main and os.path.isdir(entry.path)]
    scans = [scan(workspace, config, entry, all_entries) for entry in linked]
    total = sum(one.total for one in scans)
    if total + need_bytes <= quota:
        return
    largest = sorted(scans, key=lambda one: -one.total)
    idle = [one for one in largest if (idle_seconds(one.path) or 0) >= 3600] or largest
    named = ", ".join(
        f"{os.path.basename(one.path)} ({format_size(one.total)}, idle {format_duration(idle_seconds(one.path) or 0)})"
        for one in idle[:3]
    )
    raise BusyError(
        f"no room for {what}: {len(scans)} worktrees take {format_size(total)}, it needs {format_size(need_bytes)}, "
        f"and disk.total_quota is {format_size(quota)}" + (f"; the largest: {named}" if named else ""),
        hint="k1ctl archive run --dry-run shows which could be archived; k1ctl worktree du what takes the room",
        code="over-quota",
        total_bytes=total,
        need_bytes=need_bytes,
        quota_bytes=quota,
        largest=[{"path": one.path, "bytes": one.total} for one in idle[:3]],
    )


def idle_seconds(path: str) -> float | None:
    """Seconds since the index or HEAD's reflog of the worktree changed: at least so long, it was not committed in.

    None where it has neither.
    """
    own = own_git_dir(path) or os.path.join(path, ".git")
    times = _times([os.path.join(own, "index"), os.path.join(own, "logs", "HEAD")]).values()
    return max(0.0, time.time() - max(times) / 1e9) if times else None


class _Kinds:
    """Tells the part that a folder of one worktree belongs to; what tools fill is watched (``signs``)."""

    def __init__(self, top: str, globs: list[str], signs: list[str]) -> None:
        self.top, self.globs, self.signs = len(top.rstrip("/")) + 1, globs, signs
        self.tracked: set[str] | None = None
        self.path = top

    def of(self, path: str, name: str, outer: str) -> str:
        if outer:
            if outer == "pio" and name in ("build", "libdeps"):
                self._watch(path)
            return outer
        if name == "node_modules":
            found = "node_modules"
        elif name == ".pio":
            found = "pio"
        else:
            relative = path[self.top :]
            regenerable = matches(relative, self.globs) and not self._holds_sources(relative)
            found = "regenerable" if regenerable else ""
        if found:
            self._watch(path)
        return found

    def _watch(self, path: str) -> None:
        if len(self.signs) < _SIGNS:
            self.signs.append(path)

    def _holds_sources(self, relative: str) -> bool:
        """Whether git tracks a file in it: a folder `build` may hold sources."""
        if self.tracked is None:
            from k1ctl.git import GitError, names

            self.tracked = set()
            try:
                files = names(["ls-files", "-z"], self.path)
            except (GitError, OSError):  # it may be on its way out
                files = []
            for folder in {os.path.dirname(file) for file in files}:
                while folder and folder not in self.tracked:
                    self.tracked.add(folder)
                    folder = os.path.dirname(folder)
        return relative in self.tracked


def _git_bytes(workspace: Workspace, entry: Entry) -> int:
    if not entry.main:
        own = own_git_dir(entry.path)
        return disk.measure(own) if own else 0
    aside = [os.path.join(workspace.git_dir, name) for name in ("worktrees", "k1ctl/archive", "k1ctl/npm")]
    return disk.measure(workspace.git_dir, skip=aside)


def _usable(there: Scan) -> bool:
    age = time.time() - there.at
    same = _times(there.signs) == there.signs
    return 0 <= age < (KEEP if same else FRESH if there.seconds >= QUICK else 0)


def _times(paths: Iterable[str]) -> dict[str, int]:
    """{path: its mtime in ns} of those that are there."""
    found = {}
    for path in paths:
        try:
            found[path] = os.lstat(path).st_mtime_ns
        except OSError:
            pass
    return found


def _file(workspace: Workspace, path: str) -> str:
    name = f"{os.path.basename(path)[:80]}-{zlib.crc32(os.fsencode(path)):08x}.json"
    return workspace.ops_path("cache", "disk", name)


def _read(file: str, path: str) -> Scan | None:
    kept = read_json(file)
    try:
        found = Scan(**kept)
        return found if found.path == path and all(isinstance(n, int) for n in found.parts.values()) else None
    except (TypeError, AttributeError):
        return None


def _keep(workspace: Workspace, file: str, found: Scan) -> None:
    if os.path.isdir(workspace.ops):
        try:
            write_json(file, found.kept())
        except OSError:
            pass
