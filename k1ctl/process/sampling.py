"""The memory of a process group, as often as somebody asks."""

from __future__ import annotations


def group_memory(group: int) -> int:
    """Resident bytes of all processes of the group; what they share counts for each."""
    from k1ctl.capacity.processes import look

    return look(group=group).rss
