"""Which artifacts are kept, why, and which go when ``ops/artifacts`` takes more than ``artifact.limit``.

Always kept: what is pinned, what each living worktree built last, what a device runs or may be rolled back to, what an
upload in the queue waits to send, and what has just come. The others go, the oldest first. What is removed is first
renamed, under the lock of its target under which artifacts also come; who has a file of it open reads on.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import artifacts, artifacts_pins, events
from k1ctl.errors import K1ctlError
from k1ctl.files import Locked, read_bytes, read_json, write_json
from k1ctl.units import format_size, parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

RECENT = 60.0  # s for which what has just come is kept: an upload of it may be about to stand in line
_TAIL = 1 << 18  # bytes of a builds.jsonl that are read; `latest/` names each worktree's newest in any case
_LEFT = (".tmp-", ".pull-")  # what a killed store, removal or pull leaves


class Reason(NamedTuple):
    """Why an artifact is kept: ``kind`` is pinned, newest, device, rollback, run or recent; ``of`` the worktree, device
    or run it is kept for; ``text`` says it to people."""

    kind: str
    of: str
    text: str


class Kept:
    """An artifact with what decides about it: ``bytes`` of all its files, ``used_at`` (seconds since 1970) when it was
    last built or fetched, ``builds`` that gave these bytes, its ``pin``, and the ``reasons`` to keep it."""

    __slots__ = ("artifact", "builds", "bytes", "pin", "reasons", "used_at")

    def __init__(self, artifact: Artifact) -> None:
        self.artifact = artifact
        self.bytes = _size(artifact.folder)
        self.builds = builds(artifact)
        self.pin = artifacts_pins.read(artifact.folder)
        self.reasons: list[Reason] = []
        times = [_seconds(build.get("at")) for build in self.builds[-1:]] + [_seconds(artifact.manifest.get("at"))]
        self.used_at = max(times)

    @property
    def last(self) -> dict[str, Any]:
        """The last build of it that a worktree made; the first one where no further is recorded."""
        made = [build for build in self.builds if build.get("workspace_path")]
        return made[-1] if made else self.artifact.manifest

    def document(self) -> dict[str, Any]:
        """The artifact as JSON."""
        last = self.last
        return {
            **{key: self.artifact.document()[key] for key in ("target", "id", "sha256", "folder")},
            "workspace": last.get("workspace"),
            "commit": last.get("commit"),
            "dirty": last.get("dirty"),
            "at": last.get("at"),
            "age_seconds": round(max(0.0, time.time() - self.used_at), 3),
            "bytes": self.bytes,
            "pinned": self.pin is not None,
            "reason": (self.pin or {}).get("reason") or None,
            "kept": [reason._asdict() for reason in self.reasons],
        }


class Stock:
    """What lies in ``ops/artifacts``: ``kept`` artifacts, the newest first; ``damaged`` folders {path: bytes} that are
    no artifact any more; ``left`` paths of killed calls; ``bytes`` of everything, also of files that are not ours;
    ``targets`` the folders in which artifacts are."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.damaged: dict[str, int] = {}
        self.left: dict[str, int] = {}
        self.bytes = 0
        self.targets: dict[str, int] = {}  # {folder: bytes}


def survey(workspace: Workspace, config: Config) -> Stock:
    """Look at all of ``ops/artifacts``, with the reasons of each. Takes no lock and changes nothing."""
    stock = Stock()
    base = workspace.ops_path("artifacts")
    for name in _listed(base):
        folder = os.path.join(base, name)
        size = _size(os.path.realpath(folder))
        stock.bytes += size
        if _is_target(folder):
            stock.targets[folder] = size
            _look(stock, folder)
    stock.kept.sort(key=lambda kept: (kept.used_at, kept.artifact.id), reverse=True)
    _reason(stock, workspace, config)
    return stock


def builds(artifact: Artifact) -> list[dict[str, Any]]:
    """The recorded builds that gave these bytes, the oldest first; of very many the last."""
    data = read_bytes(os.path.join(artifact.folder, artifacts.BUILDS)) or b""
    found = (events.parse(line) for line in data[-_TAIL:].decode("utf-8", "replace").splitlines())
    return [build for build in found if build is not None]


def _look(stock: Stock, folder: str) -> None:
    ids = set(artifacts.ids_in(folder))
    for name in _listed(folder):
        path = os.path.join(folder, name)
        if name.startswith(_LEFT):
            stock.left[path] = _size(path)
        elif ".damaged-" in name:
            stock.damaged[path] = _size(path)
        elif name in ids:
            artifact = artifacts.load_any(path)
            if artifact is None:
                stock.damaged[path] = _size(path)
            else:
                stock.kept.append(Kept(artifact))


def _reason(stock: Stock, workspace: Workspace, config: Config) -> None:
    """Give each artifact its reasons."""
    devices, wanted = _on_devices(workspace, config), _in_queue(workspace, config)
    newest = _newest(stock, int(config.get("artifact", "keep")))
    now = time.time()
    for kept in stock.kept:
        artifact = kept.artifact
        if kept.pin is not None:
            why = f": {kept.pin['reason']}" if kept.pin["reason"] else ""
            kept.reasons.append(Reason("pinned", "", f"pinned{why}"))
        kept.reasons += newest.get(artifact.folder, [])
        kept.reasons += devices.get(artifact.id, [])
        kept.reasons += wanted.get(artifact.id, [])
        if now - kept.used_at < RECENT:
            kept.reasons.append(Reason("recent", "", "just come"))


def _newest(stock: Stock, count: int) -> dict[str, list[Reason]]:
    """{folder: reasons} of the last ``count`` artifacts of each target that each living worktree built."""
    found: dict[str, list[Reason]] = {}
    made: dict[tuple[str, str], dict[str, float]] = {}  # (target's folder, worktree): {artifact's folder: when}
    for kept in stock.kept:
        base = os.path.dirname(kept.artifact.folder)
        for build in [kept.artifact.manifest, *kept.builds] if not kept.builds else kept.builds:
            if build.get("workspace_path"):
                at = made.setdefault((base, build["workspace_path"]), {})
                at[kept.artifact.folder] = _seconds(build.get("at"))
    for base in stock.targets:
        for name in _listed(os.path.join(base, "latest")):
            last = read_json(os.path.join(base, "latest", name))
            if isinstance(last, dict) and last.get("workspace_path") and last.get("id"):
                at = made.setdefault((base, last["workspace_path"]), {})
                at[os.path.join(base, str(last["id"]))] = float("inf")  # two builds may be of one millisecond
    for (_, path), at in made.items():
        if os.path.isdir(path):
            for folder in sorted(at, key=lambda folder: at[folder], reverse=True)[:count]:
                name = os.path.basename(path)
                found.setdefault(folder, []).append(Reason("newest", path, f"newest {count} of {name}"))
    return found


def _on_devices(workspace: Workspace, config: Config) -> dict[str, list[Reason]]:
    """{id: reasons} of what the ledgers of all devices name: what each runs, and what it may go back to."""
    from k1ctl.device import images

    names = dict.fromkeys(config.names("devices"))
    for file in _listed(workspace.ops_path("device")):
        if file.endswith(".images.json"):  # also of a device that is not configured any more
            told = read_json(workspace.ops_path("device", file))
            names.update({told["device"]: None} if isinstance(told, dict) and told.get("device") else {})
    found: dict[str, list[Reason]] = {}
    for device in names:
        ledger = images.read(workspace, device)
        if ledger["current"] is not None:
            found.setdefault(ledger["current"]["artifact"], []).append(Reason("device", device, f"on {device}"))
        for entry in ledger["soaked"]:
            if not entry.get("failed_since"):
                reason = Reason("rollback", device, f"rollback image of {device}")
                found.setdefault(entry["artifact"], []).append(reason)
    return found


def _in_queue(workspace: Workspace, config: Config) -> dict[str, list[Reason]]:
    """{id: reasons} of what runs that stand in the queue, parked ones too, are to send."""
    from k1ctl.queue import view
    from k1ctl.queue.folder import queue_folder

    found: dict[str, list[Reason]] = {}
    for entry in view.entries(queue_folder(workspace, config)):
        run = str(entry.get("run") or "")
        kept = read_json(workspace.ops_path("runs", run, "run.json")) if run else None
        details = kept.get("details") if isinstance(kept, dict) else None
        wanted = details.get("artifact") if isinstance(details, dict) else None
        if isinstance(wanted, str):
            found.setdefault(wanted, []).append(Reason("run", run, f"wanted by run {run}"))
    return found


class Pruned:
    """What a pruning did: ``removed`` rows with target, id, path and bytes; sizes in bytes ``before`` and ``after``."""

    def __init__(self, stock: Stock, limit: int | None, *, dry_run: bool) -> None:
        self.before = self.after = stock.bytes
        self.limit, self.dry_run = limit, dry_run
        self.kept = sum(kept.bytes for kept in stock.kept if kept.reasons)
        self.removed: list[dict[str, Any]] = []

    @property
    def over(self) -> bool:
        """Whether what is left is still more than the limit."""
        return self.limit is not None and self.after > self.limit

    def sentence(self) -> str:
        """Why it is still over the limit, "" when it is not."""
        if self.limit is None or not self.over:
            return ""
        return (
            f"ops/artifacts takes {format_size(self.after)}, more than {format_size(self.limit)}: "
            f"{format_size(self.kept)} of it are kept for a reason (k1ctl artifact list says which)"
        )

    def document(self) -> dict[str, Any]:
        """The pruning as JSON."""
        sizes = {"bytes_before": self.before, "bytes": self.after, "kept_bytes": self.kept}
        return {"dry_run": self.dry_run, "limit_bytes": self.limit, **sizes, "over": self.over, "removed": self.removed}


def prune(workspace: Workspace, config: Config, *, limit: int | None, dry_run: bool = False) -> Pruned:
    """Remove what killed calls left, and while more than ``limit`` bytes are taken (None: no limit) also what is
    damaged, then the artifacts that nothing keeps, the oldest first.

    No artifact comes or gets a pin meanwhile, and what came into the queue before is seen. Raises OSError, ConfigError.
    """
    from contextlib import ExitStack

    base = workspace.ops_path("artifacts")
    targets = [folder for name in _listed(base) if _is_target(folder := os.path.join(base, name))]
    with ExitStack() as held:
        for folder in [] if dry_run else targets:  # in order, so that two prunings never wait for each other
            held.enter_context(Locked(os.path.join(folder, ".lock")))
        stock = survey(workspace, config)
        done = Pruned(stock, limit, dry_run=dry_run)
        for path, size in _to_remove(stock, limit):
            base, name = os.path.split(path)
            if base in targets and (dry_run or _remove(path)):  # a target that has just begun is not locked
                done.after -= size
                target = artifacts.target_of(os.path.basename(base))
                done.removed.append({"target": target, "id": name, "path": path, "bytes": size})
        if not dry_run:
            for folder in targets:
                _forget_latest(folder, {os.path.basename(row["path"]) for row in done.removed})
                write_json(os.path.join(folder, artifacts.SIZES), {"bytes": _size(os.path.realpath(folder))})
    if done.removed and not dry_run:
        freed = {"removed_count": len(done.removed), "freed_bytes": done.before - done.after}
        ids = [row["id"] for row in done.removed]
        events.emit(workspace, "artifact.pruned", **freed, bytes=done.after, limit_bytes=limit, artifacts=ids)
    return done


def trim(workspace: Workspace, config: Config) -> None:
    """After a build: prune when more than ``artifact.limit`` is taken, by what each target's folder is known to take.

    It costs a few small reads while there is room. A failure is none of the build's.
    """
    limit = int(config.get("artifact", "limit"))
    try:
        if limit and _known_bytes(workspace) > limit:
            prune(workspace, config, limit=limit)
    except (OSError, K1ctlError):
        pass


def _known_bytes(workspace: Workspace) -> int:
    base, total = workspace.ops_path("artifacts"), 0
    for name in _listed(base):
        folder = os.path.join(base, name)
        if not _is_target(folder):
            continue
        known = read_json(os.path.join(folder, artifacts.SIZES))
        if not isinstance(known, dict) or not isinstance(known.get("bytes"), int):
            with Locked(os.path.join(folder, ".lock")):
                known = {"bytes": _size(os.path.realpath(folder))}
                write_json(os.path.join(folder, artifacts.SIZES), known)
        total += known["bytes"]
    return total


def _to_remove(stock: Stock, limit: int | None) -> Iterator[tuple[str, int]]:
    taken = stock.bytes
    useless = sorted(stock.damaged.items(), key=lambda item: _changed(item[0]))
    idle = [(kept.artifact.folder, kept.bytes) for kept in reversed(stock.kept) if not kept.reasons]
    for path, size in stock.left.items():
        if not os.path.basename(path).startswith(".pull-") or _abandoned(path):
            taken -= size
            yield path, size
    for path, size in [*useless, *idle]:
        if limit is not None and taken > limit:
            taken -= size
            yield path, size


def _remove(path: str) -> bool:
    """Rename aside, where nobody finds it any more, then delete; False where it is gone already."""
    base, name = os.path.split(path)
    aside = path if name.startswith(".tmp-") else os.path.join(base, f".tmp-{name}-{os.urandom(4).hex()}")
    try:
        if aside != path:
            os.rename(path, aside)
        artifacts.discard(aside)
    except FileNotFoundError:
        return False
    return True


def _abandoned(path: str) -> bool:
    """Whether the pull that made this folder is over: it holds the lock in it."""
    try:
        with Locked(os.path.join(path, artifacts.PULLING), blocking=False):
            return True
    except (K1ctlError, OSError):
        return False


def _forget_latest(folder: str, gone: set[str]) -> None:
    """Take away what names a removed artifact as the newest of a worktree that is not there any more."""
    for name in _listed(os.path.join(folder, "latest")):
        path = os.path.join(folder, "latest", name)
        last = read_json(path)
        if isinstance(last, dict) and last.get("id") in gone and not os.path.isdir(str(last.get("workspace_path"))):
            os.unlink(path)


def _is_target(folder: str) -> bool:
    """Whether artifacts are kept in this folder: others put things into ops/artifacts, too."""
    marks = (os.path.join(folder, name) for name in ("latest", ".lock"))
    return any(map(os.path.exists, marks)) or bool(artifacts.ids_in(folder))


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: str) -> int:
    """Bytes of the files at and below ``path``; links count as what they are."""
    if not os.path.isdir(path) or os.path.islink(path):
        try:
            return os.lstat(path).st_size
        except OSError:
            return 0
    total = 0
    for base, _, names in os.walk(path):
        for name in names:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                pass
    return total


def _changed(path: str) -> float:
    try:
        return os.stat(path).st_mtime
    except OSError:
        return 0.0


def _seconds(at: Any) -> float:
    try:
        return parse_rfc3339(str(at))
    except ValueError:
        return 0.0
