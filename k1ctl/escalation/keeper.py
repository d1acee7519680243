"""Who is to know of a device's trouble: the ladder (`ladder`), kept in ``ops/device/NAME.escalation.json``.

Whoever sees something tells `observe`. Under a lock of the file's own it asks the machine, writes what is, and does
what the steps ask for: an event, the prompt of the failed run, the pause of the device's queue and its end. A step is
recorded before its effect and marked behind it, and each effect may be had twice, so that a kill at any moment loses
none: the next one who sees anything goes on with it. People are told by a process of its own (`telling`), so that
nobody waits for a slow channel.
"""

from __future__ import annotations

import os
import time

from k1ctl.escalation import ladder
from k1ctl.escalation.ladder import AGENT, CLOSED, INCIDENT, Moment, Rules, Seen, owed
from k1ctl.events import emit
from k1ctl.files import open_locked, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.escalation.ladder import State, Step
    from k1ctl.workspace import Workspace

    Change = Callable[[State, Moment], tuple[State, list[Step]]]

TRIES = 3  # how often people are told of a step before it is given up
TRY_AGAIN = 30.0  # s between two of them
ASK_AGAIN = 30.0  # s between two looks at a device whose incident holds up who waits
_OF_RUNS = ("K1CTL_RUN", "K1CTL_LEASES", "K1CTL_GUARDS", "K1CTL_PROMISE", "K1CTL_DEVICE")
CALL_AGAIN = 5.0  # s in which a process that is to tell people has begun to
_PATIENCE = 2.0  # s that somebody who holds the file is waited for
_FOR_RUNS = 10.0  # s for what became of a run: nobody sees that a second time


def state_path(workspace: Workspace, device: str) -> str:
    """``ops/device/NAME.escalation.json``."""
    from k1ctl.device.health import state_path as record_path

    return record_path(workspace, device).removesuffix(".json") + ".escalation.json"


def load(workspace: Workspace, device: str) -> State:
    """The state of a device as it is recorded; a fresh one where there is none, or none that can be read."""
    return _read(state_path(workspace, device))


def _read(path: str) -> State:
    found = read_json(path)
    return found if ladder.sound(found) else ladder.fresh()


def rules(config: Config) -> Rules:
    """``[escalation]`` of the configuration."""
    return Rules(**config.section("escalation"))


def observe(
    workspace: Workspace, config: Config | None, device: str, what: str, /, *, apart: bool = True, **facts: Any
) -> str:
    """Tell what became of a run, or how the device was found; returns the path of the run's prompt ("" for none).

    ``what`` is upload-failed, upload-installed, test-failed, test-passed, test-skipped, offline, online or check.
    ``facts``: ``run``, ``code``, ``exit_code``, ``message``, ``hint``, ``attempts`` and ``seconds`` (how long it was
    tried), as far as known. Never raises and waits for nobody: what goes wrong is an event, ``escalation.failed``. A
    device without trouble costs one look at a small file. ``config`` None: read when it is needed. ``apart`` False:
    the caller tells people himself (`k1ctl.escalation.telling.tell`).
    """
    prompt = ""
    try:
        if what in (*ladder.GOOD, ladder.CHECK) and not _concerned(state_path(workspace, device)):
            return ""
        if config is None:
            from k1ctl.config import load as load_config

            config = load_config(workspace)
        keeper = _Keeper(workspace, config, device, apart)
        prompt = keeper.prompt_of(what, facts)
        if not _elsewhere(config, device):
            keeper.observe(what, facts)
    except Exception as exc:  # whatever it is, the work it tells of goes on
        said = f"{type(exc).__name__}: {exc}"[:300]
        emit(workspace, "escalation.failed", device=device, what=what, run=str(facts.get("run", "")), message=said)
    return prompt


def _elsewhere(config: Config, device: str) -> bool:
    """Whether this call's environment alone gives the device another address: what it met there is nobody else's."""
    from k1ctl.config import Config as Configuration

    if not config.file.get(("devices", device, "host")):
        return False
    for_all = Configuration(config.path, config.file, {})
    places = [("devices", device, key) for key in ("host", "http_port")]
    return any(config.get(*place) != for_all.get(*place) for place in places)


def _concerned(path: str) -> bool:
    """Whether good news, or a look, changes anything."""
    state = _read(path)
    return bool(state["rung"]) or any(owed(step) for step in state["steps"])


def close(workspace: Workspace, config: Config, device: str, reason: str) -> bool:
    """End the episode of a device by a person's word; False when none is open. Raises K1ctlError, OSError."""
    keeper = _Keeper(workspace, config, device)
    return bool(keeper.change(lambda state, now: ladder.close(state, reason, now, workspace.name)))


def tidy(workspace: Workspace, config: Config, device: str) -> bool:
    """For a device that answers: lift an incident's pause that outlived its record, or is of another root that shares
    the queue; whether there was one. Raises K1ctlError, OSError."""
    return _Keeper(workspace, config, device).tidy()


def key_of(device: str, step: Step) -> str:
    """What makes a step the same one, wherever it is told: ``k1/1767435300123/human``, and ``.../human/RUN`` for a
    further workspace, which may install an image and begin to fail anew within the episode."""
    further = f"/{step['run'] or step['workspace']}" if step.get("further") else ""
    return f"{device}/{step['episode']}/{step['rung']}{further}"


class _Keeper:
    """One device's file, and what the steps in it ask for."""

    def __init__(self, workspace: Workspace, config: Config, device: str, apart: bool = True) -> None:
        self.workspace, self.config, self.device, self.apart = workspace, config, device, apart
        self.path = state_path(workspace, device)
        self.patience = _PATIENCE
        self.resource = f"device:{device}"

    def prompt_of(self, what: str, facts: dict[str, Any]) -> str:
        """Write the prompt of the run, if it is one that failed; its path."""
        wanted = what in (ladder.UPLOAD_FAILED, ladder.TEST_FAILED) and self.config.get("escalation", "failures_agent")
        return self._prompt(facts) if wanted else ""

    def observe(self, what: str, facts: dict[str, Any]) -> None:
        """Let the machine see it."""
        known = {k: facts[k] for k in ("run", "code", "exit_code", "message", "attempts", "seconds") if k in facts}
        by = rules(self.config)
        self.patience = _FOR_RUNS if known.get("run") else _PATIENCE

        def change(state: State, now: Moment) -> tuple[State, list[Step]]:
            seen = Seen(what, workspace=self.workspace.name, **known)
            if seen.away or what == ladder.CHECK:
                seen.held = self._held()
            return ladder.advance(state, seen, by, now)

        self.change(change)

    def change(self, change: Change) -> list[Step]:
        """Let the machine take a step, under the lock, and do what is to be done; the new steps."""
        fd = _locked(self.path.removesuffix(".json") + ".lock", self.patience)
        try:
            before = _read(self.path)
            state, steps = change(before, Moment(time.time(), time.monotonic()))
            if state != before:
                write_json(self.path, state)
            for step in state["steps"]:
                if not step["acted"]:
                    self._act(step)
                    step["acted"] = True
                    write_json(self.path, state)
            settled, calls = self._settle(state), self._calls(state, steps)
            if calls:
                state["called"] = time.time()
            if settled or calls:
                write_json(self.path, state)
        finally:
            os.close(fd)
        if calls:
            tell_apart(self.workspace, self.device)
        return steps

    def _calls(self, state: State, steps: list[Step]) -> bool:
        """Whether to start a process that tells people: there is news, or who was called last is not at it."""
        if not self.apart or not any(due(step) for step in state["steps"]):
            return False
        return any(step["notify"] for step in steps) or not 0 <= time.time() - state.get("called", 0.0) < CALL_AGAIN

    def _act(self, step: Step) -> None:
        """The effect of a step; had twice, it is the same. The event comes first: it says why."""
        about = {"device": self.device, "key": key_of(self.device, step), "reason": step["reason"], "run": step["run"]}
        emit(self.workspace, "escalation.step", rung=step["rung"], **about)
        if step["rung"] == AGENT and step["run"]:
            from k1ctl.escalation import prompts

            if not os.path.exists(prompts.path_of(self.workspace, step["run"])):
                self._prompt({"run": step["run"], "code": step["code"]})
        elif step["rung"] == INCIDENT:
            self._hold(step)
        elif step["rung"] == CLOSED:
            self._lift(step)

    def _prompt(self, facts: dict[str, Any]) -> str:
        from k1ctl.escalation import prompts

        told = {k: facts[k] for k in ("code", "exit_code", "message", "hint") if k in facts}
        path = prompts.write(self.workspace, str(facts.get("run", "")), **told) if facts.get("run") else ""
        if path:
            emit(self.workspace, "escalation.prompt", device=self.device, run=facts["run"], path=path)
        return path

    def _mark(self, step: Step | State) -> str:
        return f"[incident {self.device}/{step['episode']}]"

    def _held(self) -> str:
        """Why a person, not an incident, lets nobody have the device; "" when nobody does."""
        from k1ctl.queue.incident import mark_of
        from k1ctl.queue.view import paused

        why = paused(self._folder()).get(self.resource)
        return "" if why is None or mark_of(why) else why or "paused"

    def _folder(self) -> str:
        from k1ctl.queue.folder import queue_folder

        return queue_folder(self.workspace, self.config)

    def _hold(self, step: Step) -> None:
        from k1ctl.queue import incident

        reason = f"incident: {step['reason']}"
        if incident.hold(self._folder(), self.resource, reason, self._mark(step)):
            emit(self.workspace, "queue.paused", resource=self.resource, reason=reason, by="incident")

    def _lift(self, step: Step) -> None:
        from k1ctl.queue import incident

        if not os.path.isdir(self._folder()):
            return
        if incident.lift(self._folder(), self.resource, self._mark(step)):
            emit(self.workspace, "queue.resumed", resource=self.resource, reason=step["reason"], by="incident")

    def tidy(self) -> bool:
        """Lift the pause of an incident that the file does not know."""
        from k1ctl.queue import incident
        from k1ctl.queue.view import pauses

        mark = incident.mark_of(pauses(self._folder()).get(self.resource, ""))
        state = _read(self.path)
        known = mark == self._mark(state) and (state["rung"] or any(not step["acted"] for step in state["steps"]))
        if not mark or known or not incident.lift(self._folder(), self.resource, mark):
            return False
        emit(self.workspace, "queue.resumed", resource=self.resource, reason="its incident is over", by="incident")
        return True

    def _settle(self, state: State) -> bool:
        """Note what people will not be told of: there is nobody, or it was tried often enough."""
        from k1ctl.notify import possible

        open_steps = [step for step in state["steps"] if step["notify"] and step["told"] is None]
        nobody = bool(open_steps) and not possible(self.config)
        for step in open_steps:
            about = {"device": self.device, "key": key_of(self.device, step)}
            if nobody:
                step["told"] = []
                emit(self.workspace, "notify.nobody", **about)
            elif step["tries"] >= TRIES and due_again(step):
                step["told"] = [{"channel": "", "outcome": "failed", "message": f"given up after {TRIES} tries"}]
                emit(self.workspace, "notify.given-up", **about)
        return any(step["told"] is not None for step in open_steps)


def due(step: Step) -> bool:
    """Whether people are to be told of a step now."""
    return bool(step["notify"] and step["told"] is None and step["acted"]) and step["tries"] < TRIES and due_again(step)


def due_again(step: Step) -> bool:
    """Whether it is long enough ago that they were, or were to be; a clock that was set back counts as long enough."""
    since = time.time() - step.get("tried", 0.0)
    return not 0 <= since < TRY_AGAIN


def record(workspace: Workspace, device: str, key: str, **fields: Any) -> None:
    """Note something at a step, under the lock, for who tells people. Raises BusyError, OSError."""
    path = state_path(workspace, device)
    fd = _locked(path.removesuffix(".json") + ".lock", _FOR_RUNS)
    try:
        state = _read(path)
        for step in state["steps"]:
            if key_of(device, step) == key:
                step.update(fields)
        write_json(path, state)
    finally:
        os.close(fd)


def _locked(path: str, patience: float) -> int:
    """The lock, held: each holder has it for some writes only. Raises BusyError when one of them is stopped."""
    from k1ctl.errors import BusyError

    deadline = time.monotonic() + patience
    while True:
        fd = open_locked(path, blocking=False)
        if fd is not None:
            return fd
        if time.monotonic() >= deadline:
            raise BusyError(f"{path} is held by another process for {patience:g} s")
        time.sleep(0.01)


def look_after(workspace: Workspace, config: Config, paused: Mapping[str, str]) -> None:
    """For who waits in line: have a device asked again whose incident holds him up, so that nobody waits for a device
    that is back. ``paused`` {resource: reason}; one process asks every 30 s for all who wait. Never raises."""
    from k1ctl.queue.incident import mark_of

    for resource, why in paused.items():
        kind, _, device = resource.partition(":")
        try:
            if kind != "device" or not mark_of(why) or device not in config.names("devices"):
                continue
            if _asked_long_ago(workspace, device) and _turn_to_ask(workspace, device):
                _apart(workspace, ["k1ctl", "--root", workspace.root, "device", "escalation", device, "--check"])
        except Exception as exc:  # no process, no memory, no folder: he waits all the same
            said = f"{type(exc).__name__}: {exc}"[:300]
            emit(workspace, "escalation.failed", device=device, what="asking", message=said)


def _asked_long_ago(workspace: Workspace, device: str) -> bool:
    from k1ctl.device.health import state_path as record_path

    try:
        age = time.time() - os.stat(record_path(workspace, device)).st_mtime
    except OSError:
        return True
    return not 0 <= age < ASK_AGAIN


def _turn_to_ask(workspace: Workspace, device: str) -> bool:
    """Whether nobody else had the device asked in the last 30 s, be there an answer or none; then it is our turn."""
    fd = open_locked(state_path(workspace, device).removesuffix(".json") + ".asking.lock", blocking=False)
    if fd is None:
        return False
    try:
        last = os.fstat(fd)
        if last.st_size and 0 <= time.time() - last.st_mtime < ASK_AGAIN:
            return False
        return os.pwrite(fd, b"\n", 0) > 0  # its time is what counts; an empty one was just made
    finally:
        os.close(fd)


def tell_apart(workspace: Workspace, device: str) -> None:
    """Start the process that tells people, and do not wait for it."""
    _apart(workspace, ["k1ctl.escalation.telling", workspace.root, workspace.name, device])


def _apart(workspace: Workspace, words: list[str]) -> None:
    """Start a module of ours in a session of its own, and leave it to itself.

    It gets none of our descriptors, so that a slow channel holds no lease, and no lease's variables. The shell in
    between leaves it to the system's first process: nobody has to reap it.
    """
    import subprocess
    import sys

    env = {k: v for k, v in os.environ.items() if k not in _OF_RUNS}
    nowhere = subprocess.DEVNULL
    subprocess.run(
        ["/bin/sh", "-c", '"$@" &', "sh", sys.executable, "-P", "-m", *words],
        stdin=nowhere,
        stdout=nowhere,
        stderr=nowhere,
        cwd=workspace.root,
        env=env,
        start_new_session=True,
        check=False,
    )
