"""One call of a stress run: what is asked, the folder, the promises, and what ends it from outside."""

from __future__ import annotations

import os
from contextlib import contextmanager

from k1ctl.capacity import facts, limits
from k1ctl.capacity.cells import Cell, Limits, cpu_word
from k1ctl.capacity.executor import Copies, Interrupted
from k1ctl.capacity.need import Need
from k1ctl.errors import BusyError, K1ctlError, NotExecutableError, NotFoundError
from k1ctl.masking import masked_words
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_ENDING = (signals.SIGINT, signals.SIGTERM, signals.SIGHUP)


class Asked:
    """What a call asks for: the ``command`` in its folder ``cwd``, lists of ``agents``, ``memory`` (bytes) and ``cpus``
    (0.0: unlimited), ``jobs`` at least or ``repeat`` for each copy, and ``timeout`` of a run in seconds (0: none)."""

    __slots__ = ("agents", "command", "cpus", "cwd", "jobs", "memory", "repeat", "timeout")

    def __init__(
        self,
        command: Sequence[str],
        agents: Sequence[int],
        memory: Sequence[int],
        cpus: Sequence[float],
        *,
        jobs: int = 0,
        repeat: int = 0,
        timeout: float = 0.0,
        cwd: str = "",
    ) -> None:
        self.command, self.agents, self.memory, self.cpus = list(command), list(agents), list(memory), list(cpus)
        self.jobs, self.repeat, self.timeout, self.cwd = jobs, repeat, timeout, cwd or os.getcwd()

    def spec(self, found: Facts) -> dict[str, Any]:
        """What is kept of it in the run's folder."""
        from k1ctl.capacity.stress_folder import host
        from k1ctl.units import rfc3339

        return {
            "at": rfc3339(),
            "command": masked_words(self.command),
            "cwd": self.cwd,
            "agents": self.agents,
            "memory_bytes": self.memory,
            "cpus": [cpu_word(c) for c in self.cpus],
            "jobs": self.jobs,
            "repeat": self.repeat,
            "timeout_seconds": self.timeout,
            "host": host(found),
        }

    def check_command(self) -> None:
        """Raises NotFoundError, NotExecutableError when the command cannot be started."""
        from k1ctl.programs import runnable, which

        name = self.command[0].replace("{i}", str(self.agents[0]))
        path = os.path.join(self.cwd, name)
        if runnable(path) if os.sep in name else which(name):
            return
        if os.sep in name and os.path.exists(path):
            raise NotExecutableError(f"{name} cannot be started", hint="it is no file that may be executed")
        raise NotFoundError(f"{name} is not there", hint="words of a shell need: -- sh -c '...'")


def room(config: Config, found: Facts) -> Limits:
    """What cells may take of this host: what may be promised in all, and the reserve of the gate."""
    there = limits.of(config, found)
    return Limits(there.memory, there.reserve)


class Promised:
    """Has the gate promise what a cell may use, so that others' builds wait for it and it waits for theirs.

    The copies keep the promise as long as they live, and what they start with k1ctl is covered by it. ``wait``: seconds
    at most, None without limit; ``tell`` is told why it waits.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        copies: Copies,
        wait: float | None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self.workspace, self.config, self.copies, self.wait, self.tell = workspace, config, copies, wait, tell

    def need(self, cell: Cell) -> Need:
        """The memory of all copies, and their cores as far as there are any; all cores where they are not limited."""
        cores = limits.of(self.config, facts.read()).cpu
        return Need(mem=cell.agents * cell.memory, cpu=min(cores, cell.agents * cell.cpus) if cell.cpus else cores)

    @contextmanager
    def __call__(self, cell: Cell) -> Iterator[Sequence[int]]:
        from k1ctl.capacity import gate, promises

        try:
            held = gate.promise(
                self.workspace,
                self.config,
                self.need(cell),
                what=f"stress {cell.name}",
                kind="stress",
                wait=self.wait,
                interrupt=self.copies.interrupt,
                tell=self.tell,
            )
        except BusyError as exc:
            if exc.code == "left":
                raise Interrupted from exc
            raise
        self.copies.environ[promises.PROMISE] = held.environment(os.environ.get(promises.PROMISE, ""))
        self.copies.tell = lambda sessions: held.tell(sessions=sessions)
        try:
            yield [held.fd] if held.fd >= 0 else []
        finally:
            self.copies.tell = None
            held.release()


class Ending:
    """``with Ending() as ending:`` INT, TERM and HUP make ``ending.fd`` readable instead of ending us; what is ignored
    (by nohup) stays so."""

    def __init__(self) -> None:
        self.number = 0
        self.fd, self._write = os.pipe()
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> Ending:
        os.set_blocking(self._write, False)
        heard = [n for n in _ENDING if signals.getsignal(n) != signals.SIG_IGN]
        self._before = [(n, signals.signal(n, self._note)) for n in heard]
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before:
            signals.signal(number, handler)
        os.close(self.fd)
        os.close(self._write)

    def _note(self, number: int, frame: object) -> None:
        self.number = self.number or number
        try:
            os.write(self._write, b".")
        except OSError:
            pass

    def error(self, folder: str, done: int, left: int) -> K1ctlError:
        """What a call that was ended exits with: 128 and the signal's number."""
        error = K1ctlError(
            f"stopped by a signal; cells that are finished: {done}, that are left: {left}",
            hint="the same call goes on where it stopped, without --fresh",
            code="interrupted",
            folder=folder,
            signal=self.number,
        )
        error.exit_code = 128 + self.number
        return error
