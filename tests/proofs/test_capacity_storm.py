"""Nobody is promised what is not there, whoever comes at once and whoever is killed: exactly, as seen without a lock
and as the commands wrote it down. tests/soak/test_capacity_storm.py does the same at length."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.capacity import promises
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from tests.kit import Project, finish, wait_until
from tests.proofs.capacitycell import Eye, Host, Storm, kill

Make = Callable[..., Project]


@pytest.fixture
def host(make_workspace: Make, tmp_path: Path) -> Host:
    """Two repositories on a host of which 128 MiB may be promised."""
    return Host(tmp_path, [make_workspace("one"), make_workspace("two")], 128)


def test_forty_at_once(host: Host) -> None:
    """40 simultaneous calls from two repositories: never more than the limit is promised, what is seen stays within
    5 % of it, everybody is served."""
    with host, Eye(host, memory=True) as eye:
        calls = [host.run(who, 32, size=20, stay=0.06) for who in range(40)]
        codes = [finish(call, 100) for call in calls]
    assert codes == [0] * 40, [host.said(who) for who in range(40) if codes[who]]
    assert eye.over == [] and eye.looks > 20
    assert host.most_promised() <= host.limit
    assert eye.most == host.limit, "all that may be promised was"
    assert eye.seen <= (host.limit << 20) * 1.05
    assert len([mark for mark in host.marks() if mark.what == "E"]) == 40
    assert host.left() == []


def test_a_short_storm_of_kills(host: Host) -> None:
    """Front ends, supervisors, watchdogs and commands are killed: never more is promised, or runs, than the limit;
    nobody has more than he may; nothing stays promised; who was not struck is served."""
    storm = Storm(host, calls=12, kills=8, seed=os.getpid())
    with host, Eye(host) as eye:
        storm.rage()
        wait_until(lambda: not host.running() and not host.left())
    assert (eye.over, storm.wrong()) == ([], [])
    assert storm.blows >= 4


def test_a_watchdog_holds_nothing_of_the_run(host: Host) -> None:
    """Its guardians have neither the promise nor a lease: killed with its command, a run gives both back at once."""
    call = host.run(0, 32, "--mem-limit", "32M", stay=30)
    wait_until(lambda: len(host.guardians()) == 2 and host.running())
    [promise] = promises.held(host.place, seen=False)
    opened = [file.path for guardian in host.guardians() for file in guardian.open_files()]
    assert opened and not [path for path in opened if f"{os.sep}tickets{os.sep}" in path]
    for guardian in host.guardians():
        guardian.suspend()
    for pid in (promise.pid, call.pid, host.running()[0].pid):  # each may end because of the one before
        kill(pid)
    wait_until(lambda: promises.held(host.place, seen=False) == [])
    for guardian in host.guardians():
        guardian.resume()
    finish(call)
    wait_until(lambda: host.guardians() == [])


def test_reservations_come_and_go(host: Host) -> None:
    """Processes of two repositories reserve, give back and let the time run out, and some are killed: never more is
    promised than the limit, all in all as much as there is, and nothing in the end."""
    with Eye(host) as eye:
        reservers = [host.reserve(number, 5, 20) for number in range(5)]
        for reserver in reservers[:2]:
            assert reserver.stdout is not None and reserver.stdout.readline(), "it has reserved something"
            reserver.kill()
        codes = [(reserver.communicate()[0], reserver.returncode) for reserver in reservers]
        wait_until(lambda: not host.left())
    assert [code for _, code in codes] == [-signal.SIGKILL] * 2 + [0] * 3
    assert eye.over == [] and eye.most > host.limit * 0.8
    assert sum(len(out.split()) for out, _ in codes) > 10


def test_a_promise_that_becomes_a_row_is_never_free(tmp_path: Path) -> None:
    """Who holds one writes a reservation down and is killed, just when another looks: after he asked what there is, and
    before he asks who lives. He sees it taken, by a look alone and where several resources are wanted."""
    for needs in ({"mem": 10}, {"mem": 10, "cpu": 1}):
        folder, rows = str(tmp_path / str(len(needs))), []
        holder = Ticket(Line(folder), needs, lambda resource: 10, elastic=lambda resource, _: 10)
        assert holder.enqueue()

        def slots(resource: str, holder: Ticket = holder, rows: list[int] = rows) -> int:
            there = 10 - sum(rows)
            if not rows:
                rows.append(10)
                os.close(holder.fd)  # as SIGKILL does
            return there

        late = Ticket(Line(folder), needs, slots, elastic=lambda resource, _: slots(resource))
        assert not late.enqueue()
        late.leave()
        late.close()
        signal.set_wakeup_fd(-1)  # who waits hears of signals by it
        holder.fd = -1
        holder.close()
