"""The run folders: found, pruned, never taken from a run under way."""

from __future__ import annotations

import fcntl
import os

import pytest

from k1ctl.process import record
from tests.kit import Project


def make(project: Project, count: int) -> list[record.Run]:
    runs = []
    for _ in range(count):
        run = record.create(project.facts(), {"state": "ended"})
        run.save()
        runs.append(run)
    return runs


def test_ids_sort_by_time_and_never_repeat(workspace: Project) -> None:
    """Runs made one after the other have ids in that order; no two share a folder."""
    ids = [run.id for run in make(workspace, 30)]

    assert len(set(ids)) == 30
    assert [i[:19] for i in ids] == sorted(i[:19] for i in ids)


def test_pruning_keeps_the_newest_and_all_that_live(workspace: Project) -> None:
    """The oldest ended runs go; a run whose log is locked stays, however old."""
    runs = sorted(make(workspace, 8), key=lambda r: r.id)
    fd = os.open(runs[0].log, os.O_WRONLY | os.O_CREAT)
    fcntl.flock(fd, fcntl.LOCK_EX)

    assert record.prune(workspace.facts(), 3) == 4
    os.close(fd)

    assert sorted(os.listdir(workspace.ops / "runs")) == [r.id for r in [runs[0], *runs[5:]]]


@pytest.mark.parametrize("run_id", ["", ".", "..", "../../etc", "a/b", "20260101-000000.000-zzzz", "x" * 300])
def test_only_run_ids_are_looked_up(workspace: Project, run_id: str) -> None:
    """What is not a run id leads nowhere, least of all out of the folder."""
    with pytest.raises(record.RunNotFoundError):
        record.load(workspace.facts(), run_id)
