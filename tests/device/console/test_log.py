"""What a device said is kept: as it came, in bounds, and only for its owner."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from shutil import rmtree

import pytest

from k1ctl.device.console import log as logs
from k1ctl.device.console.log import Log, kept


def contents(folder: Path) -> list[bytes]:
    return [Path(row.path).read_bytes() for row in kept(str(folder))]


def test_every_byte_in_parts(tmp_path: Path) -> None:
    """All bytes are there, in order, in parts of at most the limit; each is 0600, and of the same session."""
    log = Log(str(tmp_path), keep=10, limit=8)
    for piece in (b"\x00\xff", b"0123456789", b"", b"abcdefghijkl"):
        log.write(piece)
    assert b"".join(contents(tmp_path)) == b"\x00\xff0123456789abcdefghijkl"
    rows = kept(str(tmp_path))
    assert [row.bytes for row in rows] == [8, 8, 8] and {row.session for row in rows} == {log.session}
    assert all(Path(row.path).stat().st_mode & 0o777 == 0o600 for row in rows)
    assert [row.open for row in rows] == [False, False, True]
    log.close()
    assert not any(row.open for row in kept(str(tmp_path)))


def test_the_oldest_go(tmp_path: Path) -> None:
    """No more than so many files are kept; one that is being written stays."""
    for n in range(4):
        (tmp_path / f"2025112{n}T151318242Z-17.log").write_bytes(b"old")
    first = Log(str(tmp_path), keep=3, limit=100)
    first.write(b"first")
    assert len(kept(str(tmp_path))) == 3
    second = Log(str(tmp_path), keep=1, limit=100)
    second.write(b"second")
    assert sorted(contents(tmp_path)) == [b"first", b"second"]
    first.close()
    second.close()


def test_cleaned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody removed the folder (git clean), the session goes on in another file."""
    monkeypatch.setattr(logs, "_LOOK", 0.0)
    log = Log(str(tmp_path / "logs"), keep=9, limit=100)
    log.write(b"one")
    rmtree(tmp_path / "logs")
    log.write(b"two")
    log.write(b"three")
    assert contents(tmp_path / "logs") == [b"twothree"] and log.lost == 0
    log.close()


def test_a_disk_that_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is counted, and the session goes on."""
    log = Log(str(tmp_path), keep=9, limit=100)
    log.write(b"one")
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        log.write(b"two")
    log.write(b"three")
    assert contents(tmp_path) == [b"onethree"] and log.lost == 3
    log.close()


def full(fd: int, data: bytes) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_session_without_a_word(tmp_path: Path) -> None:
    """Where nothing was said no file is left; strangers in the folder are not ours."""
    (tmp_path / "notes.log").write_text("x")
    log = Log(str(tmp_path), keep=1, limit=100)
    log.discard_if_empty()
    assert log.path == ""
    assert kept(str(tmp_path)) == [] and [p.name for p in tmp_path.iterdir()] == ["notes.log"]


def test_when_it_began(tmp_path: Path) -> None:
    """The name tells the time, to the millisecond."""
    (tmp_path / "20261121T151318242Z-17.2.log").write_bytes(b"x")
    (row,) = kept(str(tmp_path))
    assert row.started_at == "2026-11-21T15:13:18.242Z" and row.document()["session"] == "20261121T151318242Z-17"
