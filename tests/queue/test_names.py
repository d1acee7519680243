"""A ticket's name carries everything a decision needs, and nothing gets into it that would break it."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.errors import UsageError
from k1ctl.queue import names

FIRST = string.ascii_letters + string.digits
REST = FIRST + ":_@+-"
RESOURCES = st.builds(lambda a, b: a + b, st.sampled_from(FIRST), st.text(REST, max_size=20))
NEEDS = st.dictionaries(RESOURCES, st.integers(1, 9999), min_size=1, max_size=4)


@given(
    st.sampled_from("wrp"),
    st.sampled_from(sorted(names.PRIORITIES.values())),
    st.integers(1, 10**10 - 1),
    st.integers(2, 2**31),
    st.one_of(st.just(""), st.binary(max_size=20).map(lambda b: names.stable_key(b.hex()))),
    NEEDS,
)
def test_a_name_says_what_went_into_it(
    state: str, priority: int, seq: int, pid: int, key: str, needs: dict[str, int]
) -> None:
    """parse(build(...)) gives every part back, and the parts make the same name again."""
    file = names.build(state, priority, seq, pid, key, needs)
    name = names.parse(file)
    assert name is not None
    assert (name.file, name.state, name.priority, name.seq) == (file, state, priority, seq)
    assert (name.pid, name.key, name.needs) == (pid, key, needs)
    assert names.build(name.state, name.priority, name.seq, name.pid, name.key, name.needs) == file
    for other in "wrp":
        changed = names.parse(name.with_state(other))
        assert changed is not None
        assert (changed.state, changed.seq, changed.needs) == (other, seq, needs)
    raised = names.parse(name.with_priority(10))
    assert raised is not None
    assert (raised.priority, raised.seq, raised.state) == (10, seq, state)


@given(st.lists(st.tuples(st.sampled_from(sorted(names.PRIORITIES.values())), st.integers(1, 10**10 - 1)), min_size=2))
def test_names_sort_in_the_order_of_service(tickets: list[tuple[int, int]]) -> None:
    """Plain text order of the files is priority, then number: a listing needs no key."""
    files = [names.build("w", priority, seq, 2 + seq % 7, "", {"r": 1}) for priority, seq in tickets]
    in_order = [(n.priority, n.seq) for n in map(names.parse, sorted(files)) if n is not None]
    assert in_order == sorted(tickets)


@given(RESOURCES)
def test_a_plain_name_is_a_resource(name: str) -> None:
    """Letters, digits and : _ @ + - are welcome."""
    assert names.check_resource(name) == name


@given(st.text(max_size=70))
def test_what_is_accepted_is_harmless_in_a_file_name(text: str) -> None:
    """Whatever is accepted is one path component without a dot, a comma, an equals sign, a space or a quote."""
    try:
        names.check_resource(text)
    except UsageError:
        return
    assert not set(text) & set("/\\.,='\"` \t\n\r\0*?$;|&<>()[]{}!~#%")
    assert text
    assert Path(text).name == text


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "a/b",
        "/",
        "..",
        ".",
        "a.b",
        "a'b",
        'a"b',
        "a\nb",
        "a b",
        "a,b",
        "a=b",
        "-a",
        ":a",
        "ü",
        "a\0",
        "x" * 65,
        "٣",
    ],
)
def test_a_name_that_would_break_the_queue_is_refused(bad: str) -> None:
    """Slashes, quotes, newlines, dots, nothing at all, foreign letters, 65 characters."""
    with pytest.raises(UsageError) as caught:
        names.check_resource(bad)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "words", [[], ["a=0"], ["a=-1"], ["a="], ["a=x"], ["a=10000"], ["a", "a=2"], ["a=1=2"], ["a=²"]]
)
def test_a_wrong_number_of_slots_is_refused(words: list[str]) -> None:
    """No resource, no slot, too many, not a number, the same one twice."""
    with pytest.raises(UsageError):
        names.parse_needs(words)


def test_words_become_needs() -> None:
    """One slot unless a number is given."""
    assert names.parse_needs(["device:k1", "build:fw=2"]) == {"device:k1": 1, "build:fw": 2}


def test_a_name_too_long_for_a_file_is_refused() -> None:
    """Many long resources make a name that no filesystem takes: refused with the reason, not by the kernel."""
    with pytest.raises(UsageError, match="too many resources"):
        names.build("w", 50, 1, 1, "", {f"{'x' * 60}{i}": 1 for i in range(4)})
    longest = {"a" * 64: 1, "b" * 64: 1}
    assert len(names.build("w", 50, 10**10 - 1, 4194304, "0" * 16, longest)) <= names.NAME_LIMIT


@given(st.text(max_size=60))
@settings(max_examples=300)
def test_a_foreign_file_is_no_ticket(text: str) -> None:
    """Parsing never raises; what it accepts needs one slot or more and names a process, not a group of them."""
    name = names.parse("w" + text)
    if name is not None:
        assert all(count > 0 for count in name.needs.values())
        assert name.pid > 1


FOREIGN = (
    "w work.txt README.md .config.json w50.1.2.-. w50.1.2.-.r w50.1.2.-.r= w50.1.2.-.r=-3 w50.1.2.-.r=0 w50.x.2.-.r=1 "
    "wxx.1.2.-.r=1 r50.1.2.-.r=1.bak w50.1.2.-.r=1~ w50.1.0.-.r=1 w50.1.-1.-.r=1 p.1.2.3.4=5"
)


@pytest.mark.parametrize("foreign", ["", *FOREIGN.split()])
def test_what_only_looks_like_a_ticket_is_none(foreign: str) -> None:
    """Editor back-ups, missing parts, needs below one."""
    assert names.parse(foreign) is None


@given(st.lists(st.text(max_size=10), min_size=1, max_size=4), st.lists(st.text(max_size=10), min_size=1, max_size=4))
def test_keys_tell_callers_apart(one: list[str], two: list[str]) -> None:
    """The same words give the same 16 hex digits, other words other ones; parts do not run into each other."""
    key = names.stable_key(*one)
    assert len(key) == 16
    assert set(key) <= set("0123456789abcdef")
    if "\0" not in "".join(one + two):
        assert (key == names.stable_key(*two)) == (one == two)


def test_a_choice_in_a_name() -> None:
    """It stands in the line of each alternative; only the pause of all of them, or of what it needs beside, holds it
    back; a name with two choices is foreign."""
    name = names.Name(names.build("w", 50, 7, 99, "", {"device:k1~k2": 1, "build:fw": 2}))
    assert name.file == "w50.0000000007.99.-.build:fw=2,device:k1~k2=1"
    assert name.needs == {"build:fw": 2, "device:k1~k2": 1}
    assert (name.choice, list(name.lines)) == (("device:k1", "device:k2"), ["build:fw", "device:k1", "device:k2"])
    held = [name.held_back(set(p)) for p in ((), ("device:k1",), ("device:k1", "device:k2"), ("build:fw",), ("x",))]
    assert held == [False, False, True, True, False]
    plain = names.Name("r50.0000000007.99.-.device:k1=1")
    assert (plain.choice, plain.lines, plain.held_back({"device:k1"})) == ((), {"device:k1": 1}, True)
    assert names.parse("w50.0000000007.99.-.device:k1~k2=1,device:k3~k4=1") is None
