"""What the tally knows of one kind of work, as families."""

from __future__ import annotations

from k1ctl.metrics import shared
from k1ctl.samples import COUNTER, HISTOGRAM, Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.workspace import Workspace


def families(workspace: Workspace, kind: str, plural: str, label: str = "target") -> list[Family]:
    """``k1_PLURAL_total`` by ``label`` and result, and ``k1_KIND_duration_seconds`` of those that went well.

    Both are since the first event there is, in the order in which they came to be: who is beyond ``[metrics] most``
    stays there, so that sums of those never fall. Results: `k1ctl.tally.kinds`.
    """
    from k1ctl.tally.kinds import RESULTS

    tally = shared.tally(workspace)
    ended = Family(f"k1_{plural}", COUNTER, f"{plural.capitalize()} that ended, by result, since the first event.")
    for target in dict.fromkeys(target for of, target, _ in tally.outcomes if of == kind):
        for result in RESULTS:  # also those that did not occur: a rate needs a counter's 0
            ended.add(tally.outcomes.get((kind, target, result), 0), **{label: target, "result": result})
    took = Family(f"k1_{kind}_duration_seconds", HISTOGRAM, f"How long {plural} took that went well.")
    for (of, target), histogram in tally.seconds.items():
        if of == kind:
            took.observe(histogram.buckets(), histogram.count, histogram.sum, {label: target})
    return [ended, took]
