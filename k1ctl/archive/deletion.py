"""Delete a folder for good: never through a link, never on another filesystem, also where folders are read-only."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_BLOCK = 512  # bytes: the unit of st_blocks
_SHOWN = 5  # errors that are told one by one


class Deleted(NamedTuple):
    """``freed_bytes``: what files that had no other name took on the disk; ``problems``: what could not be deleted."""

    freed_bytes: int
    problems: list[str]


class _Deletion:
    def __init__(self, device: int) -> None:
        self.device, self.freed, self.problems = device, 0, 0
        self.told: list[str] = []

    def problem(self, path: str, why: str) -> None:
        self.problems += 1
        if len(self.told) < _SHOWN:
            self.told.append(f"{path}: {why}")

    def folder(self, parent: int, name: str, path: str) -> None:
        """Delete the folder ``name`` in the folder behind ``parent``."""
        before = self.problems
        try:
            found = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if found.st_dev != self.device:
                self.problem(path, "another filesystem is mounted there")
                return
            if found.st_mode & 0o700 != 0o700:
                os.chmod(name, 0o700, dir_fd=parent)  # a link cannot be here: it has all bits set
            fd = os.open(name, _FOLDER, dir_fd=parent)
            try:
                self.contents(fd, path)
            finally:
                os.close(fd)
            os.rmdir(name, dir_fd=parent)
        except OSError as exc:
            if self.problems == before:
                self.problem(path, exc.strerror or str(exc))
        except RecursionError:
            self.problem(path, "its folders are too deep")

    def contents(self, fd: int, path: str) -> None:
        with os.scandir(fd) as entries:
            there = list(entries)
        for entry in there:
            below = f"{path}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                self.folder(fd, entry.name, below)
                continue
            try:
                found = entry.stat(follow_symlinks=False)
                os.unlink(entry.name, dir_fd=fd)
            except OSError as exc:
                self.problem(below, exc.strerror or str(exc))
                continue
            if found.st_nlink == 1 and stat.S_ISREG(found.st_mode):
                self.freed += found.st_blocks * _BLOCK

    def result(self) -> Deleted:
        more = self.problems - len(self.told)
        return Deleted(self.freed, [*self.told, *([f"and {more} more"] if more > 0 else [])])


def delete_folder(path: str) -> Deleted:
    """Delete the folder ``path`` and all below it; one that is not there is deleted already.

    A link in its place is left alone. What cannot be deleted is told, and the rest is deleted.
    """
    return delete_below(os.path.dirname(path), [os.path.basename(path)])


def delete_below(top: str, names: Sequence[str]) -> Deleted:
    """Delete the folders ``names`` (relative paths) below the folder ``top``; no part of them may be a link.

    What is no folder, or not there, is left alone.
    """
    try:
        fd = os.open(top, _FOLDER)
    except OSError as exc:
        return Deleted(0, [] if isinstance(exc, FileNotFoundError) else [f"{top}: {exc.strerror}"])
    work = _Deletion(os.fstat(fd).st_dev)
    try:
        for name in names:
            _delete(work, fd, name, os.path.join(top, name))
    finally:
        os.close(fd)
    return work.result()


def _delete(work: _Deletion, top: int, name: str, path: str) -> None:
    parts = [part for part in name.split("/") if part]
    if not parts or name.startswith("/") or ".." in parts or "." in parts:
        work.problem(path, "is not below the folder")
        return
    fd = os.dup(top)
    try:
        for part in parts[:-1]:
            fd, before = os.open(part, _FOLDER, dir_fd=fd), fd
            os.close(before)
        if stat.S_ISDIR(os.stat(parts[-1], dir_fd=fd, follow_symlinks=False).st_mode):
            work.folder(fd, parts[-1], path)
    except OSError:
        pass  # gone already, or a link on the way
    finally:
        os.close(fd)
