"""The front end: shows the wait, streams the log, forwards ^C and TERM, and exits with the run's status."""

from __future__ import annotations

import os
import select
import time

from k1ctl import groups
from k1ctl.files import read_json, write_named
from k1ctl.jsontext import dumps, loads
from k1ctl.process import record
from k1ctl.process.attempt import Ending
from k1ctl.process.view import FIRST_LOOK, News
from k1ctl.signals import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.process.spec import RunSpec
    from k1ctl.process.view import View
    from k1ctl.workspace import Workspace

_REAP_TRIES = 30  # milliseconds
_TICK = 0.1  # s between two looks at a quiet log
_SLOWEST = 30.0  # s between two looks at a line in which nothing happens


class SupervisorLostError(Exception):
    """The supervisor ended without a last word while it stood in line; its place can be taken over."""


class FrontEnd:
    """Watches one run.

    ``status`` is the pipe from its supervisor, ``control`` the pipe to it, ``mark`` a pipe that holds a byte when the
    command may have begun; ``supervisor`` is its process and session.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        spec: RunSpec,
        view: View,
        status: int,
        control: int,
        mark: int = -1,
        supervisor: int = 0,
    ) -> None:
        self.workspace, self.config, self.spec, self.view = workspace, config, spec, view
        self.status, self.control, self.mark, self.supervisor = status, control, mark, supervisor
        self.state, self.run_id, self.folder, self.ticket = "starting", "", "", 0
        self.logs: dict[int, int] = {}  # our descriptor -> the log's
        self.apart = False
        self.ending: Ending | None = None
        self.error: dict[str, Any] | None = None
        self.deaf = False  # nobody reads our output any more
        self.over = False  # the supervisor has said its last word
        self.told = 0  # the last signal that asked this call to end
        self._rest = b""
        self._next_look = time.monotonic() + FIRST_LOOK
        self._pause = view.interval
        self.news = News(view.live.terminal)
        self._tick = 0.01
        self._paused: dict[str, str] = {}  # what of its resources nobody gets, and why

    def forward(self, number: int, _frame: object) -> None:
        """Signal handler: pass ^C and TERM on. A flash goes on without us."""
        self.told = number
        if self.state == "running" and self._left_alone():
            return
        try:
            os.write(self.control, b"I" if number == signals.SIGINT else b"T")
        except OSError:
            pass

    def _left_alone(self) -> bool:
        """End this call, not the run, when it was told to end and the run is one that goes on."""
        if not self.told or self.spec.on_caller_exit != "keep":
            return False
        message = f"run {self.run_id} goes on without this call"
        again = "upload --wait" if self.spec.kind == "upload" else "queue wait"
        hint = f"k1ctl {again} {self.run_id} takes it up again"
        self.ending = Ending(128 + self.told, "k1ctl", "caller-left", message, hint=hint)
        return True

    def watch(self) -> Ending:
        """Watch to the end. Raises SupervisorLostError while waiting; OSError when the output cannot be written."""
        poll = select.poll()
        poll.register(self.status, select.POLLIN | select.POLLHUP)
        handlers = [(n, signals.signal(n, self.forward)) for n in (signals.SIGINT, signals.SIGTERM)]
        try:
            while self.ending is None:
                if poll.poll(self._timeout() * 1000) and not self._read():
                    return self._supervisor_lost()
                self._look()
            self._stream()
            self._reap()
            if self.deaf and self.ending.code == "caller-terminated":
                return Ending(141, "k1ctl", "broken-pipe", "stopped: nobody reads its output any more")
            return self.ending
        finally:
            for number, handler in handlers:
                signals.signal(number, handler)
            self.view.closed()

    def _timeout(self) -> float:
        if self.state == "waiting":
            return max(0.0, self._next_look - time.monotonic())
        return self._tick if self.state == "running" else 30.0

    def _read(self) -> bool:
        """Take in what the supervisor says; False at its end."""
        data = os.read(self.status, 65536)
        lines = (self._rest + data).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            self._hear(loads(line.decode()))
        return bool(data)

    def _hear(self, said: dict[str, Any]) -> None:
        state = said["state"]
        if state == "created":
            self.run_id, self.folder, self.apart = said["run"], said["folder"], said["apart"]
            self.view.created(self.run_id)
        elif state == "waiting":
            self.state, self.ticket = "waiting", said["ticket"]
            if said["resumed"]:
                self.view.message(f"took the kept place {self.ticket} over")
        elif state == "chosen":
            self.view.chosen(said["device"])
        elif state == "running":
            self.state = "running"
            self._tick = 0.01
            self.view.started()
            self._open_logs()
            self._left_alone()  # told in the moment it was let in
        elif state == "admitting":
            self.state = "admitting"
            self.view.held_back(said["text"])
        elif state == "retrying":
            self._stream()  # what the attempt said of its end goes before
            self.view.message(
                f"exit code {said['exit_code']}; attempt {said['attempt']} starts in {said['delay_seconds']:g} s"
            )
        elif state == "guarded":
            self.view.message(f"waiting: the device is held by {said['who']}, in another repository on this host")
        elif state == "stopping":
            self.view.message(f"stopping the command ({said['reason']})")
        elif state == "lingering":
            self.view.message(
                f"the command ended but left {said['processes']} process(es) in its group; they keep the lease"
            )
            self._end(said)
        elif state == "warning":
            self.view.message(said["message"])
        elif state == "failed":
            self.error = said["error"]
            self.ending = Ending(self.error["exit_code"], "k1ctl", self.error["code"], self.error["message"])
            self.ending.error, self.ending.hint = self.error, self.error["hint"]
        elif state == "ended":
            self.over = True
            self._end(said)

    def _end(self, said: dict[str, Any]) -> Ending:
        if said.get("recorded"):
            said = {**said, **(read_json(os.path.join(self.folder, "run.json")) or {})}
        self.ending = Ending(
            said["exit_code"],
            said["by"],
            said["code"],
            said["message"],
            hint=said.get("hint", ""),
            result=said.get("result"),
            error=said.get("error"),
        )
        try:
            os.write(self.control, b"B")
        except OSError:
            pass
        return self.ending

    def _look(self) -> None:
        """What time brings: how the ticket stands, what the log grew by."""
        if self.state == "waiting" and time.monotonic() >= self._next_look:
            from k1ctl.queue.folder import queue_folder
            from k1ctl.queue.view import standing

            folder = queue_folder(self.workspace, self.config)
            news = self.news.any(folder)
            self._pause = self.view.interval if news else min(self._pause * 1.5, _SLOWEST)
            self._next_look = time.monotonic() + self._pause
            found = standing(folder, self.ticket, self.config.slots, pid=self.supervisor) if news else None
            if found is not None:
                self.view.waiting(found, self.spec.resources)
                self._paused = found.paused
            if self._paused:
                from k1ctl.escalation.keeper import look_after

                look_after(self.workspace, self.config, self._paused)
        elif self.state == "running":
            self._tick = 0.01 if self._stream() else min(self._tick * 1.5, _TICK)
            self.view.tick()

    def _open_logs(self) -> None:
        if self.logs:
            return
        files = {1: "log", 2: "log.err"} if self.apart else {1: "log"}
        for fd, name in files.items():
            try:
                self.logs[fd] = os.open(os.path.join(self.folder, name), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue

    def _stream(self) -> bool:
        """Pass on what the logs grew by; whether there was anything."""
        grown = False
        for fd, log in self.logs.items():
            while not self.deaf and (data := os.read(log, 65536)):
                grown = True
                self._pass_on(fd, data)
        return grown

    def _pass_on(self, fd: int, data: bytes) -> None:
        """What SIGPIPE would do to a command that wrote to the closed pipe itself: it ends, and so do we, with 141."""
        try:
            self.view.output(fd, data)
        except BrokenPipeError:
            self.deaf = self.view.quiet = True
            if self.spec.on_caller_exit == "stop" and self.ending is None:
                try:
                    os.write(self.control, b"T")
                except OSError:
                    pass

    def _reap(self) -> None:
        """Take the supervisor's end in, so that it is no zombie where nobody reaps orphans; it is about to exit."""
        for _ in range(_REAP_TRIES if self.over and self.supervisor else 0):
            try:
                if os.waitpid(self.supervisor, os.WNOHANG)[0]:
                    return
            except ChildProcessError:
                return
            time.sleep(0.001)

    def _supervisor_lost(self) -> Ending:
        """The supervisor was killed: in line its place is parked; later its command may live on with the lease."""
        os.waitpid(self.supervisor, 0)  # no zombie: others would take it for one that can be told to stop
        if self.state in ("starting", "waiting", "admitting") and not os.read(self.mark, 1):
            raise SupervisorLostError
        self._open_logs()
        run = record.Run(self.folder, read_json(os.path.join(self.folder, "run.json")) or {"run": self.run_id})
        if run.record.get("state") == "ended":  # only its last word is missing
            self._stream()
            return self._end(run.record)
        message = f"the supervisor of run {self.run_id} was killed"
        if self.spec.on_caller_exit == "stop":
            self._stop_session()
        else:
            self.view.message(f"{message}; its command goes on")
        while groups.in_session(self.supervisor):
            self._stream()
            self.view.tick()
            time.sleep(0.02)
        self._stream()
        ending = Ending(76, "k1ctl", "supervisor-lost", message, hint=f"its log is {run.log}")
        facts = {"exit_code": 76, "by": "k1ctl", "code": ending.code, "message": message}
        try:
            run.save(state="ended", **facts)
            if self.spec.result:
                write_named(self.spec.result, dumps({"run": self.run_id, "folder": self.folder, **facts}) + "\n")
        except OSError:
            pass
        return ending

    def _stop_session(self) -> None:
        """What the supervisor would have done: TERM, the grace period, KILL."""
        self.view.message("its supervisor was killed; stopping the command")
        groups.send_to_session(self.supervisor, signals.SIGTERM, signals.SIGCONT)
        until = time.monotonic() + self.config.get("process", "grace")
        while groups.in_session(self.supervisor) and time.monotonic() < until:
            self._stream()
            time.sleep(0.02)
        groups.send_to_session(self.supervisor, signals.SIGKILL)
