"""A root of which `k1ctl why` is asked: workspaces without git, and the engines that write what is read of them."""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k1ctl.config import load
from k1ctl.escalation import ladder
from k1ctl.events import emit
from k1ctl.files import write_json
from k1ctl.plugins import Plugins
from k1ctl.process import record
from k1ctl.queue import names
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from k1ctl.reasons import Reason
from k1ctl.units import rfc3339
from k1ctl.workspace import Workspace
from k1ctl_plugins.why.answer import Answer, answer
from k1ctl_plugins.why.resolve import resolve

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\nmac = "02:4B:31:00:00:77"\n'


class Root:
    """A root without git, with workspaces in it, and the engines that write its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ops").mkdir()
        self.configure(DEVICE)
        self.tickets: list[Ticket] = []
        self.logs: list[int] = []

    def configure(self, text: str) -> None:
        (self.root / "ops" / "k1ctl.toml").write_text(text)

    def workspace(self, name: str) -> Workspace:
        (self.root / name).mkdir(exist_ok=True)
        return Workspace(str(self.root), str(self.root / name), name)

    @property
    def queue(self) -> str:
        return str(self.root / "ops" / "queue")

    def why(self, what: str = "", name: str = "oslo") -> Answer:
        """The answer to a call in the workspace ``name``."""
        here = self.workspace(name)
        config = load(here)
        return answer(Plugins(), here, config, resolve(here, config, what))

    def run(self, name: str, kind: str = "queue-run", **fields: Any) -> str:
        """A run that is over, as a supervisor records it; its id."""
        here = self.workspace(name)
        base = {"kind": kind, "workspace": name, "workspace_path": here.path, "argv": ["make", "all"], "label": ""}
        run = record.create(here, {**base, "resources": {}, "created_at": rfc3339(), "details": {}})
        over = {"state": "ended", "ended_at": rfc3339(), "exit_code": 1, "by": "command", "code": "command-failed"}
        run.save(**{**over, "message": "exit code 1", "hint": "", "result": None, "error": None, **fields})
        end = {key: run.record[key] for key in ("exit_code", "by", "code", "message") if key in run.record}
        emit(here, "run.ended", run=run.id, kind=kind, **end)
        return run.id

    def trouble(self, rung: str, **more: Any) -> Path:
        """Images of oslo were refused by k1: where its escalation is kept."""
        moment = {"wall": 1.0, "monotonic": 1.0}
        failure = {"run": "r1", "code": "image-refused", "message": "MD5", "exit_code": 1, "uploads": 2, "tests": 0}
        failures = {"oslo": {**failure, "first": moment, "last": moment}}
        path = self.root / "ops" / "device" / "k1.escalation.json"
        write_json(str(path), {**ladder.fresh(), "rung": rung, "failures": failures, **more})
        return path

    def stand(self, name: str, *resources: str, label: str = "", **facts: Any) -> Ticket:
        """A ticket of ``name`` in line, or let in when there is room."""
        here = self.workspace(name)
        config = load(here)
        run = record.create(here, {"kind": "queue-run", "workspace": name, "state": "waiting", "label": label})
        fd = os.open(run.log, os.O_WRONLY | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.logs.append(fd)
        run.save()
        told = {"run": run.id, "kind": "queue-run", "workspace": name, "label": label, "queued_at": rfc3339(), **facts}
        ticket = Ticket(
            Line(self.queue), dict.fromkeys(resources, 1), config.slots, key=names.stable_key(run.id), facts=told
        )
        if ticket.enqueue():
            ticket.tell(granted_at=rfc3339(), started=time.time(), group=os.getpgid(0))
            emit(here, "queue.granted", run=run.id, ticket=ticket.seq, resources=ticket.needs, wait_seconds=0.0)
        else:
            emit(here, "queue.enqueued", run=run.id, ticket=ticket.seq, resources=ticket.needs, resumed=False)
        self.tickets.append(ticket)
        return ticket


def scene(tmp_path: Path) -> Iterator[Root]:
    """A fixture's root; its tickets are given back at the end, and signals are as they were: a ticket hears of them."""
    made = Root(tmp_path)
    heard, handlers = signal.set_wakeup_fd(-1), {n: signal.getsignal(n) for n in (signal.SIGUSR1, signal.SIGCHLD)}
    yield made
    for ticket in made.tickets:
        ticket.leave()
        ticket.close()
    for fd in made.logs:
        os.close(fd)
    signal.set_wakeup_fd(heard)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def proof(reason: Reason) -> list[str]:
    """The names of the events that a reason has."""
    return [event["event"] for event in reason.events]
