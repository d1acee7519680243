"""What objectives tell a monitoring stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def families(workspace: Workspace, config: Config) -> list[Family]:
    """The objectives now; one without events has its goal and no figures."""
    from k1ctl.slo import BROKEN, look

    goal = Family("k1_slo_objective_ratio", GAUGE, "Share that has to be good.")
    good = Family("k1_slo_good_ratio", GAUGE, "Share that is good in the objective's window.")
    events = Family("k1_slo_events", GAUGE, "Events in the objective's window.")
    left = Family("k1_slo_budget_left_ratio", GAUGE, "Share of the error budget that is left; negative when overspent.")
    broken = Family("k1_slo_broken", GAUGE, "1 when the objective is broken, 0 when it is kept or not known.")
    rate = Family("k1_slo_burn_rate", GAUGE, "How many times faster than allowed the error budget burns, by window.")
    firing = Family("k1_slo_burn_firing", GAUGE, "1 when the burn of a window is an alert.")
    for each in look(workspace, config, shared.tally(workspace)):
        count = each.good + each.bad
        goal.add(each.target, slo=each.name)
        events.add(count, slo=each.name)
        broken.add(float(each.state == BROKEN), slo=each.name)
        if count:
            good.add(each.good / count, slo=each.name)
        if each.budget_left is not None:
            left.add(each.budget_left, slo=each.name)
        for burn in each.burns:
            firing.add(float(burn.state == "firing"), slo=each.name, window=burn.name)
            if burn.rate is not None:
                rate.add(burn.rate, slo=each.name, window=burn.name)
    return [goal, good, events, left, broken, rate, firing]
