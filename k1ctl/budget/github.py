"""What GitHub lets us do: what its answers say of limits, and when the next write may be made.

Facts (docs.github.com, REST API, "Rate limits" and "Best practices"): each answer tells ``x-ratelimit-limit``,
``-remaining``, ``-reset`` (seconds since 1970) and ``-resource``; past a limit it is 403 or 429 with remaining 0. The
secondary limits have no such headers: a 403 or 429 with ``retry-after``, or without it, when a minute is to be waited;
about 80 requests a minute and 500 an hour may create content, one at a time and a second apart.
"""

from __future__ import annotations

from k1ctl.budget import ends
from k1ctl.budget.kept import like
from k1ctl.errors import UsageError, WrongDataError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.budget.ends import End

    State = dict[str, Any]

MINUTE, HOUR = 60.0, 3600.0
_SAME = 5.0  # s: resets of one window that are told differ by no more
_SECONDARY = "secondary rate limit"  # in the message of an answer that was refused for one
_MOST = 1 << 53  # no count or time is larger
_LONGEST = 86400.0  # s: GitHub's windows last an hour at most; a reset further away is a misread number


class Seen:
    """What one answer said: of ``resources`` {name: (limit, remaining, reset)}, its status and ``retry_after``, and
    whether its body names the ``secondary`` limit."""

    __slots__ = ("resources", "retry_after", "secondary", "status")

    def __init__(
        self,
        resources: dict[str, tuple[int, int, int]],
        status: int = 0,
        retry_after: str = "",
        *,
        secondary: bool = False,
    ) -> None:
        self.resources, self.status, self.retry_after, self.secondary = resources, status, retry_after, secondary

    @property
    def limited(self) -> bool:
        """Whether the answer refuses for a limit: a 403 that says nothing of one is a permission."""
        return self.status == 429 or (self.status == 403 and bool(self.retry_after or self.secondary))


class Rules:
    """``minute`` and ``hour``: writes in each; ``spacing`` seconds between two."""

    __slots__ = ("hour", "minute", "spacing")

    def __init__(self, minute: int = 80, hour: int = 500, spacing: float = 1.0) -> None:
        self.minute, self.hour, self.spacing = minute, hour, spacing


def parse(text: str) -> list[Seen]:
    """The answers in ``text``, oldest first: headers as `gh api -i` and `curl -i` or `-D` print them, any number of
    answers, bodies left out; or the body of ``/rate_limit``.

    Raises WrongDataError (no-rate-headers) when no answer says anything of limits.
    """
    found = [_of_body(text)] if text.lstrip().startswith("{") else [_of_headers(*block) for block in _blocks(text)]
    told = [seen for seen in found if seen.resources or seen.limited]
    if not told:
        raise WrongDataError(
            "no header of a rate limit is in it",
            hint="give what `gh api -i ...` or `curl -sD - -o FILE ...` prints, or the body of /rate_limit",
            code="no-rate-headers",
        )
    return told


def _blocks(text: str) -> list[tuple[list[str], list[str]]]:
    """(Header lines, lines of the body) of each answer; what has no status line is one, up to its first empty line."""
    blocks: list[tuple[list[str], list[str]]] = []
    inside = True
    for line in text.splitlines():
        if _status(line) or not blocks:
            blocks.append(([], []))
            inside = True
        if not line.strip():
            inside = not blocks[-1][0]
        else:
            blocks[-1][0 if inside else 1].append(line)
    return blocks


def _status(line: str) -> int:
    """The code of a status line, ``HTTP/2 200`` or ``HTTP/1.1 403 Forbidden``; 0 when it is none."""
    words = line.split(None, 2)
    fits = len(words) >= 2 and words[0].startswith("HTTP/") and len(words[1]) == 3 and words[1].isdecimal()
    return int(words[1]) if fits and words[1].isascii() else 0


def _of_headers(lines: list[str], body: list[str]) -> Seen:
    pairs = [line.partition(":") for line in lines if ":" in line]
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
    resources = {}
    if all(name in headers for name in names):
        resource = headers.get("x-ratelimit-resource") or "core"
        resources[resource] = _numbers(*(headers[name] for name in names))
    status = _status(lines[0]) if lines else 0
    return Seen(resources, status, headers.get("retry-after", ""), secondary=any(_SECONDARY in b.lower() for b in body))


def _of_body(text: str) -> Seen:
    from k1ctl.jsontext import loads

    try:
        table = loads(text, bounded=True)["resources"]
        found = {str(n): _numbers(*(str(r[k]) for k in ("limit", "remaining", "reset"))) for n, r in table.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise WrongDataError("this is no answer of /rate_limit", code="no-rate-headers") from None
    return Seen(found)


def _numbers(*texts: str) -> tuple[int, int, int]:
    if not all(text.isascii() and text.isdecimal() and int(text[:20]) <= _MOST for text in texts):
        raise WrongDataError(f"{', '.join(t[:40] for t in texts)}: not the numbers of a rate limit", code="bad-headers")
    limit, remaining, reset = (int(text) for text in texts)
    return limit, remaining, reset


def tables() -> dict[str, Any]:
    """What the parts of the state look like (`k1ctl.budget.kept.Kept`)."""

    def secondary(part: Any) -> bool:
        return isinstance(part, dict) and like(part.get("end"), None) and like(part.get("row", 0), 0)

    resource = {"limit": 0, "remaining": 0, "reset": 0, "at": 0.0, "spent": 0}
    return {"resources": resource, "secondary": secondary, "writes": [0.0]}


def merge(state: State, seen: Seen, now: float) -> None:
    """Add what an answer said. Answers arrive in any order: in one window the smallest remaining is what is left, and
    one of a window before changes nothing. Raises WrongDataError (bad-headers) for a reset that is too far away: no
    later answer could take it back."""
    for name, (limit, remaining, reset) in seen.resources.items():
        if reset > now + _LONGEST:
            raise WrongDataError(
                f"the reset of {name[:40]} is {reset}, more than a day away",
                hint="it is in seconds since 1970; is the clock of this host right?",
                code="bad-headers",
            )
        known = state["resources"].get(name)
        current = known is not None and known["reset"] > now
        if current and reset < known["reset"] - _SAME:
            continue
        if current and abs(reset - known["reset"]) <= _SAME:
            remaining, reset = min(remaining, left(known, now)), max(reset, known["reset"])
        state["resources"][name] = {"limit": limit, "remaining": remaining, "reset": reset, "at": now, "spent": 0}
    exhausted = any(not remaining and reset > now for _, remaining, reset in seen.resources.values())
    if seen.limited and not exhausted:
        end = _secondary(state, seen, now)
        state["secondary"]["end"] = ends.later(state["secondary"].get("end"), end)


def _secondary(state: State, seen: Seen, now: float) -> End:
    """The end of a secondary limit: Retry-After, or a minute that doubles with each in a row."""
    why = f"secondary limit (status {seen.status})"
    last = state["secondary"].get("end")
    again = last is not None and now - last["until"] < HOUR
    row = state["secondary"]["row"] = (state["secondary"].get("row", 0) if again else 0) + 1
    if seen.retry_after:
        try:
            return ends.given(seen.retry_after, now, why)
        except UsageError:  # a header that cannot be read takes nothing from the refusal it came with
            why += ", its Retry-After is no time"
            return ends.after(min(MINUTE * 2 ** min(row - 1, 6), ends.CAP), now, why)
    return ends.after(min(MINUTE * 2 ** min(row - 1, 6), ends.CAP), now, f"{why}, no Retry-After")


def left(resource: dict[str, Any], now: float) -> int:
    """What is left of a resource: after its reset all of it, else what was told less what was spent since."""
    return int(resource["limit"] if resource["reset"] <= now else max(resource["remaining"] - resource["spent"], 0))


def stops(state: State, resource: str, now: float) -> End | None:
    """Why nothing of ``resource`` is to be asked for now; None when it may."""
    end = state["secondary"].get("end")
    found = end if end is not None and now < end["until"] else None
    known = state["resources"].get(resource)
    if known is not None and known["reset"] > now and not left(known, now):
        found = ends.later(found, {"until": float(known["reset"]), "fixed": True, "why": f"{resource} is used up"})
    return found


def write_at(state: State, rules: Rules, resource: str, now: float) -> tuple[float, str]:
    """(The first moment at which one more write is within every limit, what it waits for)."""
    times = state["writes"].get("times", [])
    waits = [(now, "")]
    if times:
        waits.append((times[-1] + rules.spacing, f"{rules.spacing:g} s between two writes"))
    for count, span, name in ((rules.minute, MINUTE, "minute"), (rules.hour, HOUR, "hour")):
        if len(times) >= count:
            waits.append((times[-count] + span, f"{count} writes a {name}"))
    stop = stops(state, resource, now)
    if stop is not None:
        waits.append((stop["until"], stop["why"]))
    return max(waits)


def take_write(state: State, rules: Rules, resource: str, at: float, now: float) -> None:
    """Reserve a write at the moment ``at``, as `write_at` tells it."""
    times = [t for t in state["writes"].get("times", []) if t > now - HOUR]
    state["writes"]["times"] = [*times, at][-max(rules.hour, rules.minute) :]
    known = state["resources"].get(resource)
    if known is not None and known["reset"] > at:
        known["spent"] += 1


def shift(state: State, seconds: float) -> None:
    """The clock was set back by ``seconds``: every time that rests on it moves with it; resets are GitHub's."""
    ends.shift(state["secondary"].get("end"), seconds)
    state["writes"]["times"] = [t - seconds for t in state["writes"].get("times", [])]
    for resource in state["resources"].values():
        resource["at"] = max(resource["at"] - seconds, 0.0)
