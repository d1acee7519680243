"""Watermarks: which level holds, after which looks, and until when."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from k1ctl.capacity import levels
from k1ctl.capacity.facts import Facts, from_document
from k1ctl.capacity.levels import ADMIT, BUILD, CALM, KILL, SUSPEND, Level
from k1ctl.config import Config

GIB = 1 << 30
DEFAULTS = Config("", {}, {})


def host(percent: float, level: str | None = None) -> Facts:
    """A host of 100 GiB of which this much is used."""
    return Facts("linux", 8, 100 * GIB, round(100 * GIB * (1 - percent / 100)), level=level)


def config(**marks: int) -> Config:
    return Config("", {("capacity", key): value for key, value in marks.items()}, {})


class Watch:
    """Looks at a host, one after the other."""

    def __init__(self, folder: Path, config: Config = DEFAULTS) -> None:
        self.folder, self.config = folder, config

    def __call__(self, percent: float, at: float, *, need: int = 0, level: str | None = None) -> Level:
        return levels.now(host(percent, level), self.config, need=need, folder=str(self.folder), at=at)


def test_two_looks_enter_and_five_points_leave(tmp_path: Path) -> None:
    """ADMIT holds from the second look, half a second after the first, until memory is below 65 %."""
    look = Watch(tmp_path)
    assert [look(p, at).number for p, at in ((72, 10.0), (72, 10.3), (72, 10.6))] == [CALM, CALM, ADMIT]
    assert [look(p, 11.0 + i).number for i, p in enumerate((69, 66, 72, 64.9, 69))] == [ADMIT, ADMIT, ADMIT, CALM, CALM]


def test_a_single_look_is_forgotten_when_memory_falls(tmp_path: Path) -> None:
    """One spike, and another one later, are two first looks."""
    look = Watch(tmp_path)
    assert [look(p, 10.0 + i).number for i, p in enumerate((75, 60, 75, 60, 75))] == [CALM] * 5


def test_each_level_has_its_own_first_look(tmp_path: Path) -> None:
    """What is seen twice above 70 and once above 80 % is ADMIT, then BUILD; falling, it passes through both."""
    look = Watch(tmp_path)
    assert [look(p, 10.0 + i).number for i, p in enumerate((72, 82, 82))] == [CALM, ADMIT, BUILD]
    assert [look(p, 20.0 + i).number for i, p in enumerate((76, 74, 64))] == [BUILD, ADMIT, CALM]


@pytest.mark.parametrize(("percent", "number"), [(70, ADMIT), (80, BUILD), (91, SUSPEND), (95, KILL)])
def test_one_look_is_enough_for_who_takes_memory_and_at_the_end(tmp_path: Path, percent: float, number: int) -> None:
    """A need is held back at once; so does every level from SUSPEND on hold at once."""
    assert Watch(tmp_path / "a")(percent, 10.0, need=GIB).number == number
    assert Watch(tmp_path / "b")(percent, 10.0).number == (number if number >= SUSPEND else CALM)


def test_old_looks_and_those_to_come_say_nothing(tmp_path: Path) -> None:
    """A minute later the level is judged anew; so it is when the clock was set back."""
    look = Watch(tmp_path)
    assert look(72, 100.0, need=1).number == ADMIT
    assert look(68, 161.0).number == CALM
    assert look(72, 200.0, need=1).number == ADMIT
    assert look(68, 150.0).number == CALM


def test_a_look_that_began_later_and_was_kept_earlier_counts(tmp_path: Path) -> None:
    """Of two that look at once neither takes the other's for one of another clock: the level is not left."""
    look = Watch(tmp_path)
    assert look(72, 100.0, need=1).number == ADMIT
    assert [look(68, at).number for at in (99.99, 100.01)] == [ADMIT, ADMIT]


def test_since_is_when_the_level_began(tmp_path: Path) -> None:
    """It stays the same from look to look while the level does."""
    look = Watch(tmp_path)
    assert [look(72, at, need=1).since for at in (10.0, 20.0, 30.0)] == [10.0] * 3
    assert look(85, 40.0, need=1).since == 40.0


def test_a_watermark_of_0_holds_nobody_back(tmp_path: Path) -> None:
    """The others hold all the same."""
    level = Watch(tmp_path, config(build_percent=0))(85, 10.0, need=1)
    assert level.number == ADMIT and level.holds(ADMIT) and not level.holds(BUILD)
    level = Watch(tmp_path, config(build_percent=0))(96, 11.0)
    assert level.holds(KILL) and level.holds(ADMIT) and not level.holds(BUILD)
    none = config(admit_percent=0, build_percent=0, suspend_percent=0, kill_percent=0)
    assert Watch(tmp_path / "none", none)(99, 10.0, need=1, level="critical").number == CALM


def test_the_level_of_macos_counts(tmp_path: Path) -> None:
    """warn is at least BUILD, critical at least SUSPEND, by however little memory."""
    look = Watch(tmp_path)
    assert look(30, 10.0, need=1, level="warn").number == BUILD
    assert look(30, 11.0, level="critical").number == SUSPEND
    assert "memory pressure (critical)" in look(30, 12.0, level="critical").reason
    assert look(30, 13.0, level="normal").number == CALM


def test_a_reason_names_figure_and_setting(tmp_path: Path) -> None:
    """Above the mark, and while the level has not been left yet."""
    look = Watch(tmp_path)
    assert look(83, 10.0, need=1).reason == "memory is at 83 % (capacity.build_percent is 80)"
    assert (
        look(77, 11.0).reason == "memory is at 77 %: it was above capacity.build_percent (80) and is not below 75 yet"
    )
    assert look(30, 12.0).reason == ""


def test_facts_of_a_file_need_and_leave_no_looks(tmp_path: Path) -> None:
    """What another host could carry is told by one look, and the looks at this one stay as they are."""
    facts = from_document({**host(85).document(), "origin": "other.json"})
    assert levels.now(facts, DEFAULTS, folder=str(tmp_path)).number == BUILD
    assert list(tmp_path.iterdir()) == []


def test_a_calm_host_leaves_no_file(tmp_path: Path) -> None:
    """The file goes when the level does; nothing is written while all is calm."""
    look = Watch(tmp_path / "capacity")
    look(10, 10.0)
    assert not (tmp_path / "capacity").exists()
    look(75, 11.0)
    assert (tmp_path / "capacity" / "level.json").exists() and (tmp_path / "capacity").stat().st_mode & 0o77 == 0
    look(10, 12.0)
    assert not (tmp_path / "capacity" / "level.json").exists()


def test_where_no_look_can_be_kept_one_is_enough(tmp_path: Path) -> None:
    """A file where the folder belongs: memory above a watermark is never let pass for ever."""
    (tmp_path / "file").write_text("")
    assert Watch(tmp_path / "file")(75, 10.0).number == ADMIT


@given(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from(
            [
                b"[]",
                b"{}",
                b'{"level":9,"since":1,"at":1e999,"looks":{}}',
                b'{"level":1e999,"since":1,"at":1000000000,"looks":{}}',
                b'{"level":0,"since":1e999,"at":1000000000,"looks":{"1":1e999}}',
                b'{"level":1,"since":-1e999,"at":1000000000,"looks":{}}',
            ]
        ),
    )
)
def test_a_damaged_file_is_no_look(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    """Whatever the file holds, nothing fails, and 5 points below every watermark nothing holds."""
    folder = tmp_path_factory.mktemp("damaged")
    for percent in (75, 64):
        (folder / "level.json").write_bytes(data)
        level = Watch(folder)(percent, 1e9)
        assert level.since <= 1e9 and level.document()
    assert level.number == CALM


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0.1, 70), st.booleans()), max_size=12))
def test_no_level_is_higher_than_was_ever_reached_nor_lower_than_must_be(
    tmp_path_factory: pytest.TempPathFactory, walk: list[tuple[float, float, bool]]
) -> None:
    """SUSPEND and KILL hold whenever their mark is passed; no level holds 5 points below its mark."""
    look, at = Watch(tmp_path_factory.mktemp("walk")), 1000.0
    marks = {ADMIT: 70, BUILD: 80, SUSPEND: 90, KILL: 95}
    for percent, step, needs in walk:
        at += step
        level = look(percent, at, need=int(needs))
        least = max((n for n, mark in marks.items() if level.percent >= mark and (n >= SUSPEND or needs)), default=CALM)
        assert level.number >= least
        assert level.number == CALM or level.percent > marks[level.number] - 5
