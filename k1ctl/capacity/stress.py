"""Run the cells of a stress matrix one after the other: what is left of it, what each gave, when it ends.

Decisions are those of `k1ctl.capacity.cells`; whoever runs the copies is an `Executor`, this host's or a test's.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import NamedTuple

from k1ctl.capacity import cells, executor
from k1ctl.capacity.cells import Cell, Limits, Outcome, Stop
from k1ctl.errors import BusyError, K1ctlError
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from typing import Any

    from k1ctl.capacity.cells import Look
    from k1ctl.capacity.executor import Executor, Ran
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.stress_folder import Folder

    Promise = Callable[[Cell], AbstractContextManager[Sequence[int]]]  # descriptors the copies keep

_REASONS = 3  # of failures, kept of a cell


class Row(NamedTuple):
    """A cell of the matrix: ``status`` (finished, stopped, pruned), its figures (None: it did not run), and why it was
    stopped or pruned."""

    cell: Cell
    status: str
    figures: dict[str, Any] | None
    reason: str

    @property
    def holds(self) -> bool:
        """Whether every run of it was completed."""
        return self.status == "finished" and self.figures is not None and self.figures["completion_rate"] == 1.0

    @property
    def late(self) -> bool:
        """Whether every run of it ran past the timeout."""
        return bool(self.figures and 0 < self.figures["started"] == self.figures["timed_out"])


class Progress(NamedTuple):
    """For the live line: which cell, its place in the matrix, runs that ended of how many, runs under way."""

    cell: Cell
    number: int
    cells: int
    ended: int
    jobs: int
    running: int


class Matrix:
    """The cells of a run, in their order.

    Arguments: ``promise`` takes what a cell may use before it begins and gives it back behind it; ``tell`` is called
    with each change.
    """

    def __init__(
        self,
        matrix: Sequence[Cell],
        limits: Limits,
        run_by: Executor,
        folder: Folder,
        *,
        jobs: int = 0,
        repeat: int = 0,
        promise: Promise | None = None,
        tell: Callable[[Progress], None] | None = None,
    ) -> None:
        self.cells, self.limits, self.executor, self.folder = list(matrix), limits, run_by, folder
        self.jobs, self.repeat, self.promise, self.tell = jobs, repeat, promise, tell
        self.rows = [row_of(line) for line in folder.finished()]

    def run(self) -> list[Row]:
        """Run what is left, each finished cell kept at once; all rows in the order of the matrix, pruned ones too.

        Raises BusyError (host-not-fit) when the host breaks a rule before a cell begins or its disk is full,
        K1ctlError (command-fails) when no run of the command was ever completed, and what the executor raises.
        """
        for number, cell in enumerate(self.cells, 1):
            if any(row.cell == cell for row in self.rows) or self.why_pruned(cell):
                continue
            with self.promise(cell) if self.promise else nullcontext(()) as keep:
                self._check_host()
                ran = self._through(cell, number, keep)
            line = figures(cell, ran)
            if line["failed"] and not ran.stop and not any(n["completed"] for n in self._figures(line)):
                raise K1ctlError(
                    f"the command fails, and not for want of memory: {line['failures'][0]}",
                    hint=f"see {self.folder.path}/logs/{cell.name}; a command that fails tells nothing of capacity",
                    code="command-fails",
                    folder=self.folder.path,
                )
            self.folder.add(line)
            self.rows.append(row_of(line))
            if ran.stop is not None and ran.stop.final:
                raise self._unfit(ran.stop)
        return self.all_rows()

    def all_rows(self) -> list[Row]:
        """Finished, stopped and pruned cells in the order of the matrix; those that are left are not among them."""
        found = {row.cell: row for row in self.rows}
        for cell in self.cells:
            reason = "" if cell in found else self.why_pruned(cell)
            if reason:
                found[cell] = Row(cell, "pruned", None, reason)
        return [found[cell] for cell in self.cells if cell in found]

    def left(self) -> list[Cell]:
        """The cells that would run if nothing more were pruned."""
        done = {row.cell for row in self.rows}
        return [cell for cell in self.cells if cell not in done and not self.why_pruned(cell)]

    def jobs_of(self, cell: Cell) -> int:
        return cells.jobs_of(cell.agents, self.jobs, self.repeat)

    def why_pruned(self, cell: Cell) -> str:
        outcomes = [Outcome(row.cell, stop_of(row.figures), row.late) for row in self.rows]
        return cells.pruned(cell, self.limits, outcomes)

    def _figures(self, line: dict[str, Any]) -> list[dict[str, Any]]:
        return [line, *(row.figures for row in self.rows if row.figures)]

    def _through(self, cell: Cell, number: int, keep: Sequence[int]) -> Ran:
        jobs = self.jobs_of(cell)

        def watch(before: Facts, look: Look) -> Stop | None:
            return cells.stop(before, look, self.limits)

        def tell(ended: int, running: int) -> None:
            if self.tell:
                self.tell(Progress(cell, number, len(self.cells), ended, jobs, running))

        return self.executor.run(cell, jobs, watch, tell, keep)

    def _check_host(self) -> None:
        look = self.executor.look()
        stop = cells.stop(look.facts, look, self.limits)
        if stop is not None:
            raise self._unfit(stop)

    def _unfit(self, stop: Stop) -> BusyError:
        return BusyError(
            f"this host cannot be measured now: {stop.text}",
            hint="the same call, without --fresh, goes on where it stopped, once that is better",
            code="host-not-fit",
            folder=self.folder.path,
            stop=stop._asdict(),
        )


def figures(cell: Cell, ran: Ran) -> dict[str, Any]:
    """The line of a finished cell. ``completion_rate`` is completed / started; what we ended because the cell stopped
    is started, too. ``throughput_per_second`` counts completed runs; ``concurrency`` is how many copies were under
    way in the mean (Little's law)."""
    count = {name: sum(job.outcome == name for job in ran.jobs) for name in _OUTCOMES}
    walls = sorted(job.seconds for job in ran.jobs if job.outcome == executor.DONE)
    before, after, between = ran.before, ran.after, ran.between or ran.seconds
    return {
        "cell": cell.name,
        **cell.document(),
        "started": len(ran.jobs),
        "completed": count[executor.DONE],
        "completion_rate": round(count[executor.DONE] / len(ran.jobs), 4) if ran.jobs else 0.0,
        "failed": count[executor.FAILED],
        "timed_out": count[executor.TIMEOUT],
        "oom": count[executor.OOM],
        "host_oom": count[executor.HOST_OOM],
        "ended": count[executor.ENDED],
        "oom_kills": _delta(before.oom_kills, after.oom_kills),
        "swap_used_peak_bytes": ran.swap_peak,
        "swap_delta_bytes": after.swap_used - before.swap_used,
        "swapped_out_pages": _delta(before.swapped_out_pages, after.swapped_out_pages),
        "stall_some_percent": _rounded(cells.stall_percent(before, after, between, "some"), 2),
        "stall_full_percent": _rounded(cells.stall_percent(before, after, between, "full"), 2),
        "wall_p50_seconds": _rounded(quantile(walls, 0.5), 4),
        "wall_p95_seconds": _rounded(quantile(walls, 0.95), 4),
        "throughput_per_second": round(len(walls) / ran.seconds, 6) if walls and ran.seconds else None,
        "concurrency": round(sum(job.seconds for job in ran.jobs) / ran.seconds, 3) if ran.seconds else None,
        "peak_bytes": max((job.peak_bytes for job in ran.jobs), default=0),
        "seconds": round(ran.seconds, 3),
        "at": rfc3339(),
        "stop": ran.stop._asdict() if ran.stop else None,
        "failures": list(dict.fromkeys(f"copy {j.number}: {j.text}"[:300] for j in ran.jobs if j.text))[:_REASONS],
    }


_OUTCOMES = (
    *(executor.DONE, executor.FAILED, executor.TIMEOUT),
    *(executor.OOM, executor.HOST_OOM, executor.ENDED),
)


def row_of(line: dict[str, Any]) -> Row:
    """The row of a line that `figures` made."""
    stop = stop_of(line)
    cell = Cell(line["agents"], line["memory_bytes"], line["cpus"] or 0.0)
    return Row(cell, "stopped" if stop else "finished", line, stop.text if stop else "")


def stop_of(line: dict[str, Any] | None) -> Stop | None:
    found = line and line.get("stop")
    return Stop(**found) if found else None


def quantile(ordered: Sequence[float], q: float) -> float | None:
    """The quantile of values in order, interpolated between neighbours (type 7 of Hyndman and Fan)."""
    if not ordered:
        return None
    at = q * (len(ordered) - 1)
    low = int(at)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (at - low)


def _delta(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else max(0, after - before)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
