"""The supervisor: waits in line, holds the lease, runs the command, keeps the record; survives its caller."""

from __future__ import annotations

import os
import time

from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.files import flock, write_named
from k1ctl.jsontext import dumps
from k1ctl.masking import masked_words
from k1ctl.process import nested, record
from k1ctl.process.attempt import Attempt, Ending
from k1ctl.process.client import Client, fail, known, let_go, open_descriptors
from k1ctl.process.spec import DEFAULT_DEVICE, DEVICE, PROMISE
from k1ctl.queue import history, names
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.line import EX, UN
from k1ctl.signals import signals
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from k1ctl.capacity.promises import Held
    from k1ctl.capacity.spared import Mark
    from k1ctl.config import Config
    from k1ctl.process.admission import Admission
    from k1ctl.process.record import Run
    from k1ctl.process.spec import RunSpec
    from k1ctl.queue.ticket import Ticket
    from k1ctl.workspace import Workspace

    Before = Callable[[Run, RunSpec], None]
    After = Callable[[Run, Ending], dict[str, Any] | None]

_WORD_LIMIT = 3500  # bytes; PIPE_BUF is at least 512 and 4096 on Linux; macOS takes 16 KiB into an empty pipe
_PRUNE_EVERY = 32  # runs


class Supervisor(Client):
    """One run from its place in line to its record."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        spec: RunSpec,
        pipes: tuple[int, int, int],
        before: Before | None = None,
        after: After | None = None,
    ) -> None:
        super().__init__(workspace, config, spec, pipes)
        self.lent = nested.adopt(queue_folder(workspace, config), open_descriptors())
        self.before, self.after = before, after
        self.working = False
        self.promise: Held | None = None
        self.wake: tuple[int, int] | None = None
        self.limited: dict[str, Any] | None = None  # what the result tells of its limits
        self.around: Collection[str] = ()  # what the runs and the script around us hold
        self.spared: Mark | None = None  # that of a flash
        self.facts: dict[str, Any] = {}  # what others in line see of us
        self.joined: list[int] = []  # locks that keep the leases of the runs around us from ending
        self.inherited = dict(os.environb)  # encoded now, not between the last command's end and ours
        self.run = self._create()
        self.run_id = self.run.id
        self.admission: Admission | None = None
        if spec.gated:
            from k1ctl.process.admission import Admission

            self.admission = Admission(self)

    # setting out

    def _create(self) -> Run:
        spec = self.spec
        command = [word if len(word) < 200 else word[:200] + "..." for word in masked_words(spec.argv[:40])]
        run = record.create(
            self.workspace,
            {
                "kind": spec.kind,
                "state": "waiting",
                "workspace": self.workspace.name,
                "workspace_path": self.workspace.path,
                "argv": command,
                "cwd": spec.cwd,
                "label": spec.label,
                "resources": spec.resources,
                "priority": spec.priority,
                "on_caller_exit": spec.on_caller_exit,
                "supervisor": os.getpid(),
                "created_at": rfc3339(),
                "details": spec.details,
                **({"device": spec.device} if spec.device else {}),
                **({"need": spec.need.document()} if spec.need else {}),
            },
        )
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.log = os.open(run.log, flags, 0o600)
        flock(self.log, EX, run.log)  # alive = locked; the command shares it through its standard output
        self.error_log = self.log
        if spec.detached:
            self.mark = os.open(run.begun, flags, 0o600)
        elif _apart(1, 2):
            self.error_log = os.open(run.error_log, flags, 0o600)
        os.dup2(self.log, 1)
        os.dup2(self.log, 2)
        run.save()
        return run

    def mark_start(self) -> None:
        """Leave word that the command may have begun, without waking the front end: it must not be begun twice."""
        try:
            os.write(self.mark, b"S")
        except OSError:
            pass

    # the stages

    def main(self) -> int:
        """Run to the end; returns the exit code that the front end will have."""
        self.tell("created", run=self.run.id, folder=self.run.folder, apart=self.error_log != self.log)
        try:
            ending = self._stand_in_line() or self._admit() or self._work()
        except Exception as exc:  # whatever it is, the lease is given back and the record says what happened
            error = known(exc)
            ending = Ending(error.exit_code, "k1ctl", error.code, error.message, hint=error.hint)
            ending.error = error.document()["error"]
        finally:
            self._release()
        self._finish(ending)
        if self.spared is not None:
            self.spared.end()
        return ending.exit_code

    def _stand_in_line(self) -> Ending | None:
        """None once every resource is ours."""
        spec, have = self.spec, self.lent
        if nested.LEASES in os.environ:
            around, self.joined = nested.join(queue_folder(self.workspace, self.config), os.environ[nested.LEASES])
            have = {**around, **{r: max(n, around.get(r, 0)) for r, n in have.items()}}
        if have:
            self.around = have.keys()
            outer = ("k1ctl queue ticket {}",) if self.lent else ()
            settled = nested.settled(spec.resources, have)
            held = next((r.partition(":")[2] for r in settled if r not in spec.resources), "")
            spec.resources = nested.still_needed(settled, have, *outer)
            if held:
                spec.device = held
                self.chosen()
        if not spec.resources:
            return None
        self.facts = {
            "run": self.run.id,
            "kind": spec.kind,
            "workspace": self.workspace.name,
            "command": _brief(spec.argv),
            "label": spec.label,
            "keep": spec.on_caller_exit == "keep" and not spec.detached,
            "queued_at": rfc3339(),
        }
        return self.stand_in_line(dict(self.facts))

    def in_line(self, ticket: Ticket, granted: bool) -> None:
        """The record names the ticket before anybody is told of it."""
        if self.spec.detached or not granted:
            self.run.save(ticket=ticket.seq)
        if self.spec.detached:
            self.tell("queued", ticket=ticket.seq, resumed=ticket.resumed)
        super().in_line(ticket, granted)

    def chosen(self) -> None:
        """The record names the device before anything is done to it."""
        device = f"device:{self.spec.device}"
        resources = {device if names.CHOICE in r else r: n for r, n in self.run.record["resources"].items()}
        self.run.save(resources=resources, device=self.spec.device)
        super().chosen()

    def _admit(self) -> Ending | None:
        """None once the host has room for us."""
        return None if self.admission is None else self.admission.take()

    def _work(self) -> Ending:
        if any(r.startswith("device:") for r in self.run.record["resources"]):  # also one that a run around us holds
            from k1ctl.process import guards

            ending = guards.take(self)
            if ending is not None:
                return ending
            self.spared = guards.spare(self)
        self.working = True
        if self.before is not None:
            self.before(self.run, self.spec)
        try:
            os.chdir(self.spec.cwd)
        except OSError as exc:
            hint = "it was removed after this call; nothing was run"
            raise ConfigError(f"{self.spec.cwd}: {exc.strerror}", hint=hint, code="no-folder") from exc
        number, delay, caller = 1, self.spec.delay, Caller(self.control)
        while True:
            attempt = Attempt(self, caller, number)
            ending = attempt.run()
            if attempt.limiting is not None and attempt.limiting.more(ending):
                number += 1
                continue
            if not attempt.worth_another(ending):
                break
            self.note("run.retry", attempt=number, exit_code=ending.exit_code, delay_seconds=delay)
            self.tell("retrying", attempt=number + 1, exit_code=ending.exit_code, delay_seconds=delay)
            if not attempt.pause(delay):
                break
            number += 1
            delay *= 2 if self.spec.backoff == "exponential" else 1
        if self.after is not None:
            result = self.after(self.run, ending)
            if result is not None:
                ending.result = result
        return ending

    def on_term(self, *_: object) -> None:
        """Signal handler: `queue cancel` of a lease sends TERM. In line it ends us, and the place is parked."""
        if self.working or (self.standing is not None and self.standing.file.startswith("r")):
            self.cancelled = True
            return
        signals.signal(signals.SIGTERM, signals.SIG_DFL)
        os.kill(os.getpid(), signals.SIGTERM)

    def environment(self) -> dict[bytes, bytes]:
        """The command's environment: the caller's (or the spec's) and the marks of the lease it runs under."""
        given = self.spec.env
        env = dict(self.inherited) if given is None else {os.fsencode(k): os.fsencode(v) for k, v in given.items()}
        env[b"K1CTL_RUN"] = os.fsencode(self.run.id)
        if self.spec.device:
            for variable in (DEVICE, DEFAULT_DEVICE):
                env[variable.encode()] = os.fsencode(self.spec.device)
        if self.ticket is not None:
            name = os.fsencode(nested.LEASES)
            mine = os.fsencode(nested.mark(self.ticket.seq, self.run.id, self.ticket.line.folder))
            env[name] = env[name] + b"\n" + mine if env.get(name) else mine
        if self.promise is not None and self.promise.mark:
            name = os.fsencode(PROMISE)
            mine = os.fsencode(self.promise.mark)
            env[name] = env[name] + b"\n" + mine if env.get(name) else mine
        if self.guards:
            mine = b"\n".join(os.fsencode(f"{self.run.id} {path}") for path in self.guards)
            env[b"K1CTL_GUARDS"] = env[b"K1CTL_GUARDS"] + b"\n" + mine if env.get(b"K1CTL_GUARDS") else mine
        return env

    def _release(self) -> None:
        inner = -1
        if self.ticket is not None and "granted" in self.times:
            text = "a run within this one goes on; the lease is held until it ends"
            try:
                folder = self.ticket.line.folder
                inner = nested.outlast(folder, self.run.id, lambda: self.tell("warning", message=text))
            except (OSError, K1ctlError) as exc:
                self.tell("warning", message=f"whether a run within this one goes on cannot be told: {exc}")
        self._give_back()
        if inner >= 0 and self.ticket is not None:
            nested.over(self.ticket.line.folder, self.run.id, inner)
        for fd in self.joined:
            flock(fd, UN, "")  # a daemon left behind shares it

    def _give_back(self) -> None:
        for path, fd in self.guards.items():
            flock(fd, UN, path)
        if self.promise is not None:
            try:
                self.promise.release()
            except (OSError, K1ctlError) as exc:
                self.tell("warning", message=f"the promise could not be taken away: {exc}")
        if self.ticket is not None and "granted" in self.times:
            self.times["released"] = time.monotonic()  # taken before: the next lease begins behind it
            try:
                self.ticket.release()
            except (OSError, K1ctlError) as exc:  # the command's status matters more, and the lease is free
                self.tell("warning", message=f"the ticket could not be taken away: {exc}")

    def _finish(self, ending: Ending) -> None:
        """Record, event, result file, and the last word to the front end."""
        times = self.times
        if self.ticket is not None and "started" in times:
            for resource in self.spec.resources:
                history.add(self.ticket.line.folder, resource, times["released"] - times["started"])
        wait = times.get("granted", time.monotonic()) - times["enqueued"] if "enqueued" in times else 0.0
        facts = {
            "exit_code": ending.exit_code,
            "by": ending.by,
            "code": ending.code,
            "message": ending.message,
            "wait_seconds": round(wait, 6),
        }
        try:
            self.run.save(
                state="ended",
                ended_at=rfc3339(),
                ticket=self.ticket.seq if self.ticket else self.run.record.get("ticket"),
                monotonic={k: round(v, 6) for k, v in times.items()},
                hint=ending.hint,
                result=ending.result,
                error=ending.error,
                **facts,
            )
        except OSError as exc:
            self.tell("warning", message=f"the record could not be written: {exc.strerror}: {exc.filename}")
        target = self.spec.details.get("target")
        self.note("run.ended", kind=self.spec.kind, **({"target": target} if target else {}), **facts)
        self.write_result(facts if self.limited is None else {**facts, "limits": self.limited})
        last = {"hint": ending.hint, "result": ending.result, "error": ending.error, **facts}
        if len(dumps(last)) > _WORD_LIMIT:  # a pipe takes no more in one piece; the record has it
            last.update(result=None, error=None, message=ending.message[:400], hint=ending.hint[:400], recorded=True)
        self.tell("ended", **last)
        flock(self.log, UN, self.run.log)
        if self.admission is not None:
            self.admission.learn()
        if int(self.run.id[-4:], 16) % _PRUNE_EVERY == 0:  # now and then, when nobody waits for us any more
            record.prune(self.workspace, self.config.get("process", "keep_runs"))
            nested.sweep(queue_folder(self.workspace, self.config))
            if self.promise is not None:
                nested.sweep(self.promise.place)

    def write_result(self, facts: dict[str, Any]) -> None:
        """The result file that the caller asked for."""
        if self.spec.result:
            try:
                write_named(self.spec.result, dumps({"run": self.run.id, "folder": self.run.folder, **facts}) + "\n")
            except OSError as exc:
                self.tell("warning", message=f"{self.spec.result} could not be written: {exc.strerror}")


class Caller:
    """What the front end says through the control pipe: ^C, TERM, good-bye, or nothing any more."""

    def __init__(self, fd: int) -> None:
        self.fd, self.here = fd, fd >= 0

    def read(self) -> str:
        """``interrupt``, ``terminate``, ``bye``, or ``gone`` at its end."""
        word = os.read(self.fd, 1)
        if word in (b"", b"B"):
            self.here = False
        return {b"I": "interrupt", b"T": "terminate", b"B": "bye"}.get(word, "gone")


def _apart(one: int, two: int) -> bool:
    """Whether two descriptors lead to different places; closed ones do not."""
    try:
        a, b = os.fstat(one), os.fstat(two)
    except OSError:
        return False
    return (a.st_dev, a.st_ino) != (b.st_dev, b.st_ino)


def _brief(argv: list[str]) -> str:
    text = " ".join(masked_words([os.path.basename(argv[0]), *argv[1:]])) if argv else ""
    return text if len(text) <= 120 else text[:117] + "..."


def supervise(
    workspace: Workspace,
    config: Config,
    spec: RunSpec,
    pipes: tuple[int, int, int],
    before: Before | None,
    after: After | None,
) -> None:
    """Be the supervisor, in a freshly forked process; never returns."""
    code = 70
    try:
        os.setsid()
        for number in (signals.SIGHUP, signals.SIGINT):
            signals.signal(number, signals.SIG_IGN)
        if spec.detached:
            let_go({pipes[0]}, streams=(0,))
        supervisor = Supervisor(workspace, config, spec, pipes, before, after)
        signals.signal(signals.SIGTERM, supervisor.on_term)
        code = supervisor.main()
    except BaseException as exc:
        code = fail(exc, pipes[0])
    finally:
        os._exit(code)
