"""One value of a TOML text changes, and nothing else in it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.tomledit import NoLineEdit, dotted, same, scan, set_value, toml_text, unset
from k1ctl.tomledit import with_value as changed
from k1ctl.tomledit import without as left

Place = tuple[str, ...]

TABLES: list[Place] = [("queue",), ("queue", "slots"), ("devices", "k1"), ("devices", 'my "k" 1.2'), ("plugins", "a=b")]
KEYS = ["park", "host", "device:k1", "x.y", 'q"q', "#no", "é", ""]
VALUES = [
    "1",
    "'lit] # no'",
    '"x \\" # y"',
    '"""many\n# no comment\n[no.table]\nlines\\""""',
    "'''two''s'''",
    "[1, [2, 'a]']]",
    '[\n  "a",\n  "b",\n]',
    "{a = 1, b = [1, {c = '}'}]}",
    "1979-05-27 07:32:00",
    "nan",
    "-inf",
    "true",
]
INNER = "[\n  1, # inside\n]"


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[str], set[Place]]:
    """(A valid text, the comments in it, the places of values with comments inside)."""
    comments: list[str] = []

    def comment(pattern: str = "# note {} [a] b = 'c") -> str:
        comments.append(pattern.format(len(comments)))
        return comments[-1]

    def statement(key: Place, place: Place) -> str:
        value = draw(st.sampled_from([*VALUES, INNER]))
        if value == INNER:
            inner.add(place)
        indent, tail = draw(st.sampled_from(["", "  "])), draw(st.booleans())
        return f"{indent}{dotted(key)}{draw(st.sampled_from(['=', ' = ']))}{value}" + (f" {comment()}" if tail else "")

    inner: set[Place] = set()
    root, sections = [], []
    for table in draw(st.lists(st.sampled_from(TABLES), unique=True)):
        keys = draw(st.lists(st.sampled_from(KEYS), unique=True, max_size=3))
        if draw(st.integers(0, 3)) == 0:  # dotted, at the top
            root += [statement((*table, key), (*table, key)) for key in keys]
            continue
        lines = [f"[{dotted(table)}]" + (f" {comment()}" if draw(st.booleans()) else "")]
        if draw(st.booleans()):
            lines.insert(0, comment(f"#[{dotted(table)}]"))
        for key in keys:
            lines += [comment()] if draw(st.booleans()) else []
            lines += [statement((key,), (*table, key))]
            lines += [comment(f"#{dotted((draw(st.sampled_from(KEYS)),))} = {{}}"), ""] if draw(st.booleans()) else []
        sections += lines
    text = "\n".join([comment(), *root, *sections]) + draw(st.sampled_from(["", "\n", "\n\n"]))
    return text.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))), comments, inner


def valid(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


PLACES = st.builds(lambda table, key: (*table, key), st.sampled_from(TABLES), st.sampled_from(KEYS))
DOCUMENTS = documents().filter(lambda document: valid(document[0]))


@given(DOCUMENTS, PLACES, st.sampled_from([v for v in VALUES if "\n" not in v]))
def test_setting_changes_one_value_and_no_other_line(
    document: tuple[str, list[str], set[Place]], place: Place, value: str
) -> None:
    """The new document is the old one with that value; every comment stays, and every line but one.

    It is refused only where comments stand inside the old value.
    """
    text, comments, inner = document
    try:
        result = set_value(text, place, value)
    except NoLineEdit:
        assert place in inner
        return
    assert same(tomllib.loads(result), changed(text, place, value))
    assert [comment for comment in comments if comment not in result] == []
    assert ("\r\n" in text) == ("\r\n" in result) and "\r\n" not in result.replace("\r\n", "")
    old = [line for line in scan(text) if line.kind == "value" and line.place == place]
    spanned = {line.strip() for line in text[old[0].start : old[0].end].splitlines()} if old else set()
    gone = {line.strip() for line in text.splitlines()} - {line.strip() for line in result.splitlines()}
    assert gone <= spanned


@given(DOCUMENTS, PLACES | st.sampled_from(TABLES))
def test_unsetting_takes_one_thing_out(document: tuple[str, list[str], set[Place]], place: Place) -> None:
    """The new document is the old one without it; every comment stays; what is not there changes nothing.

    A table at the top that nothing is left in may go too.
    """
    text, comments, inner = document
    wanted = left(text, place)
    try:
        result = unset(text, place)
    except NoLineEdit:
        assert any(p[: len(place)] == place for p in inner)
        return
    if wanted is None:
        assert result == text
        return
    there = tomllib.loads(result)
    assert same(there, wanted) or same({place[0]: {}, **there}, wanted)
    assert [comment for comment in comments if comment not in result] == []


@given(DOCUMENTS, PLACES)
def test_what_was_set_can_be_taken_back(document: tuple[str, list[str], set[Place]], place: Place) -> None:
    """Unset after set leaves no trace of the value."""
    text = document[0]
    if place in document[2]:
        return
    result = unset(set_value(text, place, "'fresh'"), place)
    assert left(result, place) is None
    assert "fresh" not in result


@given(st.text(), st.lists(st.text(), min_size=1, max_size=3))
def test_any_text_is_written_as_toml(value: str, parts: list[str]) -> None:
    """Strings and keys come back from the parser as they were, whatever characters they have."""
    tree: Any = tomllib.loads(f"{dotted(tuple(parts))} = {toml_text(value)}")
    for part in parts:
        tree = tree[part]
    assert tree == value


TEMPLATE = """\
# k1ctl
[queue]
# how long
#park = "15m"
#stall = "1s"

# A device.
#[devices.k1]
# address
#host = ""
#mac = ""

[queue.slots]
"build:fw" = 4
#"device:k1" = 1"""


@pytest.mark.parametrize(
    ("place", "value", "behind"),
    [
        (("queue", "park"), '"5m"', '#park = "15m"'),
        (("queue", "max_length"), "7", "[queue]"),
        (("queue", "slots", "device:k1"), "2", '#"device:k1" = 1'),
        (("queue", "slots", "build:web"), "2", '"build:fw" = 4'),
        (("devices", "k1", "mac"), '"x"', '#mac = ""'),
        (("devices", "k1", "identity"), '"x"', "[devices.k1]"),
        (("ota", "attempts"), "2", "[ota]"),
    ],
)
def test_a_value_stands_where_its_default_is_told(place: Place, value: str, behind: str) -> None:
    """In a file as `init` writes it, a value comes right behind its commented default, and a section behind its own."""
    lines = set_value(TEMPLATE, place, value).splitlines()
    assert lines[lines.index(f"{dotted(place[-1:])} = {value}") - 1] == behind
    assert [line for line in TEMPLATE.splitlines() if line not in lines] == []


@pytest.mark.parametrize(
    ("text", "place", "why"),
    [
        ("devices = {k1 = {host = 'a'}}\n", ("devices", "k1", "host"), "inline table"),
        ("[devices]\nk1 = {host = 'a'}\n", ("devices", "k1", "mac"), "inline table"),
        ("[worktree]\ncopy = [\n'a', # why\n]\n", ("worktree", "copy"), "comments stand inside"),
        ("queue = 3\n", ("queue", "park"), "queue is not a table"),
        ("[[devices]]\nhost = 'a'\n", ("devices", "k1", "host"), "devices is not a table"),
    ],
)
def test_what_is_not_one_line_is_refused(text: str, place: Place, why: str) -> None:
    """Where more than a line would have to change, nothing is guessed."""
    with pytest.raises(NoLineEdit, match=why):
        set_value(text, place, "1")


def test_values_of_other_types_are_other_values() -> None:
    """The proof is not fooled by Python's 1 == True == 1.0, and nan equals itself."""
    assert not same({"a": 1}, {"a": True}) and not same([1], [1.0]) and not same({"a": 1}, {"b": 1})
    assert same({"a": [float("nan")]}, {"a": [float("nan")]})
