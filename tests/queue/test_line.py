"""The folder of tickets under ill treatment: damaged, foreign, cleaned away, crowded with the dead."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from k1ctl.errors import ConfigError
from k1ctl.queue import history, names, view
from k1ctl.queue.line import Line, read_facts, write_facts
from tests.kit import REPOSITORY, finish, needs
from tests.queue.owners import Owners, files


def lay(folder: Path, name: str, content: str = "{}") -> Path:
    """A ticket that nobody holds."""
    path = folder / "tickets" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path


@pytest.mark.parametrize("content", [b"", b"garbage", b"\0" * 20, b"-5", b"9" * 40, b"1", "٣".encode(), b"\xff\n12"])
def test_a_damaged_number_is_never_given_twice(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the mutex file (nothing, garbage, an old number), living tickets keep their numbers to
    themselves and the next one comes behind them.
    """
    with Owners(tmp_path) as owners:
        holder, waiter = owners.enqueue({"a": 1}), owners.enqueue({"a": 1}, key="me")
        (tmp_path / "mutex").write_bytes(content)
        late = owners.enqueue({"a": 1})
        assert owners.number[late] > owners.number[waiter] > owners.number[holder]
        owners.end(holder)
        owners.until(lambda: owners.now("granted") == {waiter}, "in order")
        owners.end(waiter)
        owners.until(lambda: owners.now("granted") == {late}, "in order")


def test_numbers_grow_over_the_whole_life(tmp_path: Path) -> None:
    """An empty queue does not begin anew."""
    line = Line(str(tmp_path))
    with line:
        first = [line.next_number() for _ in range(3)]
    line.close()
    with Line(str(tmp_path)) as again:
        assert [*first, again.next_number()] == [1, 2, 3, 4]
    again.close()


def test_foreign_files_are_let_alone(tmp_path: Path) -> None:
    """What is no ticket neither disturbs the line nor is it touched; a folder is no ticket either."""
    foreign = [
        lay(tmp_path, n, "mine") for n in ("README.md", ".DS_Store", "w", "work.txt", "notes~", "w50.1.2.-.a=1.bak")
    ]
    (tmp_path / "tickets" / "folder").mkdir()
    with Owners(tmp_path) as owners:
        first, second = owners.enqueue({"a": 1}), owners.enqueue({"a": 1})
        assert [row["ticket"] for row in view.entries(str(tmp_path))] == [owners.number[first], owners.number[second]]
        owners.end(first)
        owners.until(lambda: owners.now("granted") == {second}, "served")
        owners.end(second)
    assert [path.read_text() for path in foreign] == ["mine"] * len(foreign)


@pytest.mark.parametrize(
    "content", ["", "{", "[1]", '{"group": "x"}', '{"group": 4194303, "started": 1}', "\0\0", '"x"', "ü"]
)
def test_a_ticket_with_damaged_facts_is_still_a_ticket(tmp_path: Path, content: str) -> None:
    """What stands in a ticket is for people; dead leases with any content are put away and the next is let in."""
    lay(tmp_path, names.build("r", 50, 1, 4194304, "", {"a": 1}), content)
    lay(tmp_path, names.build("w", 50, 2, 4194304, "", {"a": 1}), content)
    assert [row["state"] for row in view.entries(str(tmp_path))] == ["dead", "dead"]
    with Owners(tmp_path) as owners:
        assert owners.state[owners.enqueue({"a": 1})] == "granted"
        assert len(files(tmp_path)) == 1


def test_ten_thousand_dead_tickets(tmp_path: Path) -> None:
    """After a crash with a full line the next one is let in, and what was left behind is put away or kept in order."""
    for number in range(1, 10_001):
        lay(tmp_path, names.build("rw"[number % 2], 50, number, 4194304, "" if number % 3 else "0" * 16, {"a": 1}))
    with Owners(tmp_path) as owners:
        first = owners.enqueue({"a": 1}, key="me")
        owners.until(lambda: owners.state[first] == "granted", "let in", timeout=60)
        assert owners.number[first] == 10_001
        left = files(tmp_path)
        assert {name[0] for name in left} == {"p", "r"}
        assert owners.state[owners.enqueue({"a": 1})] == "waiting"
        assert len(view.entries(str(tmp_path))) == len(left) + 1


def test_the_folder_is_cleaned_away_under_everybody(tmp_path: Path) -> None:
    """With mutex and tickets gone, who waits finds a new place in the same order, and all are served."""
    with Owners(tmp_path / "queue") as owners:
        holder, *waiters = [owners.enqueue({"a": 1}) for _ in range(4)]
        watching = [psutil.Process(owners.pids[w]) for w in waiters]
        owners.until(lambda: all(p.num_threads() > 1 for p in watching), "each watches the one ahead")
        shutil.rmtree(tmp_path / "queue")
        owners.end(holder)
        for i, owner in enumerate(waiters):
            owners.until(lambda owner=owner: owners.now("granted") == {owner}, f"waiter {i} is let in")  # type: ignore[misc]
            owners.end(owner)
        late = owners.enqueue({"a": 1})
        assert owners.state[late] == "granted"
        owners.end(late)
        assert owners.granted == [holder, *waiters, late]
    assert files(tmp_path / "queue") == []


def test_a_number_given_again_is_not_taken_for_ones_own(tmp_path: Path) -> None:
    """Who waited when the folder was cleaned away takes a new place, though somebody has the old number by now."""
    with Owners(tmp_path / "queue") as owners:
        holder, waiter = owners.enqueue({"a": 1}), owners.enqueue({"a": 1})
        watching = psutil.Process(owners.pids[waiter])
        owners.until(lambda: watching.num_threads() > 1, "it watches the one ahead")
        shutil.rmtree(tmp_path / "queue")
        new_holder, newcomer = owners.enqueue({"a": 1}), owners.enqueue({"a": 1})
        assert owners.number[newcomer] == owners.number[waiter] == 2
        owners.end(holder)
        owners.until(lambda: len(files(tmp_path / "queue")) == 3, "a place for each")
        places = [(n.state, n.seq, n.pid) for n in map(names.Name, files(tmp_path / "queue"))]
        pids = [owners.pids[owner] for owner in (new_holder, newcomer, waiter)]
        assert places == [("r", 1, pids[0]), ("w", 2, pids[1]), ("w", 3, pids[2])]
        stands = view.standing(str(tmp_path / "queue"), 2, lambda _: 1, pid=pids[2])
        assert stands is not None
        assert stands.position == 2
        for owner, after in ((new_holder, newcomer), (newcomer, waiter)):
            owners.end(owner)
            owners.until(lambda after=after: owners.now("granted") == {after}, "in order")  # type: ignore[misc]


def test_only_the_mutex_is_cleaned_away(tmp_path: Path) -> None:
    """A replaced mutex file is noticed: nobody decides under the old one."""
    with Owners(tmp_path) as owners:
        first, second = owners.enqueue({"a": 1}), owners.enqueue({"a": 1})
        (tmp_path / "mutex").unlink()
        third = owners.enqueue({"a": 1})
        assert owners.number[third] > owners.number[second]
        owners.end(first)
        owners.until(lambda: owners.now("granted") == {second}, "in order")
        owners.end(second)
        owners.until(lambda: owners.now("granted") == {third}, "in order")


def test_cleaning_again_and_again(tmp_path: Path) -> None:
    """Clients that come while somebody removes the folder every few milliseconds are all let in."""
    folder = tmp_path / "queue"
    code = f"import shutil, time\nwhile True: shutil.rmtree({str(folder)!r}, ignore_errors=True); time.sleep(0.003)"
    cleaner = subprocess.Popen([sys.executable, "-c", code])
    try:
        with Owners(folder) as owners:
            for i in range(40):
                owner = owners.enqueue({f"r{i}": 1})
                assert owners.state[owner] == "granted", owners.state
                owners.end(owner)
    finally:
        cleaner.kill()
        finish(cleaner)


@pytest.mark.parametrize("way", ["queue", "queue/tickets", "queue/mutex"])
def test_something_in_the_way_is_named(tmp_path: Path, way: str) -> None:
    """A file where the folder should be, or a folder where the mutex should be, is an error that says so."""
    (tmp_path / way).parent.mkdir(exist_ok=True)
    if way.endswith("mutex"):
        (tmp_path / way).mkdir()
    else:
        (tmp_path / way).write_text("")
    with pytest.raises(ConfigError, match=str(tmp_path / way)):
        with Line(str(tmp_path / "queue")):
            pass


def test_a_listing_at_the_wrong_moment_does_not_kill_a_ticket(tmp_path: Path) -> None:
    """A lister tests a ticket's lock between its creation and its locking: the ticket is locked all the same.

    Here a second descriptor takes the shared lock at exactly that moment and gives it back a little later.
    """
    code = """
import fcntl, os, sys, threading, time
sys.path.insert(0, sys.argv[1])
from k1ctl.queue.line import Line
from k1ctl.queue.ticket import Ticket
real = os.open
def slow(path, flags, mode=0o777, **more):
    fd = real(path, flags, mode, **more)
    if flags & os.O_EXCL and "/w50." in path:
        lister = real(path, os.O_RDONLY)
        fcntl.flock(lister, fcntl.LOCK_SH)
        threading.Timer(0.05, os.close, [lister]).start()
    return fd
os.open = slow
ticket = Ticket(Line(sys.argv[2]), {"a": 1}, lambda r: 1)
print(ticket.enqueue(), flush=True)
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(REPOSITORY), str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == "True\n"
    with Owners(tmp_path) as owners:
        assert owners.state[owners.enqueue({"a": 1})] == "waiting"
    child.kill()
    finish(child)


def test_a_look_from_outside_changes_nothing(tmp_path: Path) -> None:
    """Listing while others come and go never costs anyone his ticket."""
    with Owners(tmp_path) as owners:
        code = (
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r})\nfrom k1ctl.queue.view import entries, standing\n"
            f"while True:\n    for row in entries({str(tmp_path)!r}):\n"
            f"        standing({str(tmp_path)!r}, row['ticket'], lambda r: 1)\n"
        )
        listers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
        try:
            holder = owners.enqueue({"a": 1})
            for _ in range(60):
                nxt = owners.enqueue({"a": 1})
                owners.end(holder)
                owners.until(lambda nxt=nxt: owners.now("granted") == {nxt}, "next")  # type: ignore[misc]
                holder = nxt
            assert owners.over == []
        finally:
            for lister in listers:
                assert lister.poll() is None, "a listing failed"
                lister.kill()
                finish(lister)


def test_facts_shrink_and_grow() -> None:
    """A shorter text leaves no rest of the longer one behind."""
    import tempfile

    with tempfile.TemporaryFile() as f:
        write_facts(f.fileno(), {"command": "x" * 5000})
        write_facts(f.fileno(), {"a": 1})
        assert read_facts(f.fileno()) == {"a": 1}


def test_a_standing_tells_position_holders_and_expected_start(tmp_path: Path) -> None:
    """Past holds of 10 s: the second waiter of a one-slot resource starts in about 20 s, less what the holder had."""
    for _ in range(3):
        history.add(str(tmp_path), "a", 10.0)
    with Owners(tmp_path) as owners:
        holder, first, second = [owners.enqueue({"a": 1}) for _ in range(3)]
        stands = view.standing(str(tmp_path), owners.number[second], lambda r: 1)
        assert stands is not None
        assert stands.position == 2
        assert [h["owner"] for h in stands.holders] == [holder]
        assert stands.expected_seconds is not None
        assert 15 <= stands.expected_seconds <= 20
        assert view.standing(str(tmp_path), owners.number[holder], lambda r: 1) is None
        view.pause(str(tmp_path), "a", "cable")
        stands = view.standing(str(tmp_path), owners.number[first], lambda r: 0)  # the slots were configured away
        assert stands is not None
        assert stands.paused == {"a": "cable"}
        owners.end(holder)
        assert view.standing(str(tmp_path), owners.number[first], lambda r: 0) is not None


def test_history_is_bounded_and_survives_damage(tmp_path: Path) -> None:
    """Thousands of holds keep the file small; garbage in it is passed over; the median is of the last ones."""
    for i in range(4000):
        history.add(str(tmp_path), "a", float(i))
    path = tmp_path / "history" / "a"
    assert path.stat().st_size < 20_000
    assert history.typical(str(tmp_path), "a") == 3990.0
    with path.open("ab") as f:
        f.write(b"garbage \xff\n")
    assert history.typical(str(tmp_path), "a") == 3991.0
    assert history.typical(str(tmp_path), "b") is None


NO_FLOCK = """
#include <errno.h>
int flock(int fd, int operation) { (void)fd; (void)operation; errno = ENOLCK; return -1; }
"""


@needs("gcc")
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
def test_without_flock_it_is_refused(tmp_path: Path) -> None:
    """A filesystem without flock is an error that says so, for a look as for a ticket; nothing is pretended."""
    (tmp_path / "no.c").write_text(NO_FLOCK)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "no.so", tmp_path / "no.c"], check=True)
    lay(tmp_path, names.build("r", 50, 1, 4194304, "", {"a": 1}))
    code = """
import sys
sys.path.insert(0, sys.argv[1])
from k1ctl.errors import ConfigError
from k1ctl.queue import view
from k1ctl.queue.line import Line
for look in (lambda: Line(sys.argv[2]).__enter__(), lambda: view.entries(sys.argv[2])):
    try:
        look()
    except ConfigError as exc:
        print(exc.code)
"""
    env = {**os.environ, "LD_PRELOAD": str(tmp_path / "no.so")}
    done = subprocess.run(
        [sys.executable, "-c", code, str(REPOSITORY), str(tmp_path)], env=env, capture_output=True, text=True
    )
    assert (done.stdout.split(), done.stderr) == (["no-flock", "no-flock"], "")


def test_the_lock_and_not_the_pid_says_who_lives(tmp_path: Path) -> None:
    """A ticket with the pid of a living stranger is dead; one with a dead pid that is locked lives."""
    lay(tmp_path, names.build("r", 50, 1, os.getpid(), "", {"a": 1}))
    held = lay(tmp_path, names.build("r", 50, 2, 4194304, "", {"b": 1}))
    fd = os.open(held, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    states = {row["ticket"]: row["state"] for row in view.entries(str(tmp_path))}
    assert states == {1: "dead", 2: "running"}
    with Owners(tmp_path) as owners:
        assert owners.state[owners.enqueue({"a": 1})] == "granted"
        assert owners.state[owners.enqueue({"b": 1})] == "waiting"
    os.close(fd)


def test_a_group_without_the_lock_keeps_its_lease(tmp_path: Path) -> None:
    """The supervisor is dead and the lock free, but its command's group lives: the lease is kept until it ends, also
    when the clock is set while it runs.
    """
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        now, mono = time.time(), time.monotonic()
        for started in (now, now - 7200, now + 7200):
            facts = f'{{"group": {child.pid}, "started": {started}, "started_monotonic": {mono}}}'
            path = lay(tmp_path, names.build("r", 50, 1, 4194304, "", {"a": 1}), facts)
            assert [row["state"] for row in view.entries(str(tmp_path))] == ["running"], started - now
            line = Line(str(tmp_path))
            with line:
                name = names.parse(path.name)
                assert name is not None
                assert line.alive(name), started - now
            line.close()
        with Owners(tmp_path, net=True) as owners:
            waiter = owners.enqueue({"a": 1})
            assert owners.state[waiter] == "waiting"
            child.kill()
            finish(child)
            owners.until(lambda: owners.state[waiter] == "granted", "let in")
    finally:
        if child.poll() is None:
            child.kill()
            finish(child)


def test_a_session_without_a_known_group_keeps_its_lease(tmp_path: Path) -> None:
    """The supervisor was killed before it wrote its command's group down: whoever lives in its session keeps the lease;
    a session that began after the ticket is another one.
    """
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        path = lay(tmp_path, names.build("r", 50, 1, child.pid, "", {"a": 1}))
        assert [row["state"] for row in view.entries(str(tmp_path))] == ["running"]
        with Owners(tmp_path, net=True) as owners:
            waiter = owners.enqueue({"a": 1})
            assert owners.state[waiter] == "waiting"
            os.utime(path, (time.time() - 60, time.time() - 60))
            owners.until(lambda: owners.state[waiter] == "granted", "let in")
    finally:
        child.kill()
        finish(child)


NO_THREADS = """
#include <errno.h>
#include <pthread.h>
int pthread_create(pthread_t *a, const pthread_attr_t *b, void *(*c)(void *), void *d) {
  (void)a; (void)b; (void)c; (void)d;
  return EAGAIN;
}
"""


@needs("gcc")
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
def test_without_threads_it_is_only_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a host that gives no more threads a waiter looks now and then, and is served."""
    (tmp_path / "no.c").write_text(NO_THREADS)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", tmp_path / "no.so", tmp_path / "no.c"], check=True)
    with monkeypatch.context() as patch:
        patch.setenv("LD_PRELOAD", str(tmp_path / "no.so"))
        owners = Owners(tmp_path / "queue", net=True)
    with owners:
        holder, waiter = owners.enqueue({"a": 1}), owners.enqueue({"a": 1})
        assert owners.state[waiter] == "waiting"
        owners.kill(holder)
        owners.until(lambda: owners.state[waiter] == "granted", "let in")


def test_a_reused_group_number_is_nobody(tmp_path: Path) -> None:
    """A group that began after the lease, or before this boot, is not the command that had it."""
    child = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        now, mono = time.time(), time.monotonic()
        for started, monotonic in ((now - 3600, mono - 3600), (now - 10**9, mono + 10**9), (0, 0)):
            facts = f'{{"group": {child.pid}, "started": {started}, "started_monotonic": {monotonic}}}'
            lay(tmp_path, names.build("r", 50, 1, 4194304, "", {"a": 1}), facts)
            assert [row["state"] for row in view.entries(str(tmp_path))] == ["dead"], started
    finally:
        child.kill()
        finish(child)
