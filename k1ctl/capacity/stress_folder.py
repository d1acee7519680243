"""The folder of a stress run: what was asked, one line for each finished cell, and how an interrupted run goes on.

``ops/benchmarks/<stamp>-stress/`` holds ``spec.json`` (written once), ``cells.jsonl`` (one appended, synced line a
finished cell), ``logs/<cell>/<copy>.log``, and at the end ``report.json`` and ``report.svg``. A folder with a spec and
without a report is unfinished.
"""

from __future__ import annotations

import os
import time

from k1ctl.errors import BusyError, ConfigError
from k1ctl.files import LINE_LIMIT, append_line, flock, open_locked, read_bytes, read_json, sync_folders, write_json
from k1ctl.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.capacity.facts import Facts

_SUFFIX = "-stress"
_ASKED = ("command", "cwd", "agents", "memory_bytes", "cpus", "jobs", "repeat", "timeout_seconds")


def host(facts: Facts) -> dict[str, Any]:
    """What makes figures of one host those of another: its name, system, cores and memory."""
    return {
        "name": os.uname().nodename,
        "system": facts.system,
        "cores": facts.cores,
        "memory_bytes": facts.memory,
    }


class Folder:
    """One run's folder. ``spec`` is what was asked; `finished` gives the cells that are done."""

    def __init__(self, path: str, spec: dict[str, Any]) -> None:
        self.path, self.spec = path, spec

    @property
    def cells_file(self) -> str:
        return os.path.join(self.path, "cells.jsonl")

    def finished(self) -> list[dict[str, Any]]:
        """The lines of the finished cells, in the order they finished. A torn last line (power cut) is taken away; the
        cell of one that is damaged is not finished."""
        data = read_bytes(self.cells_file) or b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(self.cells_file, len(whole))
        return [line for line in map(_line, whole.splitlines()) if line is not None]

    def add(self, line: dict[str, Any]) -> None:
        """Append a finished cell; it is on the disk when this returns. Raises OSError."""
        text = dumps(line)
        while len(text.encode()) >= LINE_LIMIT and line.get("failures"):  # figures never are that long
            line = {**line, "failures": line["failures"][:-1]}
            text = dumps(line)
        append_line(self.cells_file, text)
        fd = os.open(self.cells_file, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        sync_folders(self.path)

    def report(self, document: dict[str, Any]) -> None:
        """Write the report, which makes the run a finished one."""
        write_json(os.path.join(self.path, "report.json"), document, fsync=True)


def _line(data: bytes) -> dict[str, Any] | None:
    try:
        line = loads(data.decode())
    except ValueError:
        return None
    return line if isinstance(line, dict) and "cell" in line else None


def benchmarks(ops: str) -> str:
    return os.path.join(ops, "benchmarks")


def unfinished(ops: str) -> Folder | None:
    """The newest unfinished run, if there is one."""
    ends = ("report.json", "given-up")
    return next((f for f in _all(ops) if not any(os.path.exists(os.path.join(f.path, end)) for end in ends)), None)


def earlier(ops: str, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The cells of the newest run of the same command in the same folder on this host that finished any."""
    for folder in _all(ops):
        if all(folder.spec.get(key) == spec.get(key) for key in ("command", "cwd", "host")):
            lines = folder.finished()
            if lines:
                return lines
    return []


def _all(ops: str) -> Iterator[Folder]:
    """All runs, the newest first."""
    try:
        names = [name for name in os.listdir(benchmarks(ops)) if name.endswith(_SUFFIX)]
    except (FileNotFoundError, NotADirectoryError):
        return
    found = []
    for name in names:
        path = os.path.join(benchmarks(ops), name)
        spec = read_json(os.path.join(path, "spec.json"))
        if isinstance(spec, dict):
            found.append(Folder(path, spec))
    yield from sorted(found, key=lambda folder: str(folder.spec.get("at")), reverse=True)


def take(ops: str, spec: dict[str, Any], *, fresh: bool = False) -> tuple[Folder, bool]:
    """(the folder to go on in, whether it is an interrupted run's). ``fresh`` gives that one up and begins anew.

    Raises ConfigError (other-stress) when the interrupted run was asked otherwise, or on another host.
    """
    while (old := unfinished(ops)) is not None:
        if not fresh and check_same(old, spec):
            return old, True
        write_json(os.path.join(old.path, "given-up"), {"at": spec["at"]})
    return _new(ops, spec), False


def check_same(old: Folder, spec: dict[str, Any]) -> Folder | None:
    """The interrupted run when this call can go on with it; None when it cannot, and nothing is lost by that.

    Raises ConfigError (other-stress) when cells of it are finished.
    """
    if not old.finished() and any(old.spec.get(key) != spec.get(key) for key in (*_ASKED, "host")):
        return None
    hint = "call it as it was called then, or begin anew with --fresh"
    for key in _ASKED:
        if old.spec.get(key) != spec.get(key):
            raise ConfigError(
                f"{old.path} is unfinished, and was asked otherwise: its {key} is {_shown(old.spec.get(key))}, "
                f"not {_shown(spec.get(key))}",
                hint=hint,
                code="other-stress",
                folder=old.path,
                differs=key,
            )
    if old.spec.get("host") != spec.get("host"):
        was, now = old.spec.get("host") or {}, spec.get("host") or {}
        key = next(k for k in {**now, **was} if was.get(k) != now.get(k))
        raise ConfigError(
            f"{old.path} is unfinished, and of another host: its {key} is {_shown(was.get(key))}, "
            f"not {_shown(now.get(key))}",
            hint="go on where it began, or begin anew with --fresh",
            code="other-stress",
            folder=old.path,
            differs=f"host.{key}",
        )
    return old


def _new(ops: str, spec: dict[str, Any]) -> Folder:
    os.makedirs(benchmarks(ops), exist_ok=True)
    stamp = time.strftime("%Y%m%d-%H%M", time.localtime())
    for number in range(1, 1000):
        path = os.path.join(benchmarks(ops), f"{stamp}{f'-{number}' if number > 1 else ''}{_SUFFIX}")
        try:
            os.mkdir(path)
        except FileExistsError:
            continue
        write_json(os.path.join(path, "spec.json"), spec, fsync=True)
        sync_folders(path, benchmarks(ops))
        return Folder(path, spec)
    raise ConfigError(f"{benchmarks(ops)} has 999 runs of this minute")


def _shown(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, str) for v in value):
        from shlex import join

        return join(value)
    return dumps(value)


class Alone:
    """``with Alone(what):`` only one stress runs on a host: two would measure each other. Raises BusyError."""

    def __init__(self, what: str) -> None:
        self.what, self.fd = what, -1

    def __enter__(self) -> Alone:
        from k1ctl.workspace import host_dir

        path = os.path.join(host_dir(), "capacity", "stress.lock")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = open_locked(path, blocking=False)
        if fd is None:
            who = (read_bytes(path) or b"").decode(errors="replace").strip()
            raise BusyError(
                f"another stress runs on this host{f': {who}' if who else ''}",
                hint="two at once would measure each other; try again when it has ended",
                code="stress-runs",
            )
        self.fd = fd
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{self.what} (pid {os.getpid()})\n".encode(), 0)
        return self

    def __exit__(self, *exc: object) -> None:
        import fcntl

        os.ftruncate(self.fd, 0)
        flock(self.fd, fcntl.LOCK_UN, "stress.lock")
        os.close(self.fd)
