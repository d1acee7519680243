"""How the host fares, judged by what stalls and not by how much runs.

Every check says ok, warn, crit, unknown (it should have told and did not) or skip (this machine cannot tell). A skip
never worsens the whole. A worse verdict shows at once, a better one only when its figure is clear of the mark
(`_EASE`), so that none flaps. The marks for stall are starting values: nobody has measured them on many hosts yet.
"""

from __future__ import annotations

import os

from k1ctl.capacity import looks as past
from k1ctl.errors import K1ctlError
from k1ctl.units import format_duration, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.looks import Looks
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

STATUSES = ("skip", "ok", "unknown", "warn", "crit")  # each worsens more than those before it
SOME_WARN, FULL_CRIT = 10.0, 5.0  # percent of the last minute in which some, or all, waited for memory
SWAP_WARN, SWAP_CRIT = 50.0, 90.0  # percent of swap; crit only while memory is short as well
SWAP_OUT_WARN = 1 << 20  # bytes a second that go out to swap
OOM_WARN = 1  # processes that the kernel killed for want of memory, in `looks.WINDOW`
INODES_WARN, INODES_CRIT = 90, 98  # percent
_EASE = 5.0  # points on the good side of a mark at which a verdict ends; half of a mark that is below 10
_LEVELS = {"normal": "ok", "warn": "warn", "critical": "crit"}
_SCARCE = {"memory": "memory", "cpu": "a core"}
_THERMAL = {"nominal": "ok", "moderate": "ok", "heavy": "warn", "trapping": "crit", "sleeping": "crit"}


class Check:
    """``name``; ``status``, one of `STATUSES`; ``value`` in ``unit`` (B, %, B/s, "" for a count; None: not known);
    ``warn`` and ``crit``: the marks, which are passed above, or below where ``below``; ``message`` for people;
    ``least`` and ``most``: what the value can be, where that is known; ``key``: what the check is of, where its name
    alone does not tell from look to look."""

    __slots__ = ("below", "crit", "key", "least", "message", "most", "name", "status", "unit", "value", "warn")

    def __init__(
        self,
        name: str,
        status: str,
        value: float | None = None,
        unit: str = "",
        warn: float | None = None,
        crit: float | None = None,
        message: str = "",
        *,
        below: bool = False,
        least: float | None = 0,
        most: float | None = None,
        key: str = "",
    ) -> None:
        self.key = key or name
        self.name, self.status, self.value, self.unit = name, status, value, unit
        self.warn, self.crit, self.message = warn, crit, message
        self.below, self.least, self.most = below, least, most

    def document(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "status": self.status,
            "value": self.value,
            "unit": self.unit or None,
            "warn": self.warn,
            "crit": self.crit,
            "alert": "below" if self.below else "above",
            "message": self.message,
        }


def look(
    facts: Facts, config: Config, workspace: Workspace, *, folder: str = "", at: float | None = None
) -> list[Check]:
    """The checks now, against the last look, which this one takes the place of.

    ``folder`` keeps the looks (default: that of the host's promises). Facts of a file are neither compared nor kept.
    """
    from k1ctl.capacity.levels import folder_of

    at = past.now() if at is None else at
    if facts.origin != facts.system:
        return checks(facts, config, workspace, at=at)
    path = os.path.join(folder or folder_of(), "last-look.json")
    before = past.read(path)
    found = checks(facts, config, workspace, before, at=at)
    past.keep(path, before.after(facts, {check.key: check.status for check in found}, at))
    return found


def checks(
    facts: Facts, config: Config, workspace: Workspace, before: Looks | None = None, *, at: float | None = None
) -> list[Check]:
    """All checks of the host, those first that say most. ``before``: earlier looks; ``at``: the time of this one
    (seconds since 1970, default: now). Raises OSError for nothing: what cannot be read is unknown."""
    at = past.now() if at is None else at
    before = before or past.Looks()
    judge = Judge(before, at, past.place_of(facts))
    available = _available(facts, config, judge)
    found = [
        _stall(facts, judge, "memory", "full", None, FULL_CRIT),
        _stall(facts, judge, "memory", "some", SOME_WARN, None),
        _level(facts),
        available,
        _oom_kills(facts, judge),
        _swap(facts, judge, short=available.status in ("warn", "crit")),
        _swap_out(facts, judge),
        _watermark(facts, config),
    ]
    if facts.origin == facts.system:
        found += [*_disks(config, workspace, judge), *_promised(), _blast_radius()]
    return [
        *found,
        _thermal(facts),
        *_gpus(facts, config),
        _stall(facts, judge, "cpu", "some", None, None),
        _load(facts),
    ]


def worst(found: Iterable[Check], *, strict: bool = False) -> str:
    """ok, warn, crit or, with ``strict`` and unless something is crit, unknown when a check is."""
    statuses = {check.status for check in found}
    if strict and "unknown" in statuses and "crit" not in statuses:
        return "unknown"
    return next((status for status in ("crit", "warn") if status in statuses), "ok")


class Judge:
    """Verdicts of figures, each held until it is clear of its mark."""

    def __init__(self, before: Looks, at: float, place: str = "") -> None:
        self.before, self.at, self.place = before, at, place

    def since(self, key: str, value: int | None, *, whole: bool) -> tuple[int, float] | None:
        """How much a counter grew, and in how many seconds (`looks.Looks.since`)."""
        return self.before.since(key, value, self.at, place=self.place, whole=whole)

    def status(
        self,
        key: str,
        value: float,
        warn: float | None,
        crit: float | None,
        *,
        below: bool = False,
        ease: float | None = None,
    ) -> str:
        """ok, warn or crit of a figure that is bad above its marks, or ``below`` them. ``ease``: how far it has to be
        on the good side of a mark before a verdict ends (default: `_EASE`, half of a lesser mark)."""
        was = self.before.status(key, self.at, self.place)
        for status, mark in (("crit", crit), ("warn", warn)):
            if mark is None:
                continue
            held = status == was or was == "crit"
            slack = (min(_EASE, mark / 2) if ease is None else ease) if held else 0.0
            if value < mark + slack if below else value > mark - slack:
                return status
        return "ok"


def _stall(facts: Facts, judge: Judge, what: str, who: str, warn: float | None, crit: float | None) -> Check:
    name = f"{what}_{who}"
    value = facts.pressure.get(what, {}).get(f"{who}_avg60")
    if value is None:
        return Check(name, "skip", unit="%", warn=warn, crit=crit, message="this kernel tells of no stall (PSI)")
    message = f"{who if who == 'some' else 'all'} waited for {_SCARCE[what]} in {value:.1f} % of the last minute"
    status = judge.status(name, value, warn, crit)
    return Check(name, status, value, "%", warn, crit, message, most=100)


def _level(facts: Facts) -> Check:
    name, level = "memory_pressure", facts.level
    if level is None:
        told = "only macOS has a level of its own" if facts.system != "macos" else "the system does not tell its level"
        return Check(name, "skip", message=told)
    value = {"normal": 1, "warn": 2, "critical": 4}.get(level)
    message = f"the system's memory pressure is {level}"
    return Check(name, _LEVELS.get(level, "unknown"), value, "", 1, 2, message)


def _available(facts: Facts, config: Config, judge: Judge) -> Check:
    """Warn when less is left than the reserve, or than the watermark of builds leaves; crit where runs are suspended:
    a reserve of 8 GiB is half of a small host, which may be used."""
    from k1ctl.capacity.formula import reserve

    warn = min(reserve(facts.memory, config), _left(facts, config, "build_percent", 80))
    crit = min(warn, _left(facts, config, "suspend_percent", 90))
    name, value = "memory_available", facts.available
    status = judge.status(name, value, warn, crit, below=True, ease=facts.memory * _EASE / 100)
    message = f"{format_size(value)} of {format_size(facts.memory)} can be had"
    if status != "ok":
        message += f"; {format_size(crit if status == 'crit' else warn)} should be"
    return Check(name, status, value, "B", warn, crit, message, below=True, most=facts.memory)


def _left(facts: Facts, config: Config, key: str, default: int) -> int:
    return facts.memory * (100 - min(100, config.get("capacity", key) or default)) // 100


def _swap(facts: Facts, judge: Judge, *, short: bool) -> Check:
    name = "swap"
    if not facts.swap:
        return Check(name, "skip", unit="%", warn=SWAP_WARN, crit=SWAP_CRIT, message="there is no swap")
    value = round(100.0 * facts.swap_used / facts.swap, 1)
    message = f"{format_size(facts.swap_used)} of {format_size(facts.swap)} of swap are used"
    if facts.system == "macos":
        return Check(name, "ok", value, "%", message=f"{message}; macOS makes more as it needs it", most=100)
    status = judge.status(name, value, SWAP_WARN, SWAP_CRIT if short else None)
    return Check(name, status, value, "%", SWAP_WARN, SWAP_CRIT, message, most=100)


def _swap_out(facts: Facts, judge: Judge) -> Check:
    if not facts.swap and facts.system == "linux":
        return Check("swap_out", "skip", unit="B/s", warn=SWAP_OUT_WARN, message="there is no swap")
    name, grown = "swap_out", judge.since("swapped_out_pages", facts.swapped_out_pages, whole=False)
    if grown is None:
        return Check(name, "skip", unit="B/s", warn=SWAP_OUT_WARN, message=_nothing_before(facts.swapped_out_pages))
    value = round(grown[0] * os.sysconf("SC_PAGE_SIZE") / grown[1], 1)
    message = f"{format_size(value)} a second went out to swap in the last {format_duration(grown[1])}"
    status = judge.status(name, value, SWAP_OUT_WARN, None, ease=SWAP_OUT_WARN / 2)
    return Check(name, status, value, "B/s", SWAP_OUT_WARN, None, message)


def _oom_kills(facts: Facts, judge: Judge) -> Check:
    name, grown = "oom_kills", judge.since("oom_kills", facts.oom_kills, whole=True)
    if grown is None:
        return Check(name, "skip", warn=0, message=_nothing_before(facts.oom_kills))
    value, seconds = grown
    killed = "1 process" if value == 1 else f"{value or 'no'} processes"
    message = f"{killed} killed for want of memory in the last {format_duration(seconds)}"
    return Check(name, "warn" if value >= OOM_WARN else "ok", value, "", 0, None, message)


def _nothing_before(counter: int | None) -> str:
    return "this system does not count it" if counter is None else "there is no earlier look to compare with"


def _watermark(facts: Facts, config: Config) -> Check:
    from k1ctl.capacity import levels

    level = levels.now(facts, config)
    status = "crit" if level.number >= levels.KILL else "warn" if level.number >= levels.SUSPEND else "ok"
    does = ("nobody is kept out", "no agent is let in", "builds and runs wait", "runs pause", "runs are ended")
    message = f"{level.reason or f'memory is at {level.percent:.0f} %'}: {does[level.number]}"
    return Check("watermark", status, level.number, "", levels.BUILD, levels.SUSPEND, message, most=levels.KILL)


def _disks(config: Config, workspace: Workspace, judge: Judge) -> list[Check]:
    """Bytes and inodes of the disks of the root and of the host's folder; once when they are one disk."""
    from k1ctl.disk import use
    from k1ctl.workspace import host_dir

    found: list[Check] = []
    seen = set()
    marks = (config.get("disk", "archive_percent") or None, config.get("disk", "stop_percent") or None)
    for label, path in (("root", workspace.root), ("host", host_dir())):
        try:
            now = use(path)
        except OSError as exc:
            found.append(Check(f"disk_{label}", "unknown", unit="%", message=f"{path}: {exc.strerror}"))
            continue
        if (device := device_of(path)) in seen:
            continue
        seen.add(device)
        name, percent, key = f"disk_{label}", now.percent, f"disk {device}"  # several repositories share the looks
        message = f"the disk of {path} is at {percent} %, {format_size(now.free)} are free"
        found.append(Check(name, judge.status(key, percent, *marks), percent, "%", *marks, message, most=100, key=key))
        name, percent, key = f"inodes_{label}", now.inodes_percent, f"inodes {device}"
        if not now.inodes:
            found.append(Check(name, "skip", unit="%", message=f"the disk of {path} makes inodes as it needs them"))
            continue
        message = f"{percent} % of the files that the disk of {path} can hold are there, {now.inodes_free} are left"
        status = judge.status(key, percent, INODES_WARN, INODES_CRIT)
        found.append(Check(name, status, percent, "%", INODES_WARN, INODES_CRIT, message, most=100, key=key))
    return found


def device_of(path: str) -> int:
    """The number of the filesystem that ``path`` lies on, or would lie on. Raises OSError."""
    while True:
        try:
            return os.stat(path).st_dev
        except FileNotFoundError:
            if path == os.path.dirname(path):
                raise
            path = os.path.dirname(path)


def _promised() -> list[Check]:
    """Promises that outlived who made them, and limited commands that stand still for want of memory."""
    from k1ctl.capacity import promises, watched
    from k1ctl.failure import words

    try:
        orphans = [p for p in promises.held(seen=False) if p.pid and not _alive(p.pid)]
        message = "every promise has who made it"
        if orphans:
            first = orphans[0]
            many = f"{len(orphans)} promises" if len(orphans) > 1 else "a promise"
            message = f"{many} outlived the maker: {first.id} of {first.workspace}, {first.what}"
        kept = Check("promises", "warn" if orphans else "ok", len(orphans), "", 0, None, message)
    except (OSError, K1ctlError) as exc:
        kept = Check("promises", "unknown", message=f"the promises cannot be read: {words(exc)}")
    try:
        still = watched.standing_still()
        message = "no command stands still for want of memory"
        if still:
            first_one = still[0].spec
            many = f"{len(still)} commands stand" if len(still) > 1 else "a command stands"
            message = f"{many} still for want of memory: {first_one['id']}, {first_one.get('what') or 'unnamed'}"
        stopped = Check("suspended", "warn" if still else "ok", len(still), "", 0, None, message)
    except (OSError, K1ctlError) as exc:
        stopped = Check("suspended", "unknown", message=f"limited commands cannot be read: {words(exc)}")
    return [kept, stopped]


def _blast_radius() -> Check:
    from k1ctl.capacity.blast import radius

    name, found = "blast_radius", radius()
    if found is None or not found.shelters:
        return Check(name, "skip", message="this was not called from a terminal's control group (cgroup v2)")
    who = ", ".join(found.shelters)
    if not found.killer:
        return Check(name, "ok", 0, "", 0, None, f"processes beside {who} are killed one by one")
    message = (
        f"{found.killer} would end all {found.processes} processes of this control group together, {who} among them"
    )
    return Check(name, "warn", 1, "", 0, None, message)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True


def _thermal(facts: Facts) -> Check:
    degrees = "" if facts.celsius is None else f", {facts.celsius:.0f} °C at the hottest place"
    if facts.thermal is None:
        return Check(
            "thermal", "skip", facts.celsius, message=f"the system does not tell whether it slows down{degrees}"
        )
    status = _THERMAL.get(facts.thermal, "unknown")
    value = [*_THERMAL].index(facts.thermal) if facts.thermal in _THERMAL else None
    return Check("thermal", status, value, "", 1, 2, f"thermal pressure is {facts.thermal}{degrees}", most=4)


def _gpus(facts: Facts, config: Config) -> list[Check]:
    from k1ctl.capacity.gpu import memory

    broken = next((gpu["error"] for gpu in facts.gpus if gpu.get("error")), "")
    if broken:
        return [Check("gpu_memory", "unknown", unit="%", message=broken)]
    total, used = memory(facts, config)
    if not total:
        return [Check("gpu_memory", "skip", unit="%", message="no GPU is known (nvidia-smi, capacity.gpu_memory)")]
    if used is None:
        return [Check("gpu_memory", "skip", unit="%", message=f"nobody tells how much of {format_size(total)} is used")]
    message = f"{format_size(used)} of {format_size(total)} of GPU memory are used"
    return [Check("gpu_memory", "ok", round(100.0 * used / total, 1), "%", message=message)]


def _load(facts: Facts) -> Check:
    """Never worse than ok: a load says how many want to run, not that anybody suffers."""
    if facts.load is None:
        return Check("load", "skip", message="the system does not tell its load")
    message = f"{facts.load:.2f} on {facts.cores} core{'s' * (facts.cores != 1)}"
    return Check("load", "ok", round(facts.load, 2), message=message)
