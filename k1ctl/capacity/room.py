"""The room that the host has for one who asks: facts, level, promises, looked up when they may have changed."""

from __future__ import annotations

import os
import time

from k1ctl.capacity import facts as host
from k1ctl.capacity import gate, limits, promises, reservations
from k1ctl.capacity.limits import UNCOUNTED
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.levels import Level
    from k1ctl.capacity.limits import Limits
    from k1ctl.capacity.need import Need
    from k1ctl.capacity.promises import Promise
    from k1ctl.config import Config

FRESH = 1.0  # s that what was looked up stands for now, unless a promise came or went
AGENTS = ("worktree",)  # kinds that are agents, and no workers
WORKERS = ("build", "queue-run", "queue-submit", "hook-run", "capacity-run", "stress", "check")
_NO_LEVEL = (0, "")
_LEAVE = 5.0  # points below its watermark at which a level has ended for certain: `levels.LEAVE`, without its import


class Room:
    """The room for ``need``: `slots` tells the queue engine, `decision` people.

    ``kind`` and ``priority`` say whether a watermark keeps it waiting; ``path`` where its disk is; ``soft``: nobody
    named the need, so it is cut to what may be promised here.
    ``reload`` reads the configuration anew (None: it stays).
    """

    def __init__(
        self,
        config: Config,
        need: Need,
        *,
        kind: str,
        priority: str = "normal",
        path: str = ".",
        soft: bool = False,
        reload: Callable[[], Config] | None = None,
    ) -> None:
        self.config, self.need, self.kind, self.path, self.reload = config, need, kind, path, reload
        self.critical = priority == "critical"
        self.priority, self.soft = priority, soft
        self.ahead = 0  # who waited before us at the last decision
        self.leave_out = ""  # id of a promise that is ours already
        self.place = promises.folder()
        self._looked = -FRESH
        self._key: object = None
        self._stamp = _stamp(config.path)
        self.held: list[Promise] = []
        self.level: tuple[int, str] = _NO_LEVEL
        self._read_facts()
        self.cut()

    def cut(self) -> None:
        """Ask for no more than may be promised here, where nobody named the need."""
        if self.soft and self.need.mem > self.limits.memory:
            self.need = self.need.less(mem=self.limits.memory // limits.MIB * limits.MIB)
        self.take(self.need)

    def take(self, need: Need) -> None:
        """From now on it is this need that is asked for."""
        self.need, self.units = need, limits.units(need, self.limits.here)

    def _read_facts(self, *, gpus: bool = True) -> None:
        self._read_at = time.monotonic()
        before: list[dict[str, Any]] | None = None if gpus else self.facts.gpus
        gpus = gpus and bool(self.need.gpu) and not self.config.get("capacity", "gpu_memory")
        self.facts: Facts = host.read(gpus=gpus)
        self.facts.gpus = self.facts.gpus if before is None else before
        self.limits: Limits = limits.of(self.config, self.facts)
        if self.need.disk:
            limits.look_at_disk(self.limits, self.config, self.path)
        self.level = self._level()

    def _level(self) -> tuple[int, str]:
        """(the level that keeps us waiting, why); 0 where none does."""
        wanted = self.keeps_out()
        if not wanted:
            return _NO_LEVEL
        level = level_now(self.facts, self.config, wanted, self.need.mem)
        return (level.number, level.reason) if level is not None and level.holds(wanted) else _NO_LEVEL

    def keeps_out(self) -> int:
        """The level from which on we wait; 0: none."""
        return keeps_out(self.kind, self.priority, self.need)

    def refresh(self, *, gpus: bool = True) -> None:
        """Look anew where a promise came or went, or after `FRESH` seconds; at GPUs, which takes seconds, only with
        ``gpus``."""
        key = (_listing(self.place), reservations.stamp(self.place))
        now = time.monotonic()
        if now - self._looked < FRESH and key == self._key:
            return
        stale = now - self._looked >= FRESH
        if now - self._read_at >= FRESH:
            self._read_config()
            self._read_facts(gpus=gpus)
        seen = {p.id: p.seen_bytes for p in self.held}
        self.held = promises.held(self.place, seen=False)
        if stale:
            promises.look(self.held)
            self._looked = now
        for promise in self.held:
            promise.seen_bytes = promise.seen_bytes or seen.get(promise.id, 0)
        self._key = key

    def _read_config(self) -> None:
        """All who wait must agree on the limits: a changed configuration counts at once."""
        stamp = _stamp(self.config.path)
        if stamp == self._stamp or self.reload is None:
            return
        try:
            self.config = self.reload()
        except (K1ctlError, OSError):
            pass  # somebody is in the middle of editing it
        self._stamp = stamp

    def slots(self, resource: str) -> int:
        """Units of ``resource`` that promises with a process may have in all now; asked with the mutex held."""
        return self.slots_for(resource, self.units.get(resource, 0))

    def slots_for(self, resource: str, need: int) -> int:
        """`slots` for another one, who needs ``need`` units."""
        if self.critical:
            return UNCOUNTED
        self.refresh(gpus=False)
        if self.level[0]:
            return 0
        reserved = sum(p.units.get(resource, 0) for p in self.held if not p.place)
        return gate.total(resource, need, self.facts, self.limits, self.held) - reserved

    def decision(self, slots: dict[str, tuple[int, int]] | None = None, *, own: str = "") -> gate.Decision:
        """What the gate says now, whoever waits before us counted as held; ``own`` is our ticket's name, "" without."""
        self.refresh()
        self.limits.slots = slots or {}
        held = [p for p in [*self.held, *self._ahead(own)] if p.id != self.leave_out]
        found = gate.decide(
            self.need,
            self.facts,
            self.limits,
            held,
            worker=self.kind in WORKERS,
            agent=self.kind in AGENTS,
            level=0 if self.critical else self.level[0],
            why=self.level[1],
        )
        if self.critical and not found.never:
            return gate.Decision(True, [])
        if not found.go:
            found.expected_seconds = self.expected(held)
        return found

    def _ahead(self, own: str) -> list[Promise]:
        """Who waits before us, by our ticket's name, or by our priority where we have none yet."""
        waiting = promises.waiting(self.place)
        if own:
            waiting = [p for p in waiting if p.place < own]
        else:
            from k1ctl.queue.names import PRIORITIES

            waiting = [p for p in waiting if p.priority <= PRIORITIES[self.priority]]
        self.ahead = len(waiting)
        return waiting

    def expected(self, held: Sequence[Promise]) -> float | None:
        """Seconds until enough of ``held`` has ended, by deadlines and the usual time of a class; None: not known."""
        now, ends = time.time(), []
        for promise in held:
            if not promise.waiting and (left := _left(promise, now)) is not None:
                ends.append((left, promise))
        if self.level[0]:
            return None
        remaining, facts = list(held), self.facts
        for left, promise in sorted(ends, key=lambda pair: pair[0]):
            remaining.remove(promise)
            facts = facts.with_free(promise.seen_bytes)
            if gate.decide(self.need, facts, self.limits, remaining, worker=False).go:
                return round(left, 3)
        return None


def keeps_out(kind: str, priority: str, need: Need | None) -> int:
    """The level (`k1ctl.capacity.levels`) from which on what is of this kind waits; 0: it never does."""
    if priority == "critical":
        return 0
    if kind in AGENTS or (need is not None and need.agents):
        return 1
    return 2 if kind in WORKERS else 0


def level_now(facts: Facts, config: Config, wanted: int, need: int = 0) -> Level | None:
    """The level now; None where it is clearly below ``wanted`` and nobody has kept a look at another one."""
    mark = config.get("capacity", ("admit_percent", "build_percent")[wanted - 1])
    if not mark:
        return None
    kept = os.path.join(promises.folder(), "level.json")
    if facts.level in (None, "normal") and facts.used_percent < mark - _LEAVE and not os.path.exists(kept):
        return None
    from k1ctl.capacity import levels

    return levels.now(facts, config, need=need)


def _left(promise: Promise, now: float) -> float | None:
    if promise.until is not None:
        return max(0.0, promise.until - now)
    if not promise.class_:
        return None
    from k1ctl.capacity import histogram

    estimate = histogram.of(promise.class_)
    if estimate is None or not estimate.seconds_p50:
        return None
    return max(0.0, estimate.seconds_p50 - promises.age(promise, now))


def _listing(place: str) -> tuple[str, ...]:
    try:
        return tuple(sorted(f for f in os.listdir(os.path.join(place, "tickets")) if f[0] == "r"))
    except (FileNotFoundError, NotADirectoryError):
        return ()


def _stamp(path: str) -> tuple[int, int, int] | None:
    try:
        there = os.stat(path)
    except OSError:
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns
