"""Plots: a document that any reader of XML takes, round ticks, no lost peak, and PNG where the extra is there."""

from __future__ import annotations

import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from k1ctl.capacity import plot
from k1ctl.errors import NotFoundError, UsageError

NAME = "{http://www.w3.org/2000/svg}"


def texts(document: str) -> list[str]:
    return [found.text or "" for found in ElementTree.fromstring(document).iter(f"{NAME}text")]


@settings(max_examples=25)
@example([(1.0, 1.7e308), (2.0, 5e-324), (1e300, 1.0)], plot.LINE, plot.BYTES, "huge")
@given(
    st.lists(st.tuples(st.floats(), st.one_of(st.none(), st.floats())), max_size=30),
    st.sampled_from([plot.LINE, plot.STEP, plot.DOTS, plot.BAR]),
    st.sampled_from([plot.NUMBER, plot.BYTES, plot.SECONDS, plot.PERCENT]),
    st.text(max_size=20),
)
def test_anything_makes_a_document(points: list[tuple[float, float | None]], kind: str, unit: str, title: str) -> None:
    """Gaps, infinities, huge and no numbers, and any text: well-formed XML in which every place is a number."""
    document = plot.svg([plot.Series(title, points, kind)], title=title, y_unit=unit, x_unit=unit)
    places = " ".join(e.get("d", "") + e.get("x", "") for e in ElementTree.fromstring(document).iter())
    assert "nan" not in places and "inf" not in places


@settings(max_examples=60)
@given(st.floats(0.001, 1e14), st.sampled_from([plot.NUMBER, plot.BYTES, plot.SECONDS]))
def test_ticks_are_few_and_reach_the_end(top: float, unit: str) -> None:
    """An axis has 3 to 8 ticks, different ones as they are shown."""
    found = plot.ticks(0.0, plot._nice_top(top, unit), unit)
    named = [plot.shown(value, unit) for value in found]
    assert 3 <= len(found) <= 8 and len(set(named)) == len(named) and found[-1] >= top


@pytest.mark.parametrize("most", [1, 2, 3, 6, 8, 12, 20, 24, 100, 1000])
def test_what_is_whole_has_whole_ticks(most: int) -> None:
    """There is no half an agent, and an axis has few of them."""
    found = plot.ticks(0.0, most, plot.COUNT, 8)
    assert 2 <= len(found) <= 9 and all(t == int(t) for t in found)


def test_sizes_are_shown_as_powers_of_two_and_times_as_clocks_do() -> None:
    """A gigabyte has a tick of its own, and hours are cut into quarters."""
    assert [plot.shown(t, plot.BYTES) for t in plot.ticks(0, 1 << 30, plot.BYTES)][-1] == "1 GiB"
    assert [plot.shown(t, plot.SECONDS) for t in plot.ticks(0, 3600, plot.SECONDS, 4)] == [
        "0 s", "15 min", "30 min", "45 min", "1 h",
    ]  # fmt: skip


def test_a_long_trace_is_thinned_without_losing_its_peak() -> None:
    """Of 40,000 points few are drawn; the one that stands out is among them."""
    points = [(float(x), 900.0 if x == 31_337 else 10.0 + x % 7) for x in range(40_000)]
    document = plot.svg([plot.Series("rss", points)])
    path = next(e for e in ElementTree.fromstring(document).iter(f"{NAME}path") if e.get("class") == "s")
    drawn = [float(word.split()[1]) for word in path.get("d", "").split("L")[1:]]
    assert len(drawn) < 3000
    top, bottom = plot._TOP, plot._TOP + 300
    assert min(drawn) == pytest.approx(bottom - 900 / 1000 * (bottom - top), abs=1)


def test_a_single_point_is_seen() -> None:
    """A line of one point, or one between two gaps, has a length: without one nothing of it would be drawn."""
    alone = plot.svg([plot.Series("a", [(3, 5.0)])])
    between = plot.svg([plot.Series("a", [(0, 1.0), (1, None), (2, 4.0), (3, None), (4, 1.0), (5, 2.0)])])
    assert alone.count("m-3 0h6") == 1 and between.count("m-3 0h6") == 2


def test_series_labels_levels_and_no_data_are_named() -> None:
    """The legend names several series, the axes carry titles and labels; nothing to draw is said."""
    bars = [plot.Series("p50", [(0, 3), (1, 4)], plot.BAR), plot.Series("p90", [(0, 6), (1, None)], plot.BAR)]
    document = plot.svg(
        bars, title="Turns", x_title="load", y_title="minutes", labels=["light", "heavy"], levels=[(5, "SLO")]
    )
    assert {"Turns", "load", "minutes", "p50", "p90", "light", "heavy", "SLO"} <= set(texts(document))
    assert len([*ElementTree.fromstring(document).iter(f"{NAME}rect")]) == 3 + 2
    assert "no data" in texts(plot.svg([plot.Series("none", [])]))


def test_png_and_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """.svg is written as it is, .png drawn; without the library the error names the extra; other names are refused."""
    document = plot.svg([plot.Series("rss", [(0, 1), (1, 2)])])
    plot.save(document, str(tmp_path / "a.svg"))
    assert (tmp_path / "a.svg").read_text() == document
    with pytest.raises(UsageError, match=r"an \.svg or a \.png"):
        plot.check_name("a.pdf")
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(NotFoundError) as error:
        plot.png(document)
    assert "k1ctl[plot]" in error.value.hint
    monkeypatch.undo()
    pytest.importorskip("resvg_py")
    plot.save(document, str(tmp_path / "a.png"))
    data = (tmp_path / "a.png").read_bytes()
    assert data.startswith(b"\x89PNG") and int.from_bytes(data[16:20], "big") == 2 * 760
