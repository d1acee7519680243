"""The quick JSON coder is the standard one."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.jsontext import dumps, loads
from tests.kit import REPOSITORY

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)


@given(VALUES)
def test_dumps_is_the_standard_one(value: Any) -> None:
    """What is written equals json.dumps without spaces, and reads back equal."""
    assert dumps(value) == json.dumps(value, separators=(",", ":"))
    assert loads(dumps(value)) == value


@given(VALUES, st.sampled_from([None, 1, 2]))
def test_loads_reads_any_layout(value: Any, indent: int | None) -> None:
    """Indented or not, a document is read as json.loads reads it."""
    assert loads(f" {json.dumps(value, indent=indent)}\n") == value


@given(st.text())
def test_bad_text_raises_value_error_as_the_standard_one(text: str) -> None:
    """Text is refused exactly where json.loads refuses it; NaN and Infinity, which are not JSON, always."""
    try:
        expected: Any = json.loads(text, parse_constant=lambda name: json.loads("bad"))
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            loads(text)
    else:
        assert loads(text) == expected


@pytest.mark.parametrize("text", ["{} {}", "NaN", "[Infinity]", "", "{", '{"a":1}x', '"\x01"', "nul"])
def test_what_is_not_one_document_is_refused(text: str) -> None:
    """Two documents, constants that JSON lacks, and torn text raise ValueError."""
    with pytest.raises(ValueError, match=r"."):
        loads(text)


@pytest.mark.parametrize("text", ["9" * 21, "[-1" + "0" * 400 + "]", '{"a": 1e999}', "-1e400"])
def test_a_stranger_has_no_endless_numbers(text: str) -> None:
    """What 64 bits do not hold is refused where it is asked for; what they hold is taken."""
    loads(text)
    with pytest.raises(ValueError):
        loads(text, bounded=True)
    largest = [2**64 - 1, -(2**63), 1.5e300, 0.1]
    assert loads(dumps(largest), bounded=True) == largest


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")], {1, 2}, object(), b"x"])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    """No foreign constant and no repr slips into a file."""
    with pytest.raises((ValueError, TypeError)):
        dumps(value)


def test_it_does_not_import_json() -> None:
    """The point of the module: `json` and `re` stay unloaded."""
    code = "import sys, k1ctl.jsontext as j; j.loads(j.dumps([1])); print(sorted({'json', 're'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY)}
    )
    assert done.stdout.strip() == "[]", done.stderr
