"""The memory of a process group, as often as somebody asks."""

from __future__ import annotations

import os


def group_memory(group: int) -> int:
    """Resident bytes of all processes of the group; what they share counts for each."""
    import psutil

    total = 0
    for pid in psutil.pids():
        try:
            if os.getpgid(pid) == group:
                total += psutil.Process(pid).memory_info().rss
        except (OSError, psutil.Error):
            continue
    return total
