"""Tar files that hold names as bytes."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings

from k1ctl.archive.files import walk_whole
from k1ctl.archive.tar import ChangedError, Folder, Writer
from k1ctl.errors import WrongDataError
from tests.archive.trees import described, plant, trees


def pack(source: Path, target: Path) -> dict[str, object]:
    """Everything below ``source``, as a save writes it."""
    writer = Writer(str(target))
    for name, facts in sorted(walk_whole(str(source), ".", []).items()):
        if name != "." and stat.S_IFMT(facts.st_mode) != stat.S_IFSOCK:
            writer.add(os.path.join(source, name[2:]), name[2:], facts)
    return writer.close()


def unpack(tar: Path, target: Path) -> None:
    target.mkdir()
    folder = Folder(str(target))
    folder.extract(str(tar), lambda name: name)
    folder.finish()


@settings(max_examples=25)
@given(tree=trees())
def test_any_tree_comes_back(tree: dict[bytes, object], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Names of any bytes, contents, modes, links and times to the nanosecond are the same after a round trip, and
    Python's own tarfile reads the same names from it."""
    base = tmp_path_factory.mktemp("tar")
    (base / "a").mkdir()
    plant(base / "a", tree)
    pack(base / "a", base / "t.tar")
    unpack(base / "t.tar", base / "b")
    assert described(base / "b", times=True) == described(base / "a", times=True)
    with tarfile.open(base / "t.tar", errors="surrogateescape") as tar:
        assert {os.fsencode(name) for name in tar.getnames()} == set(described(base / "a"))


def test_long_names_old_times_pipes_and_files_of_several_names(tmp_path: Path) -> None:
    """A name longer than 100 bytes, a time before 1970, a pipe, a folder that nobody may write to, and two names of one
    file, which stay names of one."""
    top = tmp_path / "a"
    deep = top / ("d" * 120) / ("é" * 100)
    deep.mkdir(parents=True)
    (deep / "old").write_bytes(b"x")
    os.utime(deep / "old", ns=(-1_500_000_001, -1_500_000_001))
    os.link(deep / "old", top / "other")
    os.mkfifo(top / "pipe", 0o640)
    (top / "shut").mkdir()
    (top / "shut" / "in").write_bytes(b"in")
    (top / "shut").chmod(0o500)
    pack(top, tmp_path / "t.tar")
    unpack(tmp_path / "t.tar", tmp_path / "b")
    assert described(tmp_path / "b", times=True) == described(top, times=True)
    assert (tmp_path / "b" / "other").samefile(tmp_path / "b" / deep.relative_to(top) / "old")


def test_a_part_may_be_taken_of_a_file_with_several_names(tmp_path: Path) -> None:
    """Also where the first of its names, which has the content, is left out."""
    top, there = tmp_path / "a", tmp_path / "b"
    (top / "git").mkdir(parents=True)
    (top / "git" / "one").write_bytes(b"content")
    for name in ("two", "three"):
        os.link(top / "git" / "one", top / name)
    pack(top, tmp_path / "t.tar")
    there.mkdir()
    into = Folder(str(there))
    into.extract(str(tmp_path / "t.tar"), lambda name: None if name.startswith("git") else name)
    into.finish()
    assert (there / "two").read_bytes() == b"content" and (there / "two").samefile(there / "three")


def test_equal_trees_give_equal_tars(tmp_path: Path) -> None:
    """Nothing of the place, the owner or the hour is in it."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        plant(tmp_path / name, {b"x": (b"one", 0o644), b"f/y": (b"two", 0o755)})
        for path in (tmp_path / name / "x", tmp_path / name / "f" / "y", tmp_path / name / "f"):
            os.utime(path, ns=(5, 5))
    first, second = (pack(tmp_path / name, tmp_path / f"{name}.tar") for name in ("a", "b"))
    assert first == second
    assert (tmp_path / "a.tar").read_bytes() == (tmp_path / "b.tar").read_bytes()


def test_a_file_that_changed_is_told(tmp_path: Path) -> None:
    """What is written is what was looked at, or an error."""
    file = tmp_path / "f"
    file.write_bytes(b"12345")
    facts = file.lstat()
    file.write_bytes(b"123")
    writer = Writer(str(tmp_path / "t.tar"))
    with pytest.raises(ChangedError):
        writer.add(str(file), "f", facts)
    writer.abandon()


@pytest.mark.parametrize("name", ["../out", "/out", "a/../../out", "a//b", "./x", "link/out", ""])
def test_nothing_is_written_outside(name: str, tmp_path: Path) -> None:
    """A tar that somebody else made cannot lead out by its names, nor through a link that it brought."""
    with tarfile.open(tmp_path / "t.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        member = tarfile.TarInfo(name)
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises((WrongDataError, OSError)):
        unpack(tmp_path / "t.tar", tmp_path / "b")
    assert not (tmp_path / "out").exists()
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["link"]


def test_nothing_is_written_over(tmp_path: Path) -> None:
    """A file that is there stays, and the rest is not written."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"new")
    pack(tmp_path / "a", tmp_path / "t.tar")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "f").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        Folder(str(tmp_path / "b")).extract(str(tmp_path / "t.tar"), lambda name: name)
    assert (tmp_path / "b" / "f").read_bytes() == b"old"


def test_a_tar_that_is_cut_off_is_told(tmp_path: Path) -> None:
    """Also in the middle of a file."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "f").write_bytes(b"x" * 5000)
    pack(tmp_path / "a", tmp_path / "t.tar")
    data = (tmp_path / "t.tar").read_bytes()
    for number, size in enumerate((100, 2000, 5632)):
        (tmp_path / "cut.tar").write_bytes(data[:size])
        with pytest.raises(WrongDataError):
            unpack(tmp_path / "cut.tar", tmp_path / f"b{number}")
