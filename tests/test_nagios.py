"""Performance data and output after the plugin guidelines."""

from __future__ import annotations

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl import nagios
from k1ctl.errors import ConfigError


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


@pytest.mark.parametrize(
    "wrong", [ConfigError("no file | of facts"), PermissionError(13, "no"), ZeroDivisionError("0")]
)
def test_whatever_fails_is_unknown(
    wrong: Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    """3 and one line, a bug of ours too: Nagios takes what is above 3 for critical; as text it fails as ever."""
    monkeypatch.setenv("K1CTL_HOST_DIR", str(tmp_path))

    @click.command(cls=nagios.NagiosCommand)
    @nagios.format_option
    def look(form: str) -> int:
        raise wrong

    assert look.main(["--format", "nagios"], standalone_mode=False) == 3
    out = capsys.readouterr().out
    assert out.startswith("K1 UNKNOWN - ") and out.count("\n") == 1 and "|" not in out
    with pytest.raises(type(wrong)):
        look.main([], standalone_mode=False)
