"""The newest events first: what a filter of all of them finds, backwards."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import events_find, events_follow
from k1ctl.events import read
from k1ctl.events_compact import compact
from k1ctl.events_find import Wanted, newest
from k1ctl.events_follow import Follower
from k1ctl.jsontext import dumps
from k1ctl.units import parse_rfc3339, rfc3339
from k1ctl.workspace import Workspace

NAMES = ("queue.granted", "queue.released", "build.finished", 'odd"näme')
NOW = parse_rfc3339("2026-01-20T00:00:00.000Z")


def record(root: Path, dice: Random, *, packed: bool) -> str:
    """Events of three days, some torn, the first two compressed or not."""
    folder = root / "ops" / "events"
    folder.mkdir(parents=True)
    for day in ("2026-01-01", "2026-01-02", "2026-01-19"):
        lines = []
        for n in range(dice.randrange(40)):
            at = f"{day}T{n % 24:02d}:{n:02d}:00.000Z" if dice.random() < 0.05 else f"{day}T10:{n:02d}:00.000Z"
            facts = {"run": f"r{dice.randrange(3)}", "ticket": dice.randrange(12), "text": "x" * dice.randrange(90)}
            line = dumps({"at": at, "event": dice.choice(NAMES), "workspace": dice.choice(("oslo", "zürich")), **facts})
            lines.append(line[: dice.choice((len(line), len(line), 30))] + "\n")
        (folder / f"{day}.jsonl").write_text("".join(lines) + dice.choice(("", '{"at":"2026')))
    if packed:
        compact(Workspace(str(root), str(root), "w"), older=0, now=NOW - 86400)
    return str(folder)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    block=st.sampled_from((60, 300, 1 << 18)),
    packed=st.booleans(),
    names=st.lists(st.sampled_from((*NAMES, "queue.*", "*", "?uild.finished", "none")), max_size=2),
    run=st.sampled_from((None, "r1")),
    workspace=st.sampled_from((None, "oslo", "zürich")),
    ticket=st.sampled_from((None, 1, 11)),
    limit=st.sampled_from((None, 1, 7)),
)
def test_the_newest_are_what_all_are_from_behind(
    seed: int,
    block: int,
    packed: bool,
    names: list[str],
    run: str | None,
    workspace: str | None,
    ticket: int | None,
    limit: int | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Whatever is asked for, whatever the size of the blocks, compressed or not."""
    folder = record(tmp_path_factory.mktemp("r"), Random(seed), packed=packed)
    wanted = Wanted(names, run=run, workspace=workspace, ticket=ticket)
    every = [event for event in read(folder) if wanted.matches(event)]
    assert list(read(folder, take=wanted.take)) == every
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(events_find, "BLOCK", block)
        assert list(newest(folder, wanted, limit=limit)) == every[::-1][:limit]
        between = [e for e in every if "2026-01-02" <= e["at"] < "2026-01-19T10:09"]
        found = list(newest(folder, wanted, since="2026-01-02", until="2026-01-19T10:09"))
        assert found == between[::-1]
        follower = Follower(folder)
        assert follower.last(5, wanted.matches, wanted.may) == every[-5:]
        assert list(follower.news()) == []


def test_today_is_followed_beside_days_of_a_clock_that_was_ahead(tmp_path: Path) -> None:
    """Two days in the future hide no event for a look."""
    folder, now = tmp_path / "events", rfc3339()
    folder.mkdir()
    for day in ("2999-01-01", "2999-01-02", now[:10]):
        (folder / f"{day}.jsonl").write_text(dumps({"at": f"{day}T00:00:00.000Z", "event": day}) + "\n")
    follower = Follower(str(folder))
    assert len(list(follower.news())) == 3
    follower._listed = (*follower._listed[:2], follower._listed[1] + 2 * events_follow._RACY)
    with (folder / f"{now[:10]}.jsonl").open("a") as f:
        f.write(dumps({"at": now, "event": "a.b"}) + "\n")
    assert [event["event"] for event in follower.news()] == ["a.b"]
    follower.close()


def test_a_follower_goes_on_in_a_day_that_was_compressed(tmp_path: Path) -> None:
    """What it had not read of the day it finds in the compressed file, and nothing twice; a late one behind it."""
    folder, place = tmp_path / "ops" / "events", Workspace(str(tmp_path), str(tmp_path), "w")
    folder.mkdir(parents=True)
    follower, day = Follower(str(folder)), folder / "2026-01-01.jsonl"

    def tell(*events: str) -> None:
        with day.open("a") as f:
            f.writelines(dumps({"at": "2026-01-01T10:00:00.000Z", "event": event}) + "\n" for event in events)

    def news() -> list[str]:
        return [event["event"] for event in follower.news()]

    tell("a", "b")
    assert news() == ["a", "b"]
    tell("c")
    compact(place, older=0, now=NOW)
    tell("d")
    assert news() == ["c", "d"]
    compact(place, older=0, now=NOW)
    tell("e")
    assert (news(), news()) == (["e"], [])
    other = Follower(str(folder))
    other.begin("2026-01-02")
    assert list(other.news()) == []
    other.begin("")
    assert [e["event"] for e in Follower(str(folder)).news()] == ["a", "b", "c", "d", "e"]
    follower.close()
