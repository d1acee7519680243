"""A run's admission to the host: the promise of what it needs, behind its place in the queue and held with its lease.

What needs no promise is only held back by the watermark of builds. That costs it one look at /proc/meminfo; all else is
imported by those who need it, before they stand in line.
"""

from __future__ import annotations

import os
import time

from k1ctl.errors import BusyError, ConfigError
from k1ctl.process.attempt import Ending

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.capacity.need import Need
    from k1ctl.capacity.promises import Held
    from k1ctl.process.supervisor import Supervisor

_CALM = 5.0  # points below the watermark at which nothing needs a closer look
_NO_FOLDER = ("no-flock", "bad-queue-folder")  # the host's folder cannot be used: no reason not to build
_MEMORY = "/proc/meminfo"
_BRIEF = 200  # bytes of /proc/meminfo that have MemTotal and MemAvailable


class Admission:
    """The admission of one supervisor's run. Made before it stands in line: what is imported later delays its start."""

    def __init__(self, supervisor: Supervisor) -> None:
        self.supervisor, self.told, self.why = supervisor, "", ""
        self.began = 0.0  # when this wait for room did
        self.found: dict[str, str] = {}  # who has room and waits for what we hold
        self.looks_closer = bool(os.environ.get("K1CTL_FACTS")) or not os.path.exists(_MEMORY)
        if self.looks_closer:
            from k1ctl.capacity import facts  # noqa: F401
        if supervisor.spec.need:
            from k1ctl.capacity import gate, room, standing  # noqa: F401

    def take(self) -> Ending | None:
        """Hold the promise, or wait until no watermark is in the way; None once we may start.

        Waiting counts against the run's limit in line, and is ended by ^C, TERM, `queue cancel` and the caller's end.
        Raises BusyError (no-capacity), ConfigError (never-fits), OSError.
        """
        sup, need = self.supervisor, self.supervisor.spec.need
        if not need and self._calm():
            return None
        from k1ctl.capacity.need import Need

        while True:
            try:
                held = self._promise(need or Need())
                break
            except BusyError as exc:
                if exc.code != "left":
                    raise
                ending = self._left(exc)
                if ending is not None:
                    return ending
            except (OSError, ConfigError) as exc:
                if (need and not sup.spec.soft) or getattr(exc, "code", "no-flock") not in _NO_FOLDER:
                    raise
                sup.tell("warning", message=f"what it needs of the host could not be promised: {exc}")
                return None
        if self.told and sup.ticket is not None:
            sup.ticket.tell(waits_for="")
        if held.ticket is not None or held.joined:
            sup.promise = held
            sup.run.record.pop("waits_for", None)
            sup.times["admitted"] = time.monotonic()
        return None

    def _calm(self) -> bool:
        """Whether memory is clearly below the watermark of builds, and nobody has seen it above lately.

        Who needs a promise looks closer, also at the limits of a container, and leaves word (`levels`) for us.
        """
        from k1ctl.workspace import host_dir

        mark = self.supervisor.config.get("capacity", "build_percent")
        if not mark:
            return True
        if os.path.exists(os.path.join(host_dir(), "capacity", "level.json")):
            return False
        return self._used_percent() < float(mark) - _CALM

    def _used_percent(self) -> float:
        """Memory in use of this host, in percent; 100 where only the gate can tell."""
        if self.looks_closer:
            from k1ctl.capacity import facts

            found = facts.read()
            return found.used_percent if found.level in (None, "normal") else 100.0
        try:
            with open(_MEMORY, "rb", 0) as f:
                lines = f.read(_BRIEF).split(b"\n")
            sizes = {key: int(rest.split()[0]) for key, _, rest in (line.partition(b":") for line in lines[:3])}
            return 100.0 * (1 - sizes[b"MemAvailable"] / sizes[b"MemTotal"])
        except (OSError, KeyError, ValueError, IndexError, ZeroDivisionError):
            return 100.0

    def _promise(self, need: Need) -> Held:
        from k1ctl.capacity import gate

        sup, spec = self.supervisor, self.supervisor.spec
        self.began, self.found = time.monotonic(), {}
        return gate.promise(
            sup.workspace,
            sup.config,
            need,
            what=spec.label or os.path.basename(spec.argv[0]),
            kind=spec.kind,
            wait=sup.left(),
            interrupt=sup.control,
            tell=self._tell,
            stopped=self._stopped,
            priority=spec.priority,
            run=sup.run_id,
            class_=spec.class_,
            key=spec.key,
            soft=spec.soft,
        )

    def _tell(self, text: str) -> None:
        sup, self.why = self.supervisor, text
        sup.tell("admitting", text=text)
        brief = "".join(c for c in text if not c.isdigit())  # memory in use changes at each look
        if brief != self.told:
            self.told = brief
            if sup.ticket is not None:
                sup.ticket.tell(waits_for=text)
            try:
                sup.run.save(waits_for=text)
            except OSError:
                pass  # it is only told

    def _stopped(self) -> bool:
        """Whether the wait for room has to end: cancelled, or somebody who has room waits for what we hold."""
        sup = self.supervisor
        if sup.cancelled:
            return True
        if time.monotonic() - self.began < sup.config.get("queue", "stall") or sup.left() == 0:
            return False
        from k1ctl.capacity.promises import folder
        from k1ctl.process import giveway

        self.found = giveway.in_the_way(sup, folder())
        return bool(self.found)

    def _left(self, exc: BusyError) -> Ending | None:
        """How a wait for room ended before its time; None when it goes on, behind those who went first."""
        sup = self.supervisor
        if sup.cancelled:
            return Ending(143, "k1ctl", "cancelled", "stopped: the run was cancelled")
        if self.found:
            from k1ctl.process import giveway

            self.told = ""
            return giveway.step_back(sup, self.why, self.found)
        word = os.read(sup.control, 1)
        code = {b"I": 130, b"T": 143}.get(word, 129)
        return Ending(code, "k1ctl", "caller-gone", f"the caller {exc.message}")

    def learn(self) -> None:
        """What the run took is known of the next one of its class, and that its limit was too small.

        A run that failed for another reason may have ended before its peak, and one whose work has no name would be
        taken for others'. What goes wrong is an event: the caller has had the last word.
        """
        sup, problem = self.supervisor, ""
        class_ = sup.spec.class_
        if not class_:
            return
        done = [row for row in sup.run.record.get("attempts", []) if not row["exit_code"] and row["peak_tree_bytes"]]
        limits = sup.limited or {}
        if done:
            from k1ctl.capacity import histogram

            problem = histogram.add(class_, done[-1]["peak_tree_bytes"], done[-1]["run_seconds"])
        elif limits.get("oom") and limits["memory_bytes"] and limits["oom"]["confidence"] != "possible":
            from k1ctl.capacity import facts, histogram

            problem = histogram.add_oom(class_, limits["memory_bytes"], memory=facts.read().memory)
        if problem:
            sup.note("history.failed", **{"class": class_}, message=problem)
