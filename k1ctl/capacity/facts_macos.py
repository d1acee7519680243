"""The host's facts from macOS: sysctlbyname(3) and, for heat, notify_get_state(3), by ctypes; no process, no root.

What the answers mean, from XNU's sources and macOS's headers: ``kern.memorystatus_level`` is the percentage of memory
that is neither wired nor holds compressed pages (AVAILABLE_NON_COMPRESSED_MEMORY in osfmk/vm/vm_page.h;
memory_pressure(1) prints it): what programs use and is not compressed yet counts as to be had. Where sysctl does not
know it (an older XNU, without CONFIG_EMBEDDED) memorystatus_get_level does (bsd/kern/syscalls.master).
``kern.memorystatus_vm_pressure_level`` is 1 normal, 2 warn, 4 critical (dispatch/source.h), ``vm.swapusage`` a struct
xsw_usage and ``vm.loadavg`` a struct loadavg (sys/sysctl.h), and the state of com.apple.system.thermalpressurelevel an
OSThermalPressureLevel (libkern/OSThermalNotification.h). Swap grows by itself there, so its use in percent says little.
"""

from __future__ import annotations

import errno
import os

from k1ctl.capacity.facts import Facts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PERCENT = "kern.memorystatus_level"
NOTIFY = "notify:"  # before the key whose state is asked for; every other name is one of sysctl
THERMAL = NOTIFY + "com.apple.system.thermalpressurelevel"
NAMES = (
    "hw.memsize",
    "hw.logicalcpu",
    _PERCENT,
    "kern.memorystatus_vm_pressure_level",
    "vm.swapusage",
    "vm.loadavg",
    THERMAL,
)
LEVELS = {1: "normal", 2: "warn", 4: "critical"}
_THERMAL = ("nominal", "moderate", "heavy", "trapping", "sleeping")
_MOST = 4096  # bytes of an answer; the longest here has 32


def read(answer: Callable[[str], bytes | None] | None = None, *, thermal: bool = False) -> Facts:
    """One look at the host. ``answer``: what `NAMES` are asked of, None for what is not known (default: `ask`);
    ``thermal``: how hot it is as well. Raises OSError when the size of its memory is not to be had."""
    answer = answer or ask
    memory = _number(answer("hw.memsize"))
    if not memory:
        raise OSError(errno.ENOSYS, "sysctl does not tell", "hw.memsize")
    percent = _number(answer(_PERCENT))
    swap, swap_used = _swap(answer("vm.swapusage"))
    state = _number(answer(THERMAL)) if thermal else None
    return Facts(
        "macos",
        _number(answer("hw.logicalcpu")) or os.cpu_count() or 1,
        memory,
        memory if percent is None else memory * min(percent, 100) // 100,
        swap=swap,
        swap_used=swap_used,
        load=_load(answer("vm.loadavg")),
        level=LEVELS.get(_number(answer("kern.memorystatus_vm_pressure_level")) or 0),
        thermal=_THERMAL[state] if state is not None and state < len(_THERMAL) else None,
    )


def _number(data: bytes | None) -> int | None:
    """An integer of 4 or 8 bytes in the order of Macs, little-endian; None for anything else."""
    return int.from_bytes(data, "little") if data is not None and len(data) in (4, 8) else None


def _swap(data: bytes | None) -> tuple[int, int]:
    """(bytes of swap, of it used) from struct xsw_usage: total, avail and used of 8 bytes each, and more."""
    if data is None or len(data) < 24:
        return 0, 0
    total, used = (int.from_bytes(data[at : at + 8], "little") for at in (0, 16))
    return total, min(used, total)


def _load(data: bytes | None) -> float | None:
    """The load of the last minute from struct loadavg: three fixed-point numbers of 4 bytes, and their scale at 16."""
    if data is None or len(data) < 24:
        return None
    scale = int.from_bytes(data[16:24], "little")
    return int.from_bytes(data[:4], "little") / scale if scale else None


def ask(name: str) -> bytes | None:
    """The system's answer for a name of sysctl, or, after `NOTIFY`, the state of a notification; None without one."""
    import ctypes

    library = ctypes.CDLL(None)
    try:
        if name.startswith(NOTIFY):
            return _state(library, name[len(NOTIFY) :])
        found = _sysctl(library, name)
        return _level(library) if found is None and name == _PERCENT else found
    except AttributeError:  # the C library has no such call: this is no macOS
        return None


def _sysctl(library: object, name: str) -> bytes | None:
    import ctypes

    data, size = ctypes.create_string_buffer(_MOST), ctypes.c_size_t(_MOST)
    call = library.sysctlbyname  # type: ignore[attr-defined]
    if call(name.encode(), data, ctypes.byref(size), None, ctypes.c_size_t(0)):
        return None
    return data.raw[: size.value]


def _level(library: object) -> bytes | None:
    import ctypes

    level = ctypes.c_uint32()
    return None if library.memorystatus_get_level(ctypes.byref(level)) else bytes(level)  # type: ignore[attr-defined]


def _state(library: object, key: str) -> bytes | None:
    import ctypes

    token, state = ctypes.c_int(), ctypes.c_uint64()
    if library.notify_register_check(key.encode(), ctypes.byref(token)):  # type: ignore[attr-defined]
        return None
    try:
        if library.notify_get_state(token, ctypes.byref(state)):  # type: ignore[attr-defined]
            return None
    finally:
        library.notify_cancel(token)  # type: ignore[attr-defined]
    return bytes(state)
