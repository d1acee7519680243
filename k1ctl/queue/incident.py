"""The pause that an incident makes, known by a mark, so that only it is lifted again."""

from __future__ import annotations

import os

from k1ctl.files import read_bytes, write_atomic
from k1ctl.queue import names
from k1ctl.queue.line import Line


def hold(folder: str, resource: str, reason: str, mark: str) -> bool:
    """Pause ``resource`` unless it is paused; True when the pause is the one of this ``mark``, now or since before.

    The mark ends the reason that others see. Raises OSError.
    """
    names.check_resource(resource)
    with Line(folder) as line:
        path = _path(line, resource)
        there = read_bytes(path)
        if there is None:
            write_atomic(path, f"{reason} {mark}\n", scratch=folder)  # a pause without its mark nobody would lift
            line.wake_all()
    line.close()
    return there is None or _marked(there, mark)


def lift(folder: str, resource: str, mark: str) -> bool:
    """Undo `hold`; False when there is no pause with this mark (any more): a person's stays. Raises OSError."""
    with Line(folder) as line:
        path = _path(line, resource)
        there = read_bytes(path)
        ours = there is not None and _marked(there, mark)
        if ours:
            os.unlink(path)
            line.wake_all()
    line.close()
    return ours


def mark_of(reason: str) -> str:
    """The mark that ends the reason of a pause, ``[incident k1/7]``; "" for a pause that somebody else made."""
    _, bracket, rest = reason.rstrip().rpartition("[incident ")
    return f"{bracket}{rest}" if bracket and rest.endswith("]") else ""


def _path(line: Line, resource: str) -> str:
    return f"{line.tickets}P.{resource}"


def _marked(text: bytes, mark: str) -> bool:
    return mark_of(text.decode("utf-8", "replace")) == mark
