"""The ladder that a device's trouble climbs: automatic retry, a prompt for the agent, a person, an incident.

Pure: what was, what was seen, the rules and a moment give what is and the steps that were taken. Nothing here reads a
clock or a file. Trouble is uploads and tests that fail, kept by workspace, and a device that does not answer. An
episode begins with the first trouble and ends when none is left, or an incident when the device answers; within it each
rung is taken once, in this order. But a person is told once more for each further workspace that fails for a reason of
its own: whoever looks after the first one's image does not hear of the others'.
"""

from __future__ import annotations

from k1ctl.units import format_duration, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    State = dict[str, Any]
    Step = dict[str, Any]

RETRY, AGENT, HUMAN, INCIDENT, CLOSED = "retry", "agent", "human", "incident", "closed"
RUNGS = (RETRY, AGENT, HUMAN, INCIDENT)
UPLOAD_FAILED, UPLOAD_INSTALLED = "upload-failed", "upload-installed"
TEST_FAILED, TEST_PASSED, TEST_SKIPPED = "test-failed", "test-passed", "test-skipped"
OFFLINE, ONLINE, CHECK = "offline", "online", "check"
WHATS = (UPLOAD_FAILED, UPLOAD_INSTALLED, TEST_FAILED, TEST_PASSED, TEST_SKIPPED, OFFLINE, ONLINE, CHECK)
GOOD = (ONLINE, UPLOAD_INSTALLED, TEST_PASSED)
AWAY_CODES = ("device-offline", "device-not-back")  # a failed upload's; nobody answered there
_KINDS = {UPLOAD_FAILED: "uploads", TEST_FAILED: "tests"}
_ANSWERED = (*GOOD, TEST_FAILED)  # what only a device that is there can give
_DEVICES_FAULT = (69, 76)  # exit codes that say nothing about the image: another's success takes them back
_NOT_NOW = 75  # busy is no failure
_KEPT = 20  # steps that are kept for people to look at
_SAID = 300  # characters of a message that are kept


class Moment:
    """A time on both clocks: ``wall`` seconds since 1970, and ``monotonic``, which stands while the host sleeps."""

    __slots__ = ("monotonic", "wall")

    def __init__(self, wall: float, monotonic: float) -> None:
        self.wall, self.monotonic = wall, monotonic

    def document(self) -> dict[str, float]:
        return {"wall": self.wall, "monotonic": self.monotonic}

    def since(self, then: dict[str, Any]) -> float:
        """Seconds from ``then`` (a `document`) to now in which the host was awake; never more than either clock says.

        A clock that was set, a host that slept or started anew only make it less: then it is not known, and counts 0.
        """
        return max(0.0, min(self.wall - float(then["wall"]), self.monotonic - float(then["monotonic"])))


class Rules:
    """``[escalation]`` of the configuration: counts of failures and seconds; 0 switches a rule off."""

    __slots__ = ("failures_agent", "failures_human", "forget", "offline_human", "offline_incident", "retrying")

    def __init__(
        self,
        *,
        failures_agent: int = 1,
        failures_human: int = 2,
        retrying: float = 900.0,
        offline_human: float = 180.0,
        offline_incident: float = 600.0,
        forget: float = 86400.0,
    ) -> None:
        self.failures_agent, self.failures_human = failures_agent, failures_human
        self.retrying, self.forget = retrying, forget
        self.offline_human, self.offline_incident = offline_human, offline_incident

    @property
    def longest_gap(self) -> float:
        """Seconds that the time between two observations counts at most: who did not look does not know."""
        return (self.offline_incident or self.offline_human) / 2


class Seen:
    """One observation: ``what`` of `WHATS`; by which ``workspace`` and ``run``; how it ended (``code``, ``exit_code``,
    ``message``, after ``attempts`` in ``seconds``). ``held``: why a person took the device out of service, "" if
    nobody did; its absence is then nobody's trouble."""

    __slots__ = ("attempts", "code", "exit_code", "held", "message", "run", "seconds", "what", "workspace")

    def __init__(
        self,
        what: str,
        *,
        workspace: str = "",
        run: str = "",
        code: str = "",
        exit_code: int = 1,
        message: str = "",
        attempts: int = 1,
        seconds: float = 0.0,
        held: str = "",
    ) -> None:
        self.what, self.workspace, self.run, self.code, self.exit_code = what, workspace, run, code, exit_code
        self.message, self.attempts, self.seconds, self.held = message[:_SAID], attempts, seconds, held

    @property
    def failed(self) -> bool:
        """Whether a run of a workspace failed."""
        return self.what in _KINDS and self.exit_code != _NOT_NOW

    @property
    def away(self) -> bool:
        """Whether the device did not answer."""
        return self.what in (OFFLINE, TEST_SKIPPED) or (self.what == UPLOAD_FAILED and self.code in AWAY_CODES)


def fresh() -> State:
    """The state of a device that never had trouble."""
    return {"rung": "", "episode": 0, "since": "", "failures": {}, "offline": None, "steps": []}


def sound(found: Any) -> bool:
    """Whether ``found`` is a state as `advance` makes it; anything else in its file counts as no state."""
    if not isinstance(found, dict) or any(type(found.get(key)) is not type(value) for key, value in _SHAPE.items()):
        return False
    offline, failures, steps = found.get("offline"), found["failures"].values(), found["steps"]
    return (
        (offline is None or (isinstance(offline, dict) and offline.keys() >= _OFFLINE))
        and all(isinstance(failure, dict) and failure.keys() >= _FAILURE for failure in failures)
        and all(isinstance(step, dict) and step.keys() >= _STEP for step in steps)
    )


_SHAPE: State = {"rung": "", "episode": 0, "since": "", "failures": {}, "steps": []}
_OFFLINE = {"since", "seconds", "wall", "monotonic", "message"}
_FAILURE = {"uploads", "tests", "first", "last", "run", "code", "exit_code", "message"}
_STEP = {"rung", "episode", "at", "reason", "workspace", "run", "code", "notify", "acted", "told", "tries"}


def advance(state: State, seen: Seen, rules: Rules, now: Moment) -> tuple[State, list[Step]]:
    """The state after an observation, and the steps that it led to, in order. ``state`` itself stays as it is.

    A step is {rung (one of `RUNGS` or closed), episode, at, reason, workspace, run, code, notify (whether people are
    told), acted (False), told (None), tries (0), further (whether the rung was taken already, for another workspace)};
    the steps of the episode stand in the state, too.
    """
    state = _copy(state)
    new_failure = _take_in(state, seen, rules, now)
    steps: list[Step] = []
    if state["rung"] and (not _trouble(state) or (state["rung"] == INCIDENT and not state["offline"])):
        steps.append(_close(state, _why_closed(seen, rules), seen, now))
    for rung, reason, own in _due(state, seen, rules, now, new_failure):
        higher = _rank(rung) > _rank(state["rung"])
        if higher:
            if not state["rung"]:
                _open(state, now)
            state["rung"] = rung
        if higher or (own and not own.get("person")):
            steps.append(_step(state, rung, reason, seen, now, further=not higher))
            if own:
                own["person"] = True
    state["steps"] = _kept(state["steps"] + steps)
    return state, steps


def close(state: State, reason: str, now: Moment, workspace: str = "") -> tuple[State, list[Step]]:
    """As `advance`, for a person who ends the episode whatever the device does; no step when none is open."""
    state = _copy(state)
    if not state["rung"]:
        return state, []
    state.update(failures={}, offline=None)
    steps = [_close(state, reason, Seen(CHECK, workspace=workspace), now)]
    state["steps"] = _kept(state["steps"] + steps)
    return state, steps


def outlook(state: State, rules: Rules) -> list[dict[str, Any]]:
    """What would come next: [{rung, when (words), seconds (of further absence; None where no time decides)}]."""
    coming: list[dict[str, Any]] = []
    rank, offline = _rank(state["rung"]), state["offline"]
    if not state["rung"]:
        return coming
    if rank < _rank(HUMAN):
        for name, failure in state["failures"].items():
            left = rules.failures_human - failure["uploads"]
            if rules.failures_human and left > 0 and failure["uploads"]:
                again = "one more failed upload" if left == 1 else f"{left} more failed uploads"
                coming.append({"rung": HUMAN, "when": f"with {again} of {name}", "seconds": None})
            if rules.retrying:
                when = f"when {name} still fails after {format_duration(rules.retrying)}"
                coming.append({"rung": HUMAN, "when": when, "seconds": None})
    for rung, limit in ((HUMAN, rules.offline_human), (INCIDENT, rules.offline_incident)):
        if offline and limit and rank < _rank(rung):
            more = max(0.0, limit - offline["seconds"])
            when = f"after {format_duration(more)} more without an answer"
            coming.append({"rung": rung, "when": when, "seconds": round(more, 3)})
    return coming


def _copy(state: State) -> State:
    return {
        **state,
        "failures": {name: {**failure} for name, failure in state["failures"].items()},
        "offline": {**state["offline"]} if state["offline"] else None,
        "steps": [{**step} for step in state["steps"]],
    }


def _rank(rung: str) -> int:
    return RUNGS.index(rung) if rung in RUNGS else -1


def _trouble(state: State) -> bool:
    return bool(state["failures"] or state["offline"])


def _take_in(state: State, seen: Seen, rules: Rules, now: Moment) -> bool:
    """Note what was seen; whether it is a failure that was not known."""
    failures = state["failures"]
    for name in [n for n, f in failures.items() if rules.forget and now.wall - f["last"]["wall"] > rules.forget]:
        del failures[name]
    if seen.away:
        _absent(state, seen, rules, now)
    elif seen.what in _ANSWERED:
        incident, state["offline"] = state["rung"] == INCIDENT, None
        for name in [n for n, f in failures.items() if incident or f["code"] in AWAY_CODES]:
            del failures[name]
    if seen.what == UPLOAD_INSTALLED:
        _forgive(failures, seen.workspace, "uploads")
        for name in [n for n, f in failures.items() if f["exit_code"] in _DEVICES_FAULT]:
            _forgive(failures, name, "uploads")
    elif seen.what == TEST_PASSED:
        _forgive(failures, seen.workspace, "tests")
    return seen.failed and _failed(failures, seen, now)


def _absent(state: State, seen: Seen, rules: Rules, now: Moment) -> None:
    """Time without an answer grows by what lies between two observations of it, and not while a person holds it."""
    last = state["offline"]
    if last is None:
        last = state["offline"] = {"since": now.wall, "seconds": 0.0}
    elif not seen.held:
        last["seconds"] += min(now.since(last), rules.longest_gap)
    last.update(now.document(), message=seen.message)


def _forgive(failures: dict[str, Any], name: str, kind: str) -> None:
    failure = failures.get(name)
    if failure is not None:
        failure[kind] = 0
        if not failure["uploads"] and not failure["tests"]:
            del failures[name]


def _failed(failures: dict[str, Any], seen: Seen, now: Moment) -> bool:
    failure = failures.get(seen.workspace)
    if failure is None:
        first = {"wall": now.wall - seen.seconds, "monotonic": now.monotonic - seen.seconds}
        failure = failures[seen.workspace] = {"uploads": 0, "tests": 0, "first": first, "run": ""}
    if seen.run and failure["run"] == seen.run:
        return False  # told twice, as by one who takes a run up again
    failure[_KINDS[seen.what]] += 1
    failure.update(last=now.document(), run=seen.run, code=seen.code, exit_code=seen.exit_code, message=seen.message)
    return True


def _due(
    state: State, seen: Seen, rules: Rules, now: Moment, new_failure: bool
) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(Rung, reason, the workspace's failure where that is its own and a person is due; else {}) of all that is due,
    lowest first; taken already or not."""
    if _trouble(state):
        yield RETRY, _why_retried(seen), {}
    if new_failure:
        failure = state["failures"][seen.workspace]
        count, who = failure["uploads"] + failure["tests"], f"{seen.workspace} ({seen.code or 'failed'})"
        if rules.failures_agent and count >= rules.failures_agent:
            yield AGENT, f"{_failures(failure)} of {who}: its run has a prompt with what to try", {}
        own = {} if seen.exit_code in _DEVICES_FAULT else failure
        if rules.failures_human and failure["uploads"] >= rules.failures_human:
            yield HUMAN, f"{_failures(failure)} of {who}: {seen.message}", own
        elif rules.retrying and now.since(failure["first"]) >= rules.retrying:
            yield HUMAN, f"{who} fails for {format_duration(now.since(failure['first']))}: {seen.message}", own
    offline = state["offline"]
    if offline is None or seen.held:
        return
    absent = f"offline since {rfc3339(offline['since'])} (seen for {format_duration(offline['seconds'])})"
    incident = rules.offline_incident and offline["seconds"] >= rules.offline_incident
    if incident or (rules.offline_human and offline["seconds"] >= rules.offline_human):
        yield HUMAN, f"{absent}: {offline['message']}", {}
    if incident:
        yield INCIDENT, absent, {}


def _failures(failure: dict[str, Any]) -> str:
    counted = [(failure["uploads"], "upload"), (failure["tests"], "test")]
    return " and ".join(f"{n} failed {what}{'s' if n > 1 else ''}" for n, what in counted if n)


def _why_retried(seen: Seen) -> str:
    if seen.failed and seen.what == UPLOAD_FAILED:
        tried = f"tried {seen.attempts} times" if seen.attempts > 1 else "tried once"
        return f"upload of {seen.workspace}, {tried}: {seen.message}"
    if seen.failed:
        return f"test of {seen.workspace}: {seen.message}"
    if seen.what == TEST_SKIPPED:
        return f"test of {seen.workspace} skipped, no answer: {seen.message}"
    return f"no answer: {seen.message}; it is asked again"


def _why_closed(seen: Seen, rules: Rules) -> str:
    if seen.what == UPLOAD_INSTALLED:
        return f"{seen.workspace} installed an image"
    if seen.what == TEST_PASSED:
        return f"a test of {seen.workspace} passed"
    return "it answers again" if seen.what == ONLINE else f"nothing failed for {format_duration(rules.forget)}"


def _open(state: State, now: Moment) -> None:
    """Begin an episode, with a number that no other of this device has: its time in milliseconds."""
    state["episode"] = max(int(now.wall * 1000), state["episode"] + 1)
    state["since"] = rfc3339(now.wall)
    state["steps"] = [step for step in state["steps"] if owed(step)]


def _step(state: State, rung: str, reason: str, seen: Seen, now: Moment, *, further: bool = False) -> Step:
    return {
        "rung": rung,
        "episode": state["episode"],
        "at": rfc3339(now.wall),
        "reason": reason,
        "workspace": seen.workspace,
        "run": seen.run,
        "code": seen.code,
        "notify": rung in (HUMAN, INCIDENT),
        "acted": False,
        "told": None,
        "tries": 0,
        "further": further,
    }


def _close(state: State, reason: str, seen: Seen, now: Moment) -> Step:
    people = _rank(state["rung"]) >= _rank(HUMAN)
    state["rung"] = ""
    return {**_step(state, CLOSED, reason, seen, now), "notify": people}


def owed(step: Step) -> bool:
    """Whether something of a step is still to be done: its effect, or telling people."""
    return not step["acted"] or (step["notify"] and step["told"] is None)


def _kept(steps: list[Step]) -> list[Step]:
    return [step for at, step in enumerate(steps) if owed(step) or at >= len(steps) - _KEPT]
