"""Plugins are found as text, with importlib.metadata's answer."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points as standard
from pathlib import Path

import pytest

from k1ctl.discovery import allowed, entry_points, installed
from k1ctl.testing import add_distribution


def test_the_scanner_agrees_with_the_standard_one() -> None:
    """The installed environment, read both ways, gives the same plugins."""
    assert entry_points() == {e.name: e.value for e in standard(group="k1ctl.plugins")}
    assert "worktree" in entry_points()


def test_the_first_distribution_on_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name taken by an earlier distribution stays its; a distribution seen before is passed over whole."""
    add_distribution(tmp_path / "one", "first", {"same": "one.module"})
    second = add_distribution(tmp_path / "two", "second", {})
    (second / "second-1.0.dist-info" / "entry_points.txt").write_text(
        "[other]\nx = y\n\n[k1ctl.plugins]\nsame = two.module\n; note\nnew=n.m\n"
    )
    add_distribution(tmp_path / "two", "First", {"hidden": "h.m"})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "missing"), str(tmp_path / "two")])
    assert entry_points() == {"same": "one.module", "new": "n.m"}


def test_foreign_files_do_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unreadable text and folders without entry points are passed over."""
    (tmp_path / "bad-1.dist-info").mkdir()
    (tmp_path / "bad-1.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[k1ctl.plugins]")
    (tmp_path / "none-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert entry_points() == {}


def test_every_distribution_is_told_as_the_standard_library_tells_it() -> None:
    """Name, version and module of each installed plugin are importlib.metadata's."""
    told = {(e.name, e.module, e.distribution, e.version) for e in installed()}
    assert told == {(e.name, e.value, e.dist.name, e.dist.version) for e in standard(group="k1ctl.plugins") if e.dist}


def test_nobody_takes_a_built_in_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin called queue, found before k1ctl's own, is told and not used."""
    early = add_distribution(tmp_path, "acme", {"queue": "acme", "fine": "acme"}, version="2.5")
    monkeypatch.setattr(sys, "path", [str(early), *sys.path])
    assert entry_points()["queue"] == "k1ctl_plugins.queue"
    assert entry_points()["fine"] == "acme"
    named = [(e.distribution, e.version, e.built_in) for e in installed() if e.name == "queue"]
    assert [name[0] for name in named] == ["k1ctl", "acme"]
    assert named[1][1:] == ("2.5", False)


def test_without_metadata_the_folder_tells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution whose METADATA is gone still has the name and version of its folder."""
    add_distribution(tmp_path, "acme-tools", {"a": "acme"}, version="3.1")
    (tmp_path / "acme_tools-3.1.dist-info" / "METADATA").unlink()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert [(e.distribution, e.version) for e in installed()] == [("acme_tools", "3.1")]


@pytest.mark.parametrize(
    ("rule", "left"),
    [
        ("", "queue build a b"),
        (" , ", "queue build a b"),
        ("a", "queue build a"),
        ("a, b", "queue build a b"),
        ("none", "queue build"),
        ("-a", "queue build b"),
        ("-a,-queue", "build b"),
        ("b,-build", "queue b"),
        ("none,-queue", "build"),
        ("no-such", "queue build"),
        ("a,-a", "queue build"),
    ],
)
def test_the_rule_chooses(rule: str, left: str) -> None:
    """Names let in, names with a minus shut out; what is built in stays unless it is shut out by name."""
    found = {"queue": "k1ctl_plugins.queue", "build": "k1ctl_plugins.build", "a": "acme", "b": "beta.plugin"}
    assert list(allowed(found, rule)) == left.split()
