"""What a process takes of a Mac's memory: its physical footprint, compressed pages included, which RSS leaves out.

proc_pid_rusage (libproc.h) answers for processes of the same user without root. Of struct rusage_info_v4
(sys/resource.h) two fields are read: ri_phys_footprint and ri_lifetime_max_phys_footprint.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FLAVOR = 4  # RUSAGE_INFO_V4: macOS 10.13 and later
SIZE = 296  # bytes of struct rusage_info_v4
_NOW, _PEAK = 72, 240  # offsets of the two fields


def footprint(pid: int, ask: Callable[[int], bytes | None] | None = None) -> tuple[int, int] | None:
    """(bytes now, the most since its start) of a process; None where it is gone, another user's, or no Mac's.

    ``ask`` gives the struct of a pid (default: `rusage`).
    """
    data = (ask or rusage)(pid)
    if data is None or len(data) < SIZE:
        return None
    now, peak = (int.from_bytes(data[at : at + 8], "little") for at in (_NOW, _PEAK))
    return now, max(now, peak)


def charged(pid: int) -> tuple[int, int]:
    """`footprint`, or where there is none the bytes resident now, twice. Raises psutil.Error, OSError."""
    found = footprint(pid)
    if found is None:
        import psutil

        found = (psutil.Process(pid).memory_info().rss,) * 2
    return found


def rusage(pid: int) -> bytes | None:
    """struct rusage_info_v4 of a process as the system gives it; None without an answer."""
    import ctypes

    data = ctypes.create_string_buffer(SIZE)
    try:
        failed = ctypes.CDLL(None).proc_pid_rusage(ctypes.c_int(pid), ctypes.c_int(FLAVOR), data)
    except AttributeError:
        return None
    return None if failed else data.raw
