"""Baselines of patterns: what counts as worse, exactly at the border; thresholds; files that are none."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.device.pattern import baseline
from k1ctl.device.pattern.baseline import FIGURES, FPS, THRESHOLDS
from k1ctl.errors import WrongDataError

AMOUNTS = st.integers(1, 10_000_000).map(lambda n: Decimal(n) / 100)
SMALLEST = Decimal("0.000001")


def against(name: str, before: float | None, **thresholds: float | None) -> dict[str, Any]:
    return {"pattern": "x", "baseline": {name: before}, "thresholds": thresholds}


@given(st.sampled_from(FIGURES), AMOUNTS, st.integers(0, 99))
def test_the_border_of_a_regression(name: str, before: Decimal, percent: int) -> None:
    """Worse by exactly the percentage passes, by the least bit more fails; better always passes."""
    share = before * percent / 100
    worse = -1 if name == FPS else 1
    border = before + worse * share
    known = against(name, float(before))
    assert baseline.compare({name: float(border)}, known, percent) == []
    assert baseline.compare({name: float(before - worse * min(before, share))}, known, percent) == []
    over = float(border + worse * SMALLEST)
    (found,) = baseline.compare({name: over}, known, percent)
    assert (found["figure"], found["kind"], found["value"], found["baseline"]) == (
        name,
        "regression",
        over,
        float(before),
    )


@settings(max_examples=40)
@given(st.sampled_from(FIGURES), AMOUNTS)
def test_the_border_of_a_threshold(name: str, limit: Decimal) -> None:
    """A figure on the threshold passes, one beyond it fails, whatever the baseline says."""
    beyond = float(limit - SMALLEST if name == FPS else limit + SMALLEST)
    known = against(name, None, **{THRESHOLDS[name]: float(limit)})
    assert baseline.compare({name: float(limit)}, known, 10) == []
    (found,) = baseline.compare({name: beyond}, known, 10)
    assert (found["kind"], found["limit"]) == ("threshold", float(limit))


@settings(max_examples=30)
@given(st.dictionaries(st.sampled_from(FIGURES), st.none() | st.floats(0, 1e9)))
def test_what_is_not_known_is_not_compared(figures: dict[str, float | None]) -> None:
    """Without a baseline, from a baseline of 0, and for figures that were not told, there is no finding."""
    assert baseline.compare(figures, None, 10) == []
    for before in (None, 0):
        assert all(not baseline.compare(figures, against(name, before), 10) for name in FIGURES)
    assert baseline.compare(dict.fromkeys(FIGURES), against(FPS, 100.0, fps_min=50), 10) == []


def test_recording_keeps_thresholds(tmp_path: Path) -> None:
    """The file has the shape of the guides; what a person set stays, the figures are the new ones."""
    figures = {"fps": 150.2, "render_time_ms": 1.21, "memory_kb": 155.0}
    baseline.record(str(tmp_path), "lava", figures, None, {"speed": 0.5})
    path = tmp_path / "lava.json"
    first = json.loads(path.read_text())
    assert set(first) == {"pattern", "baseline", "thresholds", "recorded_at", "parameters"}
    assert (first["pattern"], first["baseline"]) == ("lava", figures)
    assert first["thresholds"] == dict.fromkeys(THRESHOLDS.values())
    path.write_text(json.dumps({**first, "thresholds": {"fps_min": 120}}))
    before = baseline.read(str(tmp_path), "lava")
    again = baseline.record(str(tmp_path), "lava", {**figures, "fps": 140.0}, before, {})
    assert again == baseline.read(str(tmp_path), "lava")
    assert (again["baseline"]["fps"], again["thresholds"]["fps_min"]) == (140.0, 120)
    assert baseline.recorded(str(tmp_path)) == ["lava"] and baseline.recorded(str(tmp_path / "none")) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"pattern": "other"}',
        '{"pattern": "lava", "baseline": 5}',
        '{"pattern": "lava", "baseline": {"fps": "many"}}',
        '{"pattern": "lava", "thresholds": {"fps_min": -1}}',
        '{"pattern": "lava", "baseline": {"fps": NaN}}',
        "[" * 5000,
    ],
)
def test_a_file_that_is_no_baseline(tmp_path: Path, text: str) -> None:
    """It is refused with its path and what to do, not taken for none."""
    (tmp_path / "lava.json").write_text(text)
    with pytest.raises(WrongDataError) as caught:
        baseline.read(str(tmp_path), "lava")
    assert caught.value.code == "bad-baseline" and str(tmp_path / "lava.json") in caught.value.message
    assert baseline.read(str(tmp_path), "bloom") is None


@settings(max_examples=40)
@given(st.text(min_size=1, max_size=40))
def test_a_pattern_stays_in_the_folder(pattern: str) -> None:
    """Whatever a device calls its patterns, the file lies in the folder, under a name of its own."""
    path = Path(baseline.path_of("/b", pattern))
    assert path.parent == Path("/b") and path.suffix == ".json"
    assert path != Path(baseline.path_of("/b", pattern + "x"))
