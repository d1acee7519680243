"""A host whose every figure follows from a formula, for tests of what is decided about stress cells.

Throughput is the Universal Scalability Law's, memory has a wall, and time is counted and does not pass. Example::

    host = ClosedForm(sigma=0.1, kappa=0.02, need=1 << 30, memory=16 << 30)
    ran = host.run(Cell(4, 2 << 30, 0.0), 8, lambda before, look: None, lambda ended, running: None)
    assert 8 / ran.seconds == host.throughput(4, 0.0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.capacity import executor
from k1ctl.capacity.cells import Look
from k1ctl.capacity.executor import Job, Ran
from k1ctl.capacity.facts import Facts
from k1ctl.capacity.usl import throughput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from k1ctl.capacity.cells import Cell
    from k1ctl.capacity.executor import Told, Watch


class ClosedForm:
    """Runs cells by formulas; give it to `k1ctl.capacity.stress.Matrix`.

    ``lambda_``, ``sigma``, ``kappa``: runs a second of N copies are ``X(N) = lambda N / (1 + sigma (N-1) + kappa N
    (N-1))``, so each takes ``N / X(N)``; with fewer than ``cores`` cores for a copy that uses ``uses``, ``uses / cpus``
    times as long. ``need``: bytes a copy takes at half of its time, when one whose limit is smaller ends for want of
    memory. ``memory``, ``swap``: of the host; beyond memory, swap is used, and beyond that the host kills one.
    ``stall``: full memory stall as a part of the time while swap is used. ``fails``: which run (counted over all cells,
    from 1) fails. ``disk``: free percent. ``at_cell``: called with each cell as it begins: to interrupt there.
    """

    def __init__(
        self,
        *,
        lambda_: float = 1.0,
        sigma: float = 0.0,
        kappa: float = 0.0,
        uses: float = 1.0,
        need: int = 1 << 30,
        memory: int = 64 << 30,
        swap: int = 0,
        stall: float = 0.0,
        fails: Sequence[int] = (),
        disk: float = 50.0,
        at_cell: Callable[[Cell], None] | None = None,
    ) -> None:
        self.lambda_, self.sigma, self.kappa, self.uses = lambda_, sigma, kappa, uses
        self.need, self.memory, self.swap, self.stall = need, memory, swap, stall
        self.fails, self.disk, self.at_cell = set(fails), disk, at_cell
        self.ran: list[Cell] = []
        self.runs = 0  # of all cells
        self.stalled_us = self.kills = self.paged_out = 0

    def throughput(self, n: int, cpus: float) -> float:
        """Runs a second of ``n`` copies of ``cpus`` cores each (0.0: unlimited)."""
        slower = max(1.0, self.uses / cpus) if cpus else 1.0
        return throughput(n, self.lambda_, self.sigma, self.kappa) / slower

    def look(self) -> Look:
        return Look(self._facts(0), 0.0, 0, 0, self.disk)

    def run(self, cell: Cell, jobs: int, watch: Watch, tell: Told, keep: Sequence[int] = ()) -> Ran:
        """The cell in rounds of ``cell.agents`` copies, looked at in the middle of each and at its end."""
        if self.at_cell:
            self.at_cell(cell)
        self.ran.append(cell)
        before, taken = self._facts(0), cell.agents * self.need
        each = cell.agents / self.throughput(cell.agents, cell.cpus)
        done: list[Job] = []
        swapped = min(self.swap, max(0, taken - self.memory))
        self.paged_out += swapped >> 12
        elapsed, stop = 0.0, None
        while stop is None and len(done) < jobs:
            tell(len(done), cell.agents)
            elapsed += each / 2
            self.stalled_us += int(each / 2 * 1e6 * self.stall) if swapped else 0
            walled = self._walled(cell, taken)
            done += [Job(1, walled, each / 2, min(self.need, cell.memory), "the wall")] if walled else []
            host = int(walled == executor.HOST_OOM)
            self.kills += host
            stop = watch(before, Look(self._facts(taken), elapsed, *self._ooms(done), self.disk))
            if stop is not None:
                left = range(2 if walled else 1, cell.agents + 1)
                done += [Job(n, executor.ENDED, each / 2, self.need) for n in left]
                break
            elapsed += each / 2
            self.stalled_us += int(each / 2 * 1e6 * self.stall) if swapped else 0
            done += [self._job(n, each) for n in range(1, min(cell.agents, jobs - len(done)) + 1)]
        after = self._facts(0)
        last = Look(after, elapsed, *self._ooms(done), self.disk, ended=True)
        return Ran(done, elapsed, before, after, swapped, stop or watch(before, last))

    def _job(self, number: int, seconds: float) -> Job:
        self.runs += 1
        outcome = executor.FAILED if self.runs in self.fails else executor.DONE
        return Job(number, outcome, seconds, self.need, "exit 1" if outcome == executor.FAILED else "")

    def _walled(self, cell: Cell, taken: int) -> str:
        if self.need > cell.memory:
            return executor.OOM
        return executor.HOST_OOM if taken > self.memory + self.swap else ""

    @staticmethod
    def _ooms(jobs: list[Job]) -> tuple[int, int]:
        host = sum(job.outcome == executor.HOST_OOM for job in jobs)
        return host + sum(job.outcome == executor.OOM for job in jobs), host

    def _facts(self, taken: int) -> Facts:
        return Facts(
            "linux",
            16,
            self.memory,
            max(0, self.memory - taken),
            swap=self.swap,
            swap_used=min(self.swap, max(0, taken - self.memory)),
            pressure={"memory": {"some_total_us": 2 * self.stalled_us, "full_total_us": self.stalled_us}},
            oom_kills=self.kills,
            swapped_out_pages=self.paged_out,
            origin="closed form",
        )
