"""Deleting folders for good: through no link, whatever the modes, and only below the folder that was named."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from k1ctl.archive import deletion
from k1ctl.archive.deletion import delete_below, delete_folder


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder that nothing here may touch."""
    made = tmp_path / "outside"
    made.mkdir()
    (made / "kept").write_text("x")
    return made


@pytest.fixture
def top(tmp_path: Path, outside: Path) -> Path:
    made = tmp_path / "top"
    (made / "deep" / "deeper").mkdir(parents=True)
    (made / "deep" / "file").write_bytes(b"x" * 5000)
    (made / "deep" / "link").symlink_to(outside)
    (made / "out").symlink_to(outside)
    return made


def test_links_are_deleted_and_not_followed(top: Path, outside: Path) -> None:
    """Within the folder, in its place, and on the way to it."""
    (outside / "build").mkdir()
    assert delete_below(str(top), ["out", "out/build", "deep/link"]) == (0, [])
    assert (top / "out").is_symlink() and (top / "deep" / "link").is_symlink()
    done = delete_below(str(top), ["deep"])
    assert done.problems == [] and done.freed_bytes >= 4096 and not (top / "deep").exists()
    assert delete_folder(str(top / "out")) == (0, []) and delete_folder(f"{top}/nothing") == (0, [])
    assert sorted(os.listdir(outside)) == ["build", "kept"]
    assert delete_folder(str(top)).problems == [] and not top.exists()


def test_read_only_folders_go_too(top: Path) -> None:
    """As Go's module cache makes them."""
    (top / "deep").chmod(0o500)
    (top / "deep" / "deeper").chmod(0)
    assert delete_folder(str(top)).problems == [] and not top.exists()


def test_only_what_lies_below(top: Path, outside: Path) -> None:
    """A name that leads out is told and left alone."""
    names = ["../outside", str(outside), "deep/../../outside", "", "."]
    assert len(delete_below(str(top), names).problems) == 5
    assert (outside / "kept").exists() and (top / "deep").exists()


def test_a_file_with_another_name_frees_nothing(top: Path) -> None:
    """As packages that are hard-linked from a store: their bytes are still in use."""
    os.link(top / "deep" / "file", top / "again")
    assert delete_below(str(top), ["deep"]).freed_bytes == 0


def test_what_cannot_be_deleted_is_told_and_the_rest_goes(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by its path; the count of many is told, not each."""
    for number in range(8):
        (top / "deep" / f"stuck-{number}").touch()
    real = os.unlink

    def unlink(name: str, **kwargs: int) -> None:
        if name.startswith("stuck"):
            raise PermissionError(1, "Operation not permitted")
        real(name, **kwargs)

    monkeypatch.setattr(os, "unlink", unlink)
    problems = delete_folder(str(top)).problems
    assert len(problems) == 6 and problems[-1] == "and 3 more" and "Operation not permitted" in problems[0]
    assert not (top / "deep" / "file").exists() and not (top / "deep" / "deeper").exists()


def test_another_filesystem_stays(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mounted there is somebody else's."""
    work = deletion._Deletion(-1)
    fd = os.open(top, os.O_RDONLY)
    work.folder(fd, "deep", "deep")
    os.close(fd)
    assert "another filesystem" in work.result().problems[0] and (top / "deep" / "file").exists()
