"""Whether a provider is asked at all: a circuit breaker each, kept in ``ops/budget/breakers.json`` for all callers.

CLOSED: it is asked. So many failures in a row open the breaker for 2^n s with full jitter, at most an hour. After that
it is HALF_OPEN: one caller at a time tries (the probe, a lease with a deadline, so that a killed caller blocks nobody
for long); success closes, failure opens again for longer. A **limit** with a known end is no failure: nobody is let
through until then, and everybody is from then on. What is late (a failure or a success of a call that began before the
breaker opened) changes nothing.
"""

from __future__ import annotations

import random

from k1ctl.budget import ends
from k1ctl.budget.kept import Kept
from k1ctl.errors import UsageError
from k1ctl.events import emit
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.budget.ends import End
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

    Breaker = dict[str, Any]

CLOSED, OPEN, HALF_OPEN = "closed", "open", "half_open"
OK, LIMIT, ERROR = "ok", "limit", "error"
FORGET = 600.0  # s: failures further apart than this are not in a row


class Rules:
    """``failures`` in a row that open a breaker, and the seconds that a ``probe`` may take."""

    __slots__ = ("failures", "probe")

    def __init__(self, failures: int = 3, probe: float = 120.0) -> None:
        self.failures, self.probe = failures, probe


class Answer:
    """``go``: ask the provider now, as its one ``probe`` perhaps. Else not before ``until``, for the reason ``why``."""

    __slots__ = ("go", "probe", "state", "until", "why")

    def __init__(self, go: bool, state: str, *, probe: bool = False, until: float | None = None, why: str = "") -> None:
        self.go, self.state, self.probe, self.until, self.why = go, state, probe, until, why


def fresh() -> Breaker:
    """The breaker of a provider of whom nothing is known."""
    return {"state": CLOSED, "failures": 0, "failed": 0.0, "end": None, "limit": False, "probe": 0.0}


def ask(breaker: Breaker, rules: Rules, now: float) -> Answer:
    """Whether to go now; a caller that goes as the probe is recorded in ``breaker``."""
    if breaker["state"] == OPEN:
        end = breaker["end"]
        if now < end["until"]:
            return Answer(False, OPEN, until=end["until"], why=end["why"])
        if breaker["limit"]:
            breaker.update(fresh())
        else:
            breaker.update(state=HALF_OPEN, probe=0.0)
    if breaker["state"] == HALF_OPEN:
        if now < breaker["probe"]:
            return Answer(False, HALF_OPEN, until=breaker["probe"], why="another caller is trying it")
        breaker["probe"] = now + rules.probe
        return Answer(True, HALF_OPEN, probe=True)
    return Answer(True, CLOSED)


def report(
    breaker: Breaker, rules: Rules, what: str, now: float, *, end: End | None = None, share: float = 1.0
) -> None:
    """What became of a call: ``what`` is ok, limit or error, ``end`` when it may be tried again (None: not known),
    ``share`` a random number for the backoff."""
    if breaker["state"] == OPEN and breaker["limit"] and now >= breaker["end"]["until"]:
        breaker.update(fresh())
    if what == LIMIT and end is not None:
        known = breaker["end"] if breaker["state"] == OPEN and breaker["limit"] else None
        breaker.update(state=OPEN, end=ends.later(known, end), limit=True, probe=0.0)
    elif breaker["state"] == OPEN and now < breaker["end"]["until"]:
        return
    elif what == OK:
        breaker.update(fresh())
    else:
        recent = breaker["state"] != CLOSED or now - breaker["failed"] <= FORGET
        breaker.update(failures=breaker["failures"] + 1 if recent else 1, failed=now)
        if end is not None or what == LIMIT or breaker["state"] != CLOSED or breaker["failures"] >= rules.failures:
            failures = breaker["failures"]
            why = "a limit without a known end" if what == LIMIT else f"{failures} failures in a row"
            end = end or ends.after(ends.backoff(failures, share), now, why)
            breaker.update(state=OPEN, end=end, limit=False, probe=0.0)


def shift(state: dict[str, Any], seconds: float) -> None:
    """The clock was set back by ``seconds``: every time that rests on it moves with it."""
    for breaker in state["providers"].values():
        ends.shift(breaker["end"], seconds)
        for key in ("failed", "probe"):
            breaker[key] = max(breaker[key] - seconds, 0.0)


def of_model(provider: str, model: str) -> str:
    """The name of the breaker that has the limits of one model of a provider."""
    return f"{provider}/{model}"


class Breakers:
    """The breakers of a root, by name: a provider's, or `of_model`. ``now`` is a time in seconds since 1970, None the
    present."""

    def __init__(self, workspace: Workspace, config: Config) -> None:
        self.workspace, self.config = workspace, config
        self.kept = Kept(workspace, "breakers", {"providers": fresh()}, shift)

    def rules(self, name: str) -> Rules:
        """``[budget.providers.NAME]``, or the defaults where there is no such section."""
        known = self.config.names("budget", "providers")
        section = self.config.section("budget", "providers", name if name in known else name.partition("/")[0])
        return Rules(section["failures"], section["probe"])

    def look(self, name: str, now: float | None = None) -> Answer:
        """As `ask`, with nothing recorded: who is told to go may still find that another one is the probe."""
        state, now = self.kept.read(now)
        return ask(state["providers"].get(name) or fresh(), self.rules(name), now)

    def ask(self, name: str, now: float | None = None) -> Answer:
        """Whether it may be asked now; in HALF_OPEN one caller at a time is. Raises ConfigError, OSError."""
        return self.ask_all((name,), now)

    def ask_all(self, names: tuple[str, ...], now: float | None = None) -> Answer:
        """Whether every one of these may be asked now: the probe of one is nobody's when another one says no.

        The answer is of the one that is to be waited for longest. Raises ConfigError, OSError.
        """
        closed = []
        with self.kept.change(now) as (state, now):
            before = {name: state["providers"].get(name) or fresh() for name in names}
            after = {name: dict(breaker) for name, breaker in before.items()}
            answers = [ask(after[name], self.rules(name), now) for name in names]
            if all(answer.go for answer in answers):
                closed = [n for n in names if before[n]["state"] == OPEN and after[n]["state"] == CLOSED]
                state["providers"].update({n: after[n] for n in names if before[n]["state"] != CLOSED})
        for name in closed:
            emit(self.workspace, "budget.breaker_closed", provider=name, why="the limit's end is past")
        stops = [answer for answer in answers if not answer.go]
        if stops:
            return max(stops, key=lambda answer: answer.until or 0.0)
        return next((answer for answer in answers if answer.probe), answers[0])

    def report(self, name: str, what: str, *, end: End | None = None, now: float | None = None) -> Breaker:
        """Record what became of a call (`report`) and return the breaker. Raises UsageError, ConfigError, OSError."""
        if what not in (OK, LIMIT, ERROR):
            raise UsageError(f"{what!r} is no outcome", hint=f"one of {OK}, {LIMIT}, {ERROR}")
        with self.kept.change(now) as (state, now):
            breaker = state["providers"].get(name) or fresh()
            before = breaker["state"], breaker["end"]
            report(breaker, self.rules(name), what, now, end=end, share=random.random())
            if breaker != fresh() or name in state["providers"]:
                state["providers"][name] = breaker
        if breaker["state"] == OPEN and breaker["end"]["until"] > now and (OPEN, breaker["end"]) != before:
            facts = {"until": rfc3339(breaker["end"]["until"]), "why": breaker["end"]["why"]}
            emit(self.workspace, "budget.breaker_opened", provider=name, failures=breaker["failures"], **facts)
        elif before[0] != CLOSED and breaker["state"] == CLOSED:
            emit(self.workspace, "budget.breaker_closed", provider=name, why="it answered")
        return breaker

    def lift(self, name: str, now: float | None = None) -> Breaker:
        """Close the breaker whatever it waits for, as what was told of it was wrong. Raises ConfigError, OSError."""
        with self.kept.change(now) as (state, now):
            before = state["providers"].pop(name, None) or fresh()
        if before["state"] != CLOSED:
            emit(self.workspace, "budget.breaker_closed", provider=name, why="lifted by hand")
        return fresh()

    def document(self, name: str, now: float | None = None) -> dict[str, Any]:
        """The breaker for programs: state, until, why, failures."""
        state, now = self.kept.read(now)
        breaker = state["providers"].get(name) or fresh()
        end = breaker["end"] if breaker["state"] == OPEN else None
        if end and now >= end["until"]:
            breaker, end = {**breaker, "state": CLOSED if breaker["limit"] else HALF_OPEN}, None
        return {
            "name": name,
            "state": breaker["state"],
            "failures": breaker["failures"],
            "until": rfc3339(end["until"]) if end else None,
            "why": end["why"] if end else "",
        }
