"""The memory of a running command, as often as somebody asks."""

from __future__ import annotations

import os


def command_memory(group: int) -> int:
    """Resident bytes of all processes of a command; what they share counts for each.

    Who calls as the leader of its session, as a supervisor does, gets all of the session but itself: timeout(1) and
    shells with job control put what they start into groups of their own. Else it is the process group.
    """
    from k1ctl.capacity.processes import look

    own = os.getpid()
    return look(session=own, leave_out=(own,)).rss if os.getsid(0) == own else look(group=group).rss
