"""The objectives of ``[slo.NAME]``, and how each is kept."""

from __future__ import annotations

import math
from functools import partial

from k1ctl.errors import ConfigError, UsageError
from k1ctl.slo.burn import FIRING, LEVEL, Burn, burns
from k1ctl.units import format_duration, parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.slo.steps import Step
    from k1ctl.tally.fold import Tally
    from k1ctl.tally.windows import Window
    from k1ctl.workspace import Workspace

KEPT, BROKEN, UNKNOWN = "kept", "broken", "not-enough-data"
LONGEST = 35 * 86400.0  # s that the tally knows
_LEAST = 1e-5  # percent that may be bad; with less it takes more than ten million events to tell anything
WORDS = {"build": "builds", "upload": "uploads", "test": "tests", "run": "runs", "turn": "turns"}


class Rule:
    """One objective as it is set: ``name``; the ``kind`` of work, ``of`` what ("": all); ``target``, the share that has
    to be good; ``within`` seconds where time decides (0.0: success); ``window``, ``investigate`` in seconds;
    ``escalate``, failures in a row."""

    __slots__ = ("escalate", "investigate", "kind", "name", "of", "target", "window", "within")

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        self.name, self.kind, self.of = name, str(settings["kind"]), str(settings["of"])
        self.target, self.within = settings["percent"] / 100.0, float(settings["within"])
        self.window, self.investigate = float(settings["window"]), float(settings["investigate"])
        self.escalate = int(settings["escalate"])

    @property
    def allowed(self) -> float:
        """The share that may be bad."""
        return float(round(1.0 - self.target, 9))

    @property
    def enough(self) -> int:
        """How many events allow one bad one: with fewer, a single one would break it."""
        return math.ceil(1.0 / self.allowed - 1e-9)


class Objective:
    """How one is kept: ``name`` and ``rule``; ``good`` and ``bad`` of the last ``window`` seconds, ``ignored`` ones;
    ``target``: the share that has to be good; ``value``: the share that is, or the seconds in which ``target`` of them
    were done, None without any; ``budget_left``: the share of the allowed failures that is left, below 0 where more
    were had, None without any events; ``burns``; ``steps`` that failures ask for; ``state``: kept, broken or
    not-enough-data; ``text``: all that in a sentence."""

    __slots__ = (
        *(
            "bad",
            "budget_left",
            "burns",
            "good",
            "ignored",
            "name",
            "rule",
            "state",
            "steps",
            "target",
            "text",
            "value",
        ),
        "window",
    )

    def __init__(self, rule: Rule, window: float) -> None:
        self.rule, self.name, self.target, self.window = rule, rule.name, rule.target, window
        self.good = self.bad = self.ignored = 0
        self.value: float | None = None
        self.budget_left: float | None = None
        self.burns: list[Burn] = []
        self.steps: list[Step] = []
        self.state, self.text = UNKNOWN, ""

    @property
    def firing(self) -> list[Burn]:
        """The burns that fire, the fastest first."""
        return [burn for burn in self.burns if burn.state == FIRING]

    def document(self) -> dict[str, Any]:
        """The objective as JSON."""
        events, rule = self.good + self.bad, self.rule
        return {
            "name": self.name,
            "kind": rule.kind,
            "of": rule.of or None,
            "state": self.state,
            "target_ratio": self.target,
            "within_seconds": rule.within or None,
            "window_seconds": self.window,
            "good": self.good,
            "bad": self.bad,
            "ignored": self.ignored,
            "good_ratio": round(self.good / events, 6) if events else None,
            "value_seconds": None if self.value is None or not rule.within else round(self.value, 3),
            "events_needed": rule.enough,
            "budget_left_ratio": None if self.budget_left is None else round(self.budget_left, 6),
            "burning": bool(self.firing),
            "burns": [burn.document() for burn in self.burns],
            "steps": [step.document() for step in self.steps],
            "text": self.text,
        }


def rules(config: Config, names: Sequence[str] = ()) -> list[Rule]:
    """The objectives that are set, or the named ones of them; one with percent 0 is none. Raises ConfigError,
    UsageError (unknown-objective)."""
    known = config.names("slo")
    for name in names:
        if name not in known:
            raise UsageError(f"there is no objective {name!r}", hint=f"there are {', '.join(known)}", code=_NO_SUCH)
    found = []
    for name in known:
        settings = config.section("slo", name)
        if not settings["percent"] or (names and name not in names):
            continue
        place = f"slo.{name}"
        if settings["percent"] > 100.0 - _LEAST:
            hint = "what may never fail has no error budget: 99.9 allows one of 1000"
            raise ConfigError(f"{place}.percent is {settings['percent']}: it has to be below 100", hint=hint, key=place)
        if settings["kind"] == "turn" and not settings["within"]:
            raise ConfigError(f"{place}: turns do not fail; set within", key=place)
        check_window(settings["window"], f"{place}.window")
        found.append(Rule(name, settings))
    return found


_NO_SUCH = "unknown-objective"


def check_window(seconds: float, what: str) -> None:
    """Raises ConfigError for a window that the tally does not know."""
    if not 0 < seconds <= LONGEST:
        raise ConfigError(f"{what} is {format_duration(seconds)}: it has to be above 0 and at most 35 d", key=what)


def look(
    workspace: Workspace,
    config: Config,
    tally: Tally,
    *,
    window: float = 0.0,
    names: Sequence[str] = (),
    now: float | None = None,
) -> list[Objective]:
    """How the objectives are kept, in their windows or in the last ``window`` seconds. Raises as `rules`."""
    import time

    from k1ctl.slo.steps import steps

    now = time.time() if now is None else now
    found = []
    for rule in rules(config, names):
        objective = Objective(rule, window or rule.window)
        _fill(objective, tally, now)
        objective.burns = burns(partial(_counts, rule, tally, now), _newest(rule, tally, now), rule.allowed)
        objective.steps = steps(rule, tally, objective.window, now)
        objective.text = _sentence(objective)
        found.append(objective)
    return found


def _counts(rule: Rule, tally: Tally, now: float, seconds: float) -> tuple[int, int]:
    """(bad, all) of the last so many seconds."""
    return _bad_of(rule, tally.window(rule.kind, seconds, target=rule.of, now=now))


def _bad_of(rule: Rule, window: Window) -> tuple[int, int]:
    """(bad, all) in a window."""
    if not rule.within:
        return window.bad, window.bad + window.good
    within = round(window.histogram.within(rule.within))
    return window.histogram.count - within, window.histogram.count


def _newest(rule: Rule, tally: Tally, now: float) -> list[tuple[float, bool]]:
    """(seconds ago, whether it is bad) of those of the newest ends that count, newest first."""
    from k1ctl.tally.kinds import DONE, verdict

    found = []
    for end in tally.last:
        if end.kind != rule.kind or rule.of not in ("", end.target):
            continue
        counts = end.result == DONE and end.seconds is not None if rule.within else verdict(end.kind, end.result)
        if counts:
            bad = (end.seconds or 0.0) > rule.within if rule.within else end.result != DONE
            found.append((now - parse_rfc3339(end.at), bad))
    return found


def _fill(objective: Objective, tally: Tally, now: float) -> None:
    rule = objective.rule
    window = tally.window(rule.kind, objective.window, target=rule.of, now=now)
    objective.bad, events = _bad_of(rule, window)
    objective.good, objective.ignored = events - objective.bad, window.ignored
    if not events:
        return
    objective.value = window.histogram.quantile(rule.target) if rule.within else objective.good / events
    objective.budget_left = 1.0 - objective.bad / (events * rule.allowed)
    objective.state = judge(objective.bad, events, rule)


def judge(bad: int, events: int, rule: Rule) -> str:
    """kept, broken or not-enough-data. With fewer than ``rule.enough`` events only so many failures break it as are no
    chance (`k1ctl.slo.burn.LEVEL`), and nothing keeps it."""
    from k1ctl.slo.binomial import tail

    if events >= rule.enough:
        return KEPT if bad <= events * rule.allowed + 1e-9 else BROKEN
    return BROKEN if tail(bad, events, rule.allowed) < LEVEL else UNKNOWN


def _sentence(objective: Objective) -> str:
    rule, events = objective.rule, objective.good + objective.bad
    many = WORDS[rule.kind] + (f" of {rule.of}" if rule.of else "")
    last = f"in the last {format_duration(objective.window)}"
    if not events:
        return f"no {many} {last}"
    did = f"took at most {format_duration(rule.within)}" if rule.within else "succeeded"
    text = f"{objective.good} of {events} {many} {last} {did} ({percent(objective.good / events)})"
    if objective.state == UNKNOWN:
        text += f"; it takes {rule.enough} to tell"
    elif objective.budget_left is not None:
        left = math.floor(events * rule.allowed + 1e-9) - objective.bad
        text += f"; {left} more may fail" if left >= 0 else f"; {-left} more than allowed"
        text = text.replace("may fail", "may take longer") if rule.within else text
    for burn in objective.firing[:1]:
        text += f"; burning: {burn.bad} of {burn.events} in the last {format_duration(burn.long)} "
        text += f"{'took longer' if rule.within else 'failed'}, {burn.rate:.1f} times what may"
    return text


def percent(share: float) -> str:
    """Rounded down: 79.96 % is not 80 %."""
    return f"{math.floor(share * 1000 + 1e-9) / 10:g} %"
