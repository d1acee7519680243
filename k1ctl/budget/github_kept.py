"""GitHub's limits as all callers of a root know them, in ``ops/budget/github.json``; and the pace of writes."""

from __future__ import annotations

import os
import time

from k1ctl.budget import github
from k1ctl.budget.kept import Kept
from k1ctl.errors import BusyError, ConfigError, UnreachableError, UsageError
from k1ctl.events import emit
from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.budget.github import Seen
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_LARGEST = 1 << 20  # bytes of an answer of /rate_limit that are read
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class GitHub:
    """What is known of the limits of the account that [budget.github] names. ``now`` is a time in seconds since 1970,
    None the present."""

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.rules = workspace, config.section("budget", "github")
        self.pace_rules = github.Rules(self.rules["writes_minute"], self.rules["writes_hour"], self.rules["spacing"])
        self.kept = Kept(workspace, "github", github.tables(), github.shift)

    def record(self, seen: list[Seen], now: float | None = None) -> None:
        """Add what answers said. Raises WrongDataError (bad-headers), ConfigError, OSError."""
        with self.kept.change(now) as (state, now):
            before = state["secondary"].get("end")
            for one in seen:
                github.merge(state, one, now)
            end = state["secondary"].get("end")
        if end is not None and end != before:
            emit(self.workspace, "budget.github_limited", until=rfc3339(end["until"]), why=end["why"])

    def refresh(self, now: float | None = None) -> None:
        """Ask ``/rate_limit``, which costs nothing of the primary limit.

        Raises ConfigError (github-token-missing, github-url), UnreachableError (github-unreachable, github-refused),
        and what `record` raises.
        """
        self.record(fetch(self.rules["url"], self.rules["token_env"], self.rules["timeout"]), now)

    def pace(
        self,
        wait: float = 0.0,
        *,
        resource: str = "core",
        dry_run: bool = False,
        now: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> float:
        """Reserve the next write and wait for its moment, ``wait`` seconds at most; returns the seconds waited.

        With ``dry_run`` nothing is reserved nor waited for. Raises BusyError (github-limited) with the time when the
        moment is further away, ConfigError, OSError.
        """
        if dry_run:
            state, moment = self.kept.read(now)
            return self._moment(state, resource, moment, wait) - moment
        with self.kept.change(now) as (state, moment):
            at = self._moment(state, resource, moment, wait)
            github.take_write(state, self.pace_rules, resource, at, moment)
        sleep(max(at - moment, 0.0))
        if at > moment:  # GitHub may have refused another caller meanwhile
            state, later = self.kept.read(None if now is None else at)
            stop = github.stops({**state, "resources": {}}, resource, later)
            if stop is not None:
                more, then = max(moment + wait - later, 0.0), None if now is None else later
                return at - moment + self.pace(more, resource=resource, now=then, sleep=sleep)
        return at - moment

    def _moment(self, state: dict[str, Any], resource: str, now: float, wait: float) -> float:
        at, why = github.write_at(state, self.pace_rules, resource, now)
        if at - now > wait:
            raise BusyError(
                f"the next write may be made at {rfc3339(at)} (in {format_duration(at - now)}): {why}",
                hint=f"call again with --wait {int(at - now) + 1}s",
                code="github-limited",
                until=rfc3339(at),
                expected_seconds=at - now,
                reasons=[{"why": why, "until": rfc3339(at)}],
            )
        return at

    def document(self, now: float | None = None) -> dict[str, Any]:
        """What is known, for programs and people: each resource, the secondary limit, the pace of writes."""
        state, now = self.kept.read(now)
        at, why = github.write_at(state, self.pace_rules, "core", now)
        times = state["writes"].get("times", [])
        end = state["secondary"].get("end")
        held = end is not None and now < end["until"]
        return {
            "resources": [_row(name, each, now) for name, each in sorted(state["resources"].items())],
            "secondary": {"limited": held, "until": rfc3339(end["until"]) if held else None},
            "writes": {
                "last_minute": sum(now - github.MINUTE < t <= now for t in times),
                "per_minute": self.pace_rules.minute,
                "last_hour": sum(now - github.HOUR < t <= now for t in times),
                "per_hour": self.pace_rules.hour,
                "next_at": rfc3339(at) if at > now else None,
                "why": why,
            },
        }


def _row(name: str, known: dict[str, Any], now: float) -> dict[str, Any]:
    over = known["reset"] <= now
    return {
        "resource": name,
        "limit": known["limit"],
        "remaining": github.left(known, now),
        "reset": rfc3339(known["reset"]),
        "reset_seconds": None if over else known["reset"] - now,
        "told_at": rfc3339(known["at"]),
        "is_past": over,  # nothing was told since the reset: all of the limit is supposed to be there
    }


def fetch(url: str, variable: str, timeout: float) -> list[Seen]:
    """The answer of ``/rate_limit`` below ``url``, with the token in ``variable``, within ``timeout`` seconds in all.

    The token goes to that host only: over https (or to this host), and not after a redirect. Raises ConfigError,
    UnreachableError.
    """
    token = os.environ.get(variable, "").strip() if variable else ""
    if not token:
        raise ConfigError(
            f"the environment variable {variable or '(none)'}, GitHub's token, is not set",
            hint="set it where k1ctl is called, or [budget.github] token_env to the name of the one that is",
            code="github-token-missing",
        )
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    closed = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOOPBACK)
    if not closed or not parts.hostname or parts.username is not None:
        raise ConfigError("[budget.github] url has to be an https:// address", code="github-url")
    status, body = _within(timeout, parts.hostname, lambda: _get(url.rstrip("/") + "/rate_limit", token, timeout))
    if status != 200:
        why = {401: "the token is not valid", 403: "the token may not", 404: "there is no /rate_limit"}
        said = why.get(status, "no answer of use")
        raise UnreachableError(f"{parts.hostname} answered {status}: {said}", code="github-refused", status=status)
    return github.parse(body if body.lstrip().startswith("{") else "{}")


def _within(timeout: float, host: str, get: Callable[[], tuple[int, str]]) -> tuple[int, str]:
    """What ``get`` returns, within one deadline: an answer that comes byte by byte passes every limit of a read."""
    import threading

    answers: list[tuple[int, str]] = []
    trouble: list[str] = []

    def ask() -> None:
        try:
            answers.append(get())
        except Exception as exc:
            trouble.append(type(exc).__name__)  # its text may have the headers in it

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(timeout)
    if answers:
        return answers[0]
    raise UnreachableError(
        f"{host} gave no answer: {trouble[0] if trouble else f'not within {timeout:g} s'}",
        hint="`--from-headers` takes what `gh api -i` prints",
        code="github-unreachable",
    )


def _get(url: str, token: str, timeout: float) -> tuple[int, str]:
    """(Status, body) of one GET."""
    import requests

    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {token}"  # as auth=, so that no .netrc takes its place
        return request

    headers = {"Accept": "application/vnd.github+json", "User-Agent": "k1ctl"}
    with requests.get(url, headers=headers, auth=sign, timeout=timeout, allow_redirects=False, stream=True) as answer:
        body = b""
        for part in answer.iter_content(1 << 16):
            body += part
            if len(body) > _LARGEST:
                raise ValueError
        return answer.status_code, body.decode("utf-8", "replace")


def text_of(path: str) -> str:
    """What stands in a file, or with ``-`` on standard input: headers of answers. Raises UsageError."""
    import sys

    try:
        if path == "-":
            return sys.stdin.buffer.read().decode("utf-8", "replace")
        with open(path, encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError as exc:
        raise UsageError(f"{path} cannot be read: {exc.strerror}") from exc
