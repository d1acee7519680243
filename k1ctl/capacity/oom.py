"""Whether a command ended for lack of memory, told without trusting its exit code, and the limit that fits next time.

A killed leaf surfaces as 137 through sh, as 2 through make, as 1 through ninja and gcc, as 125 through xargs, and not
at all through a pipeline; a program that exits with 137 by itself lacked nothing. So evidence is: our own kill, the
kernel's counters (memory.events, memory.oom_control, oom_kill of /proc/vmstat), and what runtimes print.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_MIB = 1 << 20


class Verdict:
    """Memory was the reason.

    ``by``: limit (our watchdog), cgroup, kernel, or program (it gave up by itself); ``confidence``: certain, likely,
    possible; ``evidence`` sentences; ``guilty`` {pid, name, rss_bytes} or None; ``next_limit`` bytes that are worth a
    try (0: nothing to go by); ``message`` one line.
    """

    __slots__ = ("by", "confidence", "evidence", "guilty", "message", "next_limit")

    def __init__(
        self,
        by: str,
        confidence: str,
        message: str,
        evidence: Sequence[str],
        guilty: Mapping[str, Any] | None,
        next_limit: int,
    ) -> None:
        self.by, self.confidence, self.message, self.evidence = by, confidence, message, list(evidence)
        self.guilty, self.next_limit = dict(guilty) if guilty else None, next_limit

    def document(self) -> dict[str, Any]:
        """The verdict as JSON."""
        return {
            "by": self.by,
            "confidence": self.confidence,
            "message": self.message,
            "evidence": self.evidence,
            "guilty": self.guilty,
            "next_limit_bytes": self.next_limit or None,
        }


def next_limit(limit: int, peak: int) -> int:
    """The limit that fits next time: what was used and 100 MB or a fifth more, whichever is more; in whole MiB.

    (As the Vertical Pod Autoscaler takes an OOM into account.)
    """
    base = max(limit, peak)
    return -(-max(base + 100 * _MIB, base * 6 // 5) // _MIB) * _MIB


def verdict(judged: Mapping[str, Any] | None, *, limit: int, peak: int) -> Verdict | None:
    """The verdict, or None when nothing says that memory lacked. ``judged``: what the watchdog left."""
    if judged is None or judged.get("code") != "oom":
        return None
    evidence = [f"the watchdog ended it: {judged.get('message', '')}"]
    peak = max(peak, int(judged.get("peak_bytes") or 0))
    return Verdict("limit", "certain", str(judged["message"]), evidence, judged.get("guilty"), next_limit(limit, peak))
