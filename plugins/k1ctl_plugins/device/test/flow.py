"""From patterns' names to a report: stand in line, let the worker measure, read what it left, tell of it."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from k1ctl import events
from k1ctl.device.pattern import baseline
from k1ctl.device.pattern.job import (
    CURRENT,
    EXIT_SKIPPED,
    FAILED,
    JOB,
    OUTCOME,
    PASSED,
    SKIPPED,
    STATES,
    VOID,
    nothing_measured,
)
from k1ctl.errors import ConfigError, K1ctlError, UsageError
from k1ctl.files import read_json, write_json
from k1ctl.output import say
from k1ctl.process import record
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
from k1ctl.queue import choice, names
from k1ctl.workspace import host_dir

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.attempt import Ending
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace

BASELINES = "baselines"
ALL, SHOWN = "(all)", "(the one shown)"
_ALIVE = "device-unconfirmed"  # a test that was skipped as the device is there but answers 429
_GUARD_SECONDS = 300.0  # another repository's work on the device
_WORKER = [sys.executable, "-P", "-m", "k1ctl.device.pattern.worker"]


class Plan:
    """Which patterns are tested on which device, and by which rules.

    ``asked`` is the device or the group that was asked for, ``devices`` those it may be, of which a free one is taken.
    """

    def __init__(
        self, asked: str, devices: list[dict[str, Any]], patterns: list[str], rules: dict[str, Any], **how: Any
    ) -> None:
        self.asked, self.devices, self.patterns, self.rules = asked, devices, patterns, rules
        self.all: bool = how["all_of_them"]
        self.record: bool = how["record"]
        self.strict: bool = how["strict"]
        self.wait: float | None = how["wait"]

    @property
    def named(self) -> list[str]:
        """The patterns as they can be told before the device has told them."""
        return [ALL] if self.all else [word if word != CURRENT else SHOWN for word in self.patterns]

    def to(self, device: str) -> dict[str, Any]:
        """The settings of the device that the queue gave, "" where there was no choice."""
        return next((found for found in self.devices if found["name"] == device), self.devices[0])

    def document(self, device: str = "") -> dict[str, Any]:
        facts = {"patterns": self.named, "duration_seconds": self.rules["duration"], "record": self.record}
        devices = [{key: d[key] for key in ("name", "host", "http_port", "mac")} for d in self.devices]
        return {"device": device or self.asked, "devices": devices, **facts, "strict": self.strict}


def make_plan(
    workspace: Workspace,
    config: Config,
    patterns: tuple[str, ...],
    *,
    device: str | None,
    duration: float | None,
    all_of_them: bool,
    record: bool,
    strict: bool,
    wait: float | None,
) -> Plan:
    """Settle device and patterns, and check what can be checked before standing in line.

    Without patterns: [test] patterns, else those with a baseline, else the one that is shown. Raises UsageError,
    ConfigError, WrongDataError (a baseline that is none).
    """
    if all_of_them and patterns:
        raise UsageError("--all tests every pattern of the device; it goes with no name")
    if "" in patterns:
        raise UsageError("a pattern's id is not empty", hint="GET /api/patterns of the device tells them")
    if duration is not None and duration <= 0:
        raise UsageError("--duration must be more than 0")
    name = device or os.environ.get("K1CTL_DEVICE") or str(config.get("defaults", "device"))
    devices = _devices(config, name)
    rules = dict(config.section("test"))
    rules["duration"] = rules["duration"] if duration is None else duration
    folder = workspace.ops_path(BASELINES)
    chosen = list(dict.fromkeys(patterns or rules["patterns"] or baseline.recorded(folder) or [CURRENT]))
    for word in chosen:
        baseline.read(folder, word)
    how = {"all_of_them": all_of_them, "record": record, "strict": strict, "wait": wait}
    return Plan(name, devices, [] if all_of_them else chosen, rules, **how)


def _devices(config: Config, asked: str) -> list[dict[str, Any]]:
    """The settings of those devices that ``asked`` may stand for and that have an address. Raises ConfigError."""
    found = [{"name": name, **config.named("devices", name)} for name in choice.members(config, asked) or [asked]]
    open_ones = [device for device in found if device["host"]]
    if not open_ones:
        name = found[0]["name"]
        hint = f"set [devices.{name}] host in {config.path}"
        raise ConfigError(f"device {name} has no host", hint=hint, code="no-host")
    for device in open_ones:
        names.check_resource(f"device:{device['name']}")
    return open_ones


def test(workspace: Workspace, config: Config, plan: Plan) -> dict[str, Any]:
    """Stand in line, measure, and return the report {ok, outcome, exit_code, results, ...}.

    Raises K1ctlError where there is nothing to report: never let in, stopped, the supervisor killed.
    """
    resource = choice.one_of([device["name"] for device in plan.devices])
    words = [*plan.named, "--record" if plan.record else ""]
    spec = RunSpec(
        "device-test",
        [*_WORKER, "RUN"],
        {resource: 1},
        cwd=workspace.root,
        wait=plan.wait,
        key=names.stable_key(workspace.path, f"device:{plan.asked}", "device-test", *words),
        label=f"test of {', '.join(plan.named)}"[:200],
        details=plan.document(),
    )

    def before(run: Run, spec: RunSpec) -> None:  # in the supervisor
        if spec.device:
            run.save(details=plan.document(spec.device))
        job = _job(workspace, config, plan, run, plan.to(spec.device))
        write_json(os.path.join(run.folder, JOB), job, mode=0o600)
        spec.argv = [*_WORKER, run.folder]

    def after(run: Run, ending: Ending) -> dict[str, Any]:
        found = _report(plan, run, ending)
        _tell(workspace, config, found)
        return found

    finished = launch(workspace, config, spec, before=before, after=after, view=TestView(plan.asked))
    if finished.ending.result is not None:
        return finished.ending.result
    if finished.ending.code == "supervisor-lost" and finished.folder:
        found = _report(plan, record.Run(finished.folder, {"run": finished.run}), finished.ending, undo=False)
        _tell(workspace, config, found)
        return found
    raise finished.ending.as_error(**({"run": finished.run} if finished.run else {}))


def _job(workspace: Workspace, config: Config, plan: Plan, run: Run, device: dict[str, Any]) -> dict[str, Any]:
    return {
        "run": run.id,
        "supervisor": os.getpid(),
        "workspace": workspace.name,
        "host_dir": host_dir(),
        "device": device,
        "patterns": plan.patterns,
        "all": plan.all,
        "record": plan.record,
        "strict": plan.strict,
        "test": plan.rules,
        "baselines": workspace.ops_path(BASELINES),
        "mark": mark_path(workspace, device["name"]),
        "guard_timeout": _GUARD_SECONDS,
        "undo_seconds": max(float(config.get("process", "grace")) * 0.8, 0.5),
    }


def mark_path(workspace: Workspace, device: str) -> str:
    """Where a test notes what it has to put back: ``ops/device/NAME.test.json``."""
    from k1ctl.device.health import state_path

    return state_path(workspace, device).removesuffix(".json") + ".test.json"


def _report(plan: Plan, run: Run, ending: Ending, *, undo: bool = True) -> dict[str, Any]:
    """What the worker left, as the report; ``undo`` what a killed worker changed, for a caller with the lease."""
    left = read_json(os.path.join(run.folder, OUTCOME))
    device = (read_json(os.path.join(run.folder, JOB)) or {}).get("device") or plan.devices[0]
    name = device["name"]
    if not isinstance(left, dict):
        left = {"state": "running", "results": [], "restored": None, "attempts": 0}
    if left["state"] != "ended":
        why = f"the worker ended before it was done: {ending.message}"
        code = ending.exit_code if ending.by == "k1ctl" or ending.exit_code > 128 else 1
        left = {**left, "code": "test-broken-off", "message": why, "hint": f"its log is {run.log}", "exit_code": code}
        left["restored"] = (_undo(run) if undo else None) or left["restored"]
    if left["code"] == "interrupted" and ending.by == "k1ctl":
        left["message"] = ending.message  # why: the caller's end, a cancellation, the supervisor's end
    if left["message"] and not left["message"].startswith(name):
        left["message"] = f"{name}: {left['message']}"
    rows = left["results"] or [_unknown_row(word, left) for word in plan.named]
    return {
        "ok": left["exit_code"] == 0,
        "run": run.id,
        "device": name,
        "host": device["host"],
        **{key: left.get(key, "") for key in ("device_identity", "device_mac")},
        "outcome": _outcome(left),
        **{key: left[key] for key in ("code", "message", "hint", "exit_code", "attempts")},
        **{state: sum(row["state"] == state for row in rows) for state in STATES},
        "seconds": round(sum(row["seconds"] for row in rows), 3),
        "duration_seconds": plan.rules["duration"],
        "regression_percent": plan.rules["regression"],
        "results": rows,
        "restored": left["restored"],
        "prompt": "",
        **({"near": left["near"]} if left.get("near") else {}),
    }


def _unknown_row(word: str, left: dict[str, Any]) -> dict[str, Any]:
    skipped = left["exit_code"] == EXIT_SKIPPED
    row = {"pattern": word, "name": "", "state": SKIPPED if skipped else VOID, "code": left["code"]}
    return {**row, "message": left["message"], "seconds": 0.0, **nothing_measured()}


def _outcome(left: dict[str, Any]) -> str:
    words = {0: PASSED, 1: FAILED, EXIT_SKIPPED: SKIPPED}
    return words.get(left["exit_code"], VOID)


def _undo(run: Run) -> dict[str, Any] | None:
    """Put back what a killed worker changed; None when there is nothing to put back."""
    from k1ctl.device.pattern import client

    job = read_json(os.path.join(run.folder, JOB)) or {}
    mark = client.left_mark(job.get("mark", ""))
    if mark is None or mark.run != run.id:
        return None
    try:
        done = client.put_back(client.reach(job["device"])[0], mark)
        mark.remove()
    except (K1ctlError, OSError) as exc:
        message = f"{mark.pattern} could not be put back: {exc}; the next k1ctl device test tries it again"
        return {"pattern": mark.pattern, "state": "failed", "message": message}
    return done


def _tell(workspace: Workspace, config: Config, found: dict[str, Any]) -> None:
    """Events, and the ladder of the device's trouble."""
    keys = ("run", "device", "outcome", "code", "message", "exit_code", *STATES)
    facts = {key: found[key] for key in keys}
    worst = [r["pattern"] for r in found["results"] if r["state"] in (FAILED, VOID)]
    if found["outcome"] == SKIPPED:
        events.emit(workspace, "test.skipped", **facts, attempts=found["attempts"])
    else:
        events.emit(workspace, "test.finished", **facts, not_passed=worst[:20])
    if found["outcome"] in (PASSED, FAILED, SKIPPED):
        from k1ctl.escalation import keeper

        told = {key: found[key] for key in ("run", "code", "message", "hint", "exit_code", "attempts", "seconds")}
        what = "online" if found["code"] == _ALIVE else f"test-{found['outcome']}"
        found["prompt"] = keeper.observe(workspace, config, found["device"], what, **told)


class TestView(View):
    """Shows where the test is on one live line, and what became of each pattern."""

    __test__ = False

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device, self._rest = device, b""

    def chosen(self, device: str) -> None:
        """From here on it is that one's test."""
        super().chosen(device)
        self.device = device

    def output(self, fd: int, data: bytes) -> None:
        """Read what the worker printed instead of passing it through."""
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            text = line.decode("utf-8", "replace")
            if ": sampling for " in text:
                self.live.update(f"{self.device}: {text}")
            else:
                self.live.clear()
                say(f"{self.device}: {text}")


def raise_where_nothing_was_tested(found: dict[str, Any]) -> None:
    """The report's error for a caller without --json: a wrong call, a wrong or lost device, a stop."""
    if found["exit_code"] in (0, 1, EXIT_SKIPPED):
        return
    error = K1ctlError(found["message"], hint=found["hint"], code=found["code"], run=found["run"])
    error.exit_code = found["exit_code"]
    raise error
