"""Whether a kill for want of memory would take a terminal, or tmux, along with an agent.

memory.oom.group (Documentation/admin-guide/cgroup-v2.rst) and systemd-oomd(8) end all processes of a control group at
once; who starts agents in a terminal puts them into the terminal's group.
"""

from __future__ import annotations

import os

from k1ctl.capacity.containers import GROUPS, folders, of_process
from k1ctl.capacity.kernelfiles import number, read

_OOMD = ("io.systemd.ManagedOOM", "io.system.ManagedOOM")  # its socket below /run/systemd/oom; once misspelt
_SHELTERS = (  # /proc/pid/comm of what many agents hang on, cut to 15 characters by the kernel
    "tmux: server", "screen", "SCREEN", "zellij", "gnome-terminal-", "kgx", "ptyxis", "ptyxis-agent", "konsole",
    "kitty", "alacritty", "wezterm-gui", "wezterm-mux-ser", "ghostty", "foot", "xterm", "urxvt", "terminator", "tilix",
    "sshd", "sshd-session", "code", "cursor",
)  # fmt: skip


class Blast:
    """What would go together: ``killer`` (memory.oom.group, systemd-oomd, "" when processes go one by one), the number
    of ``processes`` in our group, and those of them that others hang on (``shelters``, by name)."""

    __slots__ = ("killer", "processes", "shelters")

    def __init__(self, killer: str, processes: int, shelters: list[str]) -> None:
        self.killer, self.processes, self.shelters = killer, processes, shelters


def radius(root: str = "") -> Blast | None:
    """The group that this process is in; None without cgroup v2. ``root``: the folder in which ``/proc``, ``/sys`` and
    ``/run`` lie. Never raises."""
    path = of_process(read(f"{root}/proc/self/cgroup")).get("")
    mount = f"{root}{GROUPS}"
    if path is None or not read(f"{mount}/cgroup.controllers"):
        return None
    around = list(folders(mount, path))
    pids = [word.decode() for word in read(f"{around[0]}/cgroup.procs").split() if word.isdigit()]
    killer = ""
    if any(number(read(f"{folder}/memory.oom.group")) == 1 for folder in around):
        killer = "memory.oom.group"
    elif any(os.path.exists(f"{root}/run/systemd/oom/{name}") for name in _OOMD):
        killer = "systemd-oomd"
    names = {read(f"{root}/proc/{pid}/comm").decode(errors="replace").strip() for pid in pids}
    return Blast(killer, len(pids), sorted(names & {*_SHELTERS}))
