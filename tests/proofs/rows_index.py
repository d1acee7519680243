"""Situations of the index: what `git status` hides, what only the index knows, and how git keeps it."""

from __future__ import annotations

import os

from tests.proofs.worktreecell import Tree, row


@row("edits behind assume-unchanged and skip-worktree", group="flags")
def _flags(tree: Tree) -> None:
    tree.write("a.txt", "hidden edit\n")
    tree.git("update-index", "--assume-unchanged", "a.txt", "dir/two.txt")
    (tree.path / "dir" / "two.txt").unlink()
    tree.write("b.txt", "hidden edit, too\n")
    tree.git("update-index", "--skip-worktree", "b.txt", "gone/x.txt", "dir/deep/three.txt")
    (tree.path / "gone" / "x.txt").unlink()
    (tree.path / "dir" / "deep" / "three.txt").chmod(0o755)
    tree.write("swap", "both flags\n")
    tree.git("update-index", "--skip-worktree", "swap")
    tree.git("update-index", "--assume-unchanged", "swap")


@row("intent to add", group="flags")
def _intent(tree: Tree) -> None:
    tree.write("intended.txt", "content\n")
    tree.write("intended/empty.txt").write_bytes(b"")
    tree.git("add", "-N", "intended.txt", "intended/empty.txt")
    tree.write("intended/gone.txt")
    tree.git("add", "-N", "intended/gone.txt")
    (tree.path / "intended" / "gone.txt").unlink()


@row("three versions of a file", group="staged")
def _three(tree: Tree) -> None:
    """HEAD, index and worktree differ; a version is nowhere but in the index."""
    tree.write("a.txt", "only in the index\n")
    tree.write("born.txt", "only in the index, never committed\n")
    tree.write("staged-then-gone.txt", "only in the index, gone from the folder\n")
    tree.git("add", "-A")
    tree.write("a.txt", "in the worktree\n")
    tree.write("born.txt", "changed since\n")
    (tree.path / "staged-then-gone.txt").unlink()
    tree.git("rm", "-q", "--cached", "b.txt")
    tree.git("rm", "-q", "gone/x.txt")
    (tree.path / "gone" / "y.txt").unlink()


@row("renamed, also by case alone", group="staged", stash=True)
def _renamed(tree: Tree) -> None:
    tree.git("mv", "README", "readme")
    tree.git("mv", "swap", "moved")
    tree.write("DIR/one.txt", "another folder than dir\n")


@row("a repository as an entry without .gitmodules", group="embedded")
def _gitlink(tree: Tree) -> None:
    tree.embedded("vendor/linked")
    tree.git("add", "vendor/linked")
    (tree.path / "vendor" / "linked" / "file.txt").write_text("dirty\n")
    tree.commit("in the embedded one", "vendor/linked")
    (tree.path / "vendor" / "linked" / "more.txt").write_text("untracked there\n")


@row("sparse, in cone mode")
def _cone(tree: Tree) -> None:
    tree.git("sparse-checkout", "set", "--cone", "dir/deep")
    tree.write("gone/x.txt", "an edit outside of the cone\n")
    tree.write("gone/new.txt", "a file outside of the cone\n")
    tree.write("dir/deep/three.txt", "an edit inside\n")
    tree.git("sparse-checkout", "list")


@row("sparse, by patterns")
def _patterns(tree: Tree) -> None:
    tree.git("sparse-checkout", "set", "--no-cone", "/*", "!/dir/", "!/a.txt", "/dir/deep/")
    tree.write("a.txt", "an edit of a file that is left out\n")
    tree.write("dir/one.txt", "an edit of a file that is not in main any more\n")
    tree.write("b.txt", "an edit inside\n")


@row("sparse index")
def _sparse_index(tree: Tree) -> None:
    tree.git("sparse-checkout", "set", "--cone", "--sparse-index", "gone")
    tree.write("gone/x.txt", "an edit inside\n")
    tree.git("add", "gone/x.txt")


@row("split index, untracked cache, version 4", repository="index kinds")
def _kinds(tree: Tree) -> None:
    tree.git("update-index", "--split-index")
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.git("update-index", "--untracked-cache")
    tree.git("update-index", "--index-version", "4")
    tree.write("b.txt", "changed\n")
    tree.write("untracked.txt")
    tree.write("x.log")
    tree.git("status")


@row("fsmonitor", repository="index kinds")
def _fsmonitor(tree: Tree) -> None:
    """A hook that claims that nothing ever changes: whoever believes it loses the changes."""
    hook = tree.repository.folder / "fsmonitor"
    hook.write_text("#!/bin/sh\nprintf 'token\\0'\n")
    hook.chmod(0o755)
    tree.repository.git("config", "core.fsmonitor", str(hook))
    tree.git("update-index", "--fsmonitor")
    tree.git("status")
    tree.write("a.txt", "changed, and the monitor is silent\n")
    tree.write("untracked.txt")
    (tree.path / "b.txt").unlink()


@row("no index", group="no index")
def _no_index(tree: Tree) -> None:
    """As after a crash: everything counts as deleted and untracked at once."""
    (tree.own / "index").unlink()
    tree.write("a.txt", "changed\n")


@row("odd stat data", heavy=True, stash=True)
def _racy(tree: Tree) -> None:
    """A change of equal size, with the time of the file before it: only the bytes tell."""
    path = tree.path / "a.txt"
    when = path.stat()
    data = path.read_bytes()
    path.write_bytes(data.replace(b"line 7", b"LINE 7"))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
    same = tree.path / "b.txt"
    again = same.stat()
    same.write_bytes(same.read_bytes()[::-1])
    os.utime(same, ns=(again.st_atime_ns, again.st_mtime_ns))


def _conversions(tree: Tree) -> None:
    attributes = ["*.crlf text eol=crlf", "*.id ident", "*.wide text working-tree-encoding=UTF-16LE eol=lf"]
    attributes += [
        "*.upper filter=upper",
        "*.auto text=auto",
        "*.raw -text",
        "*.big filter=lfs diff=lfs merge=lfs -text",
    ]
    tree.write(".gitattributes", "\n".join(attributes) + "\n")
    tree.write("conv/x.crlf", "one\r\ntwo\r\n")
    tree.write("conv/x.id", "$Id$\n")
    tree.write("conv/x.wide", "wide\n".encode("utf-16-le"))
    tree.write("conv/x.upper", "UPPER\n")
    tree.write("conv/x.auto", "one\ntwo\n")
    tree.write("conv/x.raw", "one\r\ntwo\n")
    tree.commit("attributes")
    tree.git("rm", "-q", "-r", "--cached", "conv")
    tree.git("reset", "-q", "--hard")
    tree.write("conv/x.crlf", "one\ntwo, mixed\r\n")
    tree.write("conv/x.id", "$Id: not what git would write $\nmore\n")
    tree.write("conv/x.wide", "wide, no newline".encode("utf-16-le"))
    tree.write("conv/x.upper", "Mixed Case\n")
    tree.write("conv/x.auto", "one\r\ntwo\nthree\r\n")
    tree.write("conv/x.raw", b"\x00\r\n\r")
    for kind in ("crlf", "id", "upper", "auto", "raw"):
        tree.write(f"conv/untracked.{kind}", "$Id: x $\r\nUpper\n")
    tree.write("conv/untracked.wide", b"\x41\x00\x0d\x00\x0a\x00")


@row("files that git converts", repository="filters")
def _filters(tree: Tree) -> None:
    _conversions(tree)


@row("a required filter that is missing", repository="missing filter", refused="tell what is in it")
def _no_filter(tree: Tree) -> None:
    """git cannot say what is changed."""
    tree.write(".gitattributes", "*.big filter=lfs -text\n")
    tree.write("image.big", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    tree.commit("a pointer")
    tree.repository.git("config", "filter.lfs.clean", "no-such-program-of-lfs clean -- %f")
    tree.repository.git("config", "filter.lfs.smudge", "no-such-program-of-lfs smudge -- %f")
    tree.repository.git("config", "filter.lfs.process", "no-such-program-of-lfs filter-process")
    tree.repository.git("config", "filter.lfs.required", "true")
    os.utime(tree.path / "image.big", (1, 1))  # git has to read it anew, and so to run the filter
    tree.write("untracked.big", os.urandom(1000))
    tree.write("b.txt", "changed\n")
    tree.write("ignored/x.big")


@row("everything converted by autocrlf", repository="autocrlf")
def _autocrlf(tree: Tree) -> None:
    assert b"\r\n" in (tree.path / "a.txt").read_bytes()
    _conversions(tree)
    tree.write("a.txt", "unix\n" * 3)
    tree.write("new.txt", "mixed\r\nline ends\n")
    (tree.path / "script.sh").chmod(0o644)  # not told: core.fileMode is false


@row("edits that no stat data tells of", repository="index kinds", apart="status", stash=True)
def _unseen(tree: Tree) -> None:
    """By core.trustctime and core.checkStat git was told not to look closely: it will see them afterwards."""
    path = tree.path / "a.txt"
    tree.git("status")
    when = path.stat()
    path.write_bytes(path.read_bytes().replace(b"line 7", b"LINE 7"))
    os.utime(path, ns=(when.st_atime_ns, when.st_mtime_ns))
