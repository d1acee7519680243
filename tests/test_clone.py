"""Copying trees: clones on a filesystem that has them, hard links, copies."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl import clone
from k1ctl.errors import K1ctlError, UsageError
from k1ctl_plugins.worktree import npm
from tests import mounts

USER = os.getuid() or 65534
DAY = 86400 * 10**9


def make(folder: Path) -> Path:
    """A tree with what trees of packages have: a program, a link to it, an empty file, a read-only one, deep folders,
    a dangling link, and a name that is not UTF-8."""
    folder.mkdir()
    (folder / "pkg" / "lib" / "deep").mkdir(parents=True)
    (folder / ".bin").mkdir()
    (folder / "pkg" / "cli.js").write_text("#!/usr/bin/env node\n" * 500)
    (folder / "pkg" / "cli.js").chmod(0o775)
    (folder / "pkg" / "empty").touch()
    (folder / "pkg" / "lib" / "big").write_bytes(os.urandom(3 << 20))
    (folder / "pkg" / "lib" / "deep" / "closed").write_text("x" * 9000)
    (folder / "pkg" / "lib" / "deep" / "closed").chmod(0o444)
    (folder / ".bin" / "cli").symlink_to("../pkg/cli.js")
    (folder / "gone").symlink_to("nowhere")
    if sys.platform == "linux":  # APFS takes UTF-8 only
        Path(os.fsdecode(os.fsencode(folder) + b"/na\xffme\n")).write_text("odd")
    os.utime(folder / "pkg" / "cli.js", ns=(DAY, DAY))
    (folder / "pkg" / "lib").chmod(0o555)
    return folder


def facts(folder: Path) -> dict[str, tuple[Any, ...]]:
    """Everything of a tree that a copy must keep, by path."""
    found: dict[str, tuple[Any, ...]] = {}
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = os.path.join(place, name)
            there = os.lstat(path)
            content: object = None
            if os.path.islink(path):
                content = os.readlink(path)
            elif name in files:
                content = Path(path).read_bytes()
            times = None if os.path.islink(path) else there.st_mtime_ns
            found[os.path.relpath(path, folder)] = (there.st_mode, times, content)
    return found


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Path]:
    made = make(tmp_path / "source")
    yield made
    for folder in (made, tmp_path / "target"):
        if (folder / "pkg" / "lib").is_dir():
            (folder / "pkg" / "lib").chmod(0o755)


@pytest.fixture(scope="module", params=["btrfs", "xfs"])
def reflinks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A filesystem that clones, in a sparse image on a loop device; skipped where this may not be mounted."""
    with mounts.cloning(request.param, tmp_path_factory.mktemp(request.param)) as place:
        yield place


def used(place: Path) -> int:
    """Bytes in use on a filesystem, after all is written."""
    os.sync()
    there = os.statvfs(place)
    return (there.f_blocks - there.f_bfree) * there.f_frsize


def test_a_clone_takes_no_space_and_is_its_own(reflinks: Path) -> None:
    """On Btrfs and XFS: 3 MB cloned take less than a tenth, all that a copy keeps is kept (the execute bit, too), and
    writing into the clone leaves the source as it was."""
    source = make(reflinks / "source")
    assert clone.can_clone(str(reflinks))
    before = used(reflinks)
    made = clone.copy_tree(str(source), str(reflinks / "target"), "clone")
    assert used(reflinks) - before < 300_000
    assert made.shared_bytes >= 3 << 20 and made.own_bytes < 100_000
    kept = facts(source)
    assert facts(reflinks / "target") == kept
    with open(reflinks / "target" / "pkg" / "lib" / "big", "r+b") as f:
        f.write(b"mine")
    assert facts(source) == kept


def test_the_probe_sees_two_filesystems(reflinks: Path, tmp_path: Path) -> None:
    """From here to another filesystem nothing can be cloned or linked, and the probe leaves nothing behind."""
    assert not clone.can_clone(str(tmp_path), str(reflinks))
    assert not clone.can_link(str(tmp_path), str(reflinks))
    assert clone.can_link(str(reflinks), str(reflinks))
    assert not [name for folder in (tmp_path, reflinks) for name in os.listdir(folder) if "probe" in name]


@pytest.mark.parametrize("how", ["copy", "clone"])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_copy_is_the_same_tree(how: str, threads: int, source: Path, tmp_path: Path) -> None:
    """Contents, modes whatever the umask, times, links as they are; a file that cannot be cloned is copied."""
    umask = os.umask(0o077)
    try:
        made = clone.copy_tree(str(source), str(tmp_path / "target"), how, threads=threads)
    finally:
        os.umask(umask)
    assert facts(tmp_path / "target") == facts(source)
    assert made.files == sum(1 for path in source.rglob("*") if path.is_file() and not path.is_symlink())
    if not clone.can_clone(str(tmp_path)) or how == "copy":
        assert made.shared_bytes == 0 and made.own_bytes >= 3 << 20


def test_links_are_the_same_files(source: Path, tmp_path: Path) -> None:
    """Hard links: every file is the source's own and counts as shared; folders are not."""
    made = clone.copy_tree(str(source), str(tmp_path / "target"), "link")
    for file in ("pkg/cli.js", "pkg/empty", "pkg/lib/big"):
        assert (tmp_path / "target" / file).samefile(source / file)
    assert not (tmp_path / "target" / "pkg").samefile(source / "pkg")
    assert made.shared_bytes >= 3 << 20 > made.own_bytes


def test_two_names_of_one_file_stay_that(source: Path, tmp_path: Path) -> None:
    """What an install script linked within the tree is copied once and counted once."""
    os.link(source / "pkg/lib/big", source / "pkg/again")
    made = clone.copy_tree(str(source), str(tmp_path / "target"), "copy")
    assert (tmp_path / "target/pkg/again").samefile(tmp_path / "target/pkg/lib/big")
    assert not (tmp_path / "target/pkg/again").samefile(source / "pkg/again")
    assert 3 << 20 <= made.bytes < 6 << 20
    assert npm.taken(str(tmp_path / "target")) == {"own_bytes": made.bytes, "shared_bytes": 0, "files": made.files}
    os.link(tmp_path / "target/pkg/again", tmp_path / "elsewhere")
    assert npm.taken(str(tmp_path / "target"))["shared_bytes"] >= 3 << 20


def test_a_tree_with_closed_folders_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders without the right to write or to look, also for who is not root; a link is removed, not its target."""
    make(tmp_path / "source")
    (tmp_path / "source/pkg").chmod(0)
    (tmp_path / "source/kept").symlink_to(tmp_path / "kept")
    (tmp_path / "kept").mkdir(mode=0o555)
    for path in (tmp_path, *(Path(p) / n for p, ds, fs in os.walk(tmp_path) for n in (*ds, *fs))):
        os.chown(path, USER, -1, follow_symlinks=False)
    monkeypatch.chdir(tmp_path)
    os.seteuid(USER)
    try:
        clone.remove_tree("source")
        clone.remove_tree("source")
    finally:
        os.seteuid(os.getuid())
    assert os.listdir(tmp_path) == ["kept"] and (tmp_path / "kept").stat().st_mode & 0o777 == 0o555


def test_a_copy_may_be_made_writable(source: Path, tmp_path: Path) -> None:
    """Of a read-only tree a worktree gets files that it may change."""
    clone.copy_tree(str(source), str(tmp_path / "target"), "copy", writable=True)
    assert (tmp_path / "target/pkg/lib/deep/closed").stat().st_mode & 0o777 == 0o644
    assert (source / "pkg/lib/deep/closed").stat().st_mode & 0o777 == 0o444


def test_without_copy_file_range_it_is_read_and_written(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the kernel cannot copy between these two files, and where there is no such call (macOS)."""

    def refuse(*_: int) -> int:
        raise OSError(errno.EXDEV, "no")

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    clone.copy_tree(str(source), str(tmp_path / "target"), "copy")
    assert facts(tmp_path / "target") == facts(source)
    monkeypatch.delattr(os, "copy_file_range")
    clone.copy_file(str(source / "pkg/lib/big"), str(tmp_path / "one"), 0o600, 3 << 20)
    assert (tmp_path / "one").read_bytes() == (source / "pkg/lib/big").read_bytes()


def test_apfs_clones_by_clonefile(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS clonefile(2) is called with both paths and CLONE_NOFOLLOW, the mode is set after; its errno is told."""
    seen: list[tuple[bytes, bytes, int]] = []

    class Library:
        answer = 0

        def clonefile(self, first: bytes, second: bytes, flags: int) -> int:
            seen.append((first, second, flags))
            if not self.answer:
                shutil.copyfile(first, second)
            return self.answer

    monkeypatch.setattr(clone, "_libc", Library)
    target = tmp_path / "made"
    clone.clone_file(str(source / "pkg/cli.js"), str(target), 0o755, "darwin")
    assert seen == [(os.fsencode(source / "pkg/cli.js"), os.fsencode(target), 1)]
    assert target.stat().st_mode & 0o777 == 0o755
    monkeypatch.setattr(Library, "answer", -1)
    monkeypatch.setattr("ctypes.get_errno", lambda: errno.ENOTSUP)
    with pytest.raises(OSError) as raised:
        clone.clone_file(str(source / "pkg/cli.js"), str(tmp_path / "other"), 0o755, "darwin")
    assert raised.value.errno == errno.ENOTSUP


def test_an_error_in_a_thread_is_raised(source: Path, tmp_path: Path) -> None:
    """A file that vanished ends the copy with its error, in whichever thread it was."""
    listing = clone.scan(str(source))
    (source / "pkg" / "empty").unlink()
    with pytest.raises(FileNotFoundError):
        clone.copy_tree(str(source), str(tmp_path / "target"), "copy", listing=listing, threads=4)


def test_what_cannot_be_copied_is_refused(source: Path, tmp_path: Path) -> None:
    """A pipe, a way that there is not, a target that is there."""
    with pytest.raises(UsageError, match="move"):
        clone.copy_tree(str(source), str(tmp_path / "target"), "move")
    (tmp_path / "there").mkdir()
    with pytest.raises(FileExistsError):
        clone.copy_tree(str(source), str(tmp_path / "there"), "copy")
    os.mkfifo(source / "pipe")
    with pytest.raises(K1ctlError, match="pipe"):
        clone.copy_tree(str(source), str(tmp_path / "target"), "copy")


def test_the_digest_tells_each_change(source: Path) -> None:
    """A byte more, another mode, another time, another name: each gives another digest; looking again, and the right to
    write, does not."""
    seen = [clone.scan(str(source)).digest()]
    (source / "pkg" / "cli.js").chmod(0o555)
    assert clone.scan(str(source)).digest() == seen[0]
    for change in (
        lambda: (source / "pkg" / "cli.js").chmod(0o664),
        lambda: (source / "pkg" / "empty").write_text("x"),
        lambda: os.utime(source / "pkg" / "cli.js", ns=(DAY, 2 * DAY)),
        lambda: (source / "gone").rename(source / "lost"),
    ):
        change()
        seen.append(clone.scan(str(source)).digest())
    assert len(set(seen)) == 5
