"""ops/state.db: one file behind one flock; what is wrong with it is told, and nothing is overwritten."""

from __future__ import annotations

import os
import signal
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl import state_schema
from k1ctl.cutoff import CutOff
from k1ctl.errors import BusyError, ConfigError
from k1ctl.files import open_locked
from k1ctl.state import State
from k1ctl.workspace import Workspace


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    """A root without git: state needs none."""
    return Workspace(str(tmp_path), str(tmp_path), "here")


def marked(state: State, name: str, **options: Any) -> None:
    """Write one row."""
    words = (name, 1.0)
    state.write(lambda db: db.execute("INSERT INTO marks VALUES('t', ?, 1, 1, ?)", words), **options)


def names(state: State) -> list[str]:
    """The rows there are."""
    return state.read(lambda db: [name for (name,) in db.execute("SELECT name FROM marks ORDER BY name")])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file with what is in it; the lock, SQLite's index of the log and a log of nothing left out."""
    there = {p.name: p.read_bytes() for p in folder.iterdir() if p.name not in ("state.lock", "state.db-shm")}
    return {name: data for name, data in there.items() if data or name != "state.db-wal"}


def test_rows_are_there_for_the_next(place: Workspace) -> None:
    """What was written is read by another connection, durable or not; only files that git ignores appear."""
    first = State(place)
    marked(first, "a")
    marked(first, "b", durable=True)
    assert names(State(place)) == ["a", "b"]
    assert all(p.name == "state.lock" or p.name.startswith("state.db") for p in Path(place.ops).iterdir())


def test_what_raises_changes_nothing(place: Workspace) -> None:
    """A step that fails in the middle leaves no row, and the next one finds the lock free."""
    state = State(place)

    def step(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO marks VALUES('t', 'a', 1, 1, 0)")
        raise KeyError("a")

    with pytest.raises(KeyError):
        state.write(step)
    marked(State(place), "b")
    assert names(state) == ["b"]


def test_a_child_has_its_own_connection(place: Workspace) -> None:
    """After a fork both go on writing."""
    state = State(place)
    marked(state, "parent")
    pid = os.fork()
    if pid == 0:
        try:
            marked(state, "child")
            os._exit(0)
        except BaseException:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    marked(state, "parent again")
    assert names(state) == ["child", "parent", "parent again"]


def test_a_file_that_was_replaced_is_seen(place: Workspace) -> None:
    """Somebody who removes ops/ takes the books away; who is still connected writes to what is there now."""
    state = State(place)
    marked(state, "before")
    for path in Path(place.ops).iterdir():
        path.unlink()
    marked(state, "after")
    assert names(State(place)) == ["after"] == names(state)


@pytest.mark.parametrize("size", [0, 1, 99, 2048, -1])
def test_a_file_that_was_cut_off_is_damage(place: Workspace, size: int) -> None:
    """Empty, shorter than a header, a page, or short of its end: told, and left as it is."""
    state = State(place)
    marked(state, "a")
    state.close()
    path = Path(state.path)
    os.truncate(path, size if size >= 0 else path.stat().st_size - 2048)
    before = contents(Path(place.ops))
    for act in (names, lambda s: marked(s, "b")):
        with pytest.raises(ConfigError) as found:
            act(State(place))
        assert found.value.code == "state-damaged"
    assert contents(Path(place.ops)) == before


def test_foreign_files_are_refused(place: Workspace) -> None:
    """Text, another program's database, a link to nothing, and a log whose file is gone."""
    os.makedirs(place.ops)
    path = Path(State(place).path)
    path.write_text("not a database at all, but a longer text than its header\n" * 50)
    with pytest.raises(ConfigError, match="damaged"):
        names(State(place))
    path.unlink()
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE t(x)")
    db.close()
    with pytest.raises(ConfigError, match="another program"):
        marked(State(place), "a")
    path.unlink()
    path.symlink_to(place.ops + "/gone")
    with pytest.raises(ConfigError, match="a link to nothing"):
        names(State(place))
    path.unlink()
    Path(f"{path}-wal").write_bytes(b"x" * 100)
    assert State(place).exists  # and is not taken for books that were never begun
    with pytest.raises(ConfigError, match="write-ahead log"):
        marked(State(place), "a")
    assert Path(f"{path}-wal").read_bytes() == b"x" * 100 and not path.exists()


def test_a_file_of_other_tables_is_damage(place: Workspace) -> None:
    """Of a development version, or changed by hand: told with the table, and left as it is. A table of somebody's own
    is none, nor is a mistake of ours."""
    state = State(place)
    state.write(lambda db: db.execute("CREATE TABLE own(x)"))
    with pytest.raises(sqlite3.OperationalError, match="no such table: nowhere"):
        state.read(lambda db: db.execute("SELECT * FROM nowhere"))
    state.write(lambda db: db.execute("ALTER TABLE marks DROP COLUMN at"))
    state.close()
    before = contents(Path(place.ops))
    for act in (lambda s: marked(s, "b"), lambda s: s.glance(lambda db: db.execute("SELECT at FROM marks"))):
        with pytest.raises(ConfigError, match=r"not those of its step \(marks\)") as found:
            act(State(place))
        assert found.value.code == "state-damaged"
    assert contents(Path(place.ops)) == before


def test_a_newer_file_is_left_alone(place: Workspace) -> None:
    """What a later k1ctl wrote is neither read nor changed."""
    state = State(place)
    marked(state, "a")
    state.close()
    db = sqlite3.connect(state.path)
    db.execute(f"PRAGMA user_version = {len(state_schema.STEPS) + 1}")
    db.close()
    before = contents(Path(place.ops))
    with pytest.raises(ConfigError) as found:
        names(State(place))
    assert found.value.code == "state-newer" and found.value.details["known"] == len(state_schema.STEPS)
    assert contents(Path(place.ops)) == before


def test_a_file_that_may_not_be_written(place: Workspace) -> None:
    """Read-only for this user: told with what to look at, and nothing is made beside it."""
    state = State(place)
    marked(state, "a")
    state.close()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chmod(state.path, 0o444)
            os.chmod(state.lock.path, 0o666)
            if os.geteuid() == 0:
                folder = place.ops
                while folder != "/":
                    os.chmod(folder, os.stat(folder).st_mode | 0o055)
                    folder = os.path.dirname(folder)
                os.setuid(65534)
            marked(State(place), "b")
        except ConfigError as exc:
            code = 0 if exc.code == "state-read-only" else 3
            sys.stderr.write(str(exc))
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.chmod(state.path, 0o644)
    assert names(State(place)) == ["a"]


def test_a_lock_that_stays_is_told(place: Workspace) -> None:
    """Whoever has it is named after a while; an alarm that somebody else has set ends the wait, too, and stays his."""
    state = State(place)
    marked(state, "a")
    fd = open_locked(state.lock.path)
    assert fd is not None
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.close(fd)
            signal.setitimer(signal.ITIMER_REAL, 0)
            late = State(place)
            late.lock.patience = 0.01
            try:
                marked(late, "b")
            except BusyError as exc:
                ours = exc.code == "state-busy" and exc.details["holder_pid"] in (os.getppid(), None)
                code = 3 if ours and not signal.getitimer(signal.ITIMER_REAL)[0] else 2
            late.lock.patience = 3600
            try:
                with CutOff(0.01):
                    marked(late, "b")
            except TimeoutError:
                code = 0 if code == 3 else code
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(fd)
    marked(state, "b")
    assert names(state) == ["a", "b"]


def test_a_foreign_writer_is_named(place: Workspace) -> None:
    """An open transaction of another program ends the wait with 75."""
    state = State(place, patience=0.01)
    marked(state, "a")
    other = sqlite3.connect(state.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(BusyError) as found:
        marked(state, "b")
    assert found.value.code == "state-busy"
    other.close()
    marked(state, "b")


def test_every_earlier_file_is_brought_up(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each step on, the first included: the rows stay, the tables become those of a new file."""
    steps = state_schema.STEPS

    def tables(path: str) -> list[tuple[str, str]]:
        db = sqlite3.connect(path)
        found = db.execute("SELECT name, sql FROM sqlite_master ORDER BY name").fetchall()
        db.close()
        return found

    more = (*steps, ("CREATE TABLE further(x)",), ("ALTER TABLE further ADD COLUMN y", "CREATE TABLE last(x)"))
    for count in range(1, len(more)):
        root = os.path.join(place.root, str(count))
        there = State(Workspace(root, root, "x"))
        monkeypatch.setattr(state_schema, "STEPS", more[:count])
        marked(there, "kept")
        there.close()
        monkeypatch.setattr(state_schema, "STEPS", more)
        assert names(there) == ["kept"]
        there.close()
        fresh = State(Workspace(root + "n", root + "n", "x"))
        marked(fresh, "new")
        fresh.close()
        assert tables(there.path) == tables(fresh.path)


def test_a_step_that_fails_leaves_the_file_as_it_was(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is one transaction."""
    state, steps = State(place), state_schema.STEPS
    marked(state, "a")
    state.close()
    monkeypatch.setattr(state_schema, "STEPS", (*steps, ("CREATE TABLE half(x)", "CREATE TABLE half(x)")))
    with pytest.raises(sqlite3.OperationalError):
        names(State(place))
    monkeypatch.setattr(state_schema, "STEPS", steps)
    assert names(State(place)) == ["a"]


def test_what_is_synced_keeps_nobody_waiting(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is let go before the log is brought to the disk; it is also where nothing was changed, as another may
    have written it and died before. Where the log cannot be synced, all of it is in the file itself, or that is told;
    what was written is there."""
    first, other, seen = State(place), State(place), []

    def sync(fd: int) -> None:
        assert os.path.samestat(os.fstat(fd), os.stat(f"{first.path}-wal"))
        seen.append(names(other))
        marked(other, f"meanwhile {len(seen)}")

    monkeypatch.setattr("k1ctl.state.sync_data", sync)
    marked(first, "a", durable=True)
    first.write(lambda db: None, durable=True)
    assert seen == [["a"], ["a", "meanwhile 1"]]

    def fail(fd: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("k1ctl.state.sync_data", fail)
    marked(first, "b", durable=True)
    alone = Path(place.root, "alone.db")
    alone.write_bytes(Path(first.path).read_bytes())
    copied = sqlite3.connect(alone)
    assert copied.execute("SELECT COUNT(*) FROM marks WHERE name = 'b'").fetchone() == (1,)
    copied.close()
    reader = sqlite3.connect(first.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM marks WHERE name = 'c'").fetchone() == (0,)
    with pytest.raises(ConfigError) as found:
        marked(first, "c", durable=True)
        marked(first, "d", durable=True)
    reader.close()
    assert found.value.code == "state-unwritable" and "c" in names(other)


def test_a_log_that_grew_is_given_back(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """While somebody reads it cannot begin anew; once nobody does, it is no longer than it may be."""
    monkeypatch.setattr("k1ctl.state._LOG", 10)
    state = State(place)
    marked(state, "a")
    reader = sqlite3.connect(state.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM marks").fetchone() == (1,)
    for n in range(100):
        marked(state, f"a{n}")
    assert os.path.getsize(f"{state.path}-wal") > 100 * 2048
    reader.close()
    marked(state, "b")
    marked(state, "c")
    assert os.path.getsize(f"{state.path}-wal") <= 20 * 2072


def test_the_log_begins_anew(place: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """However much is written it does not grow without end; who reads meanwhile delays that and loses nothing."""
    monkeypatch.setattr("k1ctl.state._FOLD", 1)
    first, other = State(place), State(place)
    marked(first, "a")
    reader = sqlite3.connect(first.path, isolation_level=None)
    reader.execute("BEGIN")
    assert reader.execute("SELECT COUNT(*) FROM marks").fetchone() == (1,)
    for n in range(40):
        marked(first, f"a{n}")
        marked(other, f"b{n}")
        if n == 2:
            assert reader.execute("SELECT COUNT(*) FROM marks").fetchone() == (1,)
            reader.close()
    assert os.path.getsize(f"{first.path}-wal") < 20 * 2072 and len(names(State(place))) == 81
