"""Is the device well? One prober asks for everybody, and each asker judges its answer by his own settings.

``ops/device/NAME.json`` is the last answer, ``NAME.lock`` beside it elects: who holds its flock asks the device, the
others wait for him and read. The kernel frees the lock of one that dies, and the next one takes over; in the lock file
stands when the device was asked last, so that he does not ask again within the same window. The firmware's rate
limits are per route for all clients together, which is why a poll of one's own is no option.
"""

from __future__ import annotations

import fcntl
import os
import time

from k1ctl.device.verdict import ALIVE, ANSWERED, GARBAGE, HEALTH, INFO, LIMITED, NO_ANSWER, NOT_ASKED, OFFLINE, judge
from k1ctl.errors import BusyError, K1ctlError, UnreachableError
from k1ctl.files import open_locked, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.workspace import Workspace

    Record = dict[str, Any]

CARRY_SECONDS = 30.0  # how long an earlier document stands in for one that the device would not repeat (429)
DOCUMENT_LIMIT = 4096  # bytes of a document that are worth keeping; the firmware's have 300
_NOT_ASKED = {"outcome": NOT_ASKED, "code": "", "message": "", "hint": ""}
_GRACE = 1.0  # seconds beyond its deadline in which the prober writes down what it has
_TRAVEL = 0.25  # seconds from asking to the device's hearing it: its window begins only then
_CLOCKS = 1.0  # seconds by which the two clocks may differ before an answer's age is not believed


def state_path(workspace: Workspace, name: str) -> str:
    """``ops/device/NAME.json``; what does not belong into a file name is written in hexadecimal."""
    safe = "".join(c if c.isascii() and (c.isalnum() or c in "-_") else f"%{ord(c):02x}" for c in name)
    return workspace.ops_path("device", f"{safe}.json")


def ask(
    workspace: Workspace,
    device: Mapping[str, Any],
    *,
    window: float,
    max_age: float = 0.0,
    timeout: float | None = None,
) -> Record:
    """What the device answered last, at most ``max_age`` seconds ago (never less than ``window``), else now.

    ``device`` is ``Config.section("devices", NAME)`` with its ``name``. All of it ends within ``timeout`` seconds
    (default: the device's ``probe_timeout``). Returns the record {device, host, http_port, probed_at, wall, monotonic,
    seconds, prober{workspace, pid}, answers{PATH: {outcome, code, message, hint, document, document_at}}, restarted,
    seen, age_seconds}; ``seen`` is the last uptime that the right device told, and when; `judge` makes a verdict of it.
    Raises BusyError (code probe-busy) when the elected prober does not come to an end, ConfigError, OSError.
    """
    path = state_path(workspace, str(device["name"]))
    lock = path.removesuffix(".json") + ".lock"
    begun = time.monotonic()
    patience = float(device["probe_timeout"]) if timeout is None else timeout
    deadline = begun + patience
    while True:
        found = _fresh(path, device, max(max_age, window), begun)
        if found is not None:
            return found
        fd = open_locked(lock, blocking=False)
        if fd is None:
            if not _until_free(lock, deadline + _GRACE):
                who = read_json(lock)
                named = f"process {who['pid']} ({who['workspace']})" if _is_mark(who) else "the process"
                raise _no_answer(device, patience, f"{named} that holds {lock} is stopped or starved")
            continue
        try:
            found = _fresh(path, device, max(max_age, window), begun)
            if found is None and not _turn(
                lock, device, window, deadline
            ):  # the one who asked died, and left us no time
                raise _no_answer(device, patience, "the process that asked was killed; try again")
            return found or _probe_for_all(workspace, path, device, deadline, fd)
        finally:
            os.close(fd)


def last(workspace: Workspace, device: Mapping[str, Any]) -> Record | None:
    """The shared record with its ``age_seconds``, whoever asked and however long ago; None when there is none of this
    address. Asks nobody and waits for nothing; after a restart of the host the wall clock alone tells the age."""
    record = _read(state_path(workspace, str(device["name"])), device)
    try:
        return None if record is None else {**record, "age_seconds": max(0.0, time.time() - record["wall"])}
    except (KeyError, TypeError):
        return None


def _no_answer(device: Mapping[str, Any], patience: float, hint: str) -> BusyError:
    text = f"no answer within {patience:g} s from the one who asks {device['name']} for all"
    return BusyError(text, hint=hint, code="probe-busy")


def _turn(lock: str, device: Mapping[str, Any], window: float, deadline: float) -> bool:
    """Wait until the window is over in which the device was asked last; False when the deadline comes first."""
    who, now = read_json(lock), time.monotonic()
    if _is_mark(who) and who.get("address") == _address(device):
        age = now - who["monotonic"]
        believed = age >= 0 and abs(time.time() - who["wall"] - age) <= _CLOCKS
        wait = window + _TRAVEL - age if believed and window else 0.0
        if wait > 0:
            time.sleep(min(wait, max(deadline - now, 0.0)))
    return time.monotonic() < deadline


def _address(device: Mapping[str, Any]) -> str:
    return f"{device['host']}:{device['http_port']}"


def _mark(fd: int, workspace: Workspace, device: Mapping[str, Any]) -> None:
    """Write into the lock file who asks, and when; a full disk costs no more than a 429 after a kill."""
    from k1ctl.jsontext import dumps

    who = {"pid": os.getpid(), "workspace": workspace.name, "address": _address(device)}
    text = dumps({**who, "monotonic": time.monotonic(), "wall": time.time()}) + "\n"
    try:
        os.ftruncate(fd, 0)
        os.pwrite(fd, text.encode(), 0)
    except OSError:
        pass


def _is_mark(who: Any) -> bool:
    return isinstance(who, dict) and all(
        isinstance(who.get(key), kind)
        for key, kind in (("pid", int), ("workspace", str), ("monotonic", float), ("wall", float))
    )


def _fresh(path: str, device: Mapping[str, Any], max_age: float, begun: float) -> Record | None:
    """The shared record, if it is of this address and young enough, or of a probe that ended after this call began."""
    record = _stored(path, device)
    if record is None:
        return None
    return record if record["monotonic"] >= begun or record["age_seconds"] <= max_age else None


def _read(path: str, device: Mapping[str, Any]) -> Record | None:
    """The shared record, whatever its age; None when there is none of this address."""
    record = read_json(path)
    if not isinstance(record, dict) or any(record.get(key) != device[key] for key in ("host", "http_port")):
        return None
    answers = record.get("answers")
    whole = isinstance(answers, dict) and all(
        isinstance(answers.get(route), dict)
        and "outcome" in answers[route]
        and isinstance(answers[route].get("document", {}), dict)
        for route in (INFO, HEALTH)
    )
    return record if whole else None


def _stored(path: str, device: Mapping[str, Any]) -> Record | None:
    """The shared record with its age; None for one whose age cannot be believed.

    Its age is told twice, by a clock that begins with the host's start and stands still while it sleeps, and by the
    wall clock, which people and time servers move: both have to agree, and neither may say that it is to come.
    """
    record = _read(path, device)
    if record is None:
        return None
    try:
        age = time.monotonic() - record["monotonic"]
        wall = time.time() - record["wall"]
    except (KeyError, TypeError):
        return None
    if age < 0 or abs(wall - age) > _CLOCKS:
        return None
    return {**record, "age_seconds": age}


def _until_free(lock: str, deadline: float) -> bool:
    """Wait until nobody holds ``lock``; False when that lasts beyond ``deadline`` (monotonic seconds).

    flock(2) has no deadline, so a thread waits in it, with all the others at once: it asks for a shared lock, only to
    be woken. One that is left behind ends with the process.
    """
    from _thread import allocate_lock, start_new_thread

    woken = allocate_lock()
    woken.acquire()
    try:
        fd = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # somebody cleaned ops/ away
        return True

    def wait() -> None:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH)
        except OSError:
            pass
        finally:
            os.close(fd)
            woken.release()

    start_new_thread(wait, ())
    return woken.acquire(timeout=max(deadline - time.monotonic(), 0.0))


def _probe_for_all(workspace: Workspace, path: str, device: Mapping[str, Any], deadline: float, fd: int) -> Record:
    """Ask the device and leave what it said to everybody; called by who holds the lock, ``fd``."""
    _mark(fd, workspace, device)
    before = _stored(path, device)
    started = time.monotonic()
    if before is not None:
        before["age_seconds"] = started - before["monotonic"]
    record = _probe(workspace, device, deadline, before)
    short = deadline - started < float(device["probe_timeout"]) * 0.9 and time.monotonic() >= deadline
    if short and not any(answer["outcome"] in ALIVE for answer in record["answers"].values()):
        return {**record, "age_seconds": 0.0}  # it had less time than others give: they would take it for offline
    last = _read(path, device)
    try:
        write_json(path, record)
    except OSError:
        pass  # a full disk costs the sharing, not the answer
    _tell(workspace, device, last, record)
    return {**record, "age_seconds": 0.0}


def _probe(workspace: Workspace, device: Mapping[str, Any], deadline: float, before: Record | None) -> Record:
    from k1ctl.units import rfc3339

    started = time.monotonic()
    answers = _answers(device, deadline)
    known = before["answers"] if before and before["age_seconds"] <= CARRY_SECONDS else {}
    for path, answer in answers.items():
        earlier = known.get(path) or {}
        young = earlier.get("document") and started - earlier["document_monotonic"] <= CARRY_SECONDS
        if answer["outcome"] == LIMITED and young:
            answer |= {key: earlier[key] for key in ("document", "document_at", "document_monotonic")}
    now = time.time()
    then, seen = before and before.get("seen"), _uptime(answers, device)
    return {
        "device": device["name"],
        "host": device["host"],
        "http_port": device["http_port"],
        "probed_at": rfc3339(now),
        "wall": now,
        "monotonic": time.monotonic(),
        "seconds": round(time.monotonic() - started, 3),
        "prober": {"workspace": workspace.name, "pid": os.getpid()},
        "answers": answers,
        "restarted": _restarted(then, seen, started),
        "seen": seen or then,
    }


def _answers(device: Mapping[str, Any], deadline: float) -> dict[str, Any]:
    """What the device says on both routes, one after the other: {PATH: answer}; raises nothing it is to blame for."""
    from k1ctl.device.http import resolve

    name, port = str(device["host"]), int(device["http_port"])
    answers: dict[str, Any] = {path: {**_NOT_ASKED} for path in (INFO, HEALTH)}
    try:
        if not name:
            raise UnreachableError(
                f"no address is configured for device {device['name']}",
                hint="set `host` in its section of ops/k1ctl.toml",
            )
        host = resolve(name, deadline - time.monotonic())
    except UnreachableError as exc:
        answers[INFO] = _failed(NO_ANSWER, exc)
        return answers
    for path in answers:
        answers[path] = _answer(host, port, path, deadline)
        if answers[path]["outcome"] == NO_ANSWER and deadline - time.monotonic() > 0 and path == INFO:
            break  # nobody listens: the second route would say the same
    return answers


def _answer(host: str, port: int, path: str, deadline: float) -> dict[str, Any]:
    from k1ctl.device.http import BadAnswer, RateLimited, get_json
    from k1ctl.jsontext import dumps
    from k1ctl.units import rfc3339

    left = max(deadline - time.monotonic(), 0.0)
    if not left and path != INFO:
        return {**_NOT_ASKED}
    try:
        document = get_json(host, port, path, max(left, 0.001))
        if len(dumps(document)) > DOCUMENT_LIMIT or not isinstance(document, dict):
            raise BadAnswer(f"{host}:{port}{path}: that is no answer of this firmware")
    except RateLimited as exc:
        return _failed(LIMITED, exc)
    except BadAnswer as exc:
        return _failed(GARBAGE, exc)
    except UnreachableError as exc:
        return _failed(NO_ANSWER, exc)
    except (ValueError, RecursionError):  # JSON that JSON cannot hold: 1e999
        return _failed(GARBAGE, BadAnswer(f"{host}:{port}{path}: that is no answer of this firmware"))
    at = {"document_at": rfc3339(), "document_monotonic": time.monotonic()}
    return {"outcome": ANSWERED, "code": "", "message": "", "hint": "", "document": document, **at}


def _failed(outcome: str, exc: K1ctlError) -> dict[str, Any]:
    return {"outcome": outcome, "code": exc.code, "message": exc.message, "hint": exc.hint}


def _uptime(answers: Mapping[str, Any], device: Mapping[str, Any]) -> list[float] | None:
    """[uptime_ms, when it was told on the monotonic clock], from whichever document has it; None where the right device
    told none."""
    from k1ctl.device.probe import told_uptime

    verdict = judge({"answers": answers}, device)
    if not verdict.reachable or INFO in verdict.missing:  # another board may be there; what was seen before stays
        return None
    for path in (HEALTH, INFO):
        uptime = told_uptime(answers[path].get("document") or {})
        if uptime is not None and answers[path]["outcome"] == ANSWERED:
            return [uptime, float(answers[path]["document_monotonic"])]
    return None


def _restarted(then: Any, now: list[float] | None, started: float) -> bool | None:
    """Whether the device started anew since it told its uptime last; None when that cannot be said."""
    from k1ctl.device.probe import restarted

    try:
        uptime, told = int(then[0]), float(then[1])
    except (TypeError, ValueError, IndexError, KeyError):  # none, or not what we wrote
        return None
    return restarted(uptime, int(now[0]), max(started - told, 0.0)) if now else None


def _tell(workspace: Workspace, device: Mapping[str, Any], before: Record | None, record: Record) -> None:
    """An event for each change, written by the one who saw it first."""
    from k1ctl.events import emit

    now, then = judge(record, device), judge(before, device) if before else None
    if then is None or then.state != now.state:
        was = then.state if then else ""
        emit(workspace, "device.state", device=device["name"], state=now.state, was=was, message=now.message)
    if record["restarted"]:
        from k1ctl.device.resets import tell

        tell(workspace, device, record)
    if device["host"] and (now.state == OFFLINE or now.reachable):
        from k1ctl.escalation.keeper import observe

        observe(workspace, None, device["name"], "offline" if now.state == OFFLINE else "online", message=now.message)
