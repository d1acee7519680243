"""Performance data and output after the plugin guidelines."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from k1ctl import nagios


def test_a_datum_has_its_fields_in_order() -> None:
    """A unit that Nagios does not know is left out; a figure that is not known is no datum."""
    assert nagios.datum("fps", 44.5, warn=nagios.below(120), least=0) == "fps=44.5;120:;;0"
    assert nagios.datum("'free'", 1 << 40, "B", warn="5", crit="3", least=0, most=1 << 41) == (
        "'free'=1099511627776B;5;3;0;2199023255552"
    )
    assert nagios.datum("rate", 0.8100000000000001, "B/s") == "rate=0.81;;;"
    assert nagios.datum("fps", None) == ""
    assert (nagios.above(None), nagios.above(0), nagios.below(0), nagios.below(None)) == ("", "0", "", "")


@given(st.text(max_size=200), st.lists(st.text(max_size=30), max_size=3))
def test_only_performance_data_stands_behind_a_bar(first: str, lines: list[str]) -> None:
    """The first line fits on a pager whatever was said, no text adds a line or a bar, and the data come last."""
    told = nagios.long_output(first, lines, ["a=1;;;0", "", "b=2;;;0"])
    head, *rest = told.split("\n")
    assert len(head) <= 80 and "|" not in head
    assert len(rest) == max(1, len(lines)) and told.count("|") == 1
    assert rest[-1].endswith(" | a=1;;;0 b=2;;;0")
