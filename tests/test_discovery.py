"""Plugins are found as text, with importlib.metadata's answer."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points as standard
from pathlib import Path

import pytest

from k1ctl.discovery import entry_points


def distribution(folder: Path, name: str, entries: str) -> None:
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


def test_the_scanner_agrees_with_the_standard_one() -> None:
    """The installed environment, read both ways, gives the same plugins."""
    assert entry_points() == {e.name: e.value for e in standard(group="k1ctl.plugins")}
    assert "worktree" in entry_points()


def test_the_first_distribution_on_the_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name taken by an earlier distribution stays its; a distribution seen before is passed over whole."""
    distribution(tmp_path / "one", "first", "[k1ctl.plugins]\nsame = one.module\n")
    distribution(tmp_path / "two", "second", "[other]\nx = y\n\n[k1ctl.plugins]\nsame = two.module\n; note\nnew=n.m\n")
    distribution(tmp_path / "two", "First", "[k1ctl.plugins]\nhidden = h.m\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "one"), str(tmp_path / "missing"), str(tmp_path / "two")])
    assert entry_points() == {"same": "one.module", "new": "n.m"}


def test_foreign_files_do_not_disturb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unreadable text and folders without entry points are passed over."""
    (tmp_path / "bad-1.dist-info").mkdir()
    (tmp_path / "bad-1.dist-info" / "entry_points.txt").write_bytes(b"\xff\xfe[k1ctl.plugins]")
    (tmp_path / "none-1.dist-info").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert entry_points() == {}
