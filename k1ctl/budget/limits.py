"""What may be spent: the limits of [budget], the counters that each spending falls on, and why one is refused."""

from __future__ import annotations

from k1ctl.budget import days
from k1ctl.errors import BusyError, UsageError
from k1ctl.units import format_duration, format_tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.budget.tokens import Usage
    from k1ctl.config import Config

    Key = tuple[str, str]  # (scope, name) of a counter

SCOPES = ("day", "agent", "task", "pool", "hour")
USD = 1_000_000  # micro-dollars
UNITS = ("tokens", "usd")


class Figures:
    """What a counter has: ``spent`` and ``held``, each (counted tokens, micro-dollars)."""

    __slots__ = ("held", "spent")

    def __init__(self, spent: tuple[int, int] = (0, 0), held: tuple[int, int] = (0, 0)) -> None:
        self.spent, self.held = spent, held

    def used(self, unit: int) -> int:
        """Spent and held, of tokens (0) or micro-dollars (1)."""
        return self.spent[unit] + self.held[unit]


class Limits:
    """The limits of a configuration: ``tokens`` and ``micro_usd`` by scope, a pool's under ``pool NAME``; what has none
    is not there. ``reserve``: tokens of a day that only critical work may use; ``soft`` percents; ``zone``; ``weights``
    of the four classes of tokens in thousandths; ``prices``: a file of one's own."""

    __slots__ = ("_days", "_near", "micro_usd", "pools", "prices", "reserve", "soft", "tokens", "weights", "zone")

    def __init__(self, config: Config) -> None:
        def given(key: str) -> Any:
            return config.get("budget", key)

        keys = {"day": "day", "agent": "agent_day", "task": "task", "hour": "hour"}
        self.tokens = {scope: int(given(key)) for scope, key in keys.items() if given(key)}
        self.micro_usd = {s: round(given(f"{k}_usd") * USD) for s, k in keys.items() if given(f"{k}_usd")}
        self.pools = {name: int(config.get("budget", "pools", name)) for name in config.names("budget", "pools")}
        self.tokens.update({f"pool {name}": most for name, most in self.pools.items() if most})
        self.reserve = int(given("reserve_pool"))
        self.soft = [int(percent) for percent in given("soft")]
        self.zone = str(given("zone"))
        self.prices = str(config.section("budget").get("prices", ""))
        self.weights = tuple(round(w * 1000) for w in config.section("budget", "weights").values())
        self._days: dict[int, str] = {}
        self._near = {scope: self._share(scope) for scope in SCOPES}

    def __bool__(self) -> bool:
        """Whether anything is limited."""
        return bool(self.tokens or self.micro_usd)

    def counted(self, need: int | Usage) -> int:
        """Tokens as they count against the limits; a plain number counts as it is."""
        return need if isinstance(need, int) else need.counted(self.weights)

    def place(self, instant: float) -> tuple[str, int]:
        """(day, hour) of an instant; the day is looked up once a quarter of an hour: zones differ by no less."""
        quarter = int(instant // 900)
        day = self._days.get(quarter)
        if day is None:
            day = self._days[quarter] = days.day_of(quarter * 900.0, self.zone)
        return day, days.hour_of(instant)

    def most(self, key: Key, *, critical: bool = False) -> tuple[int | None, int | None]:
        """(counted tokens, micro-dollars) that a counter may reach; None: no limit."""
        scope, name = key
        if scope == "pool":
            return self.tokens.get(f"pool {name.partition(' ')[2]}"), None
        tokens = self.tokens.get(scope)
        if scope == "day" and tokens is not None and not critical:
            tokens = max(0, tokens - self.reserve)
        return tokens, self.micro_usd.get(scope)

    def near(self, scope: str, tokens: int, micro_usd: int) -> bool:
        """Whether a counter that comes so far may pass a limit or a soft one: far from them nothing is to be told."""
        near = self._near[scope]
        return (near[0] is not None and tokens >= near[0]) or (near[1] is not None and micro_usd >= near[1])

    def _share(self, scope: str) -> tuple[int | None, int | None]:
        """(counted tokens, micro-dollars) from which on a counter of this scope is near a limit; None: has none."""
        least = min([100, *self.soft])
        if scope == "pool":
            return (0 if self.pools else None), None
        tokens, micro_usd = self.tokens.get(scope), self.micro_usd.get(scope)
        if tokens is not None:
            tokens = min(tokens * least // 100, tokens - self.reserve * (scope == "day"))
        return tokens, None if micro_usd is None else micro_usd * least // 100

    def check_pool(self, pool: str) -> None:
        """A misspelt pool would have no limit. Raises UsageError where pools are limited and this is none of them."""
        if pool and self.pools and pool not in self.pools:
            known = ", ".join(sorted(self.pools))
            raise UsageError(
                f"there is no pool {pool!r} with a limit",
                hint=f"there are {known} ([budget.pools])",
                code="unknown-pool",
            )


def keys_of(day: str, hour: int, agent: str, task: str, pool: str) -> list[Key]:
    """The counters that a spending falls on; those of no task and no pool are not kept."""
    found = [("day", day), ("agent", f"{day} {agent}"), ("hour", str(hour))]
    if task:
        found.append(("task", task))
    if pool:
        found.append(("pool", f"{day} {pool}"))
    return found


def named(key: Key) -> str:
    """What people call a counter: ``day 2026-11-21``, ``agent A on 2026-11-21``, ``task T``."""
    scope, name = key
    if scope in ("agent", "pool"):
        day, _, who = name.partition(" ")
        return f"{scope} {who} on {day}"
    if scope == "hour":
        from k1ctl.units import rfc3339

        return f"hour {rfc3339(int(name) * days.HOUR)[:13].replace('T', ' ')}h UTC"
    return f"{scope} {name}"


def shown(key: Key) -> str:
    """The name of a counter in JSON: an hour as RFC 3339, all else as it is kept."""
    if key[0] != "hour":
        return key[1]
    from k1ctl.units import rfc3339

    return rfc3339(int(key[1]) * days.HOUR)


def key_of(scope: str, name: str) -> Key:
    """The counter that JSON calls so (`shown`). Raises ValueError."""
    if scope != "hour" or name.isdecimal():
        return scope, name
    from k1ctl.units import parse_rfc3339

    return scope, str(days.hour_of(parse_rfc3339(name)))


def amount(unit: int, count: int) -> str:
    """``50k tokens`` or ``$1.20``."""
    return f"{format_tokens(count)} tokens" if unit == 0 else dollars(count)


def dollars(micro_usd: int) -> str:
    """Micro-dollars for people: cents, and what is less than one in full."""
    if micro_usd % 10_000 and abs(micro_usd) < USD:
        return f"${micro_usd / USD:.6f}".rstrip("0")
    return f"${micro_usd / USD:,.2f}"


class Reason:
    """Why not: the counter ``key``, the ``unit`` (0 tokens, 1 micro-dollars), how much is needed, and its figures.

    ``expected_seconds`` until it may fit (None: not known); ``never``: it is more than the limit itself.
    """

    __slots__ = ("expected_seconds", "figures", "key", "limit", "need", "reserved", "unit")

    def __init__(self, key: Key, unit: int, need: int, limit: int, figures: Figures, reserved: int = 0) -> None:
        self.key, self.unit, self.need, self.limit = key, unit, need, limit
        self.figures, self.reserved = figures, reserved
        self.expected_seconds: float | None = None

    @property
    def never(self) -> bool:
        return self.need > self.limit

    @property
    def free(self) -> int:
        return max(0, self.limit - self.figures.used(self.unit))

    @property
    def text(self) -> str:
        """The reason as a sentence."""
        unit, spent, held = self.unit, self.figures.spent[self.unit], self.figures.held[self.unit]
        text = f"{named(self.key)}: {amount(unit, self.need)} asked, {amount(unit, self.free)} free of"
        text += f" {amount(unit, self.limit)} ({amount(unit, spent)} spent, {amount(unit, held)} held)"
        if spent > self.limit + self.reserved:
            text += f", overrun by {amount(unit, spent - self.limit - self.reserved)}"
        if self.reserved:
            text += f"; {amount(0, self.reserved)} above that are for critical work only"
        return text + ("; more than the limit itself" if self.never else "")

    def document(self) -> dict[str, Any]:
        """The reason as JSON: tokens as they are, money in micro-dollars."""
        return {
            "scope": self.key[0],
            "name": shown(self.key),
            "unit": ("tokens", "micro_usd")[self.unit],
            "need": self.need,
            "free": self.free,
            "spent": self.figures.spent[self.unit],
            "held": self.figures.held[self.unit],
            "limit": self.limit,
            "never": self.never,
            "expected_seconds": self.expected_seconds,
            "text": self.text,
        }


class Refused(Exception):
    """Undoes the transaction of a reserve that passes limits."""

    def __init__(self, reasons: list[Reason]) -> None:
        self.reasons = reasons


def exhausted(what: str, reasons: Sequence[Reason], *, waited: float = 0.0) -> BusyError:
    """The refusal: exit 75, with the reasons, their numbers and the time it would fit."""
    expected = expected_of(reasons)
    never = any(reason.never for reason in reasons)
    when = "" if expected is None or never else f"; it would fit in about {format_duration(expected)}"
    after = f"waited {format_duration(waited)}: " if waited else ""
    return BusyError(
        f"{after}no budget for {what}: {'; '.join(reason.text for reason in reasons)}{when}",
        hint="ask for less, or raise the limit: k1ctl budget set"
        if never
        else "k1ctl budget status shows who holds and spent what; --wait waits for it",
        code="budget-exhausted",
        reasons=[reason.document() for reason in reasons],
        expected_seconds=None if never else expected,
        never=never,
    )


def expected_of(reasons: Sequence[Reason]) -> float | None:
    """Seconds until all of them may be gone; None: not known."""
    times = [reason.expected_seconds for reason in reasons]
    return None if None in times else max((t for t in times if t is not None), default=None)
