"""Facts as a document: what was written is read again, and what is wrong is refused in one way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.capacity import facts
from k1ctl.capacity.facts import Facts, from_document
from k1ctl.errors import ConfigError

_FIGURES = st.floats(0, 1e9)
_SIZES = st.integers(0, 1 << 50)
_NUMBERS = st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False, allow_infinity=False)
_GPU = st.fixed_dictionaries({"name": st.just("A"), "memory_bytes": _SIZES, "used_bytes": st.none() | _SIZES})
_WORTH = st.recursive(
    st.none() | st.booleans() | _NUMBERS | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=30)
@given(
    memory=st.integers(1, 1 << 50),
    available=_SIZES,
    swap=_SIZES,
    pressure=st.dictionaries(
        st.sampled_from(["memory", "cpu"]), st.dictionaries(st.sampled_from(["some_avg60", "full_avg60"]), _FIGURES)
    ),
    oom_kills=st.none() | _SIZES,
    gpus=st.lists(_GPU),
)
def test_what_is_written_is_read_again(
    memory: int, available: int, swap: int, pressure: Any, oom_kills: int | None, gpus: Any
) -> None:
    """Through JSON, figure by figure."""
    first = Facts(
        "linux",
        4,
        memory,
        min(memory, available),
        swap=swap,
        swap_used=swap // 2,
        load=1.5,
        pressure=pressure,
        oom_kills=oom_kills,
        gpus=gpus,
        level="warn",
        thermal="heavy",
    )
    assert from_document(json.loads(json.dumps(first.document()))).document() == first.document()


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(list(Facts("linux", 1, 1, 1).document())), _WORTH), st.booleans())
def test_a_wrong_document_is_refused_in_one_way(
    tmp_path_factory: pytest.TempPathFactory, document: dict[str, Any], complete: bool
) -> None:
    """Whatever stands in it, there are facts that make sense, or a ConfigError that names the file."""
    path = tmp_path_factory.mktemp("facts") / "facts.json"
    least = {"cores": 4, "memory_bytes": 1 << 34} if complete else {}
    path.write_text(json.dumps({**document, **least}))
    try:
        found = facts.read(environ={facts.FACTS: str(path)})
    except ConfigError as exc:
        assert exc.code == "bad-facts" and str(path) in exc.message
        return
    assert found.origin == str(path) and found.cores >= 1
    assert 0 <= found.available <= found.memory and 0 <= found.swap_used <= found.swap


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """With the cause, and how to get one."""
    with pytest.raises(ConfigError, match=r"none\.json cannot be read: No such file") as caught:
        facts.from_file(str(tmp_path / "none.json"))
    assert "host health --json" in caught.value.hint
