"""Events for a monitoring stack: how many of each name there are, and how long the turns of agents took."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import COUNTER, HISTOGRAM, Family

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace


def samples(workspace: Workspace) -> list[Family]:
    """Events by name, lines that are none, and turns."""
    tally = shared.tally(workspace)
    events = Family("k1_events", COUNTER, "Events by name, since the first one.")
    for name, count in tally.counts.items():  # the oldest first: `k1ctl.metrics.cardinality`
        events.add(count, event=name)
    bad = Family("k1_event_lines_bad", COUNTER, "Lines of the event files that are no events.").add(tally.bad_lines)
    turns = Family("k1_turn_duration_seconds", HISTOGRAM, "How long turns took: a build and its upload, with waits.")
    histogram = tally.seconds.get(("turn", ""))
    if histogram is not None:
        turns.observe(histogram.buckets(), histogram.count, histogram.sum, {})
    return [events, bad, turns]
