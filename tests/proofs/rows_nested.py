"""Situations of repositories in repositories, and of repositories that are kept in another way."""

from __future__ import annotations

import os
from pathlib import Path

from tests.proofs.worktreecell import Tree, row, run_git


def _busy(tree: Tree, name: str) -> None:
    """Give an embedded repository everything that can be lost in one."""
    where = tree.path / name
    (where / "file.txt").write_text("stashed\n")
    tree.git("stash", "push", "-q", cwd=name)
    tree.git("checkout", "-q", "-b", "other", cwd=name)
    (where / "other.txt").write_text("unpushed\n")
    tree.commit("unpushed", name)
    (where / "file.txt").write_text("dirty\n")
    (where / "staged.txt").write_text("staged\n")
    tree.git("add", "staged.txt", cwd=name)
    (where / "new\nline.txt").write_text("untracked\n")
    (where / ".git" / "info" / "exclude").write_text("*.private\n")
    (where / "x.private").write_text("ignored there\n")


@row("embedded repository in an ignored folder", group="embedded")
def _ignored(tree: Tree) -> None:
    tree.embedded("ignored/lib")
    _busy(tree, "ignored/lib")


@row("embedded repository that is not ignored", group="embedded")
def _untracked(tree: Tree) -> None:
    tree.embedded("vendor/lib")
    _busy(tree, "vendor/lib")
    tree.write("vendor/beside.txt", "an untracked file beside it\n")
    tree.embedded("vendor/lib/inner")
    (tree.path / "vendor" / "lib" / "inner" / "deep.txt").write_text("two repositories deep\n")


@row("embedded repository in a folder that can be made again", group="embedded")
def _regenerable(tree: Tree) -> None:
    """Work that nobody has elsewhere is precious wherever it lies."""
    tree.embedded("node_modules/forked")
    _busy(tree, "node_modules/forked")
    tree.write("node_modules/other/index.js")
    tree.dropped.add(b"node_modules/other")


@row("embedded repository without a worktree", group="embedded")
def _bare(tree: Tree) -> None:
    source = tree.embedded("ignored/source")
    tree.git("clone", "-q", "--bare", source, tree.path / "ignored" / "mirror.git")
    tree.git("clone", "-q", "--bare", source, tree.path / "mirror.git")
    tree.git("update-ref", "refs/heads/only-here", "HEAD", cwd="mirror.git")


@row("embedded repository whose git folder is outside", refused="belongs together with")
def _outside(tree: Tree) -> None:
    away = tree.repository.folder / "away.git"
    tree.embedded("ignored/pointing", "--separate-git-dir", str(away))
    (tree.path / "ignored" / "pointing" / "file.txt").write_text("dirty\n")


@row("embedded repository whose git folder is gone", refused="belongs together with")
def _dangling(tree: Tree) -> None:
    tree.write("pointer/.git", "gitdir: /nowhere\n")
    tree.write("pointer/beside.txt")


@row("embedded repository whose git folder is beside it", group="embedded")
def _pointer(tree: Tree) -> None:
    (tree.path / "ignored").mkdir(exist_ok=True)
    tree.embedded("pointed", "--separate-git-dir", str(tree.path / "ignored" / "pointed.git"))
    (tree.path / "pointed" / "file.txt").write_text("dirty\n")


@row("embedded repository with a worktree of its own", group="embedded")
def _own_worktree(tree: Tree) -> None:
    tree.embedded("ignored/with")
    tree.git("worktree", "add", "-q", "-b", "there", tree.path / "ignored" / "there", cwd="ignored/with")
    (tree.path / "ignored" / "there" / "file.txt").write_text("dirty\n")


@row("worktree of another repository", refused="belongs together with")
def _foreign(tree: Tree) -> None:
    away = tree.repository.folder / "foreign"
    away.mkdir()
    run_git(away, "init", "-q", "-b", "main")
    run_git(away, "commit", "-q", "--allow-empty", "-m", "first")
    run_git(away, "worktree", "add", "-q", "-b", "guest", tree.path / "guest")
    tree.write("guest/file.txt", "dirty\n")
    tree.git("add", "file.txt", cwd="guest")


@row("embedded repository with a password", group="embedded")
def _password(tree: Tree) -> None:
    for place in ("ignored/private", "private"):
        secret = f"hush-{os.urandom(8).hex()}"
        tree.embedded(place)
        tree.git("remote", "add", "origin", f"https://me:{secret}@example.org/x.git", cwd=place)
        tree.git("config", "http.extraHeader", f"Authorization: Basic {secret}", cwd=place)
        (tree.path / place / ".env").write_text(f"TOKEN={secret}-env\n")
        tree.secrets.append(secret.encode())
    secret = f"hush-{os.urandom(8).hex()}"
    for place in ("ignored/bare.git", "bare.git"):
        tree.git("clone", "-q", "--bare", tree.path / "private", tree.path / place)
        tree.git("remote", "set-url", "origin", f"https://me:{secret}@example.org/x.git", cwd=place)
    tree.embedded("apart", "--separate-git-dir", str(tree.path / "ignored" / "apart"))
    tree.git("remote", "add", "origin", f"https://{secret}@example.org/x.git", cwd="apart")
    tree.secrets.append(secret.encode())


@row("worktree of the repository inside, dirty", refused="other worktrees lie in it")
def _worktree(tree: Tree) -> None:
    inside = tree.path / "ignored" / "inner"
    tree.repository.git("worktree", "add", "-q", "-b", f"inner-{tree.path.name}", inside)
    (inside / "a.txt").write_text("dirty\n")


def _library(folder: Path, name: str, inner: Path | None = None) -> Path:
    """A repository that others have as a submodule."""
    path = folder / name
    path.mkdir()
    run_git(path, "init", "-q", "-b", "main")
    (path / "lib.c").write_text(f"{name}\n")
    if inner is not None:
        run_git(path, "submodule", "add", "-q", inner, "inner")
    run_git(path, "add", "-A")
    run_git(path, "commit", "-q", "-m", "library")
    return path


@row("submodules with work", repository="submodules")
def _submodules(tree: Tree) -> None:
    inner = _library(tree.repository.folder, "inner")
    library = _library(tree.repository.folder, "library", inner)
    for name in ("lib", "other", "folder with\nnewline"):
        tree.git("submodule", "add", "-q", "--name", name.replace("\n", " "), library, name)
    tree.commit("submodules")
    tree.git("submodule", "update", "-q", "--init", "--recursive")
    (tree.path / "lib" / "lib.c").write_text("unpushed\n")
    tree.commit("unpushed", "lib")
    tree.git("checkout", "-q", "-b", "work", cwd="lib")
    (tree.path / "lib" / "lib.c").write_text("dirty\n")
    (tree.path / "lib" / "untracked.txt").write_text("untracked\n")
    (tree.path / "lib" / "inner" / "lib.c").write_text("unpushed, two deep\n")
    tree.commit("unpushed", "lib/inner")
    (tree.path / "lib" / "inner" / "untracked.txt").write_text("untracked, two deep\n")
    (tree.path / "other" / "lib.c").write_text("stashed\n")
    tree.git("stash", "push", "-q", cwd="other")
    (tree.path / "folder with\nnewline" / "lib.c").write_text("only in a submodule that was put away\n")
    tree.commit("unpushed, put away", "folder with\nnewline")
    tree.git("submodule", "deinit", "-q", "-f", "folder with\nnewline")


@row("submodule whose git folder is inside it", repository="submodules")
def _absorbed(tree: Tree) -> None:
    library = _library(tree.repository.folder, f"old library of {tree.path.name}")
    tree.git("clone", "-q", library, tree.path / "lib")
    tree.git("submodule", "add", "-q", library, "lib")
    tree.commit("submodule")
    assert (tree.path / "lib" / ".git").is_dir()
    (tree.path / "lib" / "lib.c").write_text("unpushed\n")
    tree.commit("unpushed", "lib")
    (tree.path / "lib" / "untracked.txt").write_text("untracked\n")


@row("submodule that was never fetched", repository="submodules")
def _empty(tree: Tree) -> None:
    library = _library(tree.repository.folder, f"library of {tree.path.name}")
    tree.git("submodule", "add", "-q", library, "lib")
    tree.commit("submodule")
    tree.git("submodule", "deinit", "-q", "-f", "lib")
    tree.git("checkout", "-q", "--detach")


@row("SHA-256 objects", repository="sha256")
def _sha256(tree: Tree) -> None:
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.write("b.txt", "changed\n")
    tree.write("untracked.txt")
    tree.git("stash", "push", "-q")
    tree.git("checkout", "-q", "--detach")
    tree.write("only-here.txt")
    tree.commit("on no branch")
    tree.git("stash", "apply", "-q", "--index")


@row("shallow clone", repository="shallow")
def _shallow(tree: Tree) -> None:
    tree.write("only-here.txt")
    tree.commit("on top of a graft")
    tree.write("a.txt", "changed\n")
    tree.write("x.log")


@row("objects of another repository", repository="alternates", stash=True)
def _alternates(tree: Tree) -> None:
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.write("untracked.txt")


@row("worktree inside of the main checkout", repository="inside")
def _inside(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("untracked.txt")
    tree.write("ignored/x.log")
    tree.git("checkout", "-q", "--detach")


@row("path with a pattern, a newline and letters", folder="[t]* über the\nmöön  \U0001f319")
def _path(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("untracked.txt")
    tree.write("x.log")
    tree.embedded("ignored/lib")


@row("below a folder that is a link", repository="linked")
def _linked(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("x.log")
    tree.git("checkout", "-q", "--detach")


@row("path as long as paths get", heavy=True)
def _long(tree: Tree) -> None:
    """What is built beside the worktree, or moved into the trash, has a longer name than it."""
    here = os.getcwd()
    (tree.path / "ignored").mkdir()
    os.chdir(tree.path / "ignored")
    try:
        while len(os.getcwdb()) + 201 + len("/end") < 4095:
            os.mkdir("long" * 50)
            os.chdir("long" * 50)
        left = 4095 - len(os.getcwdb()) - len("/") - 1
        with open("e" * min(left, 255), "w") as f:
            f.write("as far down as there is a name for\n")
    finally:
        os.chdir(here)


@row("objects that only the origin has", repository="partial")
def _partial(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("only-here.txt")
    tree.commit("on top")
    tree.git("checkout", "-q", "--detach")
    tree.write("b.txt", "changed\n")
    tree.repository.git("remote", "set-url", "origin", "/nowhere")


@row("path that begins with a dash", heavy=True, folder="-rf --all")
def _dash(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.write("x.log")
