"""At most so many values a label: those that matter most, and what all others come to together."""

from __future__ import annotations

from k1ctl.samples import COUNTER, GAUGE, HISTOGRAM, Family

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Labels = dict[str, str]
    Key = tuple[tuple[str, str], ...]

OTHER = "other"
# of these a sum means nothing: what stands beyond the most is left out
_NO_SUM = ("_ratio", "_seconds", "_dbm", "_fps", "_fps_min", "_celsius", "_up", "_level", "_rate")
_LEAST = ("_up", "_fps", "_dbm", "_left_ratio", "_good_ratio", "_free_bytes")  # of these the smallest are the news


def bounded(family: Family, most: int) -> tuple[Family, int]:
    """The family with at most ``most`` values of each label, and how many values stood beyond that.

    Of a gauge those stay that have the largest figures (the smallest, where few is bad: what is down, or weak), of
    equal ones the first by name. Of counters and histograms those that were told first stay: with a rank, one that
    overtakes another would make what all others come to fall, which a counter must not. The others are summed as
    ``other``, or left out where a sum means nothing. A family that fits is returned as it is.
    """
    weights = _weights(family)
    kept = {label: _chosen(family, found, most) for label, found in weights.items() if len(found) > most}
    if not kept:
        return family, 0
    beyond = sum(len(weights[label]) - most for label in kept)
    summed = family.kind in (COUNTER, HISTOGRAM) or (family.kind == GAUGE and not family.name.endswith(_NO_SUM))
    found = Family(family.name, family.kind, family.help)
    values: dict[Key, float] = {}
    for labels, value in family.samples:
        key = _joined(labels, kept)
        if summed or key == tuple(labels.items()):
            values[key] = values.get(key, 0) + value
    found.samples = [(dict(key), value) for key, value in values.items()]
    found.histograms = _merged((_joined(each[0], kept), *each[1:]) for each in family.histograms)
    return found, beyond


def _weights(family: Family) -> dict[str, dict[str, float]]:
    """{label: {value: what its samples come to}}."""
    weights: dict[str, dict[str, float]] = {}
    rows = [*family.samples, *((labels, float(count)) for labels, _, count, _ in family.histograms)]
    for labels, value in rows:
        for label, text in labels.items():
            found = weights.setdefault(label, {})
            found[text] = found.get(text, 0.0) + (value if value == value else 0.0)
    return weights


def _chosen(family: Family, found: dict[str, float], most: int) -> set[str]:
    if family.kind in (COUNTER, HISTOGRAM):
        return set(list(found)[:most])
    sign = 1 if family.name.endswith(_LEAST) else -1
    return set(sorted(found, key=lambda text: (sign * found[text], text))[:most])


def _joined(labels: Labels, kept: dict[str, set[str]]) -> Key:
    return tuple((label, text if text in kept.get(label, (text,)) else OTHER) for label, text in labels.items())


def _merged(
    rows: Iterable[tuple[Key, list[tuple[float, int]], int, float]],
) -> list[tuple[Labels, list[tuple[float, int]], int, float]]:
    """Histograms of the same labels as one; bounds that only one of them has are left out."""
    found: dict[Key, tuple[dict[float, int], int, float]] = {}
    for key, buckets, count, total in rows:
        mine = dict(buckets)
        if key in found:
            others, counted, summed = found[key]
            mine = {bound: below + others[bound] for bound, below in mine.items() if bound in others}
            count, total = count + counted, total + summed
        found[key] = mine, count, total
    return [(dict(key), sorted(mine.items()), count, total) for key, (mine, count, total) in found.items()]


def merged(families: Iterable[tuple[Family, str]], name: str, help: str) -> Family:
    """One histogram of several (family, suffix), its label ``target`` made of theirs with the suffix: ``fw:build``."""
    rows = []
    for family, suffix in families:
        for labels, buckets, count, total in family.histograms:
            named = labels.get("target") or labels.get("kind") or ""
            rows.append(((("target", f"{named}{suffix}"),), buckets, count, total))
    found = Family(name, HISTOGRAM, help)
    found.histograms = _merged(rows)
    return found
