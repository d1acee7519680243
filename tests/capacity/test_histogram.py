"""The decaying histogram: what it says of a class against an exact reckoning, and what it does with bad files."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import histogram
from tests.kit import processes

MB, DAY = 1 << 20, 86400.0


def weighted(samples: list[tuple[float, float]], q: float) -> float:
    """The exact weighted quantile of (value, weight)."""
    left = q * sum(w for _, w in samples)
    for value, weight in sorted(samples):
        left -= weight
        if left <= 1e-9 * weight:
            return value
    return max(v for v, _ in samples)


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.floats(1e6, 1e12), st.floats(0, 40)), min_size=1, max_size=40),
    st.floats(0.01, 0.99),
)
def test_quantiles_are_those_of_the_weighted_samples(runs: list[tuple[float, float]], q: float) -> None:
    """At most a bucket (5 %) too large and never too small, in whichever order the runs come."""
    now = time.time()
    history = histogram._History()
    for value, days in runs:
        history.add(value, 0, now - days * DAY)
    exact = weighted([(int(v), histogram.decay(d * DAY)) for v, d in runs], q)
    found = history.memory.quantile(q)
    if exact >= histogram.FIRST_BYTES:
        assert exact * 0.999 <= found <= exact * histogram.GROWTH * 1.001
    else:
        assert found <= histogram.FIRST_BYTES * histogram.GROWTH


def test_the_target_is_p95_with_a_margin_and_cautious_at_first() -> None:
    """Fewer than 5 runs: the largest and a half, low confidence; later p95 and 15 %; good from 20 runs on."""
    now = time.time()
    for n in range(4):
        assert histogram.add("build:fw", (100 + n) * MB, 10.0 + n, now - 100) == ""
    few = histogram.of("build:fw")
    assert few is not None and few.confidence == "low" and few.target == int(103 * MB * 1.5)
    for n in range(4, 25):
        histogram.add("build:fw", (100 + n) * MB, 10.0, now)
        known = histogram.of("build:fw")
        assert known is not None and known.confidence == ("good" if n >= 19 else "fair" if n >= 4 else "low")
    assert known.runs == 25 and known.target == int(known.p95 * 1.15) and 123 * MB <= known.p95 <= 124 * MB
    assert known.seconds_p50 == pytest.approx(10.0, rel=0.05) and known.document()["confidence"] == "good"
    assert histogram.of("build:web") is None
    assert histogram.classes() == (["build:fw"], [])


def test_old_runs_fade() -> None:
    """After some weeks the runs of now decide, however many there were before; a class without recent ones is fair."""
    now = time.time()
    for _ in range(40):
        histogram.add("old", 900 * MB, at=now - 60 * DAY)
    stale = histogram.of("old")
    assert stale is not None and stale.p95 == 900 * MB and stale.confidence == "fair"
    for _ in range(6):
        histogram.add("old", 100 * MB, at=now)
    fresh = histogram.of("old")
    assert fresh is not None and fresh.p90 == 100 * MB and fresh.largest == 900 * MB


def test_a_clock_that_was_ahead_does_not_make_new_runs_weightless() -> None:
    """A file written a year ahead of time takes the runs of now as full ones."""
    now = time.time()
    histogram.add("ahead", 900 * MB, at=now + 365 * DAY)
    for _ in range(3):
        histogram.add("ahead", 100 * MB, at=now)
    found = histogram.of("ahead")
    assert found is not None and found.p50 == 100 * MB and found.at == pytest.approx(now, abs=1)


def test_a_lack_of_memory_counts_as_more_than_its_limit_but_feeds_not_itself() -> None:
    """limit + 100 MiB or x 1.2; no more than what a run did with, nor than the host has."""
    assert histogram.oom_sample(200 * MB, 0) == 300 * MB
    assert histogram.oom_sample(1000 * MB, 0) == 1200 * MB
    assert histogram.oom_sample(1000 * MB, 1100 * MB) == 1100 * MB
    assert histogram.oom_sample(1000 * MB, 900 * MB) == 1200 * MB
    limit = 1000 * MB
    for _ in range(30):
        histogram.add_oom("leak", limit, memory=4096 * MB)
        found = histogram.of("leak")
        assert found is not None
        limit = found.target
        assert found.p95 <= 4096 * MB
    assert found.ooms == found.runs == 30


def test_a_damaged_file_is_reported_and_set_aside() -> None:
    """Nothing is known from it, nothing of it is overwritten, and learning goes on."""
    histogram.add("small", 50 * MB)
    path = histogram._file("small")
    for text in (
        "{",
        "[]",
        "[" * 200_000,
        '{"version":2}',
        '{"version":1,"memory":[[1,1e400,1,1]],"seconds":[],"last_at":"x"}',
        '{"version":1,"memory":[[1,1,9,1e300]],"seconds":[],"last_at":"2026-01-01T00:00:00Z"}',
    ):
        Path(path).write_text(text)
        assert histogram.of("small") is None
        assert "damaged" in histogram.classes()[1][-1] or "damaged" in histogram.classes()[1][0]
        told = histogram.add("small", 60 * MB)
        aside = Path(path).parent / told.rpartition(" ")[2]
        assert "set aside" in told and aside.read_text() == text
        found = histogram.of("small")
        assert found is not None and found.runs == 1 and found.largest == 60 * MB


def test_a_folder_that_cannot_be_written_fails_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence says why; nothing is raised."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("K1CTL_HOST_DIR", str(tmp_path / "file"))
    assert "could not be kept" in histogram.add("small", 50 * MB)


@pytest.mark.parametrize("name", ["a/../../b", ".hidden", "x" * 300, "é 漢", "", "a%2f%b", "Small"])
def test_any_name_of_a_class_is_a_file_in_the_folder(name: str) -> None:
    """And it is found again under its own name."""
    assert histogram.add(name, 50 * MB) == ""
    assert histogram.of(name) is not None and name in histogram.classes()[0]
    assert os.listdir(os.path.dirname(histogram._file("x")))
    assert os.path.dirname(os.path.realpath(histogram._file(name))) == os.path.realpath(
        os.path.dirname(histogram._file("x"))
    )


def test_runs_that_end_together_are_all_counted() -> None:
    """Four processes add ten runs each: forty are in the file."""
    import sys

    code = "from k1ctl.capacity import histogram as h\nfor _ in range(10): assert h.add('many', 1 << 28) == ''"
    assert processes([[sys.executable, "-c", code]] * 4) == [0] * 4
    found = histogram.of("many")
    assert found is not None and found.runs == 40
