"""Copy a folder of many files: as clones that share their blocks until one is written, as hard links, or byte by byte.

A clone is APFS's clonefile(2), or Linux's FICLONE (ioctl_ficlonerange(2): Btrfs, XFS, bcachefs, OCFS2); it costs no
space of its own. Whether a place can do it is found by cloning one real file there.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.errors import K1ctlError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WAYS = ("clone", "link", "copy")
_FICLONE = 0x40049409  # linux/fs.h: _IOW(0x94, 9, int)
_CLONE_NOFOLLOW = 1  # sys/clonefile.h
_PROBE = b"k1ctl probes whether this place clones\n" * 2048  # bytes; longer than what filesystems keep in an inode
_CHUNK = 1 << 20  # bytes
_THREADS = 4
_CANNOT = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY, errno.EPERM)


class Item(NamedTuple):
    """A file, folder or link: its path relative to the tree, mode bits, size and allocated bytes, change of content,
    under how many names it is there, and its inode."""

    path: str
    mode: int
    size: int
    allocated: int
    mtime_ns: int
    names: int
    inode: int


class Listing(NamedTuple):
    """What is in a tree; folders stand before what is in them, "" is the tree itself."""

    folders: list[Item]
    files: list[Item]
    links: list[Item]

    def digest(self) -> str:
        """SHA-256 over path, mode, size and time of change of all files, and path and mode of folders and links; who
        may write is left out: npm gives programs that right back."""
        import hashlib

        lines = [f"f {i.path}\0{i.mode & ~0o222:o} {i.size} {i.mtime_ns}\0" for i in self.files]
        lines += [f"o {i.path}\0{i.mode & ~0o222:o}\0" for i in (*self.folders, *self.links)]
        return hashlib.sha256(os.fsencode("".join(sorted(lines)))).hexdigest()

    def distinct(self) -> tuple[list[Item], list[tuple[Item, Item]]]:
        """The files, one name of each; and each further name with the first: install scripts make hard links."""
        first: dict[int, Item] = {}
        again = []
        for item in self.files:
            if item.names > 1 and first.setdefault(item.inode, item) is not item:
                again.append((item, first[item.inode]))
        further = {item.path for item, _ in again}
        return [item for item in self.files if item.path not in further], again


class Copied(NamedTuple):
    """What was made: ``how`` it was, regular ``files``, allocated ``bytes``, and how many of these are shared with the
    source; the rest is the copy's own."""

    how: str
    files: int
    bytes: int
    shared_bytes: int

    @property
    def own_bytes(self) -> int:
        return self.bytes - self.shared_bytes


def scan(folder: str) -> Listing:
    """All that is in ``folder``; links are not followed.

    Raises OSError, and K1ctlError for what is neither file, folder nor link.
    """
    found = Listing([_item("", os.lstat(folder))], [], [])
    waiting = [""]
    while waiting:
        place = waiting.pop()
        with os.scandir(os.path.join(folder, place) if place else folder) as entries:
            for entry in entries:
                item = _item(f"{place}/{entry.name}" if place else entry.name, entry.stat(follow_symlinks=False))
                if stat.S_ISREG(item.mode):
                    found.files.append(item)
                elif stat.S_ISDIR(item.mode):
                    found.folders.append(item)
                    waiting.append(item.path)
                elif stat.S_ISLNK(item.mode):
                    found.links.append(item)
                else:
                    raise K1ctlError(
                        f"{os.path.join(folder, item.path)} is neither file, folder nor link", code="special-file"
                    )
    return found


def _item(path: str, there: os.stat_result) -> Item:
    return Item(
        path, there.st_mode, there.st_size, there.st_blocks * 512, there.st_mtime_ns, there.st_nlink, there.st_ino
    )


def can_clone(folder: str, into: str = "") -> bool:
    """Whether a file of ``folder`` can be cloned into folder ``into`` (default: the same), by doing it once.

    The two files of the probe are removed again. False, too, where nothing can be written.
    """
    return _works(folder, into or folder, lambda first, second: clone_file(first, second, 0o600))


def can_link(folder: str, into: str) -> bool:
    """Whether a file of ``folder`` can have another name in folder ``into``, by doing it once as `can_clone` does."""
    return _works(folder, into, os.link)


def _works(folder: str, into: str, make: Callable[[str, str], None]) -> bool:
    name = f".k1ctl-probe-{os.getpid()}-{os.urandom(3).hex()}"
    first, second = os.path.join(folder, name), os.path.join(into, f"{name}-2")
    try:
        with open(first, "xb") as f:
            f.write(_PROBE)
        make(first, second)
        with open(second, "rb") as f:
            return f.read() == _PROBE
    except OSError:
        return False
    finally:
        for path in (first, second):
            try:
                os.unlink(path)
            except OSError:
                pass


def clone_file(source: str, target: str, mode: int, platform: str = sys.platform) -> None:
    """Make ``target``, which is not there yet, a clone of the file ``source``. ``mode``: permission bits.

    Raises OSError: EXDEV, EOPNOTSUPP and the like where it cannot be done; nothing is left then.
    """
    if platform == "darwin":
        _clonefile(source, target)
        os.chmod(target, mode)
        return
    import fcntl

    first, second = _open_both(source, target, mode)
    try:
        fcntl.ioctl(second, _FICLONE, first)
        _keep_mode(second, mode)
    except BaseException:
        os.unlink(target)
        raise
    finally:
        os.close(first)
        os.close(second)


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.clonefile.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint32)
    return libc


def _clonefile(source: str, target: str) -> None:
    """clonefile(2); it keeps times and extended attributes."""
    import ctypes

    if _libc().clonefile(os.fsencode(source), os.fsencode(target), _CLONE_NOFOLLOW):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), source, None, target)


def _open_both(source: str, target: str, mode: int) -> tuple[int, int]:
    first = os.open(source, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        return first, os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o7777)
    except BaseException:
        os.close(first)
        raise


def _keep_mode(fd: int, mode: int) -> None:
    """Give the file the bits that the umask took: a clone that lost its execute bit is a broken program."""
    if os.fstat(fd).st_mode & 0o7777 != mode & 0o7777:
        os.fchmod(fd, mode & 0o7777)


def copy_file(source: str, target: str, mode: int, size: int) -> None:
    """Make ``target``, which is not there yet, a copy of the file ``source`` of ``size`` bytes. Raises OSError."""
    first, second = _open_both(source, target, mode)
    try:
        if not _in_kernel(first, second, size):
            while chunk := os.read(first, _CHUNK):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(second, view) :]
        _keep_mode(second, mode)
    finally:
        os.close(first)
        os.close(second)


def _in_kernel(first: int, second: int, size: int) -> bool:
    """Whether copy_file_range(2) copied it all; where there is none, or not between these two, nothing is copied."""
    move = getattr(os, "copy_file_range", None)
    if move is None:
        return False
    left = size
    while left > 0:
        try:
            moved = move(first, second, left)
        except OSError as exc:
            if exc.errno not in _CANNOT or left != size:
                raise
            return False
        if not moved:
            break
        left -= moved
    return True


def copy_tree(
    source: str, target: str, how: str, *, listing: Listing | None = None, writable: bool = False, threads: int = 0
) -> Copied:
    """Make ``target``, which is not there yet, the same tree as ``source``: contents, modes, times, links as they are.

    ``how``: ``clone``, ``link`` (hard links: the files are the source's own) or ``copy``; a file that cannot be cloned
    is copied, and counts as the copy's own. Two names of one file are that in the copy, too. ``listing``: what `scan`
    found in the source, if that was just done.
    ``writable``: the owner may write the new files whatever their mode was (not with ``link``). ``threads``: 0 is as
    many as help. Raises OSError, also when ``target`` is there, and UsageError for another ``how``.
    """
    if how not in WAYS:
        raise UsageError(f"{how!r} is no way to copy a tree", hint=f"one of {', '.join(WAYS)}")
    found = listing or scan(source)
    for item in found.folders:
        os.mkdir(os.path.join(target, item.path) if item.path else target, 0o700)
    for item in found.links:
        os.symlink(os.readlink(os.path.join(source, item.path)), os.path.join(target, item.path))
    more = stat.S_IWUSR if writable else 0
    files, again = found.distinct()
    shared = _spread(files, lambda item: _bring(source, target, item, how, more), threads)
    for item, first in again:
        _name(f"{target}/{first.path}", f"{target}/{item.path}", stat.S_IMODE(first.mode) | more, first.size)
    for item in reversed(found.folders):  # last, and from the inside out: a folder may be read-only
        path = os.path.join(target, item.path) if item.path else target
        os.chmod(path, stat.S_IMODE(item.mode))
        os.utime(path, ns=(item.mtime_ns, item.mtime_ns))
    every = sum(item.allocated for items in (found.folders, files, found.links) for item in items)
    return Copied(how, len(found.files), every, shared)


def _bring(source: str, target: str, item: Item, how: str, more: int) -> int:
    """Make one file; returns how many of its bytes are shared."""
    first, second, mode = f"{source}/{item.path}", f"{target}/{item.path}", stat.S_IMODE(item.mode) | more
    if how == "link":
        os.link(first, second)
        return item.allocated
    shared = 0
    if how == "clone" and item.size:
        try:
            clone_file(first, second, mode)
            shared = item.allocated
        except OSError as exc:
            if exc.errno not in _CANNOT:
                raise
            copy_file(first, second, mode, item.size)
    else:
        copy_file(first, second, mode, item.size)
    os.utime(second, ns=(item.mtime_ns, item.mtime_ns))
    return shared


def _name(first: str, second: str, mode: int, size: int) -> None:
    """Give a new file its second name; where the filesystem has no such names it is a second file."""
    try:
        os.link(first, second)
    except OSError as exc:
        if exc.errno not in _CANNOT:
            raise
        copy_file(first, second, mode, size)
        there = os.stat(first)
        os.utime(second, ns=(there.st_mtime_ns, there.st_mtime_ns))


def remove_tree(folder: str) -> None:
    """Remove a tree, folders in it that nobody may write, too; one that is not there is no error. Raises OSError."""
    import shutil

    shutil.rmtree(folder, ignore_errors=True)
    if not os.path.lexists(folder):
        return
    if os.path.islink(folder) or not os.path.isdir(folder):
        os.unlink(folder)
        return
    os.chmod(folder, 0o700)
    for place, names, _ in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            if not os.path.islink(path):
                os.chmod(path, 0o700)
    shutil.rmtree(folder)


def _spread(items: Sequence[Item], work: Callable[[Item], int], threads: int) -> int:
    """Call ``work`` for each item, in several threads; returns the sum. The first error ends all and is raised."""
    import threading

    count = threads or min(_THREADS, os.cpu_count() or 1)
    size = -(-len(items) // count) or 1
    sums = [0]
    errors: list[BaseException] = []

    def run(part: Sequence[Item]) -> None:
        total = 0
        try:
            for item in part:
                if errors:
                    return
                total += work(item)
        except BaseException as exc:
            errors.append(exc)
        sums.append(total)

    parts = [items[at : at + size] for at in range(0, len(items), size)]
    others = [threading.Thread(target=run, args=(part,)) for part in parts[1:]]
    for thread in others:
        thread.start()
    run(parts[0] if parts else ())
    for thread in others:
        thread.join()
    if errors:
        raise errors[0]
    return sum(sums)
