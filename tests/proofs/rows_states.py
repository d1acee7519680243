"""Situations of HEAD, branches and operations under way; most go on after the restore."""

from __future__ import annotations

import os
import subprocess

from tests.proofs.worktreecell import Then, Tree, row, run_git


@row("detached, with commits")
def _detached(tree: Tree) -> None:
    tree.git("checkout", "-q", "--detach")
    tree.write("only-here.txt")
    tree.commit("on no branch")
    tree.git("commit", "-q", "--amend", "--allow-empty", "-m", "amended: the first is in the reflog only")
    tree.write("b.txt", "dirty\n")


@row("commits that only the reflog knows")
def _reset(tree: Tree) -> None:
    tree.write("only-here.txt")
    tree.commit("will be reset away")
    tree.git("reset", "-q", "--hard", "HEAD~1")
    tree.reflog_entry()


@row("unborn branch", heavy=True)
def _unborn(tree: Tree) -> None:
    tree.git("checkout", "-q", "--orphan", "new-root")
    tree.write("staged.txt")
    tree.git("add", "staged.txt")
    tree.write("untracked.txt")
    tree.write("app.log")


@row("unborn branch, empty index")
def _nothing_yet(tree: Tree) -> None:
    tree.git("checkout", "-q", "--orphan", "nothing-yet")
    tree.git("rm", "-q", "-r", "-f", ".")
    tree.write("untracked.txt")


@row("merge with conflicts", heavy=True)
def _conflicts(tree: Tree) -> Then:
    tree.write("renamed.txt", "".join(f"{n}\n" for n in range(30)))
    tree.commit("before the merge")
    tree.git("merge", "-q", "side", fails=True)
    tree.write("b.txt", "changed meanwhile\n")
    tree.write("untracked.txt")

    def then(tree: Tree) -> None:
        tree.git("merge", "--abort")

    return then


@row("a conflict resolved in part")
def _resolved(tree: Tree) -> Then:
    tree.git("merge", "-q", "side", fails=True)
    tree.write("a.txt", "resolved\n")
    tree.git("add", "a.txt")

    def then(tree: Tree) -> None:
        tree.git("checkout", "-q", "-m", "a.txt")  # by the index's record of what was resolved
        assert b"<<<<<<<" in (tree.path / "a.txt").read_bytes()
        tree.git("add", "-A")
        tree.git("commit", "-q", "-m", "merged")
        assert len(tree.git("rev-list", "--parents", "-1", "HEAD").split()) == 3

    return then


@row("a merge that was not committed yet", heavy=True)
def _merging(tree: Tree) -> Then:
    tree.git("reset", "-q", "--hard", "base")
    tree.write("new.txt")
    tree.commit("own")
    tree.git("merge", "-q", "--no-commit", "--no-ff", "side")

    def then(tree: Tree) -> None:
        tree.git("commit", "-q", "--no-edit")
        assert len(tree.git("rev-list", "--parents", "-1", "HEAD").split()) == 3

    return then


def _own_commits(tree: Tree) -> None:
    tree.git("reset", "-q", "--hard", "base")
    for name, text in (("first.txt", "1\n"), ("a.txt", "mine\n"), ("last.txt", "3\n")):
        tree.write(name, text)
        tree.commit(name)


def _go_on(tree: Tree, *args: str) -> None:
    env = {**os.environ, "GIT_EDITOR": "true"}
    done = subprocess.run(["git", *args], cwd=tree.path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def _finish_rebase(tree: Tree) -> None:
    tree.write("a.txt", "resolved\n")
    tree.git("add", "a.txt")
    _go_on(tree, "rebase", "--continue")
    subjects = tree.git("log", "--format=%s", "main..").decode().split()
    assert subjects == ["last.txt", "a.txt", "first.txt"]


@row("rebase in progress", heavy=True)
def _rebase(tree: Tree) -> Then:
    _own_commits(tree)
    tree.git("rebase", "-q", "main", fails=True)
    return _finish_rebase


@row("rebase in progress, with an autostash")
def _autostash(tree: Tree) -> Then:
    """The commit of the autostash is named by one file of git's, and by nothing else."""
    _own_commits(tree)
    tree.write("last.txt", "changed before the rebase\n")
    tree.git("rebase", "-q", "--autostash", "main", fails=True)

    def then(tree: Tree) -> None:
        _finish_rebase(tree)
        assert (tree.path / "last.txt").read_text() == "changed before the rebase\n"

    return then


@row("rebase by patches in progress", heavy=True)
def _apply(tree: Tree) -> Then:
    _own_commits(tree)
    tree.git("rebase", "-q", "--apply", "main", fails=True)
    return _finish_rebase


@row("rebase stopped to edit, tree clean", heavy=True)
def _edit(tree: Tree) -> Then:
    _own_commits(tree)
    editor = "sequence.editor=sed -i.bak 1s/pick/edit/"
    tree.git("-c", editor, "rebase", "-q", "-i", "base")
    assert (tree.own / "rebase-merge").is_dir()

    def then(tree: Tree) -> None:
        _go_on(tree, "rebase", "--continue")
        assert not (tree.own / "rebase-merge").exists()
        assert tree.git("symbolic-ref", "HEAD")

    return then


@row("mailbox being applied")
def _am(tree: Tree) -> Then:
    _own_commits(tree)
    patches = tree.git("format-patch", "--stdout", "base")
    tree.git("reset", "-q", "--hard", "main")
    tree.git("am", "-q", stdin=patches, fails=True)

    def then(tree: Tree) -> None:
        tree.git("am", "--skip")
        assert b"last.txt" in tree.git("log", "-1", "--format=%s")

    return then


@row("several commits being picked")
def _picking(tree: Tree) -> Then:
    _own_commits(tree)
    tip = tree.git("rev-parse", "HEAD").decode().strip()
    tree.git("reset", "-q", "--hard", "main")  # what is left to pick is on no branch
    tree.git("cherry-pick", f"base..{tip}", fails=True)

    def then(tree: Tree) -> None:
        tree.write("a.txt", "resolved\n")
        tree.git("add", "a.txt")
        _go_on(tree, "cherry-pick", "--continue")
        assert b"last.txt" in tree.git("log", "-1", "--format=%s")

    return then


@row("revert in progress", heavy=True)
def _reverting(tree: Tree) -> Then:
    _own_commits(tree)
    tree.write("a.txt", "mine again\n")
    tree.commit("on top")
    tree.git("revert", "--no-edit", "HEAD~2", fails=True)

    def then(tree: Tree) -> None:
        tree.git("revert", "--abort")

    return then


@row("bisect in progress")
def _bisect(tree: Tree) -> Then:
    for number in range(6):
        tree.write("n.txt", f"{number}\n")
        tree.commit(f"n{number}")
    tree.git("bisect", "start")
    tree.git("bisect", "bad")
    tree.git("bisect", "good", "HEAD~5")

    def then(tree: Tree) -> None:
        tree.git("bisect", "good")
        tree.git("bisect", "reset")

    return then


@row("refs of this worktree only", group="refs")
def _refs(tree: Tree) -> None:
    tree.write("only-here.txt")
    kept = tree.commit("named by a ref of this worktree")
    blob = tree.git("hash-object", "-w", "--stdin", stdin=b"a blob with a name\n").decode().strip()
    tree.git("reset", "-q", "--hard", "HEAD~1")
    tree.git("update-ref", "refs/worktree/kept", kept)
    tree.git("update-ref", "refs/worktree/deep/blob", blob)
    tree.git("update-ref", "refs/rewritten/onto", kept)
    tree.git("update-ref", "FETCH_HEAD_OF_MINE", kept)
    tree.git("tag", "-a", "-m", "annotated", "gone", kept)
    tag = tree.git("rev-parse", "gone").decode().strip()
    tree.git("tag", "-d", "gone")
    tree.git("update-ref", "refs/worktree/tag", tag)
    (tree.own / "logs" / "HEAD").write_text("")


@row("what was fetched, and is in no branch", group="refs")
def _fetched(tree: Tree) -> None:
    away = tree.repository.folder / "fetched"
    tree.git("clone", "-q", tree.repository.root, away)
    run_git(away, "commit", "-q", "--allow-empty", "-m", "theirs")
    tree.git("fetch", "-q", away, "HEAD")


@row("stash of this branch", group="refs", stash=True)
def _stash(tree: Tree) -> None:
    tree.write("a.txt", "stashed\n")
    tree.git("stash", "push", "-q", "-m", "work of mine")


@row("settings of this worktree only", repository="odd")
def _config(tree: Tree) -> None:
    tree.git("config", "--worktree", "user.name", "Somebody Else")
    tree.git("config", "--worktree", "core.autocrlf", "input")
    tree.write("a.txt", "one\r\ntwo\r\n")
    tree.write("new.txt", "one\r\ntwo\r\n")


@row("untracked files are not shown", repository="odd")
def _silent(tree: Tree) -> None:
    tree.write("untracked.txt")
    tree.write("dir/untracked.txt")


@row("hooks that write", repository="odd")
def _hooks(tree: Tree) -> None:
    hooks = tree.repository.root / ".git" / "hooks"
    hooks.mkdir(exist_ok=True)
    for name, text in {"post-checkout": 'echo ran > "$PWD/hook-ran"', "pre-commit": "exit 1"}.items():
        (hooks / name).write_text(f"#!/bin/sh\n{text}\n")
        (hooks / name).chmod(0o755)
    tree.write("a.txt", "changed\n")
    tree.write("untracked.txt")


@row("nobody's name is set", repository="odd", stash=True)
def _nobody(tree: Tree) -> None:
    tree.write("a.txt", "changed\n")
    tree.git("add", "a.txt")
    tree.write("untracked.txt")


@row("branch whose name is no UTF-8")
def _bytes(tree: Tree) -> None:
    tree.git("checkout", "-q", "-b", b"caf\xe9/\xff\xfe")
    tree.write("only-here.txt")
    tree.commit("on it")
    tree.write("a.txt", "changed\n")


@row("called by a hook of git", repository="odd")
def _variables(tree: Tree) -> None:
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.write("untracked.txt")
    tree.write("x.log")


@row("settings made for other eyes", repository="settings")
def _settings(tree: Tree) -> None:
    """What makes git speak otherwise, ask for keys, or start programs that are not there."""
    settings = [
        "color.ui=always",
        "core.abbrev=4",
        "core.pager=false",
        "log.showSignature=true",
        "core.ignoreCase=true",
    ]
    settings += [
        "commit.gpgSign=true",
        "gpg.program=/nowhere/gpg",
        "diff.external=/nowhere/diff",
        "diff.renames=copies",
    ]
    settings += ["diff.ignoreSubmodules=all", "submodule.recurse=true", "i18n.commitEncoding=ISO-8859-1"]
    settings += ["status.short=true", "status.branch=true", "diff.noprefix=true", "core.quotePath=false"]
    settings += ["core.hooksPath=/nowhere", "core.bigFileThreshold=1", "fsck.missingEmail=error", "gc.pruneExpire=now"]
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.git("mv", "b.txt", "moved.txt")
    tree.write("untracked.txt")
    tree.embedded("ignored/lib")
    for setting in settings:
        tree.repository.git("config", *setting.split("=", 1))


@row("locked", refused="locked")
def _locked(tree: Tree) -> None:
    tree.repository.git("worktree", "lock", "--reason", "an agent works here", tree.path)


@row("index.lock", refused="index.lock")
def _index_lock(tree: Tree) -> None:
    """Somebody commits, or was killed while committing."""
    (tree.own / "index.lock").write_bytes(b"")
    tree.write("a.txt", "changed\n")


@row("a process works inside", refused="sleep (pid ")
def _process(tree: Tree) -> None:
    tree.started.append(subprocess.Popen(["sleep", "600"], cwd=tree.path / "dir"))
