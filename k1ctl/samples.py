"""What plugins tell a monitoring stack: families of samples, as the text format of OpenMetrics has them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

GAUGE, COUNTER, HISTOGRAM, INFO = "gauge", "counter", "histogram", "info"


class Family:
    """All samples of one name.

    ``name`` has its unit and begins with ``k1_`` (``k1_queue_waiting``, ``k1_run_wait_seconds``), a counter's without
    ``_total``; ``kind`` is `GAUGE`, `COUNTER`, `HISTOGRAM` or `INFO`; ``help`` is one sentence. Labels are few and have
    few values: names of resources, devices, targets, results; never an id, a path or a text.
    """

    __slots__ = ("help", "histograms", "kind", "name", "samples")

    def __init__(self, name: str, kind: str, help: str) -> None:
        self.name, self.kind, self.help = name, kind, help
        self.samples: list[tuple[dict[str, str], float]] = []
        self.histograms: list[tuple[dict[str, str], list[tuple[float, int]], int, float]] = []

    def add(self, value: float, /, **labels: str) -> Family:
        """Add a sample; returns itself."""
        self.samples.append((labels, value))
        return self

    def observe(self, buckets: list[tuple[float, int]], count: int, total: float, labels: Mapping[str, str]) -> Family:
        """Add a histogram: ``buckets`` (upper bound, how many were at most that, all before it included), how many in
        all, and their sum; returns itself."""
        self.histograms.append((dict(labels), buckets, count, total))
        return self
