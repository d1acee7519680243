"""Durations, sizes and times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.units import (
    format_duration,
    format_size,
    parse_duration,
    parse_rfc3339,
    parse_size,
    rfc3339,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("10s", 10), ("1h30m", 5400), ("2d", 172800), ("90", 90), (5, 5), ("1.5m", 90), ("1h 5s", 3605)],
)
def test_durations_people_write(text: str | int, seconds: float) -> None:
    """The documented forms are read as documented."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1x", "1..5s", "1h30", "inf", "nan", True, "1e400"])
def test_what_is_no_duration_is_refused(text: str | bool) -> None:
    """Nonsense raises ValueError with the forms that are possible."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400)]))
def test_every_number_with_a_unit_is_a_duration(number: int, unit: tuple[str, float]) -> None:
    """NUMBER UNIT is NUMBER times the unit."""
    assert parse_duration(f"{number}{unit[0]}") == pytest.approx(number * unit[1])


@given(st.text(max_size=12))
def test_duration_text_never_fails_otherwise(text: str) -> None:
    """Any text either is a duration of 0 or more, or raises ValueError."""
    try:
        assert parse_duration(text) >= 0
    except ValueError:
        pass


@given(st.integers(0, 2**50), st.sampled_from(["", "b", "k", "K", "kB", "KiB", "m", "MiB", "G", "GB", "t"]))
def test_every_number_with_a_unit_is_a_size(number: int, unit: str) -> None:
    """NUMBER UNIT is a size in powers of 1024."""
    power = "bkmgt".index(unit[0].lower()) if unit else 0
    assert parse_size(f"{number}{unit}") == pytest.approx(number * 1024**power)
    assert parse_size("10000000000000001") == 10**16 + 1  # no float between


@given(st.text(max_size=12))
def test_size_text_never_fails_otherwise(text: str) -> None:
    """Any text either is a size of 0 or more, or raises ValueError."""
    try:
        assert parse_size(text) >= 0
    except ValueError:
        pass


@given(st.floats(0, 1e9))
def test_formatted_durations_are_short_and_close(seconds: float) -> None:
    """What people see has two units at most and is within 5 % (or half a millisecond) of the truth."""
    text = format_duration(seconds)
    words = text.split()
    assert len(words) in (2, 4)
    assert parse_duration(text) == pytest.approx(seconds, rel=0.05, abs=0.0006)


@given(st.integers(0, 2**60))
def test_formatted_sizes_are_close(size: int) -> None:
    """What people see is within 6 % of the truth."""
    assert parse_size(format_size(size)) == pytest.approx(size, rel=0.06)


@given(st.integers(0, 4102444800000))
def test_times_survive_the_round_trip(millis: int) -> None:
    """A time written and read is the same to the millisecond, and text order is time order."""
    text = rfc3339(millis / 1000)
    assert abs(parse_rfc3339(text) - millis / 1000) < 0.0011
    assert rfc3339(millis / 1000 + 1) > text
