"""k1ctl.archive.verify: an archive is whole, or it is said what is not."""

from __future__ import annotations

import io
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from k1ctl.archive.folder import Archive
from k1ctl.archive.tar import Writer
from k1ctl.archive.verify import tar_problems, verify
from tests.archive.saving import archived, archived_alike, begin
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


def loose(project: Project, name: str) -> Path:
    """The file of the object ``name``."""
    oid = project.git("rev-parse", name)
    return project.root / ".git" / "objects" / oid[:2] / oid[2:]


@contextmanager
def put_back(path: Path) -> Iterator[Path]:
    """The file may be damaged in the block."""
    content, mode = path.read_bytes(), path.stat().st_mode
    path.chmod(0o600)
    yield path
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(mode)


def test_a_whole_archive(project: Project) -> None:
    """It has no problem, also after `git gc --prune=now` and `git clean -fdx`, which takes the copy of its manifest:
    that is written anew."""
    archive = archived_alike(project)
    project.write(".git/info/exclude", "ops/\n")
    copy = project.ops / "archive" / archive.id / "manifest.json"
    before = copy.read_bytes()
    project.git("gc", "-q", "--prune=now")
    project.git("clean", "-q", "-fdx")
    assert not copy.exists()
    assert verify(project.facts(), archive) == []
    assert copy.read_bytes() == before
    assert verify(project.facts(), archive, deep=False) == []


def test_every_damage_is_named(project: Project) -> None:
    """A ref that is gone or another, an object or a tar that is gone, cut or changed, what is open to others: each
    is named, and nothing else is."""
    archive = archived_alike(project)
    folder, ref = Path(archive.folder), archive.ref
    commit, tree = archive.manifest["commit"], archive.manifest["tree"]

    def told(*, deep: bool = True) -> str:
        problems = verify(project.facts(), archive, deep=deep)
        assert len(problems) == 1, problems
        return problems[0]

    project.git("update-ref", "-d", ref)
    assert f"{ref} is gone" in told()
    project.git("update-ref", ref, "HEAD")
    assert f"is {project.git('rev-parse', 'HEAD')}, the manifest says {commit}" in told()
    project.git("update-ref", ref, commit)

    blob = loose(project, f"{tree}:new")
    for name, kind in ((f"{tree}:new", "blob"), (tree, "tree")):
        with put_back(loose(project, name)) as file:
            file.unlink()
            assert told().startswith("objects: ") and project.git("rev-parse", name)[:7] in told(deep=False), kind
    with put_back(blob) as file:
        file.write_bytes(zlib.compress(b"blob 4\0old\n"))
        assert "objects: hash mismatch" in told()
        assert verify(project.facts(), archive, deep=False) == []
    with put_back(loose(project, "HEAD")) as file:  # of the history before it
        project.git("commit-graph", "write", "--reachable")
        file.unlink()
        assert project.git("rev-parse", "HEAD") in verify(project.facts(), archive, deep=False)[0]
        shutil.rmtree(project.root / ".git" / "objects" / "info")

    for name in ("git.tar", "files.tar", "secrets.tar"):
        content = (folder / name).read_bytes()
        with put_back(folder / name) as file:
            file.write_bytes(content[:-1])
            assert told() == f"{name} has {len(content) - 1} bytes, the manifest says {len(content)}"
            file.write_bytes(content[:-2000] + b"x" + content[-1999:])
            assert told() == f"{name} is damaged: its SHA-256 is not the manifest's"
            file.unlink()
            assert told(deep=False) == f"{name} is gone"
            file.symlink_to(folder / "manifest.json")
            assert told(deep=False) == f"{name} is no file"
    (folder / "secrets.tar").chmod(0o640)
    assert told() == "secrets.tar is open to others (chmod 600)"
    (folder / "secrets.tar").chmod(0o600)
    folder.chmod(0o755)
    assert "is open to others (chmod 700)" in told()
    folder.chmod(0o700)
    assert verify(project.facts(), archive) == []


def test_what_the_state_says(project: Project) -> None:
    """A purge or a removal that was interrupted is named, and trash that is gone; a format of the future is left."""
    archive = archived_alike(project)
    project_facts = project.facts()
    trash = Path(archive.folder) / "trash"
    for state, facts, text in (
        ("purging", {}, "purge was interrupted"),
        ("removing", {}, "removal of its worktree was interrupted"),
        ("archived", {"trash": str(trash), "tree": str(trash / "tree")}, f"in the trash, {trash / 'tree'}, is gone"),
    ):
        archive.set_state(state, **facts)
        [problem] = verify(project_facts, archive)
        assert text in problem
    (trash / "tree").mkdir(parents=True)
    assert verify(project_facts, archive) == []
    future = Archive(archive.folder, {**archive.manifest, "format": 99})
    assert verify(project_facts, future) == ["its format is 99; this k1ctl knows 1"]


def _tar(path: Path, *members: tuple[str, bytes, str]) -> str:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            tar.addfile(info, io.BytesIO())
    return str(path)


def test_members_that_lead_elsewhere(tmp_path: Path) -> None:
    """Absolute names, `..`, what lies below a link, devices and hard links are problems; a link by itself is none."""
    file, link, device, hard = tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.LNKTYPE
    bad: list[tuple[tuple[str, bytes, str], ...]] = [
        (("/etc/passwd", file, ""),),
        (("../x", file, ""),),
        (("a/../../x", file, ""),),
        (("./x", file, ""),),
        (("link", link, "/etc"), ("link/passwd", file, "")),
        (("device", device, ""),),
        (("hard", hard, "/etc/passwd"),),
    ]
    for number, members in enumerate(bad):
        [problem] = tar_problems(_tar(tmp_path / f"{number}.tar", *members))
        assert any(text in problem for text in ("leads elsewhere", "cannot be read", "not before it")), members
    many = [(f"../{i}", file, "") for i in range(9)]
    assert tar_problems(_tar(tmp_path / "many.tar", *many))[-1] == "and 4 more"
    assert (
        tar_problems(_tar(tmp_path / "good.tar", ("link", link, "/etc"), ("a/b", file, ""), ("c", hard, "a/b"))) == []
    )
    (tmp_path / "cut.tar").write_bytes((tmp_path / "good.tar").read_bytes()[:700])
    assert "cannot be read" in tar_problems(str(tmp_path / "cut.tar"))[0]
    assert "cannot be read" in tar_problems(os.devnull + "x")[0]


def test_nothing_is_changed_by_looking(project: Project, snapshot: Callable[[Path], dict[str, bytes]]) -> None:
    """verify of a whole archive leaves every file of the repository as it is."""
    archive = archived_alike(project)
    before = snapshot(project.root)
    assert verify(project.facts(), archive) == []
    assert snapshot(project.root) == before


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    return lambda top: {str(p): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def test_a_partial_clone(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the remote promised to have is neither missing nor fetched; what only the archive has must be here. What
    git traces on request is no problem."""
    monkeypatch.setenv("GIT_TRACE", "1")
    for i in range(3):
        project.write("tracked", f"version {i}\n")
        project.commit()
    project.git("config", "uploadpack.allowFilter", "true")
    there = project.root.parent / "partial"
    project.git("clone", "-q", "--filter=blob:none", f"file://{project.root}", str(there))
    partial = Project.__new__(Project)
    partial.root = there
    (there / "ops").mkdir()
    archive = archived(partial)
    packs = sorted((there / ".git" / "objects" / "pack").iterdir())
    assert verify(partial.facts(), archive) == []
    assert sorted((there / ".git" / "objects" / "pack").iterdir()) == packs
    loose(partial, f"{archive.manifest['tree']}:new").unlink()
    assert verify(partial.facts(), archive)


def _damaged(path: Path, at: int, text: bytes) -> list[str]:
    """What is told of a tar of two members, the first with an extended header, and ``text`` written over it ``at``."""
    tar = Writer(str(path))
    for name in ("ä" * 60, "b"):
        tar.add_bytes(name, b"x")
    tar.close()
    data = bytearray(path.read_bytes())
    assert data[156:157] == b"x" and data[1536 + 512 :][:1] == b"b"
    data[at : at + len(text)] = text
    path.write_bytes(data)
    return tar_problems(str(path))


def test_a_tar_without_end(tmp_path: Path) -> None:
    """A member of a negative size, which leads back; an extended header with a record of no length, or one that would
    fill the memory: told, not followed."""
    cases = {2048 + 124: b"-0000003000\0", 512: b"0 path=x", 124: b"77777777777\0"}
    for number, (at, text) in enumerate(cases.items()):
        [told] = _damaged(tmp_path / f"{number}.tar", at, text)
        assert "cannot be read" in told
    assert _damaged(tmp_path / "whole.tar", 0, b"") == []
    tar = Writer(str(tmp_path / "late.tar"))
    tar.add_bytes("a", b"x", mtime_ns=1 << 63)
    tar.close()
    [told] = tar_problems(str(tmp_path / "late.tar"))
    assert "a time that no file has" in told
