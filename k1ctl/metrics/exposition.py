"""Samples as text: the format of Prometheus (0.0.4) and OpenMetrics 1.0.0, without timestamps.

Prometheus: prometheus.io/docs/instrumenting/exposition_formats. OpenMetrics: openmetrics.io, the specification's
sections on the text format; there counters have their ``_total`` only in samples, a unit is told, ``# EOF`` ends it.
"""

from __future__ import annotations

import math

from k1ctl.samples import COUNTER, GAUGE, HISTOGRAM, INFO

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from k1ctl.samples import Family

PROMETHEUS, OPENMETRICS = "prometheus", "openmetrics"
FORMATS = (PROMETHEUS, OPENMETRICS)
CONTENT_TYPES = {
    PROMETHEUS: "text/plain; version=0.0.4; charset=utf-8",
    OPENMETRICS: "application/openmetrics-text; version=1.0.0; charset=utf-8",
}
UNITS = ("seconds", "bytes", "ratio", "tokens", "dollars", "dbm", "celsius")
_VALUE = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP = str.maketrans({"\\": "\\\\", "\n": "\\n"})


def render(families: Iterable[Family], form: str = PROMETHEUS) -> str:
    """The families as text in one of `FORMATS`; those without a sample are left out."""
    lines = [line for family in families for line in _family(family, form == OPENMETRICS)]
    if form == OPENMETRICS:
        lines.append("# EOF")
    text = "\n".join(lines) + "\n" if lines else ""
    try:
        text.encode()
    except UnicodeEncodeError:  # a name of a file, or of an event, that is no UTF-8: it must not spoil all others
        import re

        return re.sub("[\ud800-\udfff]", lambda found: f"\\\\u{ord(found[0]):x}", text)  # two names stay two
    return text


def _family(family: Family, open_metrics: bool) -> Iterator[str]:
    if not family.samples and not family.histograms:
        return
    name, kind = family.name, family.kind
    suffix = {COUNTER: "_total", INFO: "_info"}.get(kind, "")
    told = name if open_metrics else name + suffix
    unit = name.rpartition("_")[2]
    yield f"# HELP {told} {family.help.translate(_VALUE if open_metrics else _HELP)}"
    yield f"# TYPE {told} {GAUGE if kind == INFO and not open_metrics else kind}"
    if open_metrics and unit in UNITS and kind != INFO:
        yield f"# UNIT {told} {unit}"
    for labels, value in family.samples:
        yield f"{name}{suffix}{_labels(labels)} {number(value)}"
    for labels, buckets, count, total in family.histograms:
        for bound, below in buckets:
            if not math.isinf(bound):
                yield f"{name}_bucket{_labels({**labels, 'le': repr(float(bound))})} {below}"
        yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {count}"
        yield f"{name}_sum{_labels(labels)} {number(total)}"
        yield f"{name}_count{_labels(labels)} {count}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_VALUE)}"' for name, value in labels.items()) + "}"


def number(value: float) -> str:
    """A value as both formats have it: whole numbers without a point, ``NaN``, ``+Inf``, ``-Inf``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    whole = int(value)
    return str(whole) if whole == value and abs(whole) < 1 << 53 else repr(float(value))


def problem(family: object) -> str:
    """What is wrong with a family so that no scrape could be read with it; "" when nothing is."""
    from k1ctl.samples import Family

    if not isinstance(family, Family):
        return f"{type(family).__name__} is no Family"
    name = str(family.name)
    if not (name.startswith("k1_") and _is_name(name)):
        return f"{name!r} is no name of a family: k1_, then letters, digits and _"
    if name.endswith(("_total", "_info", "_bucket", "_sum", "_count", "_created")):
        return f"{name} ends as samples do"
    about: object = family.help
    if not isinstance(about, str):
        return f"{name}: {about!r} is no help"
    if family.kind not in (GAUGE, COUNTER, HISTOGRAM, INFO):
        return f"{name}: {family.kind!r} is no kind of family"
    if (family.samples and family.kind == HISTOGRAM) or (family.histograms and family.kind != HISTOGRAM):
        return f"{name}: samples of another kind than {family.kind}"
    seen: set[tuple[tuple[str, str], ...]] = set()
    for labels in [each[0] for each in family.samples] + [each[0] for each in family.histograms]:
        key = tuple(sorted(labels.items()))
        if key in seen:
            return f"{name}: two samples with the same labels {dict(key)}"
        seen.add(key)
        for label, text in labels.items():
            if not _is_name(label) or label.startswith("__") or label == "le" or not isinstance(text, str):
                return f"{name}: {label!r} = {text!r} is no label"
    return _bad_value(family)


def _bad_value(family: Family) -> str:
    for _, value in family.samples:
        number_ = isinstance(value, int | float)
        if not number_ or (family.kind == COUNTER and not 0 <= value < math.inf):
            return f"{family.name}: {value!r} is no value of a {family.kind}"
    for _, buckets, count, total in family.histograms:
        bounds = [bound for bound, _ in buckets]
        counts = [0, *(below for _, below in buckets), count]
        if bounds != sorted(set(bounds)) or counts != sorted(counts) or math.isnan(total) or total < 0:
            return f"{family.name}: buckets that do not rise"
    return ""


def _is_name(text: str) -> bool:
    return text.isascii() and text.replace("_", "a").isalnum() and not text[:1].isdigit()
