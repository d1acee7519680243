"""Samples of a process tree: often while much happens, rarely else, and a peak with an error bar.

RSS is read at each look. PSS, which adds up where processes share pages but costs a walk over their page tables, only
where it may be a new maximum, and no oftener than its price allows. What a process had at most (VmHWM) bounds what was
between two looks.
"""

from __future__ import annotations

import os
import time

from k1ctl.capacity.processes import Watch, pss

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from k1ctl.capacity.processes import Member, Tree

    Row = tuple[float, int, int | None, int, int, float]

COLUMNS = ("seconds", "rss_bytes", "pss_bytes", "largest_bytes", "processes", "cpu_seconds")
FINE, FINE_FOR, MOVES = 0.25, 30.0, 0.10  # s between looks; in the first s; and while RSS moves by such a share
_FIRST = 0.01  # s from the first look to the second; from there the time doubles: short commands are seen as well
KEPT = 1200  # rows of a trace
FLOOR = 5.0  # s: of each such span the least is kept, for the verdict on leaks
_PASSES = 1.05  # a sum this much over the last maximum is worth a look at PSS
_BLUR = 1 << 20  # bytes: the RSS in stat lags behind by some pages (proc_pid_stat(5) calls it inaccurate)
_UNTOLD = 5  # times in a row; then nobody asks any more
_PSS_GAP, _PSS_PRICE, _PSS_DOUBT = 2.0, 20, 1000  # s between two looks at PSS; or so many times what the last one took
_PSS_TOUCHED, _PSS_TOUCHED_FINE = 250, 50  # the same where pages were touched meanwhile; in the first 30 s
_PAGE = os.sysconf("SC_PAGE_SIZE")
# What a dense trace shows that a look every so many seconds misses: of a compile's peak, and of spikes held for 200 ms
_MISSED = ((0.1, 0.2, 0), (0.25, 0.6, 0), (0.5, 1.0, 0), (1.0, 1.8, 25), (2.0, 3.4, 43), (5.0, 8.7, 83))


class Trace:
    """Rows of (seconds, RSS, PSS or None, largest process, processes, CPU seconds), thinned as they become many.

    Of the rows that go, each span of time keeps the one with the least RSS, the one with the most, and the one with the
    most PSS: a peak stays however long the trace is.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self.rows: list[Row] = []
        self.kept, self.taken = kept, 0

    def add(self, row: Row) -> None:
        self.rows.append(row)
        self.taken += 1
        if len(self.rows) >= 2 * self.kept:
            self.thin()

    def thin(self) -> None:
        """Bring the rows down to ``kept``."""
        if len(self.rows) <= self.kept:
            return
        first, last = self.rows[0], self.rows[-1]
        span = max(last[0] - first[0], 1e-9) / ((self.kept - 2) // 3) * 1.0001
        kept = {id(first): first, id(last): last}
        spans: dict[int, list[Row]] = {}
        for row in self.rows:
            spans.setdefault(int((row[0] - first[0]) / span), []).append(row)
        for rows in spans.values():
            for one in (min(rows, key=_rss), max(rows, key=_rss), max(rows, key=lambda row: row[2] or 0)):
                kept[id(one)] = one
        self.rows = sorted(kept.values(), key=lambda row: row[0])


def _rss(row: Row) -> int:
    return row[1]


class Together:
    """The most that a tree can have had resident up to its last look, from its processes' high-water marks.

    Between two looks no process had more than its mark at the second one, nor one that was gone by then more than its
    last mark; and at worst all of both looks lived at the same time.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._before: dict[object, int] = {}

    def look(self, highs: dict[object, int]) -> None:
        """Who lives now, with what each had at most so far."""
        gone = sum(size for one, size in self._before.items() if one not in highs)
        self.bytes = max(self.bytes, sum(highs.values()) + gone)
        self._before = highs


class Sampler:
    """Samples a session, or the process ``root`` and its descendants, until it is empty.

    ``interval`` is the time between two looks (seconds) once the first 30 s are over and RSS keeps still; before, and
    while it moves by more than 10 %, it is 0.25 s. Of each ``floor`` seconds the least RSS is kept. Call `look` and
    sleep as long as it says. ``watch``, ``read_pss`` and ``clock`` are what tests put in place of the system.
    """

    def __init__(
        self,
        *,
        session: int = 0,
        root: int = 0,
        interval: float = 1.0,
        kept: int = KEPT,
        floor: float = FLOOR,
        clock: Callable[[], float] = time.monotonic,
        watch: Any = None,
        read_pss: Callable[[Iterable[int]], tuple[int, bool]] = pss,
    ) -> None:
        self.watch = watch or Watch(session=session, root=root, highs=True)
        self.interval, self.floor, self.clock, self.read_pss = interval, floor, clock, read_pss
        self.began, self.own_cpu = clock(), time.process_time()
        self.trace, self.together = Trace(kept), Together()
        self.floors: dict[int, tuple[float, int]] = {}
        self.last: Row | None = None
        self.peak_row: Row | None = None
        self.pss_row: Row | None = None
        self.largest = self.most = 0
        self.cpu = 0.0
        self.untold = 0  # how often in a row not every process told its PSS
        self._covered = 0  # the largest RSS at which PSS was read
        self._pss_free, self._doubt_free, self._touched_free = 0.0, 0.0, 0.0  # when PSS may be read again
        self._faults: dict[object, int] = {}  # of each process, when PSS was last read
        self._moved = -1e9

    def look(self) -> float | None:
        """Take one sample; returns the seconds until the next, None when nobody lives any more."""
        tree: Tree = self.watch.look()
        now = self.clock() - self.began
        self.cpu = max(self.cpu, tree.cpu + tree.waited)
        if not tree.pids:
            self.together.look({})
            return None
        row: Row = (round(now, 3), tree.rss, self._pss(tree, now), tree.largest, len(tree.pids), round(self.cpu, 3))
        living = self._living(tree)
        self.together.look({(member.pid, member.start): member.high for member in living})
        self.largest = max(self.largest, tree.largest, *(member.reached for member in living))
        self.most = max(self.most, len(tree.pids))
        if self.peak_row is None or tree.rss > self.peak_row[1]:
            self.peak_row = row
        if row[2] is not None and (self.pss_row is None or row[2] > (self.pss_row[2] or 0)):
            self.pss_row = row
        slot = int(now / self.floor)
        if slot not in self.floors or tree.rss < self.floors[slot][1]:
            self.floors[slot] = (now, tree.rss)
        if self.last is not None and abs(tree.rss - self.last[1]) > MOVES * max(self.last[1], 1):
            self._moved = now
        self.trace.add(row)
        self.last = row
        fine = now < FINE_FOR or now - self._moved < 4 * FINE
        return min(FINE, self.interval, max(_FIRST, now)) if fine else self.interval

    def _pss(self, tree: Tree, now: float) -> int | None:
        """PSS where it may be a new maximum and its price allows; None where it was not read or is not told."""
        seen = (self.pss_row[2] or 0) if self.pss_row else 0
        passes = tree.rss > self._covered * _PASSES and now >= self._pss_free
        doubt = tree.rss > seen * _PASSES and (  # who shares less now may have more
            now >= self._doubt_free or (now >= self._touched_free and self._touched(tree) > seen * (_PASSES - 1))
        )
        if self.untold >= _UNTOLD or not (passes or doubt):
            return None
        began = self.clock()
        total, told = self.read_pss(tree.pids)
        took = self.clock() - began
        self._pss_free = now + min(_PSS_GAP, _PSS_PRICE * took)
        self._doubt_free = now + max(_PSS_GAP, _PSS_DOUBT * took)
        self._touched_free = now + max(FINE, took * (_PSS_TOUCHED_FINE if now < FINE_FOR else _PSS_TOUCHED))
        self._faults = {(member.pid, member.start): member.faults for member in self._living(tree)}
        self.untold = 0 if told else self.untold + 1
        if not told or not total:
            return None
        self._covered = max(self._covered, tree.rss)
        return total

    def _living(self, tree: Tree) -> list[Member]:
        return [self.watch.members[pid] for pid in tree.pids]

    def _touched(self, tree: Tree) -> int:
        """Bytes of the pages that faulted since PSS was last read: a shared page that is written to becomes a page of
        one's own that way, and RSS does not tell."""
        before = self._faults
        return _PAGE * sum(max(0, m.faults - before.get((m.pid, m.start), 0)) for m in self._living(tree))

    def memory(self, largest: int = 0) -> dict[str, Any]:
        """The peak: ``peak_bytes`` was seen, by ``peak_metric``, and ``at_most_bytes`` is what it can have been.

        ``largest``: bytes of the largest process as wait4(2) told (0: not known); it may have peaked between two looks.
        The metric is pss; rss where PSS is not told or a peak was over before it could be read, which then is the
        largest sum of a look or what one process alone had, whichever is more; footprint on a Mac. The bound holds but
        for processes that lived and died between two looks, and for more than one that grew after its last look (for
        one, where ``largest`` is not known).
        Both are None where nothing was seen.
        """
        rss = self.peak_row[1] if self.peak_row else 0
        told = (self.pss_row[2] or 0) if self.pss_row else 0
        footprint = os.uname().sysname == "Darwin"
        largest = self.largest if footprint else max(self.largest, largest)
        peak, metric = max(rss, largest), "footprint" if footprint else "rss"
        if told and peak <= self._covered * _PASSES + _BLUR:
            peak, metric = told, "pss"
        most = max(self.together.bytes + largest - self.largest, rss, peak)
        return {
            "peak_bytes": peak or None,
            "peak_metric": metric,
            "at_most_bytes": most if self.trace.taken else None,
            "rss_sum_peak_bytes": rss,
            "pss_peak_bytes": told or None,
            "largest_process_bytes": largest,
            "processes_most": self.most,
        }

    def least(self) -> list[tuple[float, float]]:
        """(seconds, RSS) of the least look in each ``floor`` seconds, for `leak.verdict`."""
        return [self.floors[slot] for slot in sorted(self.floors)]

    def sampling(self) -> dict[str, Any]:
        """How it was sampled, what that cost, and what it may have missed."""
        wall, own = max(self.clock() - self.began, 1e-9), time.process_time() - self.own_cpu
        return {
            "interval_seconds": self.interval,
            "fine_interval_seconds": min(FINE, self.interval),
            "looks": self.trace.taken,
            "own_cpu_seconds": round(own, 3),
            "own_cpu_percent": round(100 * own / wall, 2),
            "missed": missed(self.interval),
        }


def missed(interval: float) -> dict[str, Any]:
    """What looks every ``interval`` seconds are known to miss at worst, in percent of the peak; None: any share."""
    row = next((row for row in _MISSED if row[0] >= interval), None)
    compile_, spike = (row[1], row[2]) if row else (None, None)
    return {"of_a_compile_percent": compile_, "of_a_spike_of_200_ms_percent": spike}
