"""A tally that stays in memory says what one that is read anew says."""

from __future__ import annotations

import json
import os

from k1ctl.tally import current
from k1ctl.tally.resident import Resident
from k1ctl.tally.store import look, path_of
from k1ctl.units import rfc3339
from tests.kit import Project
from tests.metrics.told import event


def told(workspace: Project, *lines: str) -> None:
    path = workspace.ops / "events" / f"{rfc3339()[:10]}.jsonl"
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as f:
        f.write("".join(lines))


def test_it_says_what_a_fresh_one_says(workspace: Project) -> None:
    """Events that come one after the other, before and after there is a file of the tally, one that another process
    wrote, one that is damaged or gone: the figures are the same, and counted once."""
    place = workspace.facts()
    resident = Resident(place)

    def same(builds: int) -> None:
        mine, fresh = resident.look(), current(place)
        assert mine.counts == fresh.counts and mine.outcomes == fresh.outcomes
        assert mine.counts.get("build.finished", 0) == builds
        assert {k: (h.count, h.sum) for k, h in mine.seconds.items()} == {
            k: (h.count, h.sum) for k, h in fresh.seconds.items()
        }
        assert mine.window("build", 3600).good == fresh.window("build", 3600).good == builds

    same(0)
    for number in range(1, 9):
        told(workspace, event("build.finished", 30, run=f"b{number}", target="fw", exit_code=0, seconds=3.0 + number))
        if number == 3:
            look(place, save_after=0)  # another process keeps it
        if number == 5:
            with open(path_of(place), "w") as f:
                json.dump({"version": "?"}, f)
        if number == 7:
            os.unlink(path_of(place))
        same(number)
        same(number)


def test_what_is_new_alone_is_read(workspace: Project) -> None:
    """A look without news, and one with, do not read the tally's file again; what is much is written down."""
    place = workspace.facts()
    told(workspace, event("build.finished", 30, run="b", target="fw", exit_code=0, seconds=1.0))
    look(place, save_after=0)
    resident = Resident(place)
    first = resident.look()
    told(workspace, event("build.finished", 20, run="c", target="fw", exit_code=0, seconds=1.0))
    assert resident.look() is first and first.counts["build.finished"] == 2
    stamp = os.stat(path_of(place)).st_mtime_ns
    filler = event("x.y", 10, text="x" * 3000)
    told(workspace, *([filler] * 30))
    resident.look()
    resident.look()
    assert os.stat(path_of(place)).st_mtime_ns != stamp
    assert resident.look().counts["x.y"] == 30
