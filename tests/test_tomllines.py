"""Where a key stands in a TOML text."""

from __future__ import annotations

import tomllib
from typing import Any

import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.tomllines import line_of, split_key

KEYS = st.sampled_from(["a", "b", "queue", "device:k1", "my k1", "x.y", "c=d", 'q"="q'])
TREES = st.dictionaries(
    KEYS,
    st.recursive(st.integers(0, 99), lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3)),
    max_size=4,
)


def leaves(tree: dict[str, Any], prefix: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], Any]]:
    found = []
    for key, value in tree.items():
        found += leaves(value, (*prefix, key)) if isinstance(value, dict) else [((*prefix, key), value)]
    return found


@given(TREES)
def test_every_key_is_found_on_its_line(tree: dict[str, Any]) -> None:
    """For each value of a document, the line that is named holds its key and its value."""
    text = tomli_w.dumps(tree)
    assert tomllib.loads(text) == tree
    for place, value in leaves(tree):
        line = text.splitlines()[line_of(text, place) - 1]
        assert line.endswith(f"= {value}"), (place, line)
        assert place[-1].replace('"', '\\"') in line


@given(st.lists(KEYS | st.text(), min_size=1, max_size=4))
def test_quoted_keys_are_split(parts: list[str]) -> None:
    """A dotted key with quotes falls into the parts it was made of."""
    quoted = [part.replace("\\", "\\\\").replace('"', '\\"') for part in parts]
    assert split_key(".".join(f'"{part}"' for part in quoted)) == tuple(parts)


def test_a_missing_key_points_to_its_table() -> None:
    """A key that is not there is looked for where it would be; nothing around it gives 0."""
    text = "[queue]\npark = 1\n\n[devices.k1]\nhost = 'x'\n"
    assert line_of(text, ("devices", "k1", "mac")) == 4
    assert line_of(text, ("build", "jobs")) == 0
