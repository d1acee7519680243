"""Forks owners of tickets: `python zygote.py REPOSITORY FOLDER [--no-net|--quick-net]`, a JSON request a line on stdin.

With --no-net nobody looks unasked: every start must come from a wake-up; with --quick-net they
look ten times as often.

``{"id", "needs", "priority", "key", "slots", "stall", "park"}`` makes an owner, ``{"end": id}`` tells it to release or
leave. Owners report on standard output, a line each, in the order things happen: ``ID waiting NUMBER RESUMED``, ``ID
granted NUMBER RESUMED CHOSEN``, ``ID ending NUMBER`` before the release, ``ID gone CODE``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import Any


def own(request: dict[str, Any], folder: str, control: int) -> None:
    from k1ctl.errors import K1ctlError
    from k1ctl.queue.line import Line
    from k1ctl.queue.ticket import Ticket

    def say(*words: object) -> None:
        os.write(1, (" ".join(map(str, (request["id"], *words))) + "\n").encode())

    line = Line(folder, park_seconds=request["park"])
    slots = request["slots"]
    try:
        ticket = Ticket(
            line,
            request["needs"],
            lambda resource: int(slots.get(resource, 1)),
            priority=request["priority"],
            key=request["key"],
            stall=request["stall"],
            ageing=request["ageing"],
            max_length=request["max_length"],
            facts={"owner": request["id"]},
        )
        granted = ticket.enqueue()
        if not granted:
            say("waiting", ticket.seq, int(ticket.resumed))
            if ticket.wait(None, control) != "granted":
                ticket.leave()
                say("gone", "left")
                return
        say("granted", ticket.seq, int(ticket.resumed), ticket.chosen or "-")
        os.read(control, 1)
        say("ending", ticket.seq)
        ticket.release()
        say("gone", "released")
    except K1ctlError as exc:
        say("gone", exc.code)


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    from k1ctl.queue import ticket, watch  # noqa: F401  # imported once, for all owners

    if "--no-net" in sys.argv:
        watch.NET = watch.NEAR_NET = 1000.0
    if "--quick-net" in sys.argv:
        watch.NET, watch.NEAR_NET = 3.0, 0.1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody stays a zombie
    controls: dict[int, int] = {}
    for text in sys.stdin:
        request = json.loads(text)
        if "end" in request:
            os.close(controls.pop(request["end"]))
            continue
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(write)
            for other in controls.values():
                os.close(other)
            try:
                own(request, sys.argv[2], read)
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(0)
        os.close(read)
        controls[request["id"]] = write
        os.write(1, f"{request['id']} pid {pid}\n".encode())


if __name__ == "__main__":
    main()
