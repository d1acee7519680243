"""Files survive a crash: whole or not at all."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from k1ctl.errors import BusyError
from k1ctl.files import (
    LINE_LIMIT,
    Locked,
    append_line,
    open_locked,
    read_bytes,
    read_json,
    write_atomic,
    write_json,
    write_named,
)
from tests.kit import finish, processes, wait_until

WRITER = """
import sys
from k1ctl.files import write_atomic
n = 0
while True:
    n += 1
    write_atomic(sys.argv[1], f"{n % 10}" * 200_000)
    if n == 1:
        print("on", flush=True)
"""


def test_a_killed_writer_leaves_the_old_content_or_the_new(tmp_path: Path) -> None:
    """SIGKILL at any moment: a reader sees one whole content, and at most one temporary file stays for each kill."""
    path = tmp_path / "deep" / "file"
    chance = random.Random(7)
    kills = 25
    for _ in range(kills):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE)
        assert writer.stdout is not None
        writer.stdout.readline()
        for _ in range(chance.randrange(20)):
            data = read_bytes(str(path))
            assert data is not None
            assert len(data) == 200_000
            assert len(set(data)) == 1
        writer.send_signal(signal.SIGKILL)
        finish(writer)
        data = read_bytes(str(path))
        assert data is not None
        assert len(data) == 200_000
        assert len(set(data)) == 1
    assert len(list(path.parent.iterdir())) <= 1 + kills


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A write that fails keeps the old content and removes its temporary file."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomic(str(tmp_path / "folder"), "x")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]


def test_what_a_user_named_stays_what_it_is(tmp_path: Path) -> None:
    """A link keeps its place and a pipe gets the bytes; neither is replaced. A folder cannot be written."""
    (tmp_path / "target").write_text("old, and longer")
    (tmp_path / "link").symlink_to("target")
    write_named(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_named(str(tmp_path / "pipe"), "said")
    assert os.read(reader, 100) == b"said" and (tmp_path / "pipe").is_fifo()
    os.close(reader)
    for path in ("pipe", "."):  # nobody reads it
        with pytest.raises(OSError):
            write_named(str(tmp_path / path), "unheard")
    write_named(str(tmp_path / "fresh"), "made")
    assert (tmp_path / "fresh").read_text() == "made"


def test_a_mode_is_kept_from_the_first_byte(tmp_path: Path) -> None:
    """A secret's file is never readable by others, also while it is written."""
    path = tmp_path / "secret"
    write_json(str(path), {"a": 1}, mode=0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_json(str(path)) == {"a": 1}
    assert read_json(str(tmp_path / "missing")) is None


APPENDER = """
import sys
from k1ctl.files import append_line
for n in range(int(sys.argv[3])):
    append_line(sys.argv[1], f"{sys.argv[2]}:{n}:" + "x" * (n * 37 % 3900))
"""


def test_a_hundred_writers_tear_no_line(tmp_path: Path) -> None:
    """100 writers, in 10 processes of 10 threads: each line is whole, once, and in its writer's order."""
    path = tmp_path / "log"
    code = (
        "import sys, threading\n"
        "from k1ctl.files import append_line\n"
        "def work(name):\n"
        "    for n in range(40): append_line(sys.argv[1], f'{name}:{n}:' + 'x' * (n * 97 % 3900))\n"
        "team = [threading.Thread(target=work, args=(f'{sys.argv[2]}-{t}',)) for t in range(10)]\n"
        "[t.start() for t in team]; [t.join() for t in team]\n"
    )
    assert processes([[sys.executable, "-c", code, str(path), str(p)] for p in range(10)]) == [0] * 10
    seen: dict[str, int] = {}
    for line in path.read_text().splitlines():
        name, number, rest = line.split(":")
        assert int(number) == seen.get(name, 0)
        assert rest == "x" * (int(number) * 97 % 3900)
        seen[name] = int(number) + 1
    assert set(seen.values()) == {40}
    assert len(seen) == 100


def test_a_line_that_could_be_torn_is_refused(tmp_path: Path) -> None:
    """A line longer than one write may be raises ValueError and writes nothing."""
    with pytest.raises(ValueError, match="4096"):
        append_line(str(tmp_path / "log"), "x" * LINE_LIMIT)
    assert not (tmp_path / "log").exists()


def test_a_lock_excludes_and_ends_with_its_holder(tmp_path: Path) -> None:
    """A held lock is busy for others; SIGKILL of the holder frees it."""
    path = str(tmp_path / "new" / "lock")
    code = "import sys\nfrom k1ctl.files import Locked\nwith Locked(sys.argv[1]): print('on', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    holder.stdout.readline()
    assert open_locked(path, blocking=False) is None
    with pytest.raises(BusyError), Locked(path, blocking=False):
        pass
    holder.kill()
    finish(holder)
    with Locked(path, blocking=False):
        pass


def test_a_removed_lock_file_does_not_let_two_in(tmp_path: Path) -> None:
    """`git clean` while somebody waits: the waiter ends up on the file that is there, not on the removed one."""
    path = str(tmp_path / "lock")
    first = open_locked(path)
    assert first is not None
    got: list[int | None] = []
    waiter = threading.Thread(target=lambda: got.append(open_locked(path)))
    waiter.start()
    os.unlink(path)
    second = open_locked(path)  # a third party locks the new file
    assert second is not None
    os.close(first)  # the waiter gets the lock of the removed file, notices, and waits for the new one
    assert open_locked(path, blocking=False) is None
    assert got == []
    os.close(second)
    waiter.join(20)
    assert got[0] is not None
    assert os.fstat(got[0]).st_ino == os.stat(path).st_ino
    os.close(got[0])
    wait_until(lambda: not waiter.is_alive())
