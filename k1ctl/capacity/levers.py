"""What would make turns shorter, ranked by what it gains, with what it costs.

Every lever is simulated beside the base with the same random numbers, in several short runs, so the gain has an error:
one that is within twice of it is not told from nothing.
"""

from __future__ import annotations

from math import sqrt

from k1ctl.capacity.queueing import TURNS, simulate
from k1ctl.units import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.queueing import Kind, Model
    from k1ctl.config import Config

RUNS = 8  # pairs of runs that a gain is taken from
_FASTER, _FEWER = 0.8, 0.75  # of a build's time; of the uploads
_SEARCH, _SLOWEST, _HALVINGS = 8000, 1.0, 6  # turns of a step; most slowdown looked for; steps, to 2 %


class Memory:
    """Bytes that a model takes on each host at its fullest: ``base`` x agents + ``heavy`` of all slots; ``room`` is
    RAM - reserve; ``agents``: how many fit on all hosts together, whatever they do; ``all_busy``: with all slots busy,
    else so many that each may be in a heavy phase (as `capacity show` has it), 0 when not even one."""

    __slots__ = ("agents", "all_busy", "base", "heavy", "need", "room")

    def __init__(self, model: Model, facts: Facts, config: Config) -> None:
        from k1ctl.capacity import formula, twopart
        from k1ctl.capacity.twopart import Pool

        self.base = twopart.base(config)[0]
        slots = {kind.name: kind.slots for kind in model.kinds}
        pools = [Pool(p.resource, slots.pop(p.resource, p.slots), p.each, p.origin) for p in twopart.pools(config)]
        pools += [Pool(name, number, *twopart.heavy(config, name)) for name, number in slots.items()]
        self.heavy = sum(pool.total for pool in pools)
        each = -(-model.agents // model.hosts)
        self.need = self.base * each + self.heavy
        self.room = max(0, facts.memory - formula.reserve(facts.memory, config))
        fits = twopart.fits(self.room, self.base, sorted(pools, key=lambda pool: -pool.each))
        self.all_busy = fits[-1].fits
        self.agents = (fits[-1].agents if self.all_busy else max(f.slots for f in fits if f.fits)) * model.hosts

    @property
    def fits(self) -> bool:
        return self.need <= self.room

    def document(self) -> dict[str, Any]:
        return {
            "need_bytes_per_host": self.need,
            "room_bytes_per_host": self.room,
            "agents": self.agents,
            "fits": self.fits,
        }


class Lever:
    """A change: ``name`` as --what-if takes it, ``text``, the ``model`` it makes, ``cost``; ``gain`` of p90 in seconds
    (positive: turns get shorter) and its standard ``error``; ``fits``: whether it fits into the host's memory;
    ``slower``: by what share builds may take longer until a slot has gained nothing (None: no slot, or no gain)."""

    __slots__ = ("cost", "error", "fits", "gain", "model", "name", "slower", "text")

    def __init__(self, name: str, text: str, model: Model, cost: str, *, fits: bool = True) -> None:
        self.name, self.text, self.model, self.cost, self.fits = name, text, model, cost, fits
        self.gain = self.error = 0.0
        self.slower: float | None = None

    @property
    def noise(self) -> bool:
        """Whether the gain cannot be told from nothing."""
        return abs(self.gain) <= 2 * self.error

    def document(self) -> dict[str, Any]:
        return {
            "what_if": self.name,
            "text": self.text,
            "p90_gain_seconds": round(self.gain, 3),
            "p90_gain_error_seconds": round(self.error, 3),
            "within_noise": self.noise,
            "cost": self.cost,
            "gone_when_builds_slower_by": None if self.slower is None else round(self.slower, 3),
            "fits_memory": self.fits,
        }


def ranked(model: Model, facts: Facts, config: Config, *, turns: int = TURNS, seed: int = 1) -> list[Lever]:
    """The levers there are, the one that shortens the p90 of turns most first."""
    found = _levers(model, facts, config)
    before = _p90s(model, turns, seed)
    for lever in found:
        gains = [b - a for b, a in zip(before, _p90s(lever.model, turns, seed), strict=True)]
        lever.gain = sum(gains) / len(gains)
        spread = sum((g - lever.gain) ** 2 for g in gains) / (len(gains) - 1)
        lever.error = sqrt(spread / len(gains))
        if lever.name.startswith("slots") and lever.gain > 0 and not lever.noise:
            lever.slower = _slower(model, lever.model, turns, seed)
    return sorted(found, key=lambda lever: (lever.noise, -lever.gain))


def _p90s(model: Model, turns: int, seed: int) -> list[float]:
    return [simulate(model, turns=max(200, turns // RUNS), seed=seed + 7919 * n).p90 for n in range(RUNS)]


def _slower(model: Model, more: Model, turns: int, seed: int) -> float:
    """By what share all builds may take longer in ``more`` until its p90 is that of ``model``."""
    few = min(turns, _SEARCH)
    goal, low, high = simulate(model, turns=few, seed=seed).p90, 0.0, _SLOWEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        kinds = [kind.changed(seconds=kind.seconds * (1 + middle)) for kind in more.kinds]
        found = simulate(more.changed(kinds=kinds), turns=few, seed=seed).p90
        low, high = (middle, high) if found <= goal else (low, middle)
    return low


def _levers(model: Model, facts: Facts, config: Config) -> list[Lever]:
    found = [_one_more_slot(model, kind, facts, config) for kind in model.kinds]
    uploads = any(kind.uploads for kind in model.kinds) and model.upload
    if uploads:
        more = model.changed(devices=model.devices + 1)
        text = f"one more device ({model.devices + 1})"
        found.append(Lever(f"devices={model.devices + 1}", text, more, "a device; no memory, no cores"))
    hosts = model.hosts + 1
    found.append(
        Lever(
            f"hosts={hosts}",
            f"one more host ({hosts}) with its own slots",
            model.changed(hosts=hosts),
            f"{format_size(facts.memory)} and {facts.cores} cores, as here; the devices are shared",
        )
    )
    for kind in model.kinds:
        one = kind.changed(seconds=kind.seconds * _FASTER)
        name = _key("build", kind, model)
        text = f"builds of {kind.name} a fifth faster"
        cost = "a cache, or more cores a build; no memory"
        found.append(Lever(f"{name}={_FASTER:.0%}", text, _with(model, kind, one), cost))
    if uploads:
        fewer = model.changed(kinds=[k.changed(uploads=k.uploads * _FEWER) for k in model.kinds])
        sending = [kind for kind in model.kinds if kind.uploads]
        name = ",".join(f"{_key('uploads', kind, model)}={kind.uploads * _FEWER:.3g}" for kind in sending)
        cost = "no memory, no cores; tests without the device"
        found.append(Lever(name, "a quarter fewer uploads", fewer, cost))
    return found


def _one_more_slot(model: Model, kind: Kind, facts: Facts, config: Config) -> Lever:
    from k1ctl.capacity import twopart

    more = _with(model, kind, kind.changed(slots=kind.slots + 1))
    each, origin = twopart.heavy(config, kind.name)
    before, after = facts.cores / kind.slots, facts.cores / (kind.slots + 1)
    where = " a host" if model.hosts > 1 else ""
    cost = f"{format_size(each)}{where} ({origin.split(':')[0]}), {after:.2g} cores a build, not {before:.2g}"
    fits = Memory(more, facts, config).fits
    name = f"{_key('slots', kind, model)}={kind.slots + 1}"
    return Lever(name, f"one more slot of {kind.name} ({kind.slots + 1})", more, cost, fits=fits)


def _key(name: str, kind: Kind, model: Model) -> str:
    return name if kind is model.kinds[0] else f"{name}.{kind.name.removeprefix('build:')}"


def _with(model: Model, kind: Kind, other: Kind) -> Model:
    return model.changed(kinds=[other if k is kind else k for k in model.kinds])
