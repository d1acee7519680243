"""The short way of the ledger, far from every limit: nothing is let in, refused or told than on the long one."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import events
from k1ctl.budget.ledger import Ledger
from k1ctl.budget.limits import Limits
from k1ctl.budget.verify import verify
from k1ctl.errors import BusyError
from tests.budget.ledgers import Clock, ledger

MOST = {"day": 400, "agent_day": 300, "task": 350, "hour": 250, "reserve_pool": 200}
MOST_USD = {"day_usd": "0.000010", "agent_day_usd": "0.000005", "task_usd": "0.0000001"}
WORTH = st.sampled_from([10, 50, 100])
ACTS = st.one_of(
    st.tuples(st.just("reserve"), WORTH, st.integers(0, 3), st.sampled_from("ab"), st.booleans()),
    st.tuples(st.just("reserve"), WORTH, st.integers(0, 3), st.just("a"), st.just(False)),
    st.tuples(st.just("settle"), st.integers(0, 9), WORTH, st.integers(0, 4)),
    st.tuples(st.just("release"), st.integers(0, 9)),
)


def done(books: Ledger, acts: list[tuple[Any, ...]]) -> list[object]:
    """What came of each act, and the soft limits that were told."""
    ids, found = [""], list[object]()
    for act in acts:
        if act[0] == "reserve":
            _, need, money, agent, critical = act
            try:
                id = f"h{len(ids)}"
                books.reserve(need, agent=agent, task="t", pool="web", micro_usd=money, critical=critical, id=id)
                ids.append(id)
                found.append(need)
            except BusyError as exc:
                found.append([(r["scope"], r["unit"], r["free"]) for r in exc.details["reasons"]])
        elif id := ids[act[1] % len(ids)]:
            if act[0] == "settle":
                found.append(books.settle(id, act[2], micro_usd=act[3]).overrun)
            else:
                found.append(books.release(id).state)
    told = [e for e in events.read(books.workspace.ops_path("events")) if e["event"] == "budget.soft"]
    found += [(e["scope"], e["name"], e["unit"], e["percent"], e["used"]) for e in told]
    proof = verify(books.state)
    assert not proof.wrong, proof.differences
    books.state.close()
    return found


@settings(max_examples=60, deadline=None)
@given(
    tokens=st.sets(st.sampled_from(sorted(MOST))),
    money=st.sets(st.sampled_from(sorted(MOST_USD))),
    soft=st.sets(st.sampled_from([20, 33, 50, 80, 99]), max_size=2),
    pool=st.sampled_from([0, 0, 200]),
    acts=st.lists(ACTS, min_size=4, max_size=12),
)
def test_the_short_way_is_the_long_one(
    tokens: set[str], money: set[str], soft: set[int], pool: int, acts: list[tuple[Any, ...]]
) -> None:
    """Whatever is limited, down to parts of a micro-dollar, and however near it is."""
    tokens = tokens if "day" in tokens else tokens - {"reserve_pool"}
    text = "\n".join([f"{k} = {MOST[k]}" for k in tokens] + [f"{k} = {MOST_USD[k]}" for k in money])
    text += f"\nsoft = {sorted(soft)}" + (f"\n[budget.pools]\nweb = {pool}" if pool else "")
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for way in ("short", "long"):
            books = ledger(Path(folder, way), text, clock=Clock())
            if way == "long":
                books.limits = _Long(books.limits)
            found.append(done(books, acts))
    assert found[0] == found[1]


class _Long(Limits):
    """Limits that are always near."""

    def __init__(self, limits: Limits) -> None:
        for name in Limits.__slots__:
            setattr(self, name, getattr(limits, name))

    def near(self, scope: str, tokens: int, micro_usd: int) -> bool:
        return True

    def __bool__(self) -> bool:
        return True
