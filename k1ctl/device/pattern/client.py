"""The device's patterns over its REST API: which there are, which is shown, show another, put the former one back.

Facts of the firmware: the windows are those of webserver_rate_limiter.h, for all clients together; POST /api/select
shows a pattern at once, but a transition that is under way goes on and has the last word (transition_adapter.cpp).
"""

from __future__ import annotations

import time

from k1ctl.device.http import BadAnswer, RateLimited, get_json, post_json, resolve
from k1ctl.device.probe import check_identity, probe
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.device.probe import Probe

PATTERNS, CURRENT, SELECT = "/api/patterns", "/api/pattern/current", "/api/select"
TRANSITION, PARAMETERS, BACKUP = "/api/transitions/status", "/api/params", "/api/config/backup"
PERFORMANCE, FRAMES, HEALTH = "/api/device/performance", "/api/frame-metrics", "/api/health"
# Seconds in which a route answers once.
WINDOWS = {
    ("GET", PATTERNS): 1.0,
    ("GET", CURRENT): 0.2,
    ("POST", SELECT): 0.2,
    ("GET", TRANSITION): 0.2,
    ("GET", PARAMETERS): 0.15,
    ("POST", PARAMETERS): 0.3,
    ("GET", BACKUP): 2.0,
    ("GET", PERFORMANCE): 0.5,
    ("GET", FRAMES): 0.5,
    ("GET", HEALTH): 0.2,
}
PATIENCE = 10.0  # seconds
_AGAIN = 0.05  # seconds at least before a route that said 429 is asked again
_MOST, _LONGEST_ID = 256, 64  # g_num_patterns is a uint8_t
SHOW_SECONDS = 15.0  # a transition takes at most 10 s (webserver.cpp)


class NotShownError(K1ctlError):
    """The device does not show the pattern that it was told to."""

    code = "pattern-not-shown"


class Rest:
    """A client of one device's REST API that asks each route once in its window, and waits a 429 out.

    ``device`` is ``Config.section("devices", NAME)``; its name is looked up once. Raises UnreachableError.
    """

    def __init__(self, device: Mapping[str, Any]) -> None:
        self.timeout = float(device["probe_timeout"])
        self.host, self.port = resolve(str(device["host"]), self.timeout), int(device["http_port"])
        self.next: dict[tuple[str, str], float] = {}

    def get(self, path: str, patience: float | None = None) -> dict[str, Any]:
        """The JSON object at ``path``; a 429 is waited out for ``patience`` seconds in all (default: `PATIENCE`).

        Raises UnreachableError, RateLimited, BadAnswer.
        """
        return self._ask("GET", path, None, patience)

    def post(self, path: str, value: Mapping[str, Any], patience: float | None = None) -> dict[str, Any]:
        """Send a JSON object and return the one that is answered, as `get`."""
        return self._ask("POST", path, value, patience)

    def _ask(self, method: str, path: str, value: Mapping[str, Any] | None, patience: float | None) -> dict[str, Any]:
        deadline = time.monotonic() + (PATIENCE if patience is None else patience)
        while True:
            time.sleep(max(self.next.get((method, path), 0.0) - time.monotonic(), 0.0))
            try:
                if value is None:
                    found = get_json(self.host, self.port, path, self.timeout)
                else:
                    found = post_json(self.host, self.port, path, value, self.timeout)
            except RateLimited as busy:
                wait = max(busy.wait_seconds, _AGAIN)
                if time.monotonic() + wait >= deadline:
                    raise
                time.sleep(wait)
                continue
            self.next[method, path] = time.monotonic() + WINDOWS.get((method, path), 0.2)
            if not isinstance(found, dict):
                raise BadAnswer(f"{self.host}:{self.port}{path}: the answer is no JSON object")
            return found


def reach(device: Mapping[str, Any]) -> tuple[Rest, Probe]:
    """A client of the device, and what it said, once that is the configured one: two boards may answer to one name, and
    the one that is asked is the one that is told to do something.

    Raises UnreachableError, BadAnswer, WrongDataError (code wrong-device).
    """
    rest = Rest(device)
    found = probe({**device, "host": rest.host})
    check_identity(found, device)
    return rest, found


def listed(rest: Rest) -> dict[str, str]:
    """{id: name} of every pattern the device has, in its order. Raises BadAnswer for a list that has none."""
    rows = rest.get(PATTERNS).get("patterns")
    found: dict[str, str] = {}
    for row in rows[:_MOST] if isinstance(rows, list) else ():
        word = row.get("id") if isinstance(row, dict) else None
        if isinstance(word, str) and 0 < len(word) <= _LONGEST_ID and word.isprintable():
            found[word] = str(row.get("name", ""))[:_LONGEST_ID]
    if not found:
        raise BadAnswer(f"{rest.host}:{rest.port}{PATTERNS}: the answer has no patterns")
    return found


def near(wanted: str, known: Mapping[str, str]) -> list[str]:
    """The ids that ``wanted`` may mean, the likeliest first, by id or by name."""
    from difflib import get_close_matches

    names = {name.lower(): word for word, name in known.items()} | {word.lower(): word for word in known}
    close = get_close_matches(wanted.lower(), names, 5, 0.5)
    return list(dict.fromkeys(names[text] for text in close))


def current(rest: Rest, patience: float | None = None) -> str:
    """The id of the pattern that is shown. Raises as `Rest.get`."""
    word = rest.get(CURRENT, patience).get("id")
    if not isinstance(word, str):
        raise BadAnswer(f"{rest.host}:{rest.port}{CURRENT}: the answer has no id")
    return word[: _LONGEST_ID + 1]  # no longer one is listed, so a cut one is equal to none


def settled(rest: Rest, seconds: float = SHOW_SECONDS) -> str:
    """The id of the pattern that is shown once no transition is under way, waiting at most ``seconds``.

    Raises NotShownError, and as `Rest.get`.
    """
    return _settled(rest, seconds)[0]


def _settled(rest: Rest, seconds: float) -> tuple[str, bool]:
    """As `settled`, and whether a transition had to be waited for."""
    end, waited = time.monotonic() + seconds, False
    while _under_way(rest):
        waited = True
        if time.monotonic() >= end:
            raise NotShownError(f"a transition has been under way for {seconds:g} s")
    return current(rest), waited


def _under_way(rest: Rest) -> bool:
    try:
        return rest.get(TRANSITION).get("active") is True
    except BadAnswer as exc:
        if exc.status == 404:  # a firmware without transitions
            return False
        raise


def show(rest: Rest, pattern: str, seconds: float = SHOW_SECONDS) -> None:
    """Show the pattern with this id at once, and again where a transition that was under way showed its own after it.

    Raises NotShownError (code unknown-pattern: it has none of this id; pattern-changed: somebody else chose another
    one right after), as `Rest.post`.
    """
    end = time.monotonic() + seconds
    while True:
        _select(rest, pattern)
        shown, waited = _settled(rest, max(end - time.monotonic(), 0.1))
        if shown == pattern:
            return
        if not waited or time.monotonic() >= end:
            raise NotShownError(f"it shows {shown!r} although {pattern!r} was selected", code="pattern-changed")


def _select(rest: Rest, pattern: str) -> bool:
    """Select the pattern; whether the device says that it shows it. Raises as `show`."""
    try:
        return rest.post(SELECT, {"id": pattern}).get("id") == pattern
    except BadAnswer as exc:
        if exc.status == 404:
            raise NotShownError(f"the device has no pattern {pattern!r}", code="unknown-pattern") from exc
        raise


def parameters(rest: Rest) -> dict[str, float | bool]:
    """What the device is set to, but for the custom parameters. Raises as `Rest.get`."""
    return _numbers(rest.get(PARAMETERS))


def all_parameters(rest: Rest) -> dict[str, float | bool]:
    """As `parameters`, with the custom ones where its backup (one in 2 s) tells them. Raises as `Rest.get`."""
    found = parameters(rest)
    try:
        saved = rest.get(BACKUP).get("parameters")
    except (BadAnswer, RateLimited):
        saved = None
    custom = {k: v for k, v in saved.items() if k.startswith("custom_")} if isinstance(saved, dict) else {}
    return {**found, **_numbers(custom)}


def _numbers(found: Mapping[str, Any]) -> dict[str, float | bool]:
    return {k: v for k, v in list(found.items())[:64] if isinstance(v, int | float) and abs(v) < 1e9 and len(k) < 64}


class Mark:
    """What is to be put back: a file from before the first change until it is undone, so that no kill loses it.

    ``pattern`` and ``parameters`` are what the device had; ``selected`` the patterns the test showed, by which it is
    told from what somebody else chose; ``restarted``: the device has lost its parameters.
    """

    def __init__(self, path: str, found: dict[str, Any]) -> None:
        self.path = path
        self.run = str(found["run"])
        self.pattern = str(found["pattern"])
        self.parameters = _numbers(found["parameters"])
        self.selected = [str(word) for word in found["selected"]]
        self.restarted = found["restarted"] is True

    def save(self) -> None:
        """Write it, safe from a power cut. Raises OSError."""
        kept = {name: getattr(self, name) for name in ("run", "pattern", "parameters", "selected", "restarted")}
        write_json(self.path, kept, fsync=True)

    def remove(self) -> None:
        """It is undone."""
        import os

        try:
            os.unlink(self.path)
        except FileNotFoundError:
            pass


def left_mark(path: str) -> Mark | None:
    """The mark in ``path`` that a test left; None when there is none that can be read."""
    try:
        return Mark(path, read_json(path))
    except (KeyError, TypeError, AttributeError):
        return None


def put_back(rest: Rest, mark: Mark) -> dict[str, Any]:
    """Undo what the test changed: {pattern, state, message}; ``state`` is restored, or left where somebody else chose.

    The mark stays; whoever calls removes it. Raises NotShownError, and as `Rest.post`.
    """
    shown = settled(rest)
    if shown != mark.pattern and shown not in mark.selected and not mark.restarted:
        message = f"{shown} is shown, which the test did not choose, so it stays; before the test it was {mark.pattern}"
        return {"pattern": shown, "state": "left", "message": message}
    if shown != mark.pattern and not _select(rest, mark.pattern):  # no transition is under way that could undo it
        show(rest, mark.pattern)
    message = f"{mark.pattern} is shown again"
    if mark.restarted:
        put_parameters_back(rest, mark)
        message += ", and its parameters are as before the restart"
    return {"pattern": mark.pattern, "state": "restored", "message": message}


def put_parameters_back(rest: Rest, mark: Mark) -> None:
    """Set what the device was set to, but for what it tells to be so. Raises as `Rest.post`."""
    now = parameters(rest)
    lost = {k: v for k, v in mark.parameters.items() if k not in now or now[k] != v}
    if lost:
        rest.post(PARAMETERS, lost)
