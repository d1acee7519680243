from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from k1ctl.errors import NotFoundError
from k1ctl.platformio.caching import SCRIPT, Caching, ccache_hits, choose, statistics, tidy
from k1ctl.platformio.project import Project, read_project


def project(folder: Path, more: str = "") -> Project:
    (folder / "platformio.ini").write_text(f"[env:a]\nplatform = espressif32\n{more}")
    return read_project(str(folder))


def pick(found: Project, env: dict[str, str], wanted: str = "objects", **options: Any) -> Caching:
    return choose(found, env, wanted=wanted, folder="/ops", size=1 << 20, **options)


@pytest.fixture
def ccache(tmp_path: Path) -> dict[str, str]:
    """An environment in whose PATH a ccache is."""
    program = tmp_path / "bin" / "ccache"
    program.parent.mkdir()
    program.touch(0o755)
    return {"PATH": str(program.parent)}


def test_ccache_goes_first_where_it_is_found(tmp_path: Path, ccache: dict[str, str]) -> None:
    """It gets the worktree as its base, a file for this tree's hits, and no sloppiness of the user's."""
    chosen = pick(project(tmp_path), ccache, "auto")
    assert chosen.name == "ccache" and chosen.env["K1BUILD_CCACHE"] == f"{ccache['PATH']}/ccache"
    assert chosen.env["CCACHE_BASEDIR"] == str(tmp_path) and chosen.env["CCACHE_SLOPPINESS"] == ""
    assert chosen.env["CCACHE_STATSLOG"].startswith(str(tmp_path / ".pio/k1ctl/"))
    assert chosen.env["PLATFORMIO_EXTRA_SCRIPTS"] == f"pre:{SCRIPT}" and os.path.isfile(SCRIPT)
    assert (chosen.env["CCACHE_DIR"], chosen.env["CCACHE_MAXSIZE"]) == ("/ops/ccache", "1024Ki")
    assert "K1BUILD_OBJECTS" not in chosen.env and "CCACHE_RECACHE" not in chosen.env
    anew = pick(project(tmp_path), ccache, "ccache", anew=True)
    assert anew.env["CCACHE_RECACHE"] == "1"
    own = pick(project(tmp_path), {**ccache, "CCACHE_DIR": "/own"}, "auto")
    assert not {"CCACHE_DIR", "CCACHE_MAXSIZE"} & own.env.keys(), "a cache of the user's own keeps its place and size"


def test_objects_are_shared_when_wanted(tmp_path: Path, ccache: dict[str, str]) -> None:
    """Also beside a ccache; nothing at all with off; a missing ccache that is wanted is named."""
    chosen = pick(project(tmp_path), ccache, anew=True)
    assert (chosen.name, chosen.env["K1BUILD_OBJECTS"], chosen.env["K1BUILD_ANEW"]) == ("objects", "/ops/objects", "1")
    assert pick(project(tmp_path), ccache, "off").env == {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("k1ctl.platformio.caching.which", lambda *_: "")
        assert pick(project(tmp_path), {}, "auto").name == "objects"
        with pytest.raises(NotFoundError):
            pick(project(tmp_path), {}, "ccache")


def test_what_compilers_read_from_the_environment_ends_sharing(tmp_path: Path, ccache: dict[str, str]) -> None:
    """CPATH and its like are not in an object's name; ccache hashes them."""
    env = {**ccache, "CPATH": "/x"}
    chosen = pick(project(tmp_path), env)
    assert (chosen.name, chosen.env) == ("", {}) and "CPATH" in chosen.notes[0]
    assert pick(project(tmp_path), env, "auto").name == "ccache"


def test_a_list_of_scripts_in_one_line_gets_none_added(tmp_path: Path) -> None:
    """PlatformIO would take the whole line for one script."""
    chosen = choose(
        project(tmp_path, "extra_scripts = pre:a.py, post:b.py\n"),
        {},
        wanted="objects",
        folder="/ops",
        size=1,
        link_flags="-x",
    )
    assert (chosen.name, chosen.env) == ("", {}) and "release_flags" in chosen.notes[0]
    assert pick(project(tmp_path, "extra_scripts = a.py\n"), {}).name == "objects"
    assert pick(project(tmp_path, "extra_scripts =\n  a.py\n  b.py\n"), {}).name


def test_hits_are_read_from_this_builds_statistics(tmp_path: Path) -> None:
    """Direct and preprocessed hits count; without the file (an old ccache) they are unknown."""
    assert ccache_hits(str(tmp_path)) is None
    file = Path(statistics(str(tmp_path)))
    file.parent.mkdir(parents=True)
    file.write_text(
        "# a.c\ndirect_cache_hit\nlocal_storage_hit\n# b.c\ndirect_cache_miss\npreprocessed_cache_hit\n"
        "# c.c\ncache_miss\n"
    )
    assert ccache_hits(str(tmp_path)) == 2


def test_the_oldest_objects_go_when_there_are_too_many(tmp_path: Path) -> None:
    """Down to 80 % of the limit, the longest unused first, at most once an hour; half copied ones after a day."""
    for number in range(10):
        path = tmp_path / "ab" / f"object{number}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
        os.utime(path, (number, number))
    for name, age in (("tmp-old", 1), ("tmp-new", 4_000_000_000)):
        (tmp_path / "ab" / name).mkdir()
        (tmp_path / "ab" / name / "half").write_bytes(b"")
        os.utime(tmp_path / "ab" / name, (age, age))
    assert tidy(str(tmp_path), 500) == 6
    assert sorted(path.name for path in (tmp_path / "ab").iterdir()) == [
        *(f"object{n}" for n in (6, 7, 8, 9)),
        "tmp-new",
    ]
    assert tidy(str(tmp_path), 0) == 0
    assert tidy(str(tmp_path), 0, every=0) == 4
