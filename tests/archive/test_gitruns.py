"""k1ctl.archive.gitruns: what git would run of the tar files of an archive that somebody else wrote."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from k1ctl.archive.gitruns import found, misplaced
from k1ctl.archive.tar import Writer

MANIFEST = {"path": "/w/oslo", "git_dir": "/r/.git", "entry": "oslo"}
PLAIN = """[core]
	repositoryformatversion = 0
	filemode = true
	worktree = ../../../../../../w/oslo/lib
	fsmonitor = false
[remote "origin"]
	url = https://example.org/lib.git
	fetch = +refs/heads/*:refs/remotes/origin/*
[branch "main"]
	remote = origin
	vscode-merge-base = origin/main
[filter "lfs"]
	clean = git-lfs clean -- %f
	required = true
"""


def told(folder: Path, tar: str, members: dict[str, str]) -> list[str]:
    """What is found in a ``tar`` of these files; one that begins with ``->`` is a link."""
    writer = Writer(str(folder / tar))
    work = folder / "work"
    work.mkdir()
    for number, (name, content) in enumerate(members.items()):
        if content.startswith("->"):
            (work / str(number)).symlink_to(content[2:])
            writer.add(str(work / str(number)), name, os.lstat(work / str(number)))
        else:
            writer.add_bytes(name, content.encode())
    manifest: dict[str, Any] = {**MANIFEST, "files": {tar: writer.close()}}
    return found(str(folder), manifest)


@pytest.mark.parametrize(
    ("tar", "members"),
    [
        ("git.tar", {"HEAD": "x", "config.worktree": "[core]\n\tsparseCheckout = true\n", "refs/bisect/hooks/x": "x"}),
        ("git.tar", {"modules/lib/HEAD": "x", "modules/lib/config": PLAIN, "modules/lib/hooks/update.sample": "x"}),
        ("git.tar", {"rebase-merge/git-rebase-todo": "pick 1 exec\n# x, exec <command>\n"}),
        ("git.tar", {"modules/lib/HEAD": "x", "modules/lib/worktrees/w/commondir": "../..\n"}),
        ("files.tar", {"a/.git/HEAD": "x", "a/.git/config": PLAIN.replace("worktree", "#"), "a/.git/hooks": "x"}),
        ("files.tar", {"lib/.git": "gitdir: ../../../r/.git/worktrees/oslo/modules/lib\n"}),
        ("files.tar", {"a/b/.git": "gitdir: ../.git/modules/b\n"}),
        ("files.tar", {"config": "[core]\n\tfsmonitor = x\n", "hooks/run": "x", "link": "->/etc"}),
    ],
)
def test_what_runs_nothing(tmp_path: Path, tar: str, members: dict[str, str]) -> None:
    """What git itself writes is no obstacle, nor files that only look alike outside of a git folder."""
    assert told(tmp_path, tar, members) == []


EVIL = "[core]\n\tfsmonitor = touch /tmp/x\n"


@pytest.mark.parametrize(
    ("tar", "members", "why"),
    [
        ("git.tar", {"config.worktree": EVIL}, "sets core.fsmonitor"),
        ("git.tar", {"Config.WorkTree": EVIL}, "sets core.fsmonitor"),
        ("git.tar", {"modules/lib/conf\u200cig": EVIL}, "sets core.fsmonitor"),
        ("git.tar", {"modules/lib/config": "[include]\n\tpath = /tmp/x\n"}, "sets include.path"),
        ("git.tar", {"modules/lib/config": "[alias]\n\tst = !touch x\n"}, "sets alias.st"),
        ("git.tar", {"modules/lib/config": '[filter "lfs"]\n\tclean = touch x\n'}, "sets filter.lfs.clean"),
        ("git.tar", {"modules/lib/config": '[submodule "x"]\n\tupdate = !touch x\n'}, "sets submodule.x.update"),
        ("git.tar", {"modules/lib/config": '[remote "o"]\n\tuploadpack = x\n'}, "sets remote.o.uploadpack"),
        ("git.tar", {"modules/lib/config": "[core]\n\tworktree = /home/ada\n"}, "sets core.worktree"),
        ("git.tar", {"modules/lib/config": "[core\n"}, "cannot be read"),
        ("git.tar", {"modules/lib/config": "\n" * (1 << 20) + EVIL}, "cannot be read"),
        ("git.tar", {"modules/lib/config": "->/tmp/x"}, "is a link"),
        ("git.tar", {"modules/lib/commondir": "/tmp/x\n"}, "from elsewhere"),
        ("git.tar", {"modules/lib/HEAD": "x", "modules/lib/HOOKS/post-checkout": "x"}, "is a hook"),
        ("git.tar", {"rebase-merge/git-rebase-todo": "pick 1\n  x touch /tmp/x\n"}, "commands to run"),
        ("files.tar", {"a/.GIT/config": EVIL}, "sets core.fsmonitor"),
        ("files.tar", {"a/.git/hooks/pre-commit": "x"}, "is a hook"),
        ("files.tar", {"a/.git/hooks": "->../evil"}, "is a link"),
        ("files.tar", {"bare/HEAD": "x", "bare/config": EVIL}, "sets core.fsmonitor"),
        ("files.tar", {"lib/.git": "gitdir: /tmp/x\n"}, "elsewhere"),
        ("files.tar", {"lib/.git": "gitdir: ../bare\n"}, "elsewhere"),
        ("files.tar", {"lib/.git": "->../bare"}, "is a link"),
    ],
)
def test_what_would_run(tmp_path: Path, tar: str, members: dict[str, str], why: str) -> None:
    """Each is named by tar, file and setting, and never with its value."""
    [line] = told(tmp_path, tar, members)
    assert line.startswith(f"{tar}: ") and why in line and "/tmp/x" not in line


def test_a_further_name_of_a_file_is_looked_into(tmp_path: Path) -> None:
    """Settings that are a hard link to another file of the tar."""
    (tmp_path / "one").write_text(EVIL)
    os.link(tmp_path / "one", tmp_path / "two")
    writer = Writer(str(tmp_path / "files.tar"))
    for name, member in (("one", "a"), ("two", "b/.git/config")):
        writer.add(str(tmp_path / name), member, os.lstat(tmp_path / name))
    [line] = found(str(tmp_path), {**MANIFEST, "files": {"files.tar": writer.close()}})
    assert "sets core.fsmonitor" in line


@pytest.mark.parametrize(
    ("tar", "members", "why"),
    [
        ("git.tar", {"gitdir": "->/home/ada/.bashrc"}, "is a link"),
        ("files.tar", {".Git": "gitdir: /tmp/x\n"}, "no file of a worktree"),
        ("files.tar", {".git/config": "x"}, "no file of a worktree"),
    ],
)
def test_what_no_archive_has(tmp_path: Path, tar: str, members: dict[str, str], why: str) -> None:
    """A restore writes such files itself: it must not write through a link, nor beside another's."""
    told(tmp_path, tar, members)
    [line] = misplaced(str(tmp_path / tar))
    assert why in line


def test_a_name_that_is_there_twice(tmp_path: Path) -> None:
    """Only folders may be."""
    writer = Writer(str(tmp_path / "files.tar"))
    for _ in range(2):
        writer.add_bytes("a", b"x")
    writer.close()
    assert misplaced(str(tmp_path / "files.tar")) == ["files.tar: 'a' is there twice"]
