"""Which artifacts are kept, why, and which go when ``ops/artifacts`` takes more than ``artifact.limit``.

Always kept: what is pinned, what each living worktree built last, what a device runs or may be rolled back to, what an
upload in the queue waits to send, and what has just come. The others go, the oldest first. What is removed is first
renamed, under the lock of its target under which artifacts also come; who has a file of it open reads on.
"""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts, artifacts_pins, events, retention_reasons
from k1ctl.errors import K1ctlError
from k1ctl.files import Locked, flock, read_bytes, read_json, write_json
from k1ctl.retention_reasons import listed, seconds
from k1ctl.units import format_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.retention_reasons import Reason
    from k1ctl.workspace import Workspace

_TAIL = 1 << 18  # bytes of a builds.jsonl that are read; `latest/` names each worktree's newest in any case
_LEFT = (".tmp-", ".pull-")  # what a killed store, removal or pull leaves
_TEXTS = ("workspace", "workspace_path", "commit", "at", "run", "pulled_from")  # of a build's line


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
        times = [seconds(build.get("at")) for build in self.builds[-1:]] + [seconds(artifact.manifest.get("at"))]
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
    no artifact any more, and of them ``pinned`` those whose pin no other has; ``left`` paths of killed calls; ``bytes``
    of everything, also of files that are not ours; ``targets`` the folders in which artifacts are."""

    def __init__(self) -> None:
        self.kept: list[Kept] = []
        self.damaged: dict[str, int] = {}
        self.pinned: set[str] = set()
        self.left: dict[str, int] = {}
        self.bytes = 0
        self.targets: dict[str, int] = {}  # {folder: bytes}


def survey(workspace: Workspace, config: Config) -> Stock:
    """Look at all of ``ops/artifacts``, with the reasons of each. Takes no lock and changes nothing."""
    stock = Stock()
    base = workspace.ops_path("artifacts")
    for name in listed(base):
        folder = os.path.join(base, name)
        size = _size(os.path.realpath(folder))
        stock.bytes += size
        if _is_target(folder):
            stock.targets[folder] = size
            _look(stock, folder)
    stock.kept.sort(key=lambda kept: (kept.used_at, kept.artifact.id), reverse=True)
    retention_reasons.give(stock, workspace, config)
    return stock


def builds(artifact: Artifact) -> list[dict[str, Any]]:
    """The recorded builds that gave these bytes, the oldest first; of very many the last."""
    data = read_bytes(os.path.join(artifact.folder, artifacts.BUILDS)) or b""
    found = (events.parse(line) for line in data[-_TAIL:].decode("utf-8", "replace").splitlines())
    return [b for b in found if b is not None and all(isinstance(b.get(key), str | None) for key in _TEXTS)]


def _look(stock: Stock, folder: str) -> None:
    ids = set(artifacts.ids_in(folder))
    for name in listed(folder):
        path = os.path.join(folder, name)
        if name.startswith(_LEFT) or _is_half_written(name):
            stock.left[path] = _size(path)
        elif name in ids and (artifact := artifacts.load_any(path)) is not None:
            stock.kept.append(Kept(artifact))
        elif name in ids or ".damaged-" in name:
            stock.damaged[path] = _size(path)
            # One that was set aside hands its pin to the artifact that takes its place.
            if artifacts_pins.read(path) is not None and (name in ids or name.partition(".")[0] not in ids):
                stock.pinned.add(path)
    latest = os.path.join(folder, "latest")
    for name in filter(_is_half_written, listed(latest)):
        stock.left[os.path.join(latest, name)] = _size(os.path.join(latest, name))


def _is_half_written(name: str) -> bool:
    """Whether a killed `k1ctl.files.write_atomic` left a file of this name: all write under the target's lock."""
    return name.startswith(".") and name.endswith(".tmp")


class Pruned:
    """What a pruning did: ``removed`` rows with target, id, path and bytes; ``failed``: paths that could not be, each
    with why; sizes in bytes ``before`` and ``after``."""

    def __init__(self, stock: Stock, limit: int | None, *, dry_run: bool) -> None:
        self.before = self.after = stock.bytes
        self.limit, self.dry_run = limit, dry_run
        self.kept = sum(kept.bytes for kept in stock.kept if kept.reasons)
        self.kept += sum(stock.damaged[path] for path in stock.pinned)
        self.removed: list[dict[str, Any]] = []
        self.failed: list[dict[str, Any]] = []

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
        rows = {"removed": self.removed, "failed": self.failed}
        return {"dry_run": self.dry_run, "limit_bytes": self.limit, **sizes, "over": self.over, **rows}


def prune(workspace: Workspace, config: Config, *, limit: int | None, dry_run: bool = False) -> Pruned:
    """Remove what killed calls left, and while more than ``limit`` bytes are taken (None: no limit) also what is
    damaged, then the artifacts that nothing keeps, the oldest first.

    No artifact comes or gets a pin meanwhile, and what came into the queue before is seen. What cannot be removed
    keeps nothing else from going. Raises OSError, ConfigError.
    """
    from contextlib import ExitStack

    base = workspace.ops_path("artifacts")
    targets = [folder for name in listed(base) if _is_target(folder := os.path.join(base, name))]
    with ExitStack() as held:
        for folder in [] if dry_run else targets:  # in order, so that two prunings never wait for each other
            held.enter_context(Locked(os.path.join(folder, ".lock")))
        stock = survey(workspace, config)
        done = Pruned(stock, limit, dry_run=dry_run)
        for path, size in _left(stock):
            _take(done, targets, path, size)
        for path, size in _useless(stock):
            if limit is not None and done.after > limit:
                _take(done, targets, path, size)
        if not dry_run:
            for folder in targets:
                _forget_latest(folder, {os.path.basename(row["path"]) for row in done.removed})
                write_json(os.path.join(folder, artifacts.SIZES), {"bytes": _size(os.path.realpath(folder))})
    if done.removed and not dry_run:
        freed = {"removed_count": len(done.removed), "freed_bytes": done.before - done.after}
        ids = [row["id"] for row in done.removed]
        events.emit(workspace, "artifact.pruned", **freed, bytes=done.after, limit_bytes=limit, artifacts=ids)
    return done


def _take(done: Pruned, targets: list[str], path: str, size: int) -> None:
    """Remove one, unless it is only asked what would go."""
    base, name = os.path.split(path)
    shelf = os.path.dirname(base) if os.path.basename(base) == "latest" else base
    if shelf not in targets:  # a target that has just begun is not locked
        return
    try:
        if not done.dry_run and not _remove(path):
            return
    except OSError as exc:
        done.failed.append({"path": path, "why": exc.strerror or str(exc)})
        return
    done.after -= size
    target = artifacts.target_of(os.path.basename(shelf))
    done.removed.append({"target": target, "id": name, "path": path, "bytes": size})


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
    for name in listed(base):
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


def _left(stock: Stock) -> Iterator[tuple[str, int]]:
    for path, size in stock.left.items():
        if not os.path.basename(path).startswith(".pull-") or _abandoned(path):
            yield path, size


def _useless(stock: Stock) -> Iterator[tuple[str, int]]:
    """What nothing keeps: the damaged first, then the oldest."""
    damaged = sorted((path for path in stock.damaged if path not in stock.pinned), key=_changed)
    yield from ((path, stock.damaged[path]) for path in damaged)
    yield from ((kept.artifact.folder, kept.bytes) for kept in reversed(stock.kept) if not kept.reasons)


def _remove(path: str) -> bool:
    """Rename aside, where nobody finds it any more, then delete; False where it is gone already."""
    base, name = os.path.split(path)
    aside = (
        path
        if name.startswith(".tmp-") or _is_half_written(name)
        else os.path.join(base, f".tmp-{name}-{os.urandom(4).hex()}")
    )
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
        fd = os.open(os.path.join(path, artifacts.PULLING), os.O_RDWR | os.O_CLOEXEC)  # looking makes none
    except FileNotFoundError:
        return True  # made under the lock of its target, and taken away under it just before the folder is renamed
    except OSError:
        return False
    try:
        return flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, path)
    except (K1ctlError, OSError):
        return False
    finally:
        os.close(fd)


def _forget_latest(folder: str, gone: set[str]) -> None:
    """Take away what names a removed artifact as the newest of a worktree that is not there any more."""
    for name in listed(os.path.join(folder, "latest")):
        path = os.path.join(folder, "latest", name)
        last = read_json(path)
        named, tree = (str(last.get("id")), str(last.get("workspace_path"))) if isinstance(last, dict) else ("", "")
        if named in gone and not os.path.isdir(tree):
            os.unlink(path)


def _is_target(folder: str) -> bool:
    """Whether artifacts are kept in this folder: others put things into ops/artifacts, too."""
    marks = (os.path.join(folder, name) for name in ("latest", ".lock"))
    return any(map(os.path.exists, marks)) or bool(artifacts.ids_in(folder))


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
