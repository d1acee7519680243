"""The last builds, and how they went within a day."""

from __future__ import annotations

from k1ctl.overview.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.overview.parts import Sources

DAY = 86400.0  # s
_ROWS = 20


def look(sources: Sources) -> Part:
    """As `of` has it, of builds."""
    return of(sources, "build")


def of(sources: Sources, kind: str) -> Part:
    """Rows: the last ones, newest first ({at, target, result, workspace, run, device, seconds, wait_seconds, code,
    message, age_seconds}). Facts of the last day: ``good``, ``bad``, ``ignored`` (docs/events.md says which is which),
    ``p50_seconds`` and ``p90_seconds`` (None: there was none)."""
    tally = sources.tally
    found = [each.document() for each in tally.last if each.kind == kind][:_ROWS]
    rows = [{**row, "age_seconds": sources.ago(row["at"])} for row in found]
    window = tally.window(kind, DAY, now=sources.now)
    return Part(
        rows,
        {
            "window_seconds": DAY,
            "good": window.good,
            "bad": window.bad,
            "ignored": window.ignored,
            "p50_seconds": window.histogram.quantile(0.5),
            "p90_seconds": window.histogram.quantile(0.9),
        },
    )
