"""A folder as one tar file that follows from its contents alone: equal folders give equal bytes, on every host.

Order, owners, times and modes are fixed (files 0644 or 0755, folders 0755), and nothing is compressed: what a
compressor makes of the same bytes differs between its releases. Format: POSIX.1-2001 (pax).
"""

from __future__ import annotations

import os
import stat

from k1ctl.errors import WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


class _Hashed:
    """A file that keeps the digest and the size of what is written to it."""

    def __init__(self, file: Any) -> None:
        from hashlib import sha256

        self.file, self.digest, self.size = file, sha256(), 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return int(self.file.write(data))


def pack(folder: str, target: str) -> dict[str, Any]:
    """Write ``folder`` to the new, read-only file ``target``.

    Returns ``bytes`` and ``sha256`` of the archive, ``file_count`` and ``content_bytes`` of what is in it. Links that
    stay within the folder are kept as links. Raises WrongDataError for one that leads out, for a file that is neither
    file, folder nor link, and for an empty folder; OSError.
    """
    import tarfile

    top = os.path.realpath(folder)
    count = content = 0
    with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "wb") as out:
        hashed = _Hashed(out)
        with tarfile.open(fileobj=hashed, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
            for path in _walk(top):
                info = _entry(tarfile.TarInfo(os.path.relpath(path, top)), path, top)
                if info.isreg():
                    with open(path, "rb") as f:
                        info.size = os.fstat(f.fileno()).st_size
                        tar.addfile(info, f)
                    count, content = count + 1, content + info.size
                else:
                    tar.addfile(info)
    if not count:
        raise WrongDataError(f"{folder} holds no file", code="no-output")
    return {
        "bytes": hashed.size,
        "sha256": hashed.digest.hexdigest(),
        "file_count": count,
        "content_bytes": content,
    }


def _walk(top: str) -> Iterator[str]:
    """All that is below ``top``, each folder before its contents, in the order of the names' bytes."""
    for name in sorted(os.listdir(top), key=os.fsencode):
        path = os.path.join(top, name)
        yield path
        if os.path.isdir(path) and not os.path.islink(path):
            yield from _walk(path)


def _entry(info: Any, path: str, top: str) -> Any:
    """``info`` with what is kept of a file's nature."""
    import tarfile

    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        real = os.path.realpath(path)
        if os.path.isabs(os.readlink(path)) or not real.startswith(top + "/"):
            raise WrongDataError(f"{path} is a link to {real}, out of what was built", code="output-leaves-project")
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, os.readlink(path), 0o777
    elif stat.S_ISDIR(found.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(found.st_mode):
        info.mode = 0o755 if found.st_mode & 0o100 else 0o644
    else:
        raise WrongDataError(f"{path} is neither file, folder nor link", code="no-output")
    return info
