"""What a call of ``k1ctl capacity check`` asks for, and its answer: a look at the gate, or a reservation."""

from __future__ import annotations

import os
import time

from k1ctl.capacity import gate
from k1ctl.capacity.facts import FACTS
from k1ctl.capacity.need import Need, parse
from k1ctl.errors import UsageError
from k1ctl.process.view import View

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from k1ctl.capacity.gate import Decision
    from k1ctl.capacity.promises import Promise
    from k1ctl.config import Config
    from k1ctl.queue.order import Room
    from k1ctl.workspace import Workspace

LOOK = 1.0  # s between two looks while waiting
TTL = 600.0  # s


class Answer:
    """There is room for ``need``, which is less than was asked for where ``reduced``; ``promise``: the reservation."""

    def __init__(self, need: Need, *, reduced: bool, promise: Promise | None = None) -> None:
        self.need, self.reduced, self.promise = need, reduced, promise

    @property
    def id(self) -> str:
        return "" if self.promise is None else self.promise.id

    def document(self) -> dict[str, Any]:
        """The answer as JSON."""
        kept = {} if self.promise is None else {"reservation": self.promise.document()}
        need = {"need": self.need.document(), "need_text": str(self.need), "reduced": self.reduced}
        return {"ok": True, "go": True, **need, "reasons": [], "expected_seconds": 0.0, **kept}


class Call:
    """One call with its ``options`` by name. Raises UsageError."""

    def __init__(self, workspace: Workspace, config: Config, words: str | None, options: Mapping[str, Any]) -> None:
        self.workspace, self.config, self.options = workspace, config, options
        self.asked = Need() if words is None else parse(words)
        of_class(self.asked, options.get("class_", ""))
        if not self.asked:
            raise UsageError("it is not said what is needed", hint="--need mem=4G, or --class NAME of earlier runs")
        self.began = time.monotonic()
        if not options["reserve"]:
            for name, option in (("ttl", "--ttl"), ("owner_pid", "--owner-pid")):
                if options[name] is not None:
                    raise UsageError(f"{option} is for --reserve", hint="k1ctl capacity check --need ... --reserve")
        elif options["ttl"] == 0:
            raise UsageError("--ttl 0: such a reservation would have ended already", hint="as in --ttl 10m")
        elif self.asked.slots:
            slots = " ".join(f"{r}={n}" for r, n in sorted(self.asked.slots.items()))
            raise UsageError(
                f"{slots}: slots of the queue are held by processes and cannot be reserved",
                hint=f"k1ctl capacity run --need {self.asked} -- CMD, or `k1ctl queue acquire` in a script",
            )

    def look(self) -> Answer:
        """Look, until there is room or the wait is over; nothing is promised.

        Raises BusyError (no-capacity), ConfigError (never-fits), OSError.
        """
        view = View()
        try:
            while True:
                decision = self._decision()
                if decision.go:
                    return Answer(self.asked, reduced=False)
                if decision.reduced is not None and self.options["reduce"]:
                    return Answer(decision.reduced, reduced=True)
                if decision.hopeless or (decision.never and not self.options["reduce"]):
                    raise gate.never_fits(str(self.asked), decision)
                left = self.began + self.options["wait"] - time.monotonic()
                if left <= 0:
                    self._refused(decision)
                    raise gate.no_capacity(str(self.asked), decision, self.options["wait"])
                view.held_back(decision.text)
                time.sleep(min(LOOK, left))
        finally:
            view.closed()

    def _decision(self) -> Decision:
        return look(self.workspace, self.config, self.asked, kind="check", priority=self.options["priority"])

    def _refused(self, decision: Decision) -> None:
        from k1ctl import events

        events.emit(
            self.workspace,
            "capacity.refused",
            kind="check",
            need=str(self.asked),
            reasons=gate.numbers(decision),
            expected_seconds=decision.expected_seconds,
        )

    def reserve(self) -> Answer:
        """Have it promised, and leave the promise as a reservation. Raises as `look`, UsageError."""
        from k1ctl.capacity import reservations
        from k1ctl.queue.names import stable_key

        owner = self.options["owner_pid"] or 0
        if owner:
            from k1ctl import groups

            if not groups.living(owner):
                raise UsageError(f"--owner-pid {owner}: there is no such process", hint="in a shell: --owner-pid $$")
        what = "a reservation"
        held, view = None, View()
        try:
            held = gate.promise(
                self.workspace,
                self.config,
                self.asked,
                what=what,
                kind="check",
                wait=self.options["wait"],
                reduce=self.options["reduce"],
                priority=self.options["priority"],
                key=stable_key(self.workspace.path, "check", str(self.asked)),
                tell=view.held_back,
                around=False,
            )
            need = held.promise.need
            kept = reservations.add(
                held.place,
                need,
                units=held.promise.units,
                until=time.time() + (TTL if self.options["ttl"] is None else self.options["ttl"]),
                owner=owner,
                what=what,
                kind="reservation",
                of=held.promise.run,
                workspace=self.workspace.name,
                root=self.workspace.root,
            )
        finally:
            if held is not None:
                held.release()
            view.closed()
        return Answer(need, reduced=need != self.asked, promise=kept)


def look(workspace: Workspace, config: Config, need: Need, *, kind: str, priority: str) -> Decision:
    """What the gate says now, to slots of the queue as well. Raises K1ctlError, OSError."""
    from k1ctl.process.view import describe_pause

    slots = Slots(workspace, config, need)
    decision = gate.look(
        config, need, kind=kind, priority=priority, path=workspace.path, slots=slots.found, workspace=workspace
    )
    for resource, why in slots.paused.items():
        decision.go, decision.reduced = False, None
        decision.reasons.append(gate.Reason(resource, describe_pause(resource, why)))
    return decision


class Slots:
    """The slots of the repository's queue that a need names: ``found`` {resource: (slots, held)}, of a group of devices
    those of the one that has most left; who waits counts as well. ``paused`` {resource: why nobody gets it}."""

    def __init__(self, workspace: Workspace, config: Config, need: Need) -> None:
        self.found: dict[str, tuple[int, int]] = {}
        self.paused: dict[str, str] = {}
        if not need.slots:
            return
        from k1ctl.queue import choice, view
        from k1ctl.queue.folder import queue_folder
        from k1ctl.queue.names import alternatives

        folder = queue_folder(workspace, config)
        stopped = view.paused(folder)
        free = _free(view.entries(folder), config.slots, stopped)
        for resource, meant in zip(need.slots, choice.settled(need.slots, config), strict=True):
            each = alternatives(meant)
            best = max([r for r in each if r not in stopped] or each, key=free.__getitem__)
            self.found[resource] = config.slots(best), config.slots(best) - free[best]
            if best in stopped:
                self.paused[best] = stopped[best]


def _free(entries: list[dict[str, Any]], slots: Callable[[str], int], stopped: Mapping[str, str]) -> Room:
    """What those who hold and those who wait leave of each resource; a wait that a pause holds back takes nothing."""
    from k1ctl.queue.names import alternatives
    from k1ctl.queue.order import Room

    free = Room(slots)
    for entry in entries:
        if entry["state"] not in ("running", "waiting"):
            continue
        for resource, count in entry["resources"].items():
            each = alternatives(resource)
            if entry["state"] == "waiting":
                each = tuple(r for r in each if r not in stopped)
            if each:
                taken = next((r for r in each if free[r] >= count), "") or max(each, key=free.__getitem__)
                free[taken] -= count
    return free


def of_class(need: Need, class_: str) -> str:
    """Fill in the memory that earlier runs of this class took, where ``need`` names none; returns what told it, or "".

    Raises UsageError where nothing is known of the class and nothing else is needed.
    """
    if need.mem or not class_:
        return ""
    from k1ctl.capacity import histogram

    known = histogram.of(class_)
    if known is not None:
        need.mem = known.target
        return f"{known.runs} runs of class {class_} ({known.confidence} confidence)"
    if not need:
        raise UsageError(
            f"nothing is known of class {class_} yet",
            hint="name what is needed once (--need); runs and baselines with --class are remembered by it",
        )
    return ""


def use_facts(path: str) -> None:
    """Have the host of this file stand in for ours, in this call."""
    os.environ[FACTS] = os.path.abspath(path)
