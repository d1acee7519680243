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


@settings(max_examples=30)
@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.integers(1, 4))
def test_no_counter_falls(clicks: list[str], most: int) -> None:
    """Whoever overtakes whom: no series, that of all others included, ever falls or ends."""
    counts: dict[str, int] = {}
    before: dict[str, float] = {}
    for room in clicks:
        counts[room] = counts.get(room, 0) + 1
        family = Family("k1_clicks", COUNTER, "")
        for name, count in counts.items():
            family.add(count, room=name)
        now = {labels["room"]: value for labels, value in bounded(family, most)[0].samples}
        assert all(now[name] >= value for name, value in before.items())
        before = now


def test_what_is_down_or_slow_stays() -> None:
    """Where few is bad the smallest are the news: a device that is down is not the one left out."""
    for name in ("k1_device_up", "k1_device_fps", "k1_device_rssi_dbm"):
        family = Family(name, GAUGE, "").add(1, device="a").add(0, device="b").add(1, device="c")
        assert bounded(family, 1)[0].samples == [({"device": "b"}, 0)]


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
        ({"target": "a"}, [(1, 1), (2, 2)], 3, 9.0),
        ({"target": OTHER}, [(1, 5), (2, 6)], 6, 4.0),
    ]
    both = merged([(family, ":build"), (family, ":build")], "k1_x_seconds", "")
    assert both.histograms[0] == ({"target": "a:build"}, [(1, 2), (2, 4)], 6, 18.0)
