"""Workspaces that share build slots and devices: bounds, the knee, Erlang's formulas, and a simulation of their turns.

A workspace thinks, waits for one of S build slots of a kind, builds, and in a share of its turns waits for one of D
devices and uploads. A turn is all but the thinking. Times in seconds, everywhere first come, first served.

`simulate` keeps an event a workspace. A station that serves in order of arrival needs none for an end of service: who
arrives is given the server that is free first, so its start and end are known at once.
"""

from __future__ import annotations

import math
import sys

from k1ctl.capacity.variates import turns_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

TURNS = 20_000  # simulated unless told otherwise: the p90 of a turn is then good for about 2 %
WARM = 0.1  # share of the turns that only warm the model up
_ROUNDS = 2  # turns of each workspace that do at least: with many of them a line takes a while to build up
_ROUND = 1e-9  # of a rank: what rounding may add to it
_NEVER = 1e-30  # a probability that more servers make smaller still
_BATCHES = 10  # parts of a run whose spread gives the standard error


class Kind:
    """One kind of build: its ``slots`` on each host, the mean ``seconds`` it takes, the coefficient of variation ``cv``
    of that, the ``share`` of turns that build it, and the share of those turns that then upload (``uploads``)."""

    __slots__ = ("cv", "name", "seconds", "share", "slots", "uploads")

    def __init__(
        self, name: str, slots: int, seconds: float, *, share: float = 1.0, uploads: float = 0.0, cv: float = 0.6
    ) -> None:
        if slots < 1 or seconds < 0 or share < 0 or not 0 <= uploads <= 1 or not 0 <= cv <= 5:
            raise ValueError(f"{name}: slots >= 1, seconds and share >= 0, uploads from 0 to 1, cv from 0 to 5")
        self.name, self.slots, self.seconds = name, slots, seconds
        self.share, self.uploads, self.cv = share, uploads, cv

    def changed(self, **changes: Any) -> Kind:
        """The kind with other values."""
        values = {name: getattr(self, name) for name in self.__slots__} | changes
        return Kind(values.pop("name"), values.pop("slots"), values.pop("seconds"), **values)


class Model:
    """``agents`` workspaces that think for ``think`` seconds (mean; exponential with ``think_cv`` 1), build one of
    ``kinds``, and upload for ``upload`` seconds to one of ``devices``.

    ``hosts`` have the slots of every kind each, and the agents are dealt out over them; devices are the project's and
    are shared by all hosts. ``burst``: all begin to build at once, one turn each. ``open``: nobody waits for his turn
    to end; each begins one every ``think`` seconds (arrivals of rate agents / think, at random with ``think_cv`` 1).
    """

    __slots__ = ("agents", "burst", "devices", "hosts", "kinds", "open", "think", "think_cv", "upload", "upload_cv")

    def __init__(
        self,
        agents: int,
        think: float,
        kinds: Sequence[Kind],
        upload: float,
        *,
        devices: int = 1,
        hosts: int = 1,
        think_cv: float = 1.0,
        upload_cv: float = 0.6,
        burst: bool = False,
        open: bool = False,
    ) -> None:
        if agents < 1 or devices < 1 or hosts < 1 or think < 0 or upload < 0 or not 0 <= upload_cv <= 5:
            raise ValueError("agents, devices and hosts are 1 or more; times are not negative; cv from 0 to 5")
        if not kinds or sum(k.share for k in kinds) <= 0:
            raise ValueError("there is at least one kind of build with a share of the turns")
        self.agents, self.think, self.think_cv, self.kinds = agents, think, think_cv, tuple(kinds)
        self.upload, self.upload_cv, self.devices = upload, upload_cv, devices
        self.hosts, self.burst, self.open = hosts, burst, open

    def changed(self, **changes: Any) -> Model:
        """The model with other values."""
        values = {name: getattr(self, name) for name in self.__slots__} | changes
        first = [values.pop(name) for name in ("agents", "think", "kinds", "upload")]
        return Model(*first, **values)

    @property
    def shares(self) -> list[float]:
        """The share of turns of each kind; together 1."""
        total = sum(k.share for k in self.kinds)
        return [k.share / total for k in self.kinds]

    @property
    def uploads(self) -> float:
        """Uploads a turn."""
        return sum(share * k.uploads for share, k in zip(self.shares, self.kinds, strict=True))

    @property
    def no_wait(self) -> float:
        """Mean seconds of a turn that waits for nothing."""
        built = sum(share * k.seconds for share, k in zip(self.shares, self.kinds, strict=True))
        return built + self.uploads * self.upload

    def demands(self) -> dict[str, float]:
        """Seconds that a turn keeps each station busy, over its servers: {kind: ..., "device": ...}. The largest is
        the bottleneck, and its inverse the most turns a second that there can be."""
        found = {
            k.name: share * k.seconds / (k.slots * self.hosts) for share, k in zip(self.shares, self.kinds, strict=True)
        }
        found["device"] = self.uploads * self.upload / self.devices
        return found


class Bounds:
    """What holds for any distribution and order of service (Denning and Buzen 1978, operational analysis): no mean turn
    is shorter than ``turn`` seconds, no more than ``rate`` turns a second get done; ``station`` is the bottleneck."""

    __slots__ = ("knee", "no_wait", "rate", "station", "turn")

    def __init__(self, model: Model) -> None:
        demands = model.demands()
        self.station = max(demands, key=lambda name: demands[name])
        worst, self.no_wait = demands[self.station], model.no_wait
        self.knee = (model.think + self.no_wait) / worst if worst else math.inf
        self.turn = max(self.no_wait, model.agents * worst - model.think)
        free = model.agents / (model.think + self.no_wait) if model.think + self.no_wait else math.inf
        self.rate = min(1 / worst, free) if worst else free


def knee(model: Model) -> float:
    """N* = (Z + B + f U) / max(B / S, f U / D): more workspaces than this must wait for each other."""
    return Bounds(model).knee


def erlang_c(servers: int, load: float) -> float:
    """Probability that one who arrives waits in M/M/c; ``load`` = arrivals a second times seconds of service. 1 where
    the load is as much as the servers or more."""
    if load >= servers:
        return 1.0
    blocked = 1.0
    for k in range(1, servers + 1):
        blocked = load * blocked / (k + load * blocked)
        if blocked < _NEVER:
            return 0.0
    return blocked / (1 - load / servers * (1 - blocked))


def mmc_wait(servers: int, rate: float, seconds: float, *, cv: float = 1.0) -> float:
    """Mean wait of M/M/c; with another ``cv`` of service the approximation of Allen and Cunneen, exact for one server
    (Pollaczek and Khinchine). Infinite where the line never ends."""
    load = rate * seconds
    if load >= servers:
        return math.inf
    return erlang_c(servers, load) * seconds / (servers - load) * (1 + cv * cv) / 2


def mmc_wait_quantile(servers: int, rate: float, seconds: float, q: float) -> float:
    """The wait that a share ``q`` of all stays below in M/M/c: P(W > t) = C exp(-(c - a) t / s)."""
    load = rate * seconds
    if load >= servers:
        return math.inf
    waits = erlang_c(servers, load)
    return 0.0 if waits <= 1 - q else seconds / (servers - load) * math.log(waits / (1 - q))


class Outcome:
    """What a simulation found; seconds, rates a second, shares from 0 to 1.

    ``turn``, ``p50``, ``p90``, ``p95`` of turns and the standard error ``p90_error`` of the p90 (from batches; inf
    where there are too few turns to tell); ``build_wait`` and ``build_wait_p90``, ``device_wait`` (mean over uploads);
    ``upload_p50``, ``upload_p90`` of wait and transfer together (0 without uploads); ``rate`` of turns and
    ``upload_rate``; ``busy`` {kind or "device": utilisation}; ``last`` of a burst: mean time until the last is done,
    else 0; ``turns`` counted.
    """

    __slots__ = (
        "build_wait",
        "build_wait_p90",
        "busy",
        "device_wait",
        "last",
        "p50",
        "p90",
        "p90_error",
        "p95",
        "rate",
        "turn",
        "turns",
        "upload_p50",
        "upload_p90",
        "upload_rate",
    )

    def __init__(self, done: Sequence[_Turn], seconds: float, busy: dict[str, float], last: float = 0.0) -> None:
        lengths = [d[0] for d in done]
        self.turns, self.last, self.busy = len(done), last, busy
        self.p90_error = _error(lengths)
        ordered, waits = sorted(lengths), sorted(d[1] for d in done)
        self.turn = sum(ordered) / len(ordered)
        self.p50, self.p90, self.p95 = (quantile(ordered, q) for q in (0.5, 0.9, 0.95))
        self.build_wait, self.build_wait_p90 = sum(waits) / len(waits), quantile(waits, 0.9)
        uploads = sorted(d[3] for d in done if d[3])
        self.device_wait = sum(d[2] for d in done) / len(uploads) if uploads else 0.0
        self.upload_p50, self.upload_p90 = (quantile(uploads, q) for q in (0.5, 0.9))
        self.rate, self.upload_rate = (n / seconds if seconds else 0.0 for n in (len(done), len(uploads)))


if TYPE_CHECKING:
    _Turn = tuple[float, float, float, float]  # seconds of the turn, wait for a slot, wait for a device, upload in all
    _Going = tuple[float, float, float, float]  # when it arrived, wait for a slot, seconds of upload, of thinking


def quantile(ordered: Sequence[float], q: float) -> float:
    """The ``q`` quantile of values in order (nearest rank); 0 of none."""
    return ordered[max(0, math.ceil(len(ordered) * q - _ROUND) - 1)] if ordered else 0.0


def simulate(model: Model, *, turns: int = TURNS, seed: int = 1) -> Outcome:
    """The turns of ``model``, at least ``turns`` of them after warming up; the same answer for the same arguments.

    The n-th turn of a workspace draws the same random numbers in every model of one seed, so that two models differ by
    what differs in them and not by luck (common random numbers).
    """
    run = _Run(model, seed)
    if model.burst:
        return run.bursts(max(1, turns // model.agents))
    run.begin()
    run.advance(max(int(turns * WARM), _ROUNDS * model.agents))
    run.done.clear()
    began, before = run.now, run.busy()
    run.advance(max(1, turns))
    elapsed, after = run.now - began, run.busy()
    servers = [k.slots * model.hosts for k in model.kinds] + [model.devices]
    names = [k.name for k in model.kinds] + ["device"]
    used = {
        name: (a - b) / n / elapsed if elapsed else 0.0
        for name, n, a, b in zip(names, servers, after, before, strict=True)
    }
    return Outcome(run.done, elapsed, used)


class _Run:
    """A model on its way: servers as the times at which they are free, one event for each workspace."""

    def __init__(self, model: Model, seed: int) -> None:
        self.model, self.now = model, 0.0
        self.streams = turns_of(model, seed)
        self._idle()
        self.events: list[tuple[float, int, _Going | None]] = []
        self.done: list[_Turn] = []
        self.served = [0.0] * (len(model.kinds) + 1)
        self.number = model.agents

    def _idle(self) -> None:
        """All servers are free from 0 on. Of more than there are workspaces the rest would never be taken."""
        model = self.model
        most = sys.maxsize if model.open else model.agents
        each = [min(kind.slots, most) for kind in model.kinds]
        self.pools = [[[0.0] * slots for slots in each] for _ in range(min(model.hosts, most))]
        self.devices = [0.0] * min(model.devices, most)

    def begin(self) -> None:
        """Everybody begins to think."""
        from heapq import heapify

        self.events = [(next(stream)[3], w, None) for w, stream in enumerate(self.streams)]
        heapify(self.events)

    def advance(self, turns: int) -> None:
        """Go on until ``turns`` more are done."""
        from heapq import heappop, heappush, heapreplace

        events, streams, devices, served, done = self.events, self.streams, self.devices, self.served, self.done
        pools, hosts, last = self.pools, len(self.pools), len(self.served) - 1
        opened, closed = self.model.open, not (self.model.open or self.model.burst)
        until, at = len(done) + turns, self.now
        while len(done) < until:
            at, w, going = events[0]
            if going is None:
                kind, service, upload, think = next(streams[w])
                pool = pools[w % hosts][kind]
                end = pool[0] if pool[0] > at else at
                wait, held, arrived = end - at, 0.0, at
                end += service
                heapreplace(pool, end)
                served[kind] += service
                if opened:
                    heapreplace(events, (at + think, w, None))
                if upload:
                    if opened:
                        self.number += 1  # several of one workspace may be under way
                        heappush(events, (end, self.number, (at, wait, upload, think)))
                    else:
                        heapreplace(events, (end, w, (at, wait, upload, think)))
                    continue
            else:
                arrived, wait, service, think = going
                end = devices[0] if devices[0] > at else at
                held = end - at
                end += service
                heapreplace(devices, end)
                served[last] += service
                upload = end - at
            done.append((end - arrived, wait, held, upload))
            if closed:
                heapreplace(events, (end + think, w, None))
            elif going or not opened:
                heappop(events)
        self.now = at

    def busy(self) -> list[float]:
        """Seconds that the servers of each kind, and the devices, have served until now."""
        pools = [[free for host in self.pools for free in host[k]] for k in range(len(self.model.kinds))]
        pools.append(self.devices)
        # from now on until it is free a server works without a pause: whoever was given to it had come by now
        return [
            total - sum(free - self.now for free in servers if free > self.now)
            for total, servers in zip(self.served, pools, strict=True)
        ]

    def bursts(self, times: int) -> Outcome:
        """``times`` bursts, one after another, each into an idle host."""
        model, ends, everything = self.model, 0.0, self.done
        for _ in range(times):
            self._idle()
            self.now = 0.0
            self.events = [(0.0, w, None) for w in range(model.agents)]
            before = len(everything)
            self.advance(model.agents)
            ends += max(turn[0] for turn in everything[before:])
        servers = [k.slots * model.hosts for k in model.kinds] + [model.devices]
        names = [k.name for k in model.kinds] + ["device"]
        busy = {name: s / n / ends if ends else 0.0 for name, n, s in zip(names, servers, self.served, strict=True)}
        return Outcome(everything, ends, busy, ends / times)


def mean_wait(
    servers: int, rate: float, seconds: float, *, cv: float = 1.0, turns: int = TURNS, runs: int = 10, seed: int = 1
) -> float:
    """The mean wait of arrivals at random for ``servers``: `simulate` in its open mode, to lay beside `mmc_wait`.

    Each of the ``runs`` is made twice with the same random numbers, the second time for one server that is as fast as
    all of them together, whose mean wait is known for any cv (Pollaczek and Khinchine): a control variate, with the
    factor that the runs themselves give. 10 runs of 20,000 come within 2 % for 4 servers that are 70 to 90 % busy
    (standard error 0.4 to 0.7 %; without the control 2.5 to 4 %). One server has no such control.
    """
    several = Model(1, 1 / rate, [Kind("slot", servers, seconds, cv=cv)], 0.0, open=True)
    found = [simulate(several, turns=turns, seed=seed + n).build_wait for n in range(runs)]
    mean = sum(found) / runs
    if servers == 1 or runs < 2:
        return mean
    single = several.changed(kinds=[Kind("slot", 1, seconds / servers, cv=cv)])
    control = [simulate(single, turns=turns, seed=seed + n).build_wait for n in range(runs)]
    known, centre = mmc_wait(1, rate, seconds / servers, cv=cv), sum(control) / runs
    spread = sum((c - centre) ** 2 for c in control)
    factor = sum((c - centre) * (f - mean) for c, f in zip(control, found, strict=True)) / spread if spread else 0.0
    return mean - factor * (centre - known)


def _error(values: Sequence[float]) -> float:
    size = len(values) // _BATCHES
    if size < 100:
        return math.inf
    parts = [quantile(sorted(values[i * size : (i + 1) * size]), 0.9) for i in range(_BATCHES)]
    mean = sum(parts) / _BATCHES
    return math.sqrt(sum((p - mean) ** 2 for p in parts) / (_BATCHES - 1) / _BATCHES)
