"""A hold: budget that is kept for somebody until it is settled, given back, past its deadline, or its owner gone."""

from __future__ import annotations

import os
import time

from k1ctl.budget.tokens import MOST, NOTHING, Usage
from k1ctl.errors import K1ctlError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.workspace import Workspace

    Clock = tuple[float, float]  # (seconds since 1970, seconds of the monotonic clock)

COLUMNS = (
    "id, state, day, hour, agent, task, pool, model, input, output, cache_write, cache_read, tokens, micro_usd,"
    " critical, owner, since, since_monotonic, ttl, booked, booked_micro_usd, ended, worktree"
)
_NAME = 200  # characters of a name
OPEN, SETTLED, RELEASED, LOST = "open", "settled", "released", "lost"
RUN_TTL = 366 * 86400.0  # s; of a hold that is its command's, whose end ends it: longer than anybody may ask for


class HoldNotFoundError(K1ctlError):
    """No hold has this id."""

    code = "no-such-hold"


class HoldEndedError(K1ctlError):
    """The hold is not open any more."""

    code = "hold-ended"


class Hold:
    """A row of ``holds``: ``tokens`` and ``micro_usd`` that it keeps, ``usage`` where they were asked for by class;
    ``owner`` a process whose end frees it (0: none), ``since`` and ``ttl`` in seconds; ``booked``: all that was booked
    under it; ``ended``: when it was settled, given back or lost, in seconds since 1970 (0: it is open);
    ``worktree``: the path of the one it was made in ("" none).

    ``again``: it was there before this call.
    """

    __slots__ = (
        "again", "agent", "booked", "booked_micro_usd", "critical", "day", "ended", "hour", "id", "micro_usd", "model",
        "owner", "pool", "since", "since_monotonic", "state", "task", "tokens", "ttl", "usage", "worktree",
    )  # fmt: skip

    def __init__(self, row: tuple[Any, ...], *, again: bool = False) -> None:
        (self.id, self.state, self.day, self.hour, self.agent, self.task, self.pool, self.model) = row[:8]
        self.usage = Usage(*row[8:12]) if any(row[8:12]) else NOTHING
        (self.tokens, self.micro_usd, self.critical, self.owner, self.since, self.since_monotonic) = row[12:18]
        (self.ttl, self.booked, self.booked_micro_usd, self.ended, self.worktree) = row[18:]
        self.again = again

    @property
    def row(self) -> tuple[Any, ...]:
        """The row, in the order of `COLUMNS`."""
        named = (self.id, self.state, self.day, self.hour, self.agent, self.task, self.pool, self.model)
        kept = (self.tokens, self.micro_usd, self.critical, self.owner, self.since, self.since_monotonic, self.ttl)
        return (*named, *self.usage.classes, *kept, self.booked, self.booked_micro_usd, self.ended, self.worktree)

    @property
    def until(self) -> float:
        """Its deadline in seconds since 1970, as long as nobody sets the clock."""
        return float(self.since + self.ttl)

    def age(self, clock: Clock) -> float:
        """Seconds since it was made, by the clock that nobody sets; after a restart of the host by the other one.

        Never negative. A restart with a clock that was set back makes it infinite: whoever held it is gone.
        """
        wall, monotonic = clock
        if monotonic >= self.since_monotonic:
            return float(monotonic - self.since_monotonic)
        return float(wall - self.since) if wall >= self.since else float("inf")

    def left(self, clock: Clock) -> float:
        """Seconds to its deadline; 0 past it."""
        return float(max(0.0, self.ttl - self.age(clock)))

    def gone(self, clock: Clock) -> str:
        """Why it holds no longer (``deadline``, ``owner``), or "" while it does."""
        if self.age(clock) >= self.ttl:
            return "deadline"
        if not self.owner:
            return ""
        from k1ctl import groups

        start = {"started": self.since, "started_monotonic": self.since_monotonic}
        if groups.still(self.owner, start):
            return ""
        return "" if self.of_run and _unreaped(self.owner) else "owner"

    @property
    def of_run(self) -> bool:
        """Whether its owner is a command that was run under it, and has spent something when it is gone."""
        return bool(self.owner) and self.ttl >= RUN_TTL

    @property
    def overrun(self) -> tuple[int, int]:
        """(Tokens, micro-dollars) booked beyond what it holds; one that was made without a price overruns no money."""
        money = self.booked_micro_usd - self.micro_usd if self.micro_usd else 0
        return max(0, self.booked - self.tokens), max(0, money)

    def document(self) -> dict[str, Any]:
        """The hold as JSON."""
        from k1ctl.units import rfc3339

        return {
            "id": self.id,
            "state": self.state,
            "day": self.day,
            "agent": self.agent,
            "task": self.task or None,
            "pool": self.pool or None,
            "model": self.model or None,
            "worktree": self.worktree or None,
            "tokens": self.tokens,
            **self.usage.document(),
            "micro_usd": self.micro_usd,
            "critical": bool(self.critical),
            "owner_pid": self.owner or None,
            "since": rfc3339(self.since),
            "until": rfc3339(self.until),
            "booked_tokens": self.booked if self.state == SETTLED else None,
            "booked_micro_usd": self.booked_micro_usd if self.state == SETTLED else None,
        }


class Settled:
    """What a settle booked: ``booked`` tokens and ``micro_usd``, the ``overrun`` beyond the hold in tokens and in
    micro-dollars (``overrun_micro_usd``); ``late``: the hold had ended; ``again``: it was settled before, and nothing
    was booked now."""

    __slots__ = ("again", "booked", "hold", "late", "micro_usd", "overrun", "overrun_micro_usd")

    def __init__(self, hold: Hold, *, late: bool = False, again: bool = False) -> None:
        self.hold, self.late, self.again = hold, late, again
        self.booked, self.micro_usd = hold.booked, hold.booked_micro_usd
        self.overrun, self.overrun_micro_usd = hold.overrun

    def document(self) -> dict[str, Any]:
        """The settle as JSON."""
        return {
            "hold": self.hold.document(),
            "booked_tokens": self.booked,
            "booked_micro_usd": self.micro_usd,
            "overrun_tokens": self.overrun,
            "overrun_micro_usd": self.overrun_micro_usd,
            "late": self.late,
            "again": self.again,
        }


def made_in(workspace: Workspace) -> str:
    """The worktree that a hold is made in; "" outside every worktree, and for a path that is no UTF-8."""
    try:
        return workspace.path if workspace.inside and workspace.path.encode() else ""
    except UnicodeEncodeError:
        return ""


def new_id(now: float) -> str:
    """An id that sorts by time, so that the newest rows lie side by side."""
    return f"b{int(now * 1000):011x}{os.urandom(4).hex()}"


def clock() -> Clock:
    """Both clocks now."""
    return time.time(), time.monotonic()


def check_name(what: str, name: str) -> None:
    """Raises UsageError for a name that no list could show."""
    if len(name) > _NAME or not name.isprintable():
        raise UsageError(f"{what} {name[:20]!r}: a name has at most {_NAME} characters, all of them printable")


def check_ttl(ttl: float) -> None:
    """Raises UsageError for what is no time to live."""
    if not 0 < ttl < RUN_TTL:
        raise UsageError("a hold lasts for more than 0 s and at most a year", hint="as in --ttl 10m")


def check_used(used: int | Usage | None, micro_usd: int | None) -> None:
    """Raises UsageError for what is no number of tokens, or of micro-dollars."""
    if isinstance(used, int) and not 0 <= used <= MOST:
        raise UsageError(f"{used} is no number of tokens")
    if micro_usd is not None and not 0 <= micro_usd <= MOST:
        raise UsageError(f"{micro_usd} is no number of micro-dollars")


def unknown(id: str) -> HoldNotFoundError:
    """The error where no hold has this id."""
    return HoldNotFoundError(f"there is no hold {id[:60]!r}", hint="k1ctl budget status lists those that are open")


def ended(hold: Hold) -> HoldEndedError:
    """The error where a hold has to be open."""
    return HoldEndedError(
        f"the hold {hold.id} is {hold.state}", hint="reserve anew, under another id", state=hold.state
    )


def same(there: Hold, asked: Hold, clock: Clock) -> Hold:
    """The hold that a repeated reserve finds. Raises UsageError where it asks for something else, HoldEndedError
    (one that anybody may take back holds nothing)."""
    for name in ("agent", "task", "pool", "model", "tokens"):
        if getattr(there, name) != getattr(asked, name):
            has, wants = (
                f"{getattr(hold, name):,} tokens" if name == "tokens" else f"{name} {getattr(hold, name)!r}"
                for hold in (there, asked)
            )
            raise UsageError(
                f"the id {there.id} is another hold's, of {has} (asked: {wants})",
                hint="another id; what a repeated call finds is the same hold",
                code="id-taken",
            )
    if there.state != OPEN:
        raise ended(there)
    if why := there.gone(clock):
        raise HoldEndedError(
            f"the hold {there.id} {'is past its deadline' if why == 'deadline' else 'has lost its owner'}",
            hint="reserve anew, under another id; settle this one with what was spent",
            state=LOST,
        )
    return there


def _unreaped(pid: int) -> bool:
    """Whether a process has ended and its parent, who settles its hold, has yet to look. Init settles nothing."""
    import psutil

    from k1ctl import groups

    try:
        return not groups.living(pid) and psutil.Process(pid).ppid() > 1
    except psutil.Error:
        return False
