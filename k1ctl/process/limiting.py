"""The limits of a run: each attempt starts on a leash, ends with a verdict, and may be worth one with more memory."""

from __future__ import annotations

import os

from k1ctl.capacity import oom
from k1ctl.capacity.leash import Leash, Limits, Told, spawn
from k1ctl.errors import K1ctlError
from k1ctl.process.attempt import Ending
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.process.attempt import Attempt


class Limiting:
    """The leash of one attempt."""

    def __init__(self, attempt: Attempt, limits: Limits) -> None:
        self.attempt, self.limits = attempt, limits
        self.supervisor = attempt.supervisor
        self.leash: Leash | None = None
        self.verdict: oom.Verdict | None = None
        self.logs: list[tuple[str, int]] = []  # what it prints, and where this attempt's part begins

    def spawn(self, actions: list[Any]) -> int:
        """Start the command, limited; its pid. Raises OSError."""
        sup, run = self.supervisor, self.supervisor.run
        files = {run.log: sup.log} if sup.error_log == sup.log else {run.log: sup.log, run.error_log: sup.error_log}
        self.logs = [(path, os.fstat(fd).st_size) for path, fd in files.items()]
        limits = self.limits
        limits.name, limits.mark = f"{run.id}-{self.attempt.number}", run.id
        pid, self.leash = spawn(sup.spec.argv, sup.environment(), limits, actions=actions, session=os.getpid())
        return pid

    def look(self) -> None:
        """To be called at every wake-up, at least each `Leash.EVERY` seconds."""
        if self.leash is None:
            return
        stood, before = self.leash.suspended, self.leash.suspended_seconds
        news = self.leash.look()
        if news:
            self.supervisor.tell("warning", message=news)
            self.supervisor.note("run.limited", message=news)
        if stood and not self.leash.suspended and self.attempt.deadline is not None:  # its time limit stood still, too
            self.attempt.deadline += self.leash.suspended_seconds - before

    @property
    def suspended(self) -> bool:
        """Whether it stands still for the host's sake."""
        return self.leash is not None and self.leash.suspended

    def over(self, ending: Ending, status: int, resident: int) -> Ending:
        """The command has ended with ``status``: the ending as it is with the watchdog's word and the verdict.

        ``resident``: bytes that its largest process had.
        """
        if self.leash is None:
            return ending
        leash, self.leash = self.leash, None
        told = leash.over(status, tail=b"".join(oom.tail_of(path, start=at) for path, at in self.logs))
        told.peak = self.attempt.peak = max(self.attempt.peak, told.peak, resident)
        self.verdict = told.oom
        ours = ending.by == "k1ctl"
        if not ours and told.judged is not None:
            code, message = str(told.judged["code"]), str(told.judged["message"])
            ending = Ending(137, "k1ctl", code, f"ended: {message}", hint=ending.hint)
        self._record(leash, told)
        if told.oom is None or ours:
            return ending
        text = describe(told.oom)
        self.supervisor.note("run.oom", attempt=self.attempt.number, **_brief(told.oom))
        if told.judged is not None:
            ending.message = f"ended: {text}"
        elif ending.exit_code:
            ending.code, ending.message = "oom", f"{ending.message}: {text}"
        elif told.oom.confidence == "certain":
            self.supervisor.tell("warning", message=f"{text}; the command got over it and exited with 0")
        return ending

    def _record(self, leash: Leash, told: Told) -> None:
        """What the record and the result tell of the limits of the last attempt."""
        verdict = None if told.oom is None else told.oom.document()
        self.supervisor.limited = {
            "memory_bytes": self.limits.memory or None,
            "cpus": self.limits.cpus or None,
            "kept_by": leash.means,
            "cpus_kept_by": leash.cpu_means,
            "peak_tree_bytes": told.peak,
            "suspended_seconds": round(told.suspended_seconds, 3),
            "attempts": self.attempt.number,
            "oom": verdict,
        }
        self.supervisor.run.record["limits"] = self.supervisor.limited

    def more(self, ending: Ending) -> bool:
        """Whether to try again with more memory, which is promised then: the limit times the number of the attempt."""
        verdict, number, sup = self.verdict, self.attempt.number, self.supervisor
        if verdict is None or not verdict.worth_more or not self.limits.memory or ending.exit_code == 0:
            return False
        if self.attempt.reason or self.attempt.interrupts or sup.cancelled or number > self.limits.retries:
            return False
        if not self.attempt.pause(0.0):
            return False
        old = self.limits.memory
        wanted = old // number * (number + 1)
        why = self._promise_more(wanted - old)
        if why:
            ending.hint = f"no further attempt with {format_size(wanted)}: {why}"
            return False
        self.limits.memory = wanted
        sup.note("run.retry", attempt=number, exit_code=ending.exit_code, memory_bytes=wanted)
        sup.tell("warning", message=f"{describe(verdict)}; attempt {number + 1} may use {format_size(wanted)}")
        return True

    def _promise_more(self, more: int) -> str:
        """Be promised so many bytes more; why not, or ""."""
        from k1ctl.capacity import facts
        from k1ctl.capacity.need import from_document

        sup = self.supervisor
        host = facts.read()
        if self.limits.memory + more > host.memory:
            return f"the host has {format_size(host.memory)}"
        if sup.promise is None or not sup.spec.need:
            return ""
        need = from_document(sup.spec.need.document())
        need.mem = max(need.mem, self.limits.memory + more)
        try:
            sup.promise.grow(need)
        except K1ctlError as exc:
            return exc.message
        sup.spec.need = need
        return ""


def describe(verdict: oom.Verdict) -> str:
    """The verdict in one line, with the limit that fits next time."""
    name = verdict.guilty.get("name") if verdict.guilty and verdict.by != "program" else ""
    who = f" ({name})" if name else ""
    sure = "" if verdict.confidence == "certain" else f", {verdict.confidence}"
    after = f"; next time: --mem-limit {_as_option(verdict.next_limit)}" if verdict.next_limit else ""
    return f"out of memory{sure}: {verdict.message}{who}{after}"


def _as_option(size: int) -> str:
    return f"{-(-size // (1 << 20))}M"


def _brief(verdict: oom.Verdict) -> dict[str, Any]:
    return {"by": verdict.by, "confidence": verdict.confidence, "next_limit_bytes": verdict.next_limit or None}
