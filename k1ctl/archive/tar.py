"""Tar files of POSIX.1-2001 (pax) that hold names as bytes and times to the nanosecond, in one pass.

A name that is not UTF-8 is marked with ``hdrcharset=BINARY`` (pax(1)); GNU tar, libarchive and Python read it.
Owners are left out, so that equal trees give equal tars. Reading never follows a link and never leaves the folder.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256

from k1ctl.errors import K1ctlError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, BinaryIO

_BLOCK = 512
_CHUNK = 1 << 20
_MOST = (1 << 33) - 1  # what eleven octal digits hold
_KINDS = {stat.S_IFREG: b"0", stat.S_IFLNK: b"2", stat.S_IFDIR: b"5", stat.S_IFIFO: b"6"}


class ChangedError(K1ctlError):
    """What was being saved changed meanwhile."""

    code = "changed"


class Writer:
    """A new tar file at ``path``, readable by its owner only. ``add`` in the order of names, then ``close``."""

    def __init__(self, path: str) -> None:
        self.path, self.digest, self.size, self.count = path, sha256(), 0, 0
        self._parts: list[bytes] = []
        self._names: dict[tuple[int, int], str] = {}  # of files that have several
        self._held = 0
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def add(self, source: str, name: str, facts: os.stat_result, *, timeless: bool = False) -> None:
        """Add the file, link, folder or pipe ``source``, which `os.lstat` told ``facts`` of, as ``name``; ``timeless``:
        another time since is no change.

        Raises ChangedError when it is not that any more, OSError.
        """
        kind = _KINDS[stat.S_IFMT(facts.st_mode)]
        link = os.fsencode(os.readlink(source)) if kind == b"2" else b""
        if kind == b"0" and facts.st_nlink > 1:
            first = self._names.setdefault((facts.st_dev, facts.st_ino), name)
            kind, link = (kind, link) if first == name else (b"1", os.fsencode(first))
        size = facts.st_size if kind == b"0" else 0
        self._put(_header(os.fsencode(name), kind, stat.S_IMODE(facts.st_mode), size, facts.st_mtime_ns, link))
        if kind == b"0":
            self._copy(source, facts, timeless)
        self.count += 1

    def add_bytes(self, name: str, data: bytes, mode: int = 0o600, mtime_ns: int = 0) -> None:
        """Add a file of these bytes."""
        self._put(_header(os.fsencode(name), b"0", mode, len(data), mtime_ns, b""))
        self._put(data + bytes(-len(data) % _BLOCK))
        self.count += 1

    def close(self, *, fsync: bool = True) -> dict[str, Any]:
        """End the file; returns its ``bytes`` and ``sha256``. It survives a power cut with ``fsync``."""
        self._put(bytes(2 * _BLOCK))
        self._flush()
        if fsync:
            os.fsync(self._fd)
        self.abandon()
        return {"bytes": self.size, "sha256": self.digest.hexdigest()}

    def abandon(self) -> None:
        """Close the file as it is."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _copy(self, source: str, facts: os.stat_result, timeless: bool) -> None:
        fd = os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            now = os.fstat(fd)
            same = (now.st_ino, now.st_size) == (facts.st_ino, facts.st_size)
            if not same or (now.st_mtime_ns != facts.st_mtime_ns and not timeless):
                raise ChangedError(f"{source} changed while it was saved")
            left = facts.st_size
            while left:
                data = os.read(fd, min(left, _CHUNK))
                if not data:
                    raise ChangedError(f"{source} became shorter while it was saved")
                left -= len(data)
                self._put(data)
        finally:
            os.close(fd)
        self._put(bytes(-facts.st_size % _BLOCK))

    def _put(self, data: bytes) -> None:
        self._parts.append(data)
        self._held += len(data)
        if self._held >= _CHUNK:
            self._flush()

    def _flush(self) -> None:
        data = b"".join(self._parts)
        self._parts, self._held = [], 0
        self.digest.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


def _header(name: bytes, kind: bytes, mode: int, size: int, mtime_ns: int, link: bytes) -> bytes:
    """The blocks before a member's content: an extended header where the plain one cannot hold it, and the plain."""
    records: list[tuple[bytes, bytes]] = []
    texts = [(key, text) for key, text in ((b"path", name), (b"linkpath", link)) if len(text) > 100 or not _plain(text)]
    if any(not _is_utf8(text) for _, text in texts):
        records.append((b"hdrcharset", b"BINARY"))
    records += texts
    seconds, nanos = divmod(mtime_ns, 10**9)
    if nanos or not 0 <= seconds <= _MOST:
        sign, (whole, rest) = (b"-", divmod(-mtime_ns, 10**9)) if mtime_ns < 0 else (b"", (seconds, nanos))
        records.append((b"mtime", sign + b"%d.%09d" % (whole, rest)))
    if size > _MOST:
        records.append((b"size", b"%d" % size))
    seconds, small = min(max(seconds, 0), _MOST), min(size, _MOST)
    plain = _block(name[:100], kind, mode, small, seconds, link[:100])
    if not records:
        return plain
    data = b"".join(_record(key, value) for key, value in records)
    return _block(b"pax", b"x", 0o644, len(data), seconds, b"") + data + bytes(-len(data) % _BLOCK) + plain


def _block(name: bytes, kind: bytes, mode: int, size: int, mtime: int, link: bytes) -> bytes:
    fields = b"%s%07o\0%07o\0%07o\0%011o\0%011o\0" % (name.ljust(100, b"\0"), mode, 0, 0, size, mtime)
    rest = kind + link.ljust(100, b"\0") + b"ustar\00000"
    block = (fields + b"        " + rest).ljust(_BLOCK, b"\0")
    return block[:148] + b"%06o\0 " % sum(block) + block[156:]


def _record(key: bytes, value: bytes) -> bytes:
    """``LENGTH KEY=VALUE\\n``, where LENGTH counts itself (pax(1), pax Header Block)."""
    bare = len(key) + len(value) + 3
    length = bare + len(str(bare))
    length = bare + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _plain(text: bytes) -> bool:
    return text.isascii()


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True


class Member:
    """One member: ``name``, ``kind`` (``file``, ``same`` as another, ``link``, ``folder``, ``pipe``), ``mode``,
    ``mtime_ns``, ``size``, ``target`` of a link, and the ``offset`` of its content."""

    __slots__ = ("kind", "mode", "mtime_ns", "name", "offset", "size", "target")

    def __init__(self, name: str, kind: str, mode: int, mtime_ns: int, size: int, target: str, offset: int) -> None:
        self.name, self.kind, self.mode, self.mtime_ns = name, kind, mode, mtime_ns
        self.size, self.target, self.offset = size, target, offset


_NAMES = {b"0": "file", b"\0": "file", b"1": "same", b"2": "link", b"5": "folder", b"6": "pipe"}


def members(file: BinaryIO) -> Iterator[Member]:
    """The members of a tar that a `Writer` wrote. Raises WrongDataError for another one, or one that is cut off."""
    extended: dict[bytes, bytes] = {}
    while True:
        block = file.read(_BLOCK)
        if not block.strip(b"\0"):
            if len(block) == _BLOCK:
                return
            raise WrongDataError("the tar file is cut off", code="bad-archive")
        size, kind = _number(block[124:136]), block[156:157]
        if kind == b"x":
            extended = _records(file.read(size + -size % _BLOCK)[:size])
            continue
        if kind not in _NAMES:
            raise WrongDataError(f"the tar file has a member of type {kind!r}", code="bad-archive")
        size = int(extended.get(b"size", size))
        name = extended.get(b"path", block[:100].rstrip(b"\0"))
        link = extended.get(b"linkpath", block[157:257].rstrip(b"\0"))
        mtime = _nanoseconds(extended[b"mtime"]) if b"mtime" in extended else _number(block[136:148]) * 10**9
        offset = file.tell()
        yield Member(os.fsdecode(name), _NAMES[kind], _number(block[100:108]), mtime, size, os.fsdecode(link), offset)
        file.seek(offset + size + -size % _BLOCK)
        extended = {}


def _number(field: bytes) -> int:
    try:
        return int(field.strip(b" \0") or b"0", 8)
    except ValueError:
        raise WrongDataError("the tar file has a header that is not one", code="bad-archive") from None


def _nanoseconds(text: bytes) -> int:
    whole, _, rest = text.lstrip(b"-").partition(b".")
    value = int(whole) * 10**9 + int(rest.ljust(9, b"0")[:9] or b"0")
    return -value if text.startswith(b"-") else value


def _records(data: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while data:
        length = int(data[: data.index(b" ")])
        key, _, value = data[:length].partition(b" ")[2].partition(b"=")
        found[key], data = value[:-1], data[length:]
    return found


class Folder:
    """A folder that members are written into, and never past it: no link is followed, nothing is written over."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._last, self._fd = "", self._top
        self._folders: list[tuple[str, int, int]] = []

    def extract(self, path: str, place: Callable[[str], str | None]) -> None:
        """Write what ``place`` names of the tar at ``path``: a member's name here, or None to leave it out.

        Raises WrongDataError for a name that leads elsewhere, OSError.
        """
        left_out: dict[str, Member] = {}
        instead: dict[str, str] = {}  # the first name here of a file whose first name is left out
        with open(path, "rb", buffering=_CHUNK) as file:
            for member in members(file):
                name = place(member.name)
                if name is None:
                    left_out[member.name] = member
                elif member.kind != "same":
                    self._write(member, name, file)
                elif member.target in left_out and member.target not in instead:
                    file.seek(left_out[member.target].offset)
                    self._write(left_out[member.target], name, file)
                    instead[member.target] = name
                else:
                    self._link(instead.get(member.target) or place(member.target) or "", name)

    def make(self, path: str) -> None:
        """Make a folder, and those around it, where they are missing. Raises WrongDataError, OSError."""
        self._enter("/".join(_parts(path)))

    def set_mode(self, path: str, mode: int, *, folder: bool) -> None:
        """Set the mode of a file, or of a ``folder``; nothing when it is something else. Raises WrongDataError,
        OSError."""
        parts = _parts(path)
        at = self._enter("/".join(parts[:-1]))
        found = os.stat(parts[-1], dir_fd=at, follow_symlinks=False).st_mode
        if stat.S_ISDIR(found) if folder else stat.S_ISREG(found):
            os.chmod(parts[-1], mode, dir_fd=at)

    def finish(self) -> None:
        """Give folders their modes and times, the inner ones first, and close this one."""
        for name, mode, mtime_ns in sorted(self._folders, reverse=True):
            path = os.path.join(self.path, name)
            os.chmod(path, mode)
            os.utime(path, ns=(mtime_ns, mtime_ns))
        self.close()

    def close(self) -> None:
        """Close this folder; what was written stays as it is."""
        if self._fd != self._top:
            os.close(self._fd)
        if self._top >= 0:
            os.close(self._top)
        self._fd = self._top = -1

    def _write(self, member: Member, name: str, file: BinaryIO) -> None:
        parts = _parts(name)
        at = self._enter("/".join(parts[:-1]))
        last = parts[-1]
        if member.kind == "folder":
            _make_folder(last, at)
            self._folders.append((name, member.mode, member.mtime_ns))
        elif member.kind == "link":
            os.symlink(member.target, last, dir_fd=at)
            os.utime(last, ns=(member.mtime_ns, member.mtime_ns), dir_fd=at, follow_symlinks=False)
        elif member.kind == "pipe":
            path = os.path.join(self.path, name)
            os.mkfifo(path, 0o600)
            os.chmod(path, member.mode)
            os.utime(path, ns=(member.mtime_ns, member.mtime_ns))
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(last, flags, 0o600, dir_fd=at)
            try:
                left = member.size
                while left:
                    data = file.read(min(left, _CHUNK))
                    if not data:
                        raise WrongDataError("the tar file is cut off", code="bad-archive")
                    left -= len(data)
                    view = memoryview(data)
                    while view:
                        view = view[os.write(fd, view) :]
                os.fchmod(fd, member.mode)
                os.utime(fd, ns=(member.mtime_ns, member.mtime_ns))
            finally:
                os.close(fd)

    def _link(self, target: str, name: str) -> None:
        """Give the file ``target``, which is there already, a further name."""
        parts, last = _parts(target), _parts(name)[-1]
        source = os.dup(self._enter("/".join(parts[:-1])))
        try:
            at = self._enter("/".join(_parts(name)[:-1]))
            os.link(parts[-1], last, src_dir_fd=source, dst_dir_fd=at, follow_symlinks=False)
        finally:
            os.close(source)

    def _enter(self, folder: str) -> int:
        """A descriptor of a folder below, made where it is missing; it is entered step by step, past no link."""
        if folder == self._last:
            return self._fd
        fd = os.dup(self._top)
        try:
            for part in folder.split("/") if folder else ():
                _make_folder(part, fd)
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
                os.close(fd)
                fd = inner
        except BaseException:
            os.close(fd)
            raise
        if self._fd != self._top:
            os.close(self._fd)
        self._last, self._fd = folder, fd
        return fd


def _parts(path: str) -> list[str]:
    """The parts of a relative path. Raises WrongDataError when it leads elsewhere."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        raise WrongDataError(f"the archive names {path!r}, which leads elsewhere", code="bad-archive")
    return parts


def _make_folder(name: str, at: int) -> None:
    try:
        os.mkdir(name, 0o777, dir_fd=at)
    except FileExistsError:
        if not stat.S_ISDIR(os.stat(name, dir_fd=at, follow_symlinks=False).st_mode):
            raise
