"""Text of both formats: what the parsers of prometheus_client read is what was told."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from k1ctl.metrics.exposition import number, problem, render
from k1ctl.samples import COUNTER, GAUGE, HISTOGRAM, INFO, Family

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=12)
VALUE = st.floats(allow_nan=False, width=64) | st.integers(-(1 << 60), 1 << 60)
PARSERS: dict[str, Callable[[str], Any]] = {"prometheus": prometheus, "openmetrics": open_metrics}


def read(text: str, form: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """{(name of the sample, its labels): value} as a parser of others has it."""
    found = {}
    for family in PARSERS[form](text):
        for sample in family.samples:
            found[sample.name, frozenset(sample.labels.items())] = sample.value
    return found


@settings(max_examples=40)
@given(st.dictionaries(TEXT, VALUE, min_size=1, max_size=4), TEXT, st.sampled_from(sorted(PARSERS)))
def test_what_is_told_is_what_is_read(values: dict[str, float], about: str, form: str) -> None:
    """Labels and help of any characters, and any number, survive escaping; both formats."""
    gauge = Family("k1_lamps", GAUGE, about)
    counter = Family("k1_clicks", COUNTER, about)
    for text, value in values.items():
        gauge.add(value, room=text, floor="1")
        counter.add(min(abs(value), 1e300), room=text)
    assert not problem(gauge) and not problem(counter)
    found = read(render([gauge, counter], form), form)
    for text, value in values.items():
        assert found["k1_lamps", frozenset({("room", text), ("floor", "1")})] == float(value)
        assert found["k1_clicks_total", frozenset({("room", text)})] == float(min(abs(value), 1e300))
    assert len(found) == 2 * len(values)


@pytest.mark.parametrize("form", sorted(PARSERS))
def test_every_kind_of_family_is_read_as_what_it_is(form: str) -> None:
    """Gauge, counter, histogram and info have the type, the unit and the suffixes that each format wants."""
    histogram = Family("k1_wait_seconds", HISTOGRAM, "How long.")
    histogram.observe([(0.5, 1), (10, 3)], 4, 99.5, {"resource": "a"})
    given_ = [
        Family("k1_heap_bytes", GAUGE, "Free.").add(math.inf, device="a").add(math.nan, device="b"),
        Family("k1_runs", COUNTER, "Runs.").add(3),
        histogram,
        Family("k1_build", INFO, "Version.").add(1, version="1"),
        Family("k1_nothing", GAUGE, "No sample."),
    ]
    text = render(given_, form)
    families = {family.name: family for family in PARSERS[form](text)}
    infos = {"prometheus": ("k1_build_info", "gauge"), "openmetrics": ("k1_build", "info")}
    name, kind = infos[form]
    assert {(n, f.type) for n, f in families.items()} == {
        ("k1_heap_bytes", "gauge"),
        ("k1_runs", "counter"),
        ("k1_wait_seconds", "histogram"),
        (name, kind),
    }
    assert families["k1_heap_bytes"].unit == ("bytes" if form == "openmetrics" else "")
    values = read(text, form)
    assert values["k1_wait_seconds_bucket", frozenset({("resource", "a"), ("le", "0.5")})] == 1
    assert values["k1_wait_seconds_bucket", frozenset({("resource", "a"), ("le", "+Inf")})] == 4
    assert values["k1_wait_seconds_sum", frozenset({("resource", "a")})] == 99.5
    assert math.isnan(values["k1_heap_bytes", frozenset({("device", "b")})])
    assert text.endswith("# EOF\n") == (form == "openmetrics")
    assert render([], form) == ("# EOF\n" if form == "openmetrics" else "")


@pytest.mark.parametrize(
    ("family", "text"),
    [
        (7, "no Family"),
        (Family("lamps", GAUGE, ""), "no name"),
        (Family("k1_lamps{", GAUGE, ""), "no name"),
        (Family("k1_lamps_total", COUNTER, ""), "ends as samples do"),
        (Family("k1_lamps", "lamp", ""), "no kind"),
        (Family("k1_lamps", GAUGE, None), "no help"),  # type: ignore[arg-type]
        (Family("k1_lamps", GAUGE, "").add(1, a="x").add(2, a="x"), "same labels"),
        (Family("k1_lamps", GAUGE, "").add(1, le="x"), "no label"),
        (Family("k1_lamps", GAUGE, "").add(1, **{"a b": "x"}), "no label"),
        (Family("k1_lamps", COUNTER, "").add(-1), "no value"),
        (Family("k1_lamps", COUNTER, "").add(math.nan), "no value"),
        (Family("k1_lamps", GAUGE, "").add("7"), "no value"),  # type: ignore[arg-type]
        (Family("k1_lamps", HISTOGRAM, "").observe([(1, 2), (2, 1)], 2, 1.0, {}), "do not rise"),
        (Family("k1_lamps", HISTOGRAM, "").observe([(2, 1), (1, 1)], 2, 1.0, {}), "do not rise"),
        (Family("k1_lamps", HISTOGRAM, "").add(1), "another kind"),
    ],
)
def test_what_no_scrape_could_be_read_with_is_told(family: object, text: str) -> None:
    """A family that would spoil the whole text is refused, with what is wrong."""
    assert text in problem(family)


@pytest.mark.parametrize("form", sorted(PARSERS))
def test_what_is_no_utf8_spoils_nothing(form: str) -> None:
    """A folder's name of other bytes, or half a character in an event: that label is legible, the others are whole, and
    two names stay two."""
    family = Family("k1_workspaces", GAUGE, "").add(1, workspace="o\udcffslo").add(2, workspace="bergen")
    family.add(3, workspace="o\udcfeslo")
    found = read(render([family], form).encode().decode(), form)
    assert found["k1_workspaces", frozenset({("workspace", "o\\udcffslo")})] == 1
    assert found["k1_workspaces", frozenset({("workspace", "o\\udcfeslo")})] == 3
    assert found["k1_workspaces", frozenset({("workspace", "bergen")})] == 2


def test_numbers_are_short() -> None:
    """Whole numbers have no point; what is not finite is as the formats have it."""
    assert [number(v) for v in (3.0, 2.5, 1e22, -math.inf)] == ["3", "2.5", "1e+22", "-Inf"]
