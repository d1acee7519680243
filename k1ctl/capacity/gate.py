"""The one gate: may this start now, given what was promised and what is seen? And the promise, taken in the same step.

A gate on what is seen alone lets forty in before the first has allocated anything; one on promises alone trusts those
who promised too little. So the larger of both counts for each promise, and what others use beside the reserve:

    promised + need + max(used by others, reserve) <= RAM

The first is always let in: a host that others use to the brim would else never do anything again. Only workers are
kept waiting by a watermark, never what recovers (a flash, an archive) and never ``critical``.
"""

from __future__ import annotations

import os

from k1ctl.capacity import limits as sizes
from k1ctl.capacity.limits import MIB, UNCOUNTED, Limits
from k1ctl.capacity.need import Need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.promises import Held, Promise
    from k1ctl.config import Config
    from k1ctl.errors import K1ctlError
    from k1ctl.workspace import Workspace

_REDUCIBLE = ("mem", "cpu", "tokens")
_LEAST = 10  # of a need that is reduced at least one in so many is left
WATERMARK = "watermark"  # resource of the reason that is a level
BUDGET = "budget"  # resource of a reason that is a limit of [budget]


class Reason:
    """Why not: the ``resource``, and of it ``need``, ``free``, ``promised``, ``seen`` (None where nobody tells) and
    ``limit`` in bytes, cores, tokens or numbers; ``text`` says it; ``never``: it does not fit on this host at all."""

    __slots__ = ("free", "limit", "need", "never", "promised", "resource", "seen", "text")

    def __init__(
        self,
        resource: str,
        text: str,
        *,
        need: float = 0,
        free: float = 0,
        promised: float = 0,
        seen: float | None = None,
        limit: float = 0,
        never: bool = False,
    ) -> None:
        self.resource, self.text, self.need, self.free, self.promised = resource, text, need, free, promised
        self.seen, self.limit, self.never = seen, limit, never

    def document(self) -> dict[str, Any]:
        """All of it by name."""
        return {name: getattr(self, name) for name in self.__slots__}


class Decision:
    """``go``, or the ``reasons`` why not; ``reduced``: what of the need would fit now (None: nothing worth it);
    ``expected_seconds`` until it may fit (None: not known)."""

    __slots__ = ("expected_seconds", "go", "reasons", "reduced")

    def __init__(self, go: bool, reasons: list[Reason], reduced: Need | None = None) -> None:
        self.go, self.reasons, self.reduced = go, reasons, reduced
        self.expected_seconds: float | None = None

    @property
    def never(self) -> bool:
        """Whether it does not fit on this host at all."""
        return any(reason.never for reason in self.reasons)

    @property
    def hopeless(self) -> bool:
        """Whether it does not fit on this host even if it is reduced."""
        return any(reason.never and reason.resource not in _REDUCIBLE for reason in self.reasons)

    @property
    def text(self) -> str:
        """The reasons in one line."""
        return "; ".join(reason.text for reason in self.reasons)

    def document(self) -> dict[str, Any]:
        """The decision as JSON."""
        return {
            "go": self.go,
            "reasons": [reason.document() for reason in self.reasons],
            "reduced": None if self.reduced is None else self.reduced.document(),
            "expected_seconds": self.expected_seconds,
        }


def total(resource: str, need: int, facts: Facts, limits: Limits, held: Sequence[Promise]) -> int:
    """Units of ``resource`` that may be promised in all now, what is promised included; ``need``: those asked for."""
    if resource == "mem":
        return _memory(need, facts, limits, held)
    if resource == "gpu":
        used = sum(int(gpu.get("used_bytes") or 0) for gpu in facts.gpus) // MIB
        return limits.most("gpu") - max(0, used - sum(p.units.get("gpu", 0) for p in held))
    return limits.now(resource) if resource.startswith(sizes.DISK) else limits.most(resource)


def _memory(need: int, facts: Facts, limits: Limits, held: Sequence[Promise]) -> int:
    seen = sum(p.seen_bytes for p in held)
    beyond = sum(max(0, p.seen_bytes - p.units.get("mem", 0) * MIB) for p in held)
    others = max(0, facts.used - seen)
    found = (min(facts.memory - max(others, limits.reserve), limits.memory) - beyond) // MIB
    if any("mem" in p.units for p in held):
        return found
    return max(found, min(need, limits.memory // MIB))  # the first


def decide(
    need: Need,
    facts: Facts,
    limits: Limits,
    held: Sequence[Promise],
    *,
    worker: bool = True,
    agent: bool = False,
    level: int = 0,
    why: str = "",
) -> Decision:
    """Whether ``need`` may be promised beside what is ``held`` (whoever waits before us included).

    ``worker``: it waits at level 2; ``agent`` (or a need with agents): at level 1; ``why`` says where the level is
    from. Pure: nothing is looked up, nothing is kept.
    """
    units = {**sizes.units(need, limits.here), **need.slots}
    reasons, fits = [], {}
    if (worker and level >= 2) or ((agent or need.agents) and level >= 1):
        reasons.append(Reason(WATERMARK, why or f"memory is above the watermark of level {level}"))
    for resource, count in units.items():
        most, there = limits.most(resource), total(resource, count, facts, limits, held)
        promised = sum(p.units.get(resource, 0) for p in held)
        promised += limits.slots[resource][1] if resource in limits.slots else 0
        if count > most or promised + count > there:
            reasons.append(_reason(resource, count, there - promised, promised, most, facts, held))
            fits[resource] = max(0, min(there - promised, most))
    reduced = None
    if reasons and not any(r.resource == WATERMARK for r in reasons):
        reduced = _reduced(need, units, fits)
    return Decision(not reasons, reasons, reduced)


def _reduced(need: Need, units: Mapping[str, int], fits: Mapping[str, int]) -> Need | None:
    if any(r not in _REDUCIBLE or fits[r] * _LEAST < units[r] or not fits[r] for r in fits):
        return None
    return need.less(**{r: n / 100 if r == "cpu" else n * int(sizes.SCALE[r]) for r, n in fits.items()})


def _reason(
    resource: str, need: int, free: int, promised: int, most: int, facts: Facts, held: Sequence[Promise]
) -> Reason:
    def said(count: int) -> str:
        return sizes.amount(resource, count)

    waiting = sum(p.units.get(resource, 0) for p in held if p.waiting)
    promised -= waiting
    called = sizes.called(resource)
    scale = sizes.SCALE.get(resource.partition(":")[0], 1)
    seen = {"mem": facts.used, "gpu": sum(int(g.get("used_bytes") or 0) for g in facts.gpus)}.get(resource)
    if need > most:
        text = f"{called}: {said(need)} needed, {said(most)} may be promised in all on this host"
    else:
        holders = sum(resource in p.units and not p.waiting for p in held)
        text = f"{called}: {said(need)} needed, {said(max(0, free))} free; {said(promised)} promised"
        text += f" to {holders}" if holders else ""
        text += f" of {said(most)}" if most < UNCOUNTED else ""
        text += f", {said(waiting)} wanted by who waits before" if waiting else ""
        if resource == "mem":
            text += f", {said(facts.used // MIB)} of {said(facts.memory // MIB)} in use"
    return Reason(
        resource,
        text,
        need=need * scale,
        free=max(0, free) * scale,
        promised=promised * scale,
        seen=seen,
        limit=most * scale,
        never=need > most,
    )


def look(
    config: Config,
    need: Need,
    *,
    kind: str,
    priority: str = "normal",
    path: str = ".",
    slots: dict[str, tuple[int, int]] | None = None,
    workspace: Workspace | None = None,
    around: bool = True,
) -> Decision:
    """What the gate would say now to who would come last in line. Promises nothing.

    ``kind`` as in `promise`; ``path`` lies on the filesystem that the need's disk is meant of; ``slots`` {resource of
    the queue: (slots, held)} for those that the need names; ``workspace``: whose budget is asked for the need's tokens
    once the host has room (None: nobody's); ``around``: what a promise around us covers is there. Raises K1ctlError,
    OSError.
    """
    from k1ctl.capacity.room import Room
    from k1ctl.process.spec import PROMISE

    room = Room(config, need, kind=kind, priority=priority, path=path)
    if around and PROMISE in os.environ:
        from k1ctl.process import nested

        have, joined = nested.join(room.place, os.environ[PROMISE])
        for fd in joined:
            os.close(fd)
        more = {r: n - have.get(r, 0) for r, n in room.units.items() if n > have.get(r, 0)}
        if have and not more and not need.slots:
            return Decision(True, [])
        room.take(sizes.part(need, more) if have else need)
    found = room.decision(slots)
    if found.go and need.tokens and workspace is not None:
        return _paid(workspace, config, need, found, priority)
    return found


def _paid(workspace: Workspace, config: Config, need: Need, found: Decision, priority: str) -> Decision:
    """The decision with what the token budget has to say. Raises BusyError for more than a limit itself."""
    from k1ctl.budget import bound
    from k1ctl.budget.limits import expected_of

    short = bound.ask(workspace, config, need.tokens, critical=priority == "critical")
    if not short:
        return found
    if any(r.never for r in short):
        raise bound.refused(workspace, need.tokens, short)  # there is nothing to wait for
    reasons = []
    for r in short:
        spent, held = r.figures.spent[r.unit], r.figures.held[r.unit]
        reasons.append(Reason(BUDGET, r.text, need=r.need, free=r.free, promised=held, seen=spent, limit=r.limit))
    refused = Decision(False, reasons)
    refused.expected_seconds = expected_of(short)
    return refused


def promise(
    workspace: Workspace,
    config: Config,
    need: Need,
    *,
    what: str,
    kind: str,
    wait: float | None = 0.0,
    reduce: bool = False,
    interrupt: int = -1,
    tell: Callable[[str], None] | None = None,
    priority: str = "normal",
    run: str = "",
    class_: str = "",
    key: str = "",
    soft: bool = False,
    around: bool = True,
    stopped: Callable[[], bool] | None = None,
) -> Held:
    """Stand in line for ``need`` and hold the promise: the one way to it. Slots of the queue in it are not ours.

    ``what`` and ``kind`` (build, queue-run, capacity-run, worktree, check) are what others see, ``class_`` the class of
    the history; ``wait`` seconds at most (0: not at all, None: no limit); ``reduce``: take less if that fits now;
    ``interrupt`` a descriptor that ends the wait when it can be read; ``tell`` is told why it waits, at each change;
    ``run`` the run's id; ``key`` keeps the place when the waiter is killed; ``stopped`` is asked now and then whether
    to give up; ``soft``: nobody named the need, so it is never too large for this host, and a promise around us covers
    it. A promise around us (`promises.PROMISE`) is not asked for again, unless ``around`` is false. A need that is
    empty waits only until no watermark is in the way.

    Raises BusyError: ``no-capacity`` with ``reasons`` and ``expected_seconds``, ``budget-exhausted`` where there is
    room and no budget, ``left`` when interrupted or stopped; ConfigError ``never-fits``; OSError. To be called in the
    main thread.
    """
    from k1ctl.capacity.room import Room
    from k1ctl.capacity.standing import Asking
    from k1ctl.process.spec import PROMISE

    def reload() -> Config:
        from k1ctl.config import load

        return load(workspace)

    room = Room(config, need, kind=kind, priority=priority, path=workspace.path, soft=soft, reload=reload)
    asking = Asking(workspace, config, room, what=what, run=run, class_=class_, key=key)
    asking.around = os.environ.get(PROMISE) if around else None
    asking.wait, asking.reduce, asking.interrupt, asking.tell = wait, reduce, interrupt, tell
    asking.stopped = stopped or asking.stopped
    held = asking.promise()
    if held.promise.need.tokens:
        try:
            _check_budget(workspace, config, held.promise.need.tokens, priority)
        except BaseException:
            held.release()
            raise
    return held


def _check_budget(workspace: Workspace, config: Config, tokens: int, priority: str) -> None:
    """Money is the last gate. Raises BusyError (budget-exhausted)."""
    from k1ctl.budget import bound

    short = bound.ask(workspace, config, tokens, critical=priority == "critical")
    if short:
        raise bound.refused(workspace, tokens, short)


def numbers(decision: Decision) -> list[dict[str, Any]]:
    """The reasons without their sentences: what events have of them."""
    wanted = ("resource", "need", "free", "promised", "seen", "limit")
    return [{name: getattr(reason, name) for name in wanted} for reason in decision.reasons]


def never_fits(what: str, decision: Decision) -> K1ctlError:
    """The error where a need is larger than what may ever be promised here."""
    from k1ctl.errors import ConfigError

    reasons = [r for r in decision.reasons if r.never]
    reducible = all(r.resource in _REDUCIBLE for r in decision.reasons)
    return ConfigError(
        f"{what} never fits on this host: {'; '.join(r.text for r in reasons)}",
        hint=f"{'--reduce takes what fits; ' if reducible else ''}k1ctl capacity show tells where the limit is from",
        code="never-fits",
        reasons=[r.document() for r in reasons],
    )


def no_capacity(what: str, decision: Decision, waited: float = 0.0) -> K1ctlError:
    """The error where there is no room now."""
    from k1ctl.errors import BusyError
    from k1ctl.units import format_duration

    expected = decision.expected_seconds
    when = "" if expected is None else f"; expected in about {format_duration(expected)}"
    when = "; expected any moment" if expected == 0 else when
    after = f"waited {format_duration(waited)}: " if waited else ""
    money = any(r.resource == BUDGET for r in decision.reasons)
    short = "budget" if money else "room"
    shown = "budget status shows who holds and spent what" if money else "capacity list shows what is promised to whom"
    return BusyError(
        f"{after}no {short} for {what} now: {decision.text or 'others wait for it already'}{when}",
        hint=f"k1ctl {shown}; --wait waits for it",
        code="budget-exhausted" if money else "no-capacity",
        reasons=[r.document() for r in decision.reasons],
        expected_seconds=expected,
        reduced=None if decision.reduced is None else str(decision.reduced),
    )
