"""What went well and what did not lately, from the tally's windows: gauges for who cannot compute rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import shared
from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

KINDS = ("build", "upload", "test", "run", "turn")
PERCENTILES = (50, 90, 99)


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """Outcomes, mean and percentiles of durations by kind of work, within ``[alerts.success] window``."""
    from k1ctl.units import format_duration

    seconds = float(config.get("alerts", "success", "window"))
    within = f"of the last {format_duration(seconds)}"
    ended = Family("k1_recent_outcomes", GAUGE, f"Good, bad and other ends {within}.")
    mean = Family("k1_recent_mean_seconds", GAUGE, f"Mean duration of what went well {within}.")
    percentiles = Family("k1_recent_percentile_seconds", GAUGE, f"What so many percent of it took at most, {within}.")
    tally = shared.tally(workspace)
    for kind in KINDS:
        window = tally.window(kind, seconds)
        if kind != "turn":
            for verdict in ("good", "bad", "ignored"):
                ended.add(getattr(window, verdict), kind=kind, verdict=verdict)
        histogram = window.histogram
        if histogram.count:
            mean.add(round(histogram.sum / histogram.count, 6), kind=kind)
            for percentile in PERCENTILES:
                value = histogram.quantile(percentile / 100)
                if value is not None:
                    percentiles.add(round(value, 6), kind=kind, percentile=str(percentile))
    return [ended, mean, percentiles]
