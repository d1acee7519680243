"""What `k1ctl doctor` is told of capacity: limits that cannot hold, histories that cannot be read."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config


def checks(config: Config) -> list[Check]:
    """Raises OSError."""
    found = [*_marks(config), *_memory(config), *_histories()]
    return found or [Check("capacity", OK, "limits and watermarks fit this host")]


def _marks(config: Config) -> Iterator[Check]:
    from k1ctl.capacity.levels import WATERMARKS

    given = [(key, float(config.get("capacity", key))) for _, key in sorted(WATERMARKS.items())]
    marks = [(key, mark) for key, mark in given if mark]
    for (lower, less), (upper, more) in pairwise(marks):
        if less > more:
            what = f"capacity.{lower} ({less:g}) is above capacity.{upper} ({more:g})"
            why = "who is in is ended before who comes is kept out"
            yield Check("watermarks", WARNING, what, why=why, fix=f"k1ctl config set capacity.{lower} {more:g}")


def _memory(config: Config) -> Iterator[Check]:
    from k1ctl.capacity import facts, limits, twopart
    from k1ctl.units import format_size

    host = facts.read()
    most = limits.of(config, host)
    if host.memory and most.memory < host.memory // 10:
        what = f"{format_size(most.memory)} of {format_size(host.memory)} may be promised"
        fix = "`k1ctl config set capacity.reserve SIZE`, or capacity.memory"
        yield Check("little-memory", WARNING, what, why="hardly anything is let in", fix=fix)
    for pool in twopart.pools(config):
        size, origin = twopart.heavy(config, pool.resource)
        if size > most.memory:
            what = f"one slot of {pool.resource} takes {format_size(size)} ({origin}), more than may be promised in all"
            yield Check("never-fits", ERROR, what, why="it never begins", fix="k1ctl capacity show --explain")


def _histories() -> Iterator[Check]:
    from k1ctl.capacity import histogram

    for problem in histogram.classes()[1]:
        yield Check(
            "history", WARNING, str(problem), why="needs are guessed instead of measured", fix="move the file away"
        )
