"""What a class of work needs, learned from its runs: a decaying histogram of peaks and of times, one file a class.

As in Kubernetes' vertical pod autoscaler: one sample a run, buckets that grow by 5 %, weights that halve with age. The
files are ``<host_dir>/capacity/history/<class>.json``: what a build needs is a fact of the host, not of a repository.
"""

from __future__ import annotations

import os
import time
from math import floor, log

from k1ctl.errors import ConfigError
from k1ctl.files import Locked, read_bytes, write_json
from k1ctl.jsontext import loads
from k1ctl.units import parse_rfc3339, rfc3339
from k1ctl.workspace import host_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

GROWTH = 1.05  # of a bucket over the one before it
FIRST_BYTES, FIRST_SECONDS = 10 << 20, 0.1  # all that is smaller is one bucket
HALF_LIFE = 7 * 86400.0  # s: builds are rarer than the samples of a pod, whose weights halve in a day
MARGIN = 1.15  # the target over p95
FEW, MANY = 5, 20  # runs: fewer than FEW say little; from MANY on, with FEW recent ones, they say much
FEW_MARGIN = 1.5  # the target over the largest of a few runs
OOM_MORE, OOM_FACTOR = 100 << 20, 1.2  # what a run that lacked memory counts as, over its limit
_LEAST = 1e-4  # of the whole weight: a bucket with less is dropped
_BEYOND = 1e18  # bytes or seconds: no figure
_AHEAD = 3600.0  # s: a file from so far in the future was written under a wrong clock
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789._:+-")  # capitals differ not in names on macOS
_LONGEST = 120  # characters of a file's name
_DAMAGE = (ValueError, KeyError, TypeError, ArithmeticError, RecursionError)


class Estimate:
    """What the runs of a class needed: ``p50``, ``p90``, ``p95``, ``largest`` and ``target`` in bytes.

    ``target`` is what to promise: p95 x 1.15, or the largest x 1.5 of fewer than 5 runs. ``runs`` in all, ``ooms``
    among them that lacked memory; ``confidence`` low (fewer than 5 runs), fair, good (20 runs, 5 of them recent);
    ``seconds_p50`` and ``seconds_p90`` are 0.0 when no time is known. ``at``: the last run, in seconds since 1970.
    """

    __slots__ = (
        "at", "class_", "confidence", "largest", "ooms", "p50", "p90", "p95", "runs", "seconds_p50", "seconds_p90",
        "target",
    )  # fmt: skip

    def __init__(self, class_: str, history: _History) -> None:
        memory, seconds = history.memory, history.seconds
        self.class_, self.runs, self.ooms, self.at = class_, history.runs, history.ooms, history.at
        self.p50, self.p90, self.p95 = (int(memory.quantile(q)) for q in (0.5, 0.9, 0.95))
        self.largest = int(memory.largest())
        few = memory.samples() < FEW
        self.target = int(self.largest * FEW_MARGIN if few else self.p95 * MARGIN)
        recent = memory.weight(time.time(), history.at) >= FEW
        self.confidence = "low" if few else "good" if recent and memory.samples() >= MANY else "fair"
        self.seconds_p50, self.seconds_p90 = seconds.quantile(0.5), seconds.quantile(0.9)

    def document(self) -> dict[str, Any]:
        """The estimate as JSON."""
        return {
            "class": self.class_,
            "runs": self.runs,
            "ooms": self.ooms,
            "confidence": self.confidence,
            "p50_bytes": self.p50,
            "p90_bytes": self.p90,
            "p95_bytes": self.p95,
            "largest_bytes": self.largest,
            "target_bytes": self.target,
            "seconds_p50": round(self.seconds_p50, 3),
            "seconds_p90": round(self.seconds_p90, 3),
            "last_at": rfc3339(self.at),
        }


class Buckets:
    """Samples by size: each bucket has its weight, how many samples it took, and the largest of them."""

    def __init__(self, first: float, rows: Iterable[Iterable[float]] = ()) -> None:
        self.first = first
        self.rows: dict[int, list[float]] = {}
        for index, weight, samples, largest in rows:
            if not (weight > 0 and samples >= 1 and 0 < largest < _BEYOND and weight < float("inf")):
                raise ValueError(f"no bucket: {[index, weight, samples, largest]}")
            self.rows[int(index)] = [float(weight), int(samples), largest]

    def add(self, value: float, weight: float) -> None:
        """One more sample, of ``weight`` (1 is one of now)."""
        index = 0 if value < self.first else 1 + floor(log(value / self.first) / log(GROWTH))
        row = self.rows.setdefault(index, [0.0, 0, 0.0])
        row[0], row[1], row[2] = row[0] + weight, row[1] + 1, max(row[2], value)

    def age(self, factor: float) -> None:
        """All weights times ``factor``; what is left of no account goes."""
        for row in self.rows.values():
            row[0] *= factor
        least = max(sum(row[0] for row in self.rows.values()) * _LEAST, 1e-300)
        self.rows = {index: row for index, row in self.rows.items() if row[0] >= least}

    def quantile(self, q: float) -> float:
        """The value that a share ``q`` of the weight does not pass, at most 5 % too large; 0.0 without samples."""
        left = q * sum(row[0] for row in self.rows.values())
        for _, row in sorted(self.rows.items()):
            left -= row[0]
            if left <= 1e-9 * row[0]:
                return row[2]
        return self.largest()

    def largest(self) -> float:
        return max((row[2] for row in self.rows.values()), default=0.0)

    def samples(self) -> int:
        return int(sum(row[1] for row in self.rows.values()))

    def weight(self, now: float, at: float) -> float:
        """The samples in terms of samples of ``now``, the weights being those of ``at``."""
        return float(sum(row[0] for row in self.rows.values()) * decay(now - at))

    def document(self) -> list[list[float]]:
        return [[index, round(row[0], 9) or 1e-9, *row[1:]] for index, row in sorted(self.rows.items())]


class _History:
    """What the file of a class says; empty for a new one. Raises one of _DAMAGE for a damaged one."""

    def __init__(self, document: dict[str, Any] | None = None) -> None:
        found = document or {}
        if document is not None and found["version"] != 1:
            raise ValueError(f"version {found['version']!r}")
        self.memory = Buckets(FIRST_BYTES, found["memory"] if document is not None else ())
        self.seconds = Buckets(FIRST_SECONDS, found["seconds"] if document is not None else ())
        self.runs, self.ooms = int(found.get("runs", 0)), int(found.get("ooms", 0))
        self.ended_alone = int(found.get("largest_bytes", 0))  # the largest of those that did not lack memory
        self.at = parse_rfc3339(str(found["last_at"])) if document is not None else 0.0

    def add(self, peak: float, seconds: float, at: float) -> None:
        """One run: 0 where a figure is not known."""
        if self.at > time.time() + _AHEAD:
            self.at = at
        weight = decay(self.at - at) if at < self.at else 1.0
        if at > self.at:
            factor = decay(at - self.at) if self.at else 1.0
            self.memory.age(factor)
            self.seconds.age(factor)
            self.at = at
        weight = max(weight, 1e-9)
        if peak > 0:
            self.memory.add(int(peak), weight)
        if seconds > 0:
            self.seconds.add(round(seconds, 3) or 0.001, weight)
        self.runs += 1

    def document(self, class_: str) -> dict[str, Any]:
        return {
            "version": 1,
            "class": class_,
            "runs": self.runs,
            "ooms": self.ooms,
            "largest_bytes": self.ended_alone,
            "last_at": rfc3339(self.at),
            "memory": self.memory.document(),
            "seconds": self.seconds.document(),
        }


def decay(age: float) -> float:
    """What a sample of ``age`` seconds counts beside one of now."""
    return float(2.0 ** (-min(max(age, 0.0) / HALF_LIFE, 900.0)))


def add(class_: str, peak_bytes: int, seconds: float = 0.0, at: float | None = None) -> str:
    """Learn from a run of a class that ended: the peak of its tree and how long it took (0: not known).

    ``at`` is its end in seconds since 1970 (default: now). Never raises OSError: a run is no worse for it. Returns ""
    or a sentence on what went wrong: a damaged file that was set aside, or a folder that cannot be written.
    """
    return _change(class_, peak_bytes, seconds, at, limit=0, memory=0)


def add_oom(class_: str, limit: int, seconds: float = 0.0, at: float | None = None, *, memory: int = 0) -> str:
    """Learn from a run that lacked memory under ``limit`` bytes; returns what `add` returns.

    It counts as more than the limit (100 MiB or 20 %, whichever is more), but not as more than what a run of the class
    did with, nor than the host's ``memory`` (0: not known): else each lack of memory would make the next limit larger
    without end.
    """
    return _change(class_, 0, seconds, at, limit=limit, memory=memory)


def oom_sample(limit: int, largest: int, memory: int = 0) -> int:
    """What a run that lacked memory under ``limit`` counts as; ``largest``: what another run of the class did with."""
    wanted = max(limit + OOM_MORE, int(limit * OOM_FACTOR))
    if largest > limit:
        wanted = min(wanted, largest)
    return min(wanted, memory) if memory else wanted


def _change(class_: str, peak: int, seconds: float, at: float | None, *, limit: int, memory: int) -> str:
    path, told = _file(class_), ""
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        with Locked(os.path.join(os.path.dirname(path), "lock")):
            try:
                history = _read(path) or _History()
            except _DAMAGE as exc:
                aside = f"{path}.damaged-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.urandom(2).hex()}"
                os.replace(path, aside)
                told = f"{path} was damaged ({type(exc).__name__}: {exc}) and set aside as {os.path.basename(aside)}"
                history = _History()
            if limit:
                peak = oom_sample(limit, history.ended_alone, memory)
                history.ooms += 1
            else:
                history.ended_alone = max(history.ended_alone, peak)
            history.add(peak, seconds, time.time() if at is None else at)
            write_json(path, history.document(class_))
    except OSError as exc:
        told = f"what {class_} needed could not be kept: {exc.strerror}: {exc.filename or path}"
    except ConfigError as exc:  # no flock
        told = f"what {class_} needed could not be kept: {exc.message}"
    return told


def of(class_: str) -> Estimate | None:
    """What the class is known to need; None when no run with a peak was seen, or its file cannot be read."""
    try:
        history = _read(_file(class_))
    except (OSError, *_DAMAGE):
        return None
    return Estimate(class_, history) if history is not None and history.memory.rows else None


def classes() -> tuple[list[str], list[str]]:
    """The classes that have a history, and a sentence on each file that is damaged or was set aside."""
    names, problems, folder = [], [], os.path.dirname(_file("x"))
    try:
        files = sorted(os.listdir(folder))
    except OSError:
        files = []
    for name in files:
        path = os.path.join(folder, name)
        if ".json.damaged-" in name:
            problems.append(f"{path} was damaged and set aside; it is not used")
        if not name.endswith(".json") or name.startswith("."):
            continue
        try:
            document = loads((read_bytes(path) or b"").decode())
            _History(document)
            names.append(str(document["class"]))
        except (OSError, *_DAMAGE) as exc:
            problems.append(f"{path} is damaged ({type(exc).__name__}: {exc}); the next run sets it aside")
    return names, problems


def _read(path: str) -> _History | None:
    data = read_bytes(path)
    if data is None:
        return None
    document = loads(data.decode())
    if not isinstance(document, dict):
        raise ValueError("no object")
    return _History(document)


def _file(class_: str) -> str:
    """The class's file; what a file's name cannot have is escaped, what is too long is cut and gets a checksum."""
    name = "".join(c if c in _PLAIN else f"%{ord(c):x}%" for c in class_) or "%"
    name = f"%2e%{name[1:]}" if name.startswith(".") else name
    if len(name) > _LONGEST:
        from zlib import crc32

        name = f"{name[:100]}%{crc32(class_.encode(errors='surrogatepass')):08x}"
    return os.path.join(host_dir(), "capacity", "history", f"{name}.json")
