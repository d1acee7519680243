"""A flash survives whatever is killed around it, and what is said about it is true.

Every cell of the matrix is a repository, a device and two worktrees of its own: in one an upload is brought to a
stage and struck, in the other an upload stands in line behind it and must be served.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests import desk
from tests.kit import wait_until
from tests.proofs.flashcell import KILLS, STOPS, Cell, strike

Blow = tuple[str, str]


def in_line(cell: Cell, blow: Blow) -> None:
    """Strike an upload that waits; the holder goes when all is as it was before."""
    role, manner = blow
    holder = cell.start("queue", "run", "device:k1", "--", "cat", cwd=cell.project.root, stdin=subprocess.PIPE)
    wait_until(lambda: cell.tickets(cell.project.root.name, "running"))
    master = -1
    if manner == "hangup":
        front, master = cell.upload_in_terminal(cell.tree)
    else:
        front = cell.upload(cell.tree)
    wait_until(cell.reached)
    (ticket,) = cell.tickets("victim", "waiting")
    behind = cell.upload(cell.after)
    wait_until(lambda: cell.tickets("after", "waiting"))
    pids = {"front": [front.pid], "supervisor": [ticket["pid"]]}
    strike(pids.get(role) or pids["front"] + pids["supervisor"], {**KILLS, **STOPS}[manner])
    if master >= 0:
        os.close(master)
    if manner != "stop":
        if role != "supervisor":  # whose front end puts another one in its place
            front.communicate()
            wait_until(lambda: not cell.tickets("victim", "waiting"))
            front = cell.upload(cell.tree)
        wait_until(lambda: any(t["pid"] != ticket["pid"] for t in cell.tickets("victim", "waiting")))
    assert [t["ticket"] for t in cell.tickets("victim", "waiting")] == [ticket["ticket"]]
    holder.communicate()  # the end of its input ends it
    assert holder.returncode == 0
    assert cell.answer(front)[0] == 0
    assert cell.answer(behind)[0] == 0
    assert cell.run["ticket"] == ticket["ticket"]
    assert [f["sha256"] for f in cell.device.flashes()] == [desk.sha256(i) for i in (cell.image, cell.next_image)]
    assert sum(f["ignored_invitations"] for f in cell.device.flashes()) == 0


def under_way(cell: Cell, blow: Blow) -> None:
    """Strike an upload that has the device."""
    role, manner = blow
    master = -1
    if manner == "hangup":
        front, master = cell.upload_in_terminal(cell.tree)
    else:
        front = cell.upload(cell.tree)
    wait_until(cell.reached)
    run = cell.run
    behind = cell.upload(cell.after)
    wait_until(lambda: cell.tickets("after", "waiting"))
    assert cell.reached()
    roles = {"front": front.pid, "supervisor": run["supervisor"], "worker": run["pid"]}
    strike([roles[role]] if role in roles else list(roles.values()), {**KILLS, **STOPS}[manner])
    cell.gate.set()
    if master >= 0:
        os.close(master)
    if manner == "stop" or role in ("supervisor", "worker"):
        assert cell.answer(front)[0] == 0
    else:
        front.communicate()
    code, document = cell.take_up(run["run"])
    assert cell.answer(behind)[0] == 0
    flashes = cell.device.flashes()
    installed = [f["sha256"] for f in flashes if f["outcome"] == "installed"]
    both = [desk.sha256(cell.image), desk.sha256(cell.next_image)]
    if role == "all" and manner != "stop":
        assert document["error"]["code"] == ("flash-failed" if cell.stage == "probe" else "outcome-unknown")
        assert code == document["error"]["exit_code"] == (1 if cell.stage == "probe" else 76)
        assert installed in (both, both[1:])
        assert cell.answer(cell.upload(cell.tree))[0] == 0
        return
    assert (code, document["outcome"], document["run"]) == (0, "installed", run["run"])
    assert list(dict.fromkeys(installed)) == both
    if role == "worker" and manner != "stop":
        assert document["attempts"] == 2
        assert len(cell.project.events("queue.granted")) == 2  # the second attempt stood in no line
    else:
        assert len(flashes) == 2 and document["attempts"] == 1
        assert sum(f["ignored_invitations"] for f in flashes) == 0


def matrix(folder: Path, stage: str, blows: list[Blow], act: Callable[[Cell, Blow], None]) -> None:
    """All cells of a stage, several at once."""

    def play(number: int) -> str:
        try:
            with Cell(folder, number, stage).open() as cell:
                act(cell, blows[number])
                cell.check()
        except BaseException as exc:
            import traceback

            told = "".join(traceback.format_exception(exc))
            return f"--- {' '.join(blows[number])} while {stage}\n{told}\n{cell.device.flashes()}\n"
        return ""

    with ThreadPoolExecutor(9) as pool:
        failures = [text for text in pool.map(play, range(len(blows))) if text]
    if failures:
        pytest.fail("\n".join(failures), pytrace=False)


FRONT = [("front", "kill"), ("front", "hangup"), ("front", "stop")]
OTHERS = [(role, manner) for role in ("supervisor", "all") for manner in ("kill", "stop")]
WORKER = [("worker", "kill"), ("worker", "stop")]


def test_struck_while_waiting(tmp_path: Path) -> None:
    """Killed or stopped in line: the place is kept, the next call has it, the order stays."""
    matrix(tmp_path, "waiting", FRONT + OTHERS, in_line)


@pytest.mark.parametrize("stage", ["probe", "transfer", "sent"])
def test_struck_with_the_device(tmp_path: Path, stage: str) -> None:
    """Front end or supervisor killed: the flash completes. Worker killed: done again under the same lease. All killed:
    told honestly. In every case the next in line is served and --wait gives the right answer."""
    matrix(tmp_path, stage, FRONT + OTHERS + WORKER, under_way)
