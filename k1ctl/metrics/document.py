"""Samples as JSON."""

from __future__ import annotations

import math

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.metrics.gathering import Gathered


def document(found: Gathered) -> dict[str, Any]:
    """``families`` [{name, kind, help, samples [{labels, value}], histograms [{labels, buckets, count, sum}]}] and
    ``failed`` {plugin: why}; a value that is no number is null."""
    return {
        "families": [
            {
                "name": family.name,
                "kind": family.kind,
                "help": family.help,
                "samples": [{"labels": labels, "value": _finite(value)} for labels, value in family.samples],
                "histograms": [
                    {"labels": labels, "buckets": [[*b] for b in buckets], "count": count, "sum": total}
                    for labels, buckets, count, total in family.histograms
                ],
            }
            for family in found.families
        ],
        "failed": found.failed,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
