"""What is so on this host now: slots in use, what was promised and is seen, the disk, what a worktree takes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.capacity import gate, histogram, levels, limits, promises, twopart
from k1ctl.capacity.bounds import WORKTREE, WORKTREE_SOURCE, Seen

if TYPE_CHECKING:
    from k1ctl.capacity.facts import Facts
    from k1ctl.capacity.histogram import Estimate
    from k1ctl.capacity.levels import Level
    from k1ctl.capacity.promises import Promise
    from k1ctl.config import Config
    from k1ctl.disk import Use
    from k1ctl.workspace import Workspace


class State:
    """``level``: the watermark; ``held``: promises that hold, ``waiting`` ones in line; memory in bytes: ``promised``,
    ``seen`` of those promised, ``beyond`` what was promised of that, ``others`` use, ``most`` that may be promised in
    all now, and ``first`` that one promise may be of where there is none (0: there is); ``resources``: rows of what is
    promised; ``pools``: rows of the queue; ``disk``: use of the disk (None: not known); ``classes`` that have a
    history, and its ``problems``; ``seen_by_bounds``: what the bounds need."""

    __slots__ = (
        "beyond", "classes", "disk", "first", "held", "level", "most", "others", "pools", "problems", "promised",
        "resources", "seen", "seen_by_bounds", "waiting",
    )  # fmt: skip

    def __init__(self, facts: Facts, config: Config, workspace: Workspace | None) -> None:
        self.level: Level = levels.now(facts, config)
        found = promises.held(waiting=True)
        self.held: list[Promise] = [p for p in found if not p.waiting]
        self.waiting: list[Promise] = [p for p in found if p.waiting]
        self.promised = sum(p.units.get("mem", 0) for p in self.held) * limits.MIB
        self.seen = sum(p.seen_bytes for p in self.held)
        self.beyond = sum(p.memory for p in self.held) - self.promised
        self.others = max(0, facts.used - self.seen)
        most = limits.of(config, facts)
        self.most = gate.total("mem", 0, facts, most, self.held) * limits.MIB
        self.first = 0 if any("mem" in p.units for p in self.held) else most.most("mem") * limits.MIB
        self.resources = _resources(self.held, most)
        self.pools = _pools(config, workspace)
        names, self.problems = histogram.classes()
        self.classes: list[Estimate] = [known for name in names if (known := histogram.of(name)) is not None]
        own = facts.origin == facts.system  # a file of facts is of another host, whose disk is not ours
        self.disk = _disk(workspace) if own else None
        self.seen_by_bounds = _seen(config, workspace, self.disk, self.held) if own else Seen()

    @property
    def free(self) -> int:
        """Bytes of memory that may still be promised now."""
        return max(0, self.most - self.promised)

    def document(self) -> dict[str, Any]:
        """The state as JSON."""
        seen, marks = self.seen_by_bounds, self.level.marks
        return {
            "watermark": {**self.level.document(), **{key: marks.get(n) for n, key in levels.WATERMARKS.items()}},
            "queue": self.pools,
            "promises": {
                "memory_promised_bytes": self.promised,
                "memory_seen_bytes": self.seen,
                "memory_seen_beyond_bytes": self.beyond,
                "memory_others_bytes": self.others,
                "memory_free_bytes": self.free,
                "memory_first_bytes": self.first or None,
                "resources": self.resources,
                "held": [promise.document() for promise in self.held],
                "waiting": [promise.document() for promise in self.waiting],
            },
            "classes": [estimate.document() for estimate in self.classes],
            "problems": self.problems,
            "disk": None if self.disk is None else self.disk.document(),
            "worktrees": {"count": seen.worktrees, "bytes_each": seen.worktree_bytes, "origin": seen.worktree_origin},
        }


def _resources(held: list[Promise], most: limits.Limits) -> list[dict[str, Any]]:
    """A row for each resource that is promised: how much of it, and of how much (None: nobody limits it)."""
    counts: dict[str, int] = {}
    for promise in held:
        for name, count in promise.units.items():
            counts[name] = counts.get(name, 0) + count
    units = {"mem": "bytes", "gpu": "bytes", "disk": "bytes", "cpu": "cores", "tokens": "tokens"}
    rows = []
    for name, count in sorted(counts.items()):
        kind, limit = name.partition(":")[0], most.most(name)
        scale = limits.SCALE.get(kind, 1)
        rows.append(
            {
                "resource": name,
                "unit": units.get(kind, "count"),
                "promised": round(count * scale, 2),
                "limit": round(limit * scale, 2) if limit < limits.UNCOUNTED else None,
                "text": limits.amount(name, count) + (f" of {limits.amount(name, limit)}" * (limit < limits.UNCOUNTED)),
            }
        )
    return rows


def _pools(config: Config, workspace: Workspace | None) -> list[dict[str, Any]]:
    """A row for each resource that is configured, takes memory, or is in use."""
    names = [pool.resource for pool in twopart.pools(config)]
    names += config.names("queue", "slots")
    names += [f"device:{name}" for name in config.names("devices")]
    busy: dict[str, int] = {}
    waiting: dict[str, int] = {}
    if workspace is not None:
        from k1ctl.queue import view
        from k1ctl.queue.folder import queue_folder

        for row in view.entries(queue_folder(workspace, config)):
            counted = busy if row["state"] == "running" else waiting if row["state"] == "waiting" else {}
            for name, count in row["resources"].items():
                counted[name] = counted.get(name, 0) + count
    names += [name for name in [*busy, *waiting] if not name.startswith("tree:")]
    return [
        {
            "resource": name,
            "slots": config.slots(name),
            "busy": busy.get(name, 0),
            "waiting": waiting.get(name, 0),
            "bytes_each": (heavy := twopart.heavy(config, name))[0],
            "origin": heavy[1] if heavy[0] else None,
        }
        for name in dict.fromkeys(names)
    ]


def _disk(workspace: Workspace | None) -> Use | None:
    from k1ctl.disk import use

    try:
        return use(workspace.root if workspace is not None else os.path.expanduser("~"))
    except OSError:
        return None


def _seen(config: Config, workspace: Workspace | None, disk: Use | None, held: list[Promise]) -> Seen:
    found = Seen()
    if disk is not None:
        stop = int(config.get("disk", "stop_percent")) or 100
        found.disk_free = max(0, disk.free - disk.total * (100 - stop) // 100)
    tokens = sorted(p.need.tokens for p in held if p.need.tokens)
    found.tokens = tokens[len(tokens) // 2] if tokens else 0
    if workspace is None or not workspace.git_dir:
        return found
    from k1ctl import diskscan

    paths = _worktrees(workspace.git_dir)
    scans = [scan for path in paths if (scan := diskscan.recent(workspace, path)) is not None]
    total = sum(scan.total for scan in scans)
    found.worktrees = len(paths)
    found.worktree_bytes, found.worktree_origin = WORKTREE, WORKTREE_SOURCE
    if total:
        found.worktree_bytes = total // len(scans)
        found.worktree_origin = f"mean of {len(scans)} as `k1ctl worktree du` saw them"
    quota = int(config.get("disk", "total_quota"))
    if quota:
        found.quota_free = quota - total - (len(paths) - len(scans)) * found.worktree_bytes
    return found


def _worktrees(git_dir: str) -> list[str]:
    """The linked worktrees of a repository that are there, without asking git (gitrepository-layout(5))."""
    folder = os.path.join(git_dir, "worktrees")
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        try:
            with open(os.path.join(folder, name, "gitdir"), "rb") as f:
                link = os.path.join(folder, name, os.fsdecode(f.read().rstrip(b"\n")))
        except OSError:
            continue
        if os.path.isfile(link):
            found.append(os.path.dirname(os.path.normpath(link)))
    return found
