"""What a call of ``k1ctl capacity run`` asks for, what would come of it, and doing it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl import lane
from k1ctl.capacity.need import Need, parse, readable
from k1ctl.errors import K1ctlError, UsageError
from k1ctl.output import say
from k1ctl.units import format_size, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.capacity.gate import Decision
    from k1ctl.capacity.leash import Limits
    from k1ctl.config import Config
    from k1ctl.process.launch import Outcome
    from k1ctl.process.spec import RunSpec
    from k1ctl.workspace import Workspace

_LEAST = 16 << 20  # bytes; less holds no interpreter


class Asked:
    """``need`` of the host and ``limits`` of ``command``; ``origin`` says where the need is from. Raises UsageError."""

    def __init__(self, workspace: Workspace, config: Config, command: list[str], options: Mapping[str, Any]) -> None:
        self.workspace, self.config, self.command, self.options = workspace, config, command, options
        memory = _memory(options["mem_limit"])
        cpus = _cpus(options["cpu_limit"])
        self.need, self.origin = self._need(memory)
        relief = {mark: config.get("capacity", f"{mark}_percent") for mark in ("suspend", "kill")}
        retries = options["oom_retries"]
        self.limits = _limits(
            memory,
            cpus,
            means=config.get("capacity", "limit_by"),
            relief={} if options["priority"] == "critical" else relief,
            what=self.what,
            retries=config.get("capacity", "oom_retries") if retries is None else retries,
        )

    @property
    def what(self) -> str:
        """What others see."""
        return str(self.options["label"] or os.path.basename(self.command[0]))

    def _need(self, memory: int) -> tuple[Need, str]:
        if self.options["need"]:
            need, origin = parse(self.options["need"]), "--need"
        else:
            need, origin = Need(memory), "--mem-limit"
        from k1ctl_plugins.capacity.check_call import of_class

        origin = of_class(need, self.options["class_"]) or origin
        if not need:
            raise UsageError(
                "it is not said what the command needs",
                hint="as in k1ctl capacity run --need mem=2G --mem-limit 2G -- npm test",
            )
        return need, origin

    def environment(self) -> dict[str, str]:
        """Variables that the command gets beside the caller's: what keeps its own parallelism to its cores."""
        from k1ctl.capacity import cpu

        cpus = self.limits.cpus or self.need.cpu
        return cpu.environment(cpus, os.environ) if cpus else {}

    def decision(self) -> Decision:
        """What the gate says now. Raises K1ctlError, OSError."""
        from k1ctl.capacity import gate

        words: dict[str, Any] = {"kind": "capacity-run", "priority": self.options["priority"]}
        path = self.workspace.path
        return gate.look(self.config, self.need, path=path, workspace=self.workspace, **words)

    def whole_decision(self) -> Decision:
        """`decision`, the slots of the queue among it. Raises K1ctlError, OSError."""
        from k1ctl_plugins.capacity import check_call

        priority = self.options["priority"]
        return check_call.look(self.workspace, self.config, self.need, kind="capacity-run", priority=priority)

    def reduce(self) -> str:
        """Ask for what fits now instead, at least a tenth; what changed, for people ("": nothing). Raises OSError."""
        less = self.decision().reduced
        if less is None:
            return ""
        before, self.need = self.need, less
        if less.mem and self.limits.memory > less.mem:
            self.limits.memory = less.mem
        if less.cpu and self.limits.cpus > less.cpu:
            self.limits.cpus = less.cpu
        return f"reduced from {readable(before)} to {readable(less)}"

    def spec(self) -> RunSpec:
        """The run."""
        from k1ctl.process.spec import RunSpec
        from k1ctl.queue import names

        options, result = self.options, self.options["result"]
        wanted = [str(self.need), *self.command]
        return RunSpec(
            "capacity-run",
            self.command,
            dict(self.need.slots),
            cwd=os.getcwd(),
            env={**os.environ, **self.environment()},
            wait=options["wait"] or 0.0,
            timeout=options["timeout"],
            priority=options["priority"],
            key=names.stable_key(self.workspace.path, "capacity-run", *wanted),
            label=options["label"],
            result=os.path.join(os.getcwd(), result) if result else "",
            details={"class": options["class_"]} if options["class_"] else {},
            need=self.need,
            limits=self.limits,
        )


def _memory(text: str | None) -> int:
    if text is None:
        return 0
    try:
        size = parse_size(text)
    except ValueError as exc:
        raise UsageError(f"--mem-limit: {exc}") from None
    if size < _LEAST:
        raise UsageError(f"--mem-limit {text}: no interpreter runs in less than {format_size(_LEAST)}")
    return size


def _cpus(text: str | None) -> float:
    if text is None:
        return 0.0
    try:
        cores = float(text)
    except ValueError:
        cores = 0.0
    if not 0.01 <= cores < 10_000:
        raise UsageError(f"--cpu-limit: {text!r} is no number of cores", hint="write 2 or 0.5")
    return cores


def _limits(memory: int, cpus: float, **rest: Any) -> Limits:
    from k1ctl.capacity.leash import Limits

    return Limits(memory, cpus, **rest)


def answer(asked: Asked) -> dict[str, Any]:
    """What would come of it now. Raises K1ctlError, OSError."""
    from k1ctl.capacity import leash

    reduced = asked.reduce() if asked.options["reduce"] else ""
    decision = asked.whole_decision()
    kept_by, cpus_kept_by = leash.means_of(asked.limits)
    if decision.never:
        from k1ctl.capacity import gate

        raise gate.never_fits(asked.what, decision)
    return {
        "ok": True,
        **decision.document(),
        "need": asked.need.document(),
        "need_from": asked.origin,
        "reduced_to": str(asked.need) if reduced else None,
        "limits": {
            "memory_bytes": asked.limits.memory or None,
            "cpus": asked.limits.cpus or None,
            "kept_by": kept_by,
            "cpus_kept_by": cpus_kept_by,
            "oom_retries": asked.limits.retries,
        },
        "environment": asked.environment(),
    }


def lines(asked: Asked, answer: Mapping[str, Any]) -> list[str]:
    """The answer for people."""
    limits = answer["limits"]
    found = [f"needs {readable(asked.need)} (from {asked.origin}): {'go' if answer['go'] else 'not now'}"]
    found += [f"  {reason['text']}" for reason in answer["reasons"]]
    memory = format_size(asked.limits.memory) + " of memory" if asked.limits.memory else ""
    cores = f"{asked.limits.cpus:g} cores" if asked.limits.cpus else ""
    if memory:
        found.append(f"limit: {memory}, kept by {limits['kept_by']}; {limits['oom_retries']} retries with more")
    if cores:
        found.append(f"limit: {cores}, kept by {limits['cpus_kept_by']}")
    if not memory and not cores:
        found.append("no limits")
    if answer["environment"]:
        found.append("environment: " + " ".join(f"{k}={v}" for k, v in sorted(answer["environment"].items())))
    return found


def run(asked: Asked) -> int:
    """Do it; the exit code. Raises K1ctlError, OSError."""
    from k1ctl.process.launch import launch

    result = asked.options["result"]
    lane.forget_result(result)
    try:
        if asked.options["reduce"]:
            reduced = asked.reduce()
            if reduced:
                say(f"k1ctl: {reduced}")
        outcome = launch(asked.workspace, asked.config, asked.spec())
    except K1ctlError as exc:
        if result:
            lane.write_result(result, exc.exit_code, exc.code, exc.message)
        raise
    ending = outcome.ending
    if result and not outcome.folder:
        lane.write_result(result, ending.exit_code, ending.code, ending.message)
    return _finish(outcome)


def _finish(outcome: Outcome) -> int:
    ending = outcome.ending
    if ending.by == "command" and ending.code == "oom":
        say(f"k1ctl: {ending.message}")
        if ending.hint:
            say(f"k1ctl: {ending.hint}")
    return lane.finish(outcome)
