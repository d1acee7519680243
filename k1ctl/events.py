"""The append-only record of every decision: ``ops/events/YYYY-MM-DD.jsonl``, one line an event."""

from __future__ import annotations

import errno
import fcntl
import os
import time

from k1ctl.errors import ConfigError
from k1ctl.files import LINE_LIMIT, same_file
from k1ctl.jsontext import dumps, loads
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from k1ctl.workspace import Workspace

_FIELD_LIMIT = 400  # characters a field keeps when the line would grow past one atomic write
AT = b'{"at":"'
_BEGIN = AT.decode()
_GLUED = 8  # pieces that one line is looked through for
_TRIES = 100  # a file is closed once in a while; more often: a filesystem whose inode numbers say nothing
_PATIENCE = 0.5  # s that a writer waits for who closes the day's file: he has the lock for microseconds, or was stopped


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else dumps(value)
    return text[:_FIELD_LIMIT] + "..." if len(text) > _FIELD_LIMIT else value


def emit(workspace: Workspace, event: str, **fields: Any) -> None:
    """Append one event; ``event`` is ``noun.verb`` (``queue.granted``), fields are JSON-able, units in their names.

    A line longer than one atomic write has its long fields cut, then dropped; the run's log has the rest. Failing to
    write an event never fails the work it tells of: disk full or read-only ``ops/`` lose the event, not the run.
    """
    now = rfc3339()
    head = {"at": now, "event": event, "workspace": workspace.name}
    line = dumps({**head, **fields})
    if len(line) >= LINE_LIMIT:
        line = dumps({**head, **{k: _cut(v) for k, v in fields.items()}, "cut": True})
    if len(line) >= LINE_LIMIT:
        line = dumps({**head, "run": _cut(fields.get("run", "")), "cut": True})
    try:
        append(workspace.ops_path("events", now[:10] + ".jsonl"), line)
    except (OSError, ConfigError):
        pass


def append(path: str, line: str) -> None:
    """Append one line to a day's file in one write, unless the file was closed (`k1ctl.events_compact`).

    It is closed, which is a rename, by who has its lock alone: so between our lock and the end of the write it keeps
    its name, and one that had lost it before is left for the new file of that name. A closed file never grows. Where
    the filesystem has no flock nothing is ever closed, and who was stopped with the lock is not waited for: before the
    rename the line is within what he will compress. Raises OSError when the line cannot be written whole.
    """
    data = (line + "\n").encode()
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK  # a pipe in its place blocks nobody
    for left in range(_TRIES, 0, -1):
        try:
            fd = os.open(path, flags, 0o644)
        except FileNotFoundError:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
            fd = os.open(path, flags, 0o644)
        try:
            try:
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                _wait_for_lock(fd)
            except OSError:
                pass
            if same_file(fd, path) or left == 1:
                if os.write(fd, data) != len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
                return
        finally:
            os.close(fd)


def _wait_for_lock(fd: int) -> None:
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        time.sleep(0.001)
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            continue


def read(
    folder: str, *, since: str = "", until: str = "", take: Callable[[bytes], dict[str, Any] | None] | None = None
) -> Iterator[dict[str, Any]]:
    """The events under ``folder`` (``ops/events``) in order, compressed days too, from the RFC 3339 time ``since`` on
    and before ``until``; ``take`` (as `k1ctl.events_find.Wanted.take`) makes an event of a line, or None.

    What is not JSON (a line that a full disk cut) is passed over.
    """
    from k1ctl.events_files import open_part, parts

    for part in parts(folder, since=since, until=until):
        opened = open_part(folder, part)
        if opened is None:
            continue
        with opened:
            for block in opened.blocks():
                for line in block.splitlines():
                    if since and line[:7] == AT and line[7:31] < since.encode():
                        continue  # most of a day, and not worth parsing
                    event = take(line) if take else parse(line.decode("utf-8", "replace"))
                    if event is None:
                        continue
                    at = str(event.get("at", ""))
                    if at >= since and (not until or at < until):
                        yield event


def parse(line: str) -> dict[str, Any] | None:
    """One line as an event; None when it is torn or foreign."""
    return parse_piece(line)[0]


def parse_piece(line: str) -> tuple[dict[str, Any] | None, int]:
    """The event in a line, or None, and how many characters stand before it that are none: the beginning of a line
    that a full disk cut, or zeros that a power cut left."""
    at = 0
    for _ in range(_GLUED):
        try:
            event = loads(line[at:] if at else line, bounded=True)
        except ValueError:
            at = line.find(_BEGIN, at + 1)
            if at < 0:
                break
            continue
        return (event, at) if isinstance(event, dict) else (None, 0)
    return None, 0
