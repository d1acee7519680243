"""What k1ctl can hold a command to on this host and what it sees of it, found out by trying; and what would help."""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts

LEVELS = ("ok", "note", "warning", "error")
_TRIED = (64 << 20, 0.5)  # bytes and cores of the limits that are tried on a child
_DELEGATE = (
    "log in so that systemd's user manager runs (XDG_RUNTIME_DIR is set then), or for a service: "
    "`systemctl edit UNIT`, with [Service] and Delegate=memory cpu pids"
)


class Finding:
    """``level``, one of `LEVELS`; ``code``; ``what`` is so, ``why`` it matters and the ``fix`` ("" when it is ok)."""

    __slots__ = ("code", "fix", "level", "what", "why")

    def __init__(self, level: str, code: str, what: str, why: str = "", fix: str = "") -> None:
        self.level, self.code, self.what, self.why, self.fix = level, code, what, why, fix

    def document(self) -> dict[str, Any]:
        return {name: getattr(self, name) or None for name in ("level", "code", "what", "why", "fix")}


def examine(facts: Facts) -> list[Finding]:
    """All findings, those that are ok among them. Starts a process or two that end at once, and leaves
    nothing behind but the host's folder."""
    return [_folder(), *_limits(facts), _stall(facts), *_container(facts), *_blast()]


def _folder() -> Finding:
    """The host's folder: promises are locks there."""
    from k1ctl.filesystem import check_locks
    from k1ctl.workspace import host_dir

    folder = host_dir()
    try:
        os.makedirs(folder, exist_ok=True)
        kind = check_locks(folder).kind
    except (ConfigError, OSError) as exc:
        from k1ctl.failure import words

        why = "nothing can be promised or locked for this host, or two programs get the same memory or device at once"
        fix = "set K1CTL_HOST_DIR to a folder on a local disk that you may write"
        return Finding("error", "host-folder", words(exc), why, fix)
    return Finding("ok", "host-folder", f"locks work in {folder}" + (f" ({kind})" if kind else ""))


def _limits(facts: Facts) -> list[Finding]:
    from k1ctl.capacity import leash

    memory, cpu = leash.means_of(leash.Limits(*_TRIED))
    mac = facts.system == "macos"
    level, fix = ("note", "none: macOS has no control groups") if mac else ("warning", _DELEGATE)
    found = []
    if memory == "cgroup":
        found.append(Finding("ok", "memory-limit", "the kernel keeps a command at its --mem-limit (a control group)"))
    else:
        why = "a program that takes memory fast passes its limit by some tens of MiB before it is ended"
        found.append(Finding(level, "memory-limit", "a watchdog keeps commands at their --mem-limit", why, fix))
    if cpu == "cgroup":
        found.append(Finding("ok", "cpu-limit", "the kernel keeps a command at its --cpu-limit (a control group)"))
    else:
        why = "whole cores are kept by affinity where the system has it; a part of one by stopping and going on"
        found.append(Finding("note", "cpu-limit", f"a --cpu-limit of half a core is kept by {cpu}", why, fix))
    return found


def _stall(facts: Facts) -> Finding:
    if facts.pressure.get("memory") or facts.level:
        return Finding("ok", "stall", "the system tells what waits for memory")
    why = "host health judges by what stalls; without it, it sees only how much memory is left"
    return Finding("warning", "stall", "the system does not tell what waits for memory", why, _psi(facts))


def _psi(facts: Facts) -> str:
    return "boot Linux 4.20 or later with psi=1" if facts.system == "linux" else "none"


def _container(facts: Facts) -> list[Finding]:
    """The limits around us, if any: not wrong, but good to know."""
    around = facts.container
    if not around:
        return []
    memory = f"{format_size(around['memory_bytes'])} of memory" if around.get("memory_bytes") else ""
    cores = f"{around['cpus']:g} cores" if around.get("cpus") else ""
    what = f"this runs within limits: {' and '.join(filter(None, (memory, cores)))} ({around.get('path')})"
    why = "capacity counts what is within them; the rest of the host is not ours to give away"
    return [Finding("note", "container", what, why, "raise the limits of the container or slice, or leave them")]


def _blast() -> list[Finding]:
    from k1ctl.capacity.blast import radius

    found = radius()
    if found is None or not found.shelters:
        return []
    who = ", ".join(found.shelters)
    if not found.killer:
        return [Finding("ok", "blast-radius", f"processes beside {who} are killed one by one")]
    what = f"{found.killer} would end all {found.processes} processes of this control group together"
    why = f"{who} is among them, and every agent in it"
    fix = "systemd-run --user --scope -p OOMPolicy=continue -- COMMAND gives each agent a control group of its own"
    return [Finding("warning", "blast-radius", what, why, fix)]
