"""Seeds of node_modules, and links to folders that nobody changes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl_plugins.worktree import readonly, seeds
from tests.kit import Outcome, Project

DAY = 86400.0


def build(folder: str, lock: int) -> dict[str, Any]:
    """One package; the folder also has what npm needed."""
    assert os.fstat(lock)
    Path(folder, "package.json").write_text("{}")
    Path(folder, "node_modules").mkdir()
    Path(folder, "node_modules", "x").write_text("x")
    return {"how": "built"}


def never(folder: str, lock: int) -> dict[str, Any]:
    raise AssertionError("built once already")


def quiet(text: str) -> None:
    pass


def use(home: Path, key: str, days_ago: float = 0) -> None:
    with seeds.hold(str(home), key, build, quiet):
        pass
    when = os.stat(home / f"{key}.lock").st_mtime - days_ago * DAY
    os.utime(home / f"{key}.lock", (when, when))


def test_a_seed_is_built_once_and_closed(tmp_path: Path) -> None:
    """The first who wants it builds it, the next gets the same; only node_modules and the facts are kept."""
    with seeds.hold(str(tmp_path), "k", build, quiet) as seed:
        assert seed.built and seed.facts == {"how": "built"}
    with seeds.hold(str(tmp_path), "k", never, quiet) as seed:
        assert not seed.built
        assert os.stat(os.path.join(seed.folder, "x")).st_mode & 0o222 == 0
    assert sorted(os.listdir(tmp_path / "k")) == ["node_modules", "seed.json"]


def test_who_outlives_its_call_is_waited_for(tmp_path: Path) -> None:
    """A builder whose call failed still works in the folder: the lock is its until it ends, and nobody joins it."""
    kept: list[int] = []

    def outlived(folder: str, lock: int) -> dict[str, Any]:
        kept.append(os.dup(lock))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), seeds.hold(str(tmp_path), "k", outlived, quiet):
        pass
    assert os.listdir(tmp_path) == ["k.lock"]

    def wait(text: str) -> None:
        assert "waiting" in text
        os.close(kept.pop())

    with seeds.hold(str(tmp_path), "k", build, wait) as seed:
        assert seed.built and not kept


def test_a_seed_that_never_comes_out_right_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody changes it each time before it can be used: an end after some tries, and no copy of it."""
    monkeypatch.setattr(seeds, "_whole", lambda home, key: None)
    with pytest.raises(K1ctlError, match="changed by somebody"), seeds.hold(str(tmp_path), "k", build, quiet):
        pass


def test_old_seeds_go_and_those_in_use_stay(tmp_path: Path) -> None:
    """Not used for 30 days, or beyond the number kept, longest unused first; never one that somebody copies from."""
    for key, days in (("new", 0), ("week", 7), ("month", 31), ("held", 40), ("ages", 90)):
        use(tmp_path, key, days)
    with seeds.hold(str(tmp_path), "held", never, quiet):
        os.utime(tmp_path / "held.lock", (0, 0))
        assert sorted(seeds.prune(str(tmp_path), "new")) == ["ages", "month"]
    assert sorted(os.listdir(tmp_path)) == ["held", "held.lock", "new", "new.lock", "week", "week.lock"]
    assert seeds.prune(str(tmp_path), "new", count=1, seconds=1e12) == ["held"]


def test_what_a_killed_probe_left_goes(tmp_path: Path) -> None:
    """A probe's files are removed when they are old; a probe under way is left alone."""
    use(tmp_path, "k")
    for name, age in (("old", 3600), ("now", 0)):
        path = tmp_path / f".k1ctl-probe-{name}"
        path.touch()
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    seeds.prune(str(tmp_path), "k")
    assert [name for name in os.listdir(tmp_path) if "probe" in name] == [".k1ctl-probe-now"]


def test_who_waits_for_a_builder_says_so(tmp_path: Path) -> None:
    """The second call tells once that it waits, and takes what the first built."""
    building, go, said, got = threading.Event(), threading.Event(), list[str](), list[bool]()

    def slowly(folder: str, lock: int) -> dict[str, Any]:
        building.set()
        assert go.wait(30)
        return build(folder, lock)

    def wait(text: str) -> None:
        said.append(text)
        go.set()

    def take(make: Callable[[str, int], dict[str, Any]], tell: Callable[[str], None]) -> None:
        with seeds.hold(str(tmp_path), "k", make, tell) as seed:
            got.append(seed.built)

    first = threading.Thread(target=take, args=(slowly, quiet))
    first.start()
    assert building.wait(30)
    take(never, wait)
    first.join()
    assert sorted(got) == [False, True]
    assert len(said) == 1 and "waiting" in said[0]


@pytest.fixture
def fonts(make_workspace: Callable[..., Project]) -> Project:
    """A root with an ignored folder of fonts, declared read-only, and a worktree."""
    made = make_workspace(files={".gitignore": "/fonts\n/data/\nnode_modules\n", "src/a": "a"}, worktrees=["a"])
    made.write("fonts/mono.ttf", "font")
    made.write("data/big", "data")
    made.configure('[worktree]\nread_only = ["fonts"]\n')
    return made


def linked(project: Project, *args: str) -> Outcome:
    return project.run("worktree", "setup", "--cache", "symlink", "--json", *args, cwd=project.worktree("a"))


def details(done: Outcome) -> dict[str, Any]:
    found: dict[str, Any] = next(s for s in done.json["steps"] if s["name"] == "read-only")["details"]
    return found


def test_declared_folders_are_linked_once_and_stay(fonts: Project) -> None:
    """--cache symlink links them; git sees nothing, and a further set-up of either kind leaves the link."""
    tree = fonts.worktree("a")
    assert details(linked(fonts, "--dry-run"))["linked"] == ["fonts"] and not (tree / "fonts").exists()
    assert details(linked(fonts))["linked"] == ["fonts"]
    facts = fonts.facts(tree)
    assert readonly.link(facts, ["fonts"]).details["kept"] == ["fonts"]
    fonts.run("worktree", "setup", cwd=tree).assert_ok()
    assert (tree / "fonts").readlink() == fonts.root / "fonts"
    (fonts.root / "fonts").rename(fonts.root / "data" / "fonts")
    assert readonly.link(facts, ["fonts"]).details["skipped"][0]["reason"] == "the root has no such folder"
    assert fonts.git("status", "--porcelain", cwd=tree) == ""
    assert not (tree / "data").exists()


def test_what_is_not_linked_says_why(fonts: Project) -> None:
    """A link that git would commit, what is there already, what the root has not: left alone, with the reason."""
    fonts.write("fonts/deep/x", "x")
    fonts.configure('[worktree]\nread_only = ["data", "src", "nowhere", "fonts/deep"]\n')
    skipped = {s["folder"]: s["reason"] for s in details(linked(fonts).assert_ok())["skipped"]}
    assert "would not ignore the link" in skipped["data"]
    assert "something is there" in skipped["src"]
    assert "no such folder" in skipped["nowhere"]
    assert "parent is not in this worktree" in skipped["fonts/deep"]
    assert fonts.git("status", "--porcelain", cwd=fonts.worktree("a")) == ""


def test_folders_that_are_written_into_are_refused(fonts: Project) -> None:
    """node_modules and .pio are never linked, nor what lies outside the root; none declared is a usage error."""
    for name in ("node_modules", "web/node_modules/x", "firmware/.pio", "../other", "/etc"):
        fonts.configure(f'[worktree]\nread_only = ["{name}"]\n')
        with pytest.raises(ConfigError, match=r"worktree\.read_only"):
            readonly.declared(load(fonts.facts()))
    fonts.configure("")
    linked(fonts).assert_fails(2, "names no folder")
