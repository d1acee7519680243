"""Removing a saved worktree: into the trash and out of git, undone when somebody came, whole after a kill anywhere."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import ports
from k1ctl.archive import remove as removing
from k1ctl.archive import trash
from k1ctl.archive.folder import Archive, find
from k1ctl.archive.remove import RefusedError, Removed, recover, remove
from k1ctl.archive.save import save
from k1ctl.archive.verify import verify
from k1ctl.config import Config, load
from k1ctl.errors import K1ctlError
from k1ctl.workspace import Workspace
from k1ctl.worktrees import Entry, entries, own_git_dir
from tests.kit import Project

LINES = {"code": "changed\n", "new": "untracked\n", "logs/run": "precious\n", ".env": "KEY=1\n"}
REGENERABLE = "node_modules/a/index.js"


class Desk:
    """A worktree with work of every kind in it, and the archive that holds it."""

    def __init__(self, project: Project, path: str = "") -> None:
        self.project = project
        project.write(".gitignore", "logs/\nnode_modules/\n.env\n")
        project.write("code", "1\n")
        project.commit("code")
        self.tree = Path(path) if path else project.worktree("oslo")
        project.git("worktree", "add", "-q", "-b", "oslo", str(self.tree))
        for name, text in {**LINES, REGENERABLE: "x" * 9000}.items():
            project.write(name, text, within=self.tree)
        project.git("add", "new", cwd=self.tree)
        self.status = self.look()
        self.facts: Workspace = project.facts()
        self.config: Config = load(self.facts)
        self.own = own_git_dir(str(self.tree))
        self.archive = self.save()
        self.entered: list[subprocess.Popen[bytes]] = []

    @property
    def entry(self) -> Entry:
        return next(e for e in entries(str(self.project.root)) if e.path == str(self.tree))

    def save(self) -> Archive:
        return save(self.facts, self.config, self.entry, reason="test").archive

    def remove(self) -> Removed:
        return remove(self.facts, self.config, self.entry, self.archive)

    def look(self) -> str:
        return self.project.git("--no-optional-locks", "status", "--porcelain", "--ignored", cwd=self.tree)

    def listed(self) -> list[str]:
        return [e.path for e in entries(str(self.project.root))]

    def assert_in_its_place(self) -> None:
        """The worktree is where it was, as it was, and nothing of a trash is left."""
        assert self.look() == self.status and self.entry.branch == "oslo"
        assert {name: (self.tree / name).read_text() for name in LINES} == LINES
        assert self.archive.state["state"] == "saved"
        assert not [place for place in trash.places(self.archive, str(self.tree)) if os.path.lexists(place)]
        assert not (self.tree.parent / trash.BESIDE).exists()

    def assert_archived(self) -> None:
        """It is gone from its place and from git, and lies in the trash of an archive that is whole."""
        state = self.archive.state
        assert state["state"] == "archived" and not os.path.lexists(self.tree) and not os.path.lexists(self.own)
        assert str(self.tree) not in self.listed()
        kept = Path(state["tree"])
        assert {name: (kept / name).read_text() for name in LINES} == LINES
        assert not (kept / "node_modules").exists() and not (kept / ".git").exists()
        assert os.path.isfile(os.path.join(state["git"], "index"))
        assert verify(self.facts, self.archive, deep=False) == []


@pytest.fixture
def desk(workspace: Project) -> Desk:
    return Desk(workspace)


def test_a_removed_worktree_lies_in_the_trash(desk: Desk) -> None:
    """Renamed whole, without what can be made again; git knows it no more; its ports are free; an event tells."""
    within = desk.project.facts(desk.tree)
    ports.lease(within, desk.config)
    desk.archive = desk.save()
    inode = (desk.tree / "code").stat().st_ino
    done = desk.remove()
    desk.assert_archived()
    assert (Path(done.trash) / "tree" / "code").stat().st_ino == inode
    assert done.freed_bytes >= 9000 and done.notes == [] and done.branch is None
    assert ports.of(within) is None
    assert desk.project.git("branch", "--list", "oslo")
    (event,) = desk.project.events("archive.removed")
    assert (event["of"], event["archive"], event["freed_bytes"]) == ("oslo", desk.archive.id, done.freed_bytes)
    assert verify(desk.facts, desk.archive) == [] and recover(desk.facts, desk.config) == []
    desk.project.git("worktree", "add", "-q", str(desk.tree), "oslo")
    assert desk.project.git("status", "--porcelain", cwd=desk.tree) == ""


def _write(desk: Desk) -> None:
    desk.project.write("logs/run", "more\n", within=desk.tree)


def _new_file(desk: Desk) -> None:
    desk.project.write("deep/new", "more\n", within=desk.tree)


def _commit(desk: Desk) -> None:
    desk.project.git("commit", "-q", "-m", "new", cwd=desk.tree)


def _same_time(desk: Desk) -> None:
    before = (desk.tree / "code").stat()
    desk.project.write("code", "CHANGED\n", within=desk.tree)
    os.utime(desk.tree / "code", ns=(before.st_atime_ns, before.st_mtime_ns))


def _lock(desk: Desk) -> None:
    (Path(desk.own) / "index.lock").touch()


CHANGES: list[Callable[[Desk], None]] = [_write, _new_file, _commit, _same_time]


def test_what_is_not_as_it_was_saved_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive without its ref, or with a file cut short; what Conductor made; and a worktree that changed since: a
    file, a commit, a change that hides its time. Refused, and nothing has moved."""
    path = os.path.join(desk.archive.folder, "files.tar")
    size = os.path.getsize(path)
    os.truncate(path, size - 1)
    with pytest.raises(RefusedError, match=r"files\.tar is not whole"):
        desk.remove()
    os.truncate(path, size)
    desk.project.git("update-ref", "-d", desk.archive.ref)
    with pytest.raises(RefusedError, match="is not the commit that was saved"):
        desk.remove()
    desk.project.git("update-ref", desk.archive.ref, desk.archive.manifest["commit"])
    monkeypatch.setenv("CONDUCTOR_WORKSPACE_PATH", str(desk.tree))
    with pytest.raises(RefusedError, match="Conductor"):
        desk.remove()
    desk.assert_in_its_place()
    monkeypatch.undo()
    for change in CHANGES:
        change(desk)
        status = desk.look()
        with pytest.raises(RefusedError, match="changed since it was saved"):
            desk.remove()
        assert desk.look() == status and desk.archive.state["state"] == "saved"
        desk.archive = desk.save()


def _enter(desk: Desk) -> None:
    argv = [sys.executable, "-c", "import os, sys\nos.write(1, b'x')\nsys.stdin.read()"]
    process = subprocess.Popen(argv, cwd=desk.tree, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    desk.entered.append(process)
    assert process.stdout and process.stdout.read(1)


def test_what_happens_while_it_is_looked_at_is_undone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last look and the rename: a process that comes in, a git that begins, and changes. The worktree is
    renamed back."""
    real = removing._check_entry
    told: dict[Any, str] = {_enter: r"\(pid \d+\) is in", _lock: "index.lock is there"}
    for happens in (_enter, _lock, *CHANGES):

        def meanwhile(workspace: Workspace, entry: Entry, happens: Callable[[Desk], None] = happens) -> None:
            real(workspace, entry)
            happens(desk)
            desk.status = desk.look()

        monkeypatch.setattr(removing, "_check_entry", meanwhile)
        with pytest.raises(RefusedError, match=told.get(happens, "changed since")):
            desk.remove()
        (Path(desk.own) / "index.lock").unlink(missing_ok=True)
        assert desk.look() == desk.status and desk.archive.state["state"] == "saved"
        assert not os.path.lexists(os.path.join(desk.archive.folder, "trash"))
        while desk.entered:
            desk.entered.pop().communicate()
        desk.archive = desk.save()
    monkeypatch.undo()
    desk.remove()
    assert desk.archive.state["state"] == "archived"


def test_a_place_that_was_taken_meanwhile_keeps_the_trash(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be put back: then it is told, and its trash is never swept."""
    real = removing._late

    def late(workspace: Workspace, config: Config, move: Any, *rest: Any) -> Any:
        (desk.tree / "stranger").mkdir(parents=True)
        (Path(move.tree) / "code").write_text("late\n")
        return real(workspace, config, move, *rest)

    monkeypatch.setattr(removing, "_late", late)
    with pytest.raises(K1ctlError, match="is something else by now"):
        desk.remove()
    state = desk.archive.state
    assert (Path(state["tree"]) / "code").read_text() == "late\n" and (desk.tree / "stranger").is_dir()
    desk.project.configure('[archive]\nkeep_trash = "0s"\n')
    assert trash.sweep(desk.facts, load(desk.facts)) == []


def test_another_filesystem_has_its_own_trash(workspace: Project) -> None:
    """A worktree that lies on another filesystem than its repository is renamed there, beside its place."""
    there = next((p for p in ("/tmp", "/var/tmp", "/dev/shm") if _device(p) != workspace.root.stat().st_dev), "")
    if not there:
        pytest.skip("needs a second filesystem that can be written to")
    folder = tempfile.mkdtemp(dir=there)
    try:
        desk = Desk(workspace, os.path.join(folder, "oslo"))
        done = desk.remove()
        assert done.trash == os.path.join(folder, trash.BESIDE, desk.archive.id)
        desk.assert_archived()
        desk.project.configure('[archive]\nkeep_trash = "0s"\n')
        assert [s.problems for s in trash.sweep(desk.facts, load(desk.facts))] == [[]]
        assert os.listdir(folder) == []
    finally:
        shutil.rmtree(folder)


def _device(path: str) -> int:
    return os.stat(path).st_dev if os.access(path, os.W_OK) else -1


def _no_rename(monkeypatch: pytest.MonkeyPatch, *numbers: int) -> None:
    """`os.rename` fails in these ways, one call after the other; then it works."""
    left, real = list(numbers), os.rename

    def rename(*args: Any, **kwargs: Any) -> None:
        if left:
            raise OSError(left[0], os.strerror(left.pop(0)))
        real(*args, **kwargs)

    monkeypatch.setattr(os, "rename", rename)


def test_a_rename_that_fails(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """No right to: one line, and neither state nor trash is left. From one mount of a device to another (bind mounts):
    the trash beside the worktree is taken."""
    _no_rename(monkeypatch, errno.EACCES)
    with pytest.raises(K1ctlError, match="cannot be moved"):
        desk.remove()
    desk.assert_in_its_place()
    _no_rename(monkeypatch, errno.EXDEV)
    assert trash.BESIDE in desk.remove().trash
    desk.assert_archived()


def test_a_repository_that_others_need_where_it_is(desk: Desk) -> None:
    """Another repository's worktree in it, whose commits that one would prune; a repository with worktrees elsewhere.
    One that stands alone goes along."""
    other = Project(desk.project.root.parent / "other")
    other.git("worktree", "add", "-q", "--detach", str(desk.tree / "logs" / "theirs"))
    desk.archive = desk.save()
    with pytest.raises(RefusedError, match="logs/theirs in it belongs together with"):
        desk.remove()
    other.git("worktree", "remove", str(desk.tree / "logs" / "theirs"))
    alone = Project(desk.tree / "logs" / "alone")
    elsewhere = desk.project.root.parent / "elsewhere"
    alone.git("worktree", "add", "-q", "--detach", str(elsewhere))
    desk.archive = desk.save()
    with pytest.raises(RefusedError, match=r"belongs together with .*elsewhere"):
        desk.remove()
    alone.git("worktree", "remove", str(elsewhere))
    desk.archive = desk.save()
    desk.remove()
    desk.assert_archived()


# Kills


def _killed(desk: Desk, step: int) -> bool:
    """Remove in a child that is killed before one of its changes of a name, once all was checked; whether it was."""
    pid = os.fork()
    if not pid:
        try:
            count = iter(range(100))

            def guarded(real: Callable[..., Any]) -> Callable[..., Any]:
                def call(*args: Any, **kwargs: Any) -> Any:
                    if next(count) == step:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*args, **kwargs)

                return call

            real = removing._take_away

            def begin(*args: Any) -> Any:
                for name in ("rename", "replace", "mkdir", "rmdir", "unlink"):
                    setattr(os, name, guarded(getattr(os, name)))
                return real(*args)

            vars(removing)["_take_away"] = begin
            desk.remove()
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


def test_a_kill_at_any_step_leaves_one_of_the_two_whole(workspace: Project) -> None:
    """Before each change of a name: the next call finishes or undoes the removal, a further one has nothing to do."""
    desk = Desk(workspace)
    ends = []
    for step in range(100):
        killed = _killed(desk, step)
        told = recover(desk.facts, desk.config)
        assert recover(desk.facts, desk.config) == []
        if not os.path.lexists(desk.tree):
            desk.assert_archived()
            ends.append("archived")
            if not killed:
                assert told == []
                break
            _bring_back(desk)
        else:
            desk.assert_in_its_place()
            ends.append("in its place")
    assert ends[0] == "in its place" and ends[-1] == "archived" and len(ends) > 8
    assert ends == sorted(ends, reverse=True), "once moved, it is finished"


def _bring_back(desk: Desk) -> None:
    """What the trash has becomes the worktree again, by hand; saved anew."""
    state = desk.archive.state
    os.rename(state["git"], desk.own)
    os.rename(state["tree"], desk.tree)
    os.rename(desk.tree / ".git.archived", desk.tree / ".git")
    desk.project.write(REGENERABLE, "x" * 9000, within=desk.tree)
    shutil.rmtree(desk.archive.folder)
    desk.archive = desk.save()


def _stopped(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A removal that was cut off once the folder was renamed; returns its move."""
    moves: list[Any] = []

    def stop(workspace: Workspace, config: Config, move: Any, *rest: Any) -> Any:
        moves.append(move)
        raise KeyboardInterrupt

    monkeypatch.setattr(removing, "_late", stop)
    with pytest.raises(KeyboardInterrupt):
        desk.remove()
    monkeypatch.undo()
    return moves[0]


def test_what_was_written_before_the_kill_comes_back(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """A removal that was cut off before its last look is looked at by the one who finishes it."""
    move = _stopped(desk, monkeypatch)
    (Path(move.tree) / "new").write_text("late\n")
    (told,) = recover(desk.facts, desk.config)
    assert "undone" in told and (desk.tree / "new").read_text() == "late\n"
    assert desk.archive.state["state"] == "saved"


def test_a_restore_finishes_the_removal_first(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """git still knows the worktree whose folder is in the trash: it is no hindrance."""
    _stopped(desk, monkeypatch)
    told = desk.project.run("archive", "restore", desk.archive.id).assert_ok().stderr
    assert "was finished" in told and desk.status == desk.look() + "\n!! node_modules/"


def test_a_power_cut_may_keep_the_second_rename_alone(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worktree is in its place and git's entry of it is not: that is put back, too."""
    move = _stopped(desk, monkeypatch)
    os.rename(move.tree, move.path)
    os.rename(move.own, move.git)
    (told,) = recover(desk.facts, desk.config)
    assert "had not begun" in told
    desk.assert_in_its_place()


@pytest.mark.parametrize("registered", [False, True])
def test_a_place_that_was_taken_before_the_next_call(
    registered: bool, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stranger's folder, or a new worktree that git gave the same entry: neither is touched, the removal finished."""
    _stopped(desk, monkeypatch)
    if registered:
        desk.project.git("worktree", "add", "-q", "-f", "-f", str(desk.tree), "oslo")
    else:
        desk.tree.mkdir()
    (desk.tree / "stranger").write_text("mine")
    (told,) = recover(desk.facts, desk.config)
    assert "finished" in told and (desk.tree / "stranger").read_text() == "mine"
    assert (str(desk.tree) in desk.listed()) == registered
    assert (Path(desk.archive.state["tree"]) / "code").read_text() == "changed\n"


def test_a_trash_that_somebody_emptied(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worktree was thrown away by hand in between: the archive stands, and says so."""
    move = _stopped(desk, monkeypatch)
    desk.tree.parent.rename(desk.tree.parent.with_name("not mounted"))
    os.rename(move.tree, f"{move.tree}-not-mounted")
    assert "its disk is not there" in recover(desk.facts, desk.config)[0]
    desk.tree.parent.with_name("not mounted").rename(desk.tree.parent)
    shutil.rmtree(f"{move.tree}-not-mounted")
    (told,) = recover(desk.facts, desk.config)
    assert "are gone" in told and desk.archive.state["state"] == "archived"
    assert verify(desk.facts, desk.archive) == []


# Sweeping


def test_trash_goes_when_its_time_is_over(desk: Desk) -> None:
    """Not before, and not while its archive is damaged, for it may be all that is left. The archive stays."""
    desk.remove()
    now, day, folder = time.time(), 86400, desk.archive.folder
    assert trash.sweep(desk.facts, desk.config, now=now + 6 * day) == []
    (planned,) = trash.sweep(desk.facts, desk.config, now=now + 8 * day, dry_run=True)
    assert planned == (desk.archive.id, 0, [])

    os.rename(f"{folder}/files.tar", f"{folder}/away")
    (swept,) = trash.sweep(desk.facts, desk.config, now=now + 8 * day)
    assert "files.tar" in swept.problems[0] and os.path.isdir(desk.archive.state["tree"])
    os.rename(f"{folder}/away", f"{folder}/files.tar")

    (swept,) = trash.sweep(desk.facts, desk.config, now=now + 8 * day)
    assert swept.problems == [] and not os.path.lexists(f"{folder}/trash")
    assert trash.sweep(desk.facts, desk.config, now=now + 9 * day) == []
    assert verify(desk.facts, find(desk.facts, "oslo"), deep=False) == []
