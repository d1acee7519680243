"""The host-wide guards of the devices a run was granted: two repositories never touch one device at once."""

from __future__ import annotations

import os
import select
import time

from k1ctl.errors import K1ctlError
from k1ctl.files import open_locked
from k1ctl.jsontext import dumps
from k1ctl.process.attempt import Ending
from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.capacity.spared import Mark
    from k1ctl.config import Config
    from k1ctl.process.client import Client
    from k1ctl.process.spec import RunSpec

_LOOK = 0.1  # s; two repositories rarely meet here, so asking again is simpler than being woken


def take(client: Client) -> Ending | None:
    """Hold the guard of every configured device among the run's resources; None once they are ours.

    The descriptors go to the command, so a guard lives as long as whoever works under it. Waiting for a guard counts
    against the run's wait limit, is ended by ^C and `queue cancel`, and gives the place in line up. Raises ConfigError
    (no flock there), OSError.
    """
    from k1ctl.device.guard import covered

    paths = sorted(_paths(client.config, client.spec.resources))
    left = client.left()
    deadline = None if left is None else time.monotonic() + left
    for path in paths:
        if covered(path):
            continue
        ending = _take(client, path, deadline)
        if ending is not None:
            return ending
    return None


def spare(client: Client) -> Mark | None:
    """Keep what is a flash out of the limits that it may have been started in (`k1ctl.capacity.spared`)."""
    if client.spec.on_caller_exit != "keep" or client.spec.detached:
        return None
    from k1ctl.capacity import spared

    spared.withdraw()
    try:
        return spared.mark(os.getsid(0))
    except (OSError, K1ctlError) as exc:
        client.tell("warning", message=f"a memory limit around this flash cannot be told to spare it: {exc}")
        return None


def missing(config: Config, spec: RunSpec, run: str) -> bool:
    """Whether a guard that ``spec`` needs is not held for ``run``."""
    from k1ctl.device.guard import holder

    for path in _paths(config, spec.resources):
        fd = open_locked(path, blocking=False)
        if fd is not None:
            os.close(fd)
        if fd is not None or holder(path).get("run") != run:
            return True
    return False


def in_the_way(config: Config, resources: dict[str, int], run: str) -> str:
    """Who holds the guard of one of these devices before ``run``, in a few words; "" when nobody does."""
    from k1ctl.device.guard import holder, holder_text

    for path in _paths(config, resources):
        fd = open_locked(path, blocking=False)
        if fd is not None:
            os.close(fd)
        elif holder(path).get("run") != run:
            return holder_text(path)
    return ""


def _paths(config: Config, resources: dict[str, int]) -> list[str]:
    names = [r.partition(":")[2] for r in resources if r.startswith("device:")]
    known = [n for n in names if n in config.names("devices")]
    if not known:
        return []
    from k1ctl.device.guard import guard_key, guard_path

    sections = [config.section("devices", name) for name in known]
    return [guard_path(guard_key(s)) for s in sections if s["mac"] or s["host"]]


def _take(client: Client, path: str, deadline: float | None) -> Ending | None:
    from k1ctl.device.guard import holder_text

    told = False
    while (fd := open_locked(path, blocking=False)) is None:
        who = holder_text(path)
        if not told:
            client.tell("guarded", who=who)
            client.note("device.guarded", who=who)
            told = True
        if client.cancelled:
            return Ending(143, "k1ctl", "cancelled", "stopped: the run was cancelled")
        if deadline is not None and time.monotonic() >= deadline:
            waited = format_duration(client.spec.wait or 0)
            message = f"waited {waited}; the device is held by {who}"
            return Ending(75, "k1ctl", "device-guarded", message, hint="another repository on this host uses it")
        heard = [client.control] if client.control >= 0 else []
        if select.select(heard, [], [], _LOOK)[0]:
            word = os.read(client.control, 1)
            code = {b"I": 130, b"T": 143}.get(word, 129)
            return Ending(code, "k1ctl", "caller-gone", f"the caller left while the device was held by {who}")
    os.set_inheritable(fd, True)
    client.guards[path] = fd
    facts = {"workspace": client.workspace.path, "run": client.run_id, "pid": os.getpid(), "since": rfc3339()}
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, (dumps(facts) + "\n").encode(), 0)
    except OSError:
        pass  # a full disk costs the name of the holder, not the guard
    return None
