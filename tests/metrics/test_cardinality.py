"""Labels have so many values and no more."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.metrics.cardinality import OTHER, bounded, merged
from k1ctl.samples import COUNTER, GAUGE, HISTOGRAM, Family

ROWS = st.dictionaries(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xyz")), st.integers(0, 9), max_size=24)


@settings(max_examples=40)
@given(ROWS, st.integers(1, 4))
def test_a_counter_keeps_its_sum(rows: dict[tuple[str, str], int], most: int) -> None:
    """Whatever is joined, the total stays, no label has more than ``most`` values and other, none comes twice."""
    family = Family("k1_runs", COUNTER, "")
    for (agent, result), count in rows.items():
        family.add(count, agent=agent, result=result)
    found, beyond = bounded(family, most)
    assert sum(value for _, value in found.samples) == sum(rows.values())
    for label in ("agent", "result"):
        values = {labels[label] for labels, _ in found.samples}
        assert len(values - {OTHER}) <= most
        assert (OTHER in values) <= (len(set(rows)) > most)
    keys = [tuple(labels.items()) for labels, _ in found.samples]
    assert len(keys) == len(set(keys))
    agents = {agent for agent, _ in rows}
    assert beyond == max(0, len(agents) - most) + max(0, len({r for _, r in rows}) - most)


def test_the_largest_stay() -> None:
    """Of equal ones the first by name."""
    family = Family("k1_tokens", GAUGE, "").add(1, agent="a").add(5, agent="b").add(1, agent="c").add(7, agent="d")
    found, _ = bounded(family, 3)
    assert found.samples == [({"agent": "a"}, 1), ({"agent": "b"}, 5), ({"agent": OTHER}, 1), ({"agent": "d"}, 7)]


def test_what_no_sum_means_anything_of_is_left_out() -> None:
    """The sum of two temperatures is none."""
    family = Family("k1_uptime_seconds", GAUGE, "").add(1, device="a").add(5, device="b")
    assert bounded(family, 1)[0].samples == [({"device": "b"}, 5)]


def test_histograms_are_added_up() -> None:
    """Joined ones have the buckets both have, and the sum of their counts."""
    family = Family("k1_wait_seconds", HISTOGRAM, "")
    family.observe([(1, 1), (2, 2)], 3, 9.0, {"target": "a"})
    family.observe([(1, 5), (2, 5)], 5, 2.0, {"target": "b"})
    family.observe([(1, 0), (2, 1)], 1, 2.0, {"target": "c"})
    found, beyond = bounded(family, 1)
    assert beyond == 2
    assert found.histograms == [
        ({"target": OTHER}, [(1, 1), (2, 3)], 4, 11.0),
        ({"target": "b"}, [(1, 5), (2, 5)], 5, 2.0),
    ]
    both = merged([(family, ":build"), (family, ":build")], "k1_x_seconds", "")
    assert both.histograms[0] == ({"target": "a:build"}, [(1, 2), (2, 4)], 6, 18.0)
