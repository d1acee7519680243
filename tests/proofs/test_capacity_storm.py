"""Nobody is promised what is not there, whoever comes at once and whoever is killed: exactly, as seen without a lock
and as the commands wrote it down. tests/soak/test_capacity_storm.py does the same at length."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
from tests.kit import Project, finish
from tests.proofs.capacitycell import MIB, Eye, Host

Make = Callable[..., Project]


@pytest.fixture
def host(make_workspace: Make, tmp_path: Path) -> Host:
    """Two repositories on a host of which 128 MiB may be promised."""
    return Host(tmp_path, [make_workspace("one"), make_workspace("two")], 128)


def test_forty_at_once(host: Host) -> None:
    """40 simultaneous calls from two repositories: never more than the limit is promised, what is seen stays within
    5 % of it, everybody is served."""
    with Eye(host, memory=True) as eye:
        calls = [host.run(who, 32, size=20, stay=0.1) for who in range(40)]
        codes = [finish(call, 100) for call in calls]
    assert codes == [0] * 40, [host.said(who) for who in range(40) if codes[who]]
    assert eye.over == [] and eye.looks > 10
    assert host.most_promised() <= host.limit
    assert eye.most == host.limit, "all that may be promised was"
    assert eye.seen <= host.limit * MIB * 1.05
    assert len([mark for mark in host.marks() if mark.what == "E"]) == 40
    assert host.left() == []


def test_a_promise_that_becomes_a_row_is_never_free(tmp_path: Path) -> None:
    """Who holds one writes a reservation down and is killed, just when another looks: after he asked what there is, and
    before he asks who lives. He sees it taken, by a look alone and where several resources are wanted."""
    for needs in ({"mem": 10}, {"mem": 10, "cpu": 1}):
        folder, rows = str(tmp_path / str(len(needs))), []
        holder = Ticket(Line(folder), needs, lambda resource: 10, elastic=True)
        assert holder.enqueue()

        def slots(resource: str, holder: Ticket = holder, rows: list[int] = rows) -> int:
            there = 10 - sum(rows)
            if not rows:
                rows.append(10)
                os.close(holder.fd)  # as SIGKILL does
            return there

        late = Ticket(Line(folder), needs, slots, elastic=True)
        assert not late.enqueue()
        late.leave()
        late.close()
        signal.set_wakeup_fd(-1)  # who waits hears of signals by it
        holder.fd = -1
        holder.close()
