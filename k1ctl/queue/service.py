"""Devices out of service: a pause of a device's resource that says who made it, since when and why.

It is told apart from an ordinary pause by its file (``D.device:k1``), so that each is undone by its own command.
"""

from __future__ import annotations

import os

from k1ctl.files import read_json, write_atomic
from k1ctl.jsontext import dumps
from k1ctl.queue import names
from k1ctl.queue.line import Line, lift
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MARK = "D."


def disable(folder: str, device: str, reason: str, by: str) -> bool:
    """Let nobody new have a device; who has it goes on. False when it was out of service: then it has this reason now.

    Raises UsageError, OSError.
    """
    resource = names.check_resource(f"device:{device}")
    with Line(folder) as line:
        path = line.tickets + _MARK + resource
        known = read_json(path)
        since = known.get("since") if isinstance(known, dict) else None
        facts = {"reason": reason, "by": by, "since": since or rfc3339()}
        write_atomic(path, dumps(facts) + "\n", scratch=folder)
        if since is None:
            line.wake_all()  # who may have another one looks for that
    line.close()
    return since is None


def enable(folder: str, device: str) -> bool:
    """Undo `disable`; False when the device was not out of service. An ordinary pause stays. Raises OSError."""
    return lift(folder, f"{_MARK}device:{device}")


def out_of_service(folder: str) -> dict[str, dict[str, Any]]:
    """{device: {``reason``, ``by``, ``since``}} of the devices that are out of service. Takes no lock."""
    tickets = os.path.join(folder, "tickets")
    try:
        files = sorted(f for f in os.listdir(tickets) if f.startswith(f"{_MARK}device:"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found = {}
    for file in files:
        known = read_json(os.path.join(tickets, file))
        facts = known if isinstance(known, dict) else {}
        found[file.partition(":")[2]] = {key: str(facts.get(key, "")) for key in ("reason", "by", "since")}
    return found


def told(facts: dict[str, Any]) -> str:
    """Why a device is out of service, in one line that begins with `names.OUT_OF_SERVICE`."""
    reason = f": {facts['reason']}" if facts["reason"] else ""
    return f"{names.OUT_OF_SERVICE}{reason} ({facts['by']}, since {facts['since']})"
