"""Whether everything a branch changed is in the default branch already, also by a squash merge or a rebase.

Six steps, from cheap to dear; the first that proves it is told. All are asked about commit ids that were captured once.
Where a step cannot tell, the branch counts as not merged; so does what was merged and reverted since: it is to come
again.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.files import read_bytes
from k1ctl.git import GitError, call, names, output

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

_LIMIT = 500  # commits of the target, since the two parted, that are compared with the branch
_PLAIN = ("--no-ext-diff", "--no-textconv", "--no-renames", "--full-index", "--binary", "-U3", "--submodule=short")
_RAW = ("diff-tree", "-r", "-z", "--raw", "--no-renames", "--ignore-submodules=none")


class Target(NamedTuple):
    """What a branch must be merged into: the short ``name``, its full ``ref`` and the ``commit`` it had when asked."""

    name: str
    ref: str
    commit: str


def default_branch(workspace: Workspace) -> Target | None:
    """The repository's default branch: what ``origin/HEAD`` names, else the main checkout's branch; None without."""
    for place, pattern in (("refs/remotes/origin/HEAD", "refs/remotes/"), ("HEAD", "refs/heads/")):
        done = call(["symbolic-ref", "--quiet", place], workspace.git_dir)
        ref = done.stdout.strip()
        if done.returncode == 0 and ref.startswith(pattern):
            commit = call(["rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"], workspace.git_dir).stdout.strip()
            if commit:
                return Target(ref.removeprefix(pattern), ref, commit)
    return None


def proof(cwd: str, tip: str, target: str) -> str:
    """The step that proves that all changes up to commit ``tip`` are in commit ``target``; "" when none does.

    ``same-commit``; ``ancestor``; ``no-change``: nothing since the two parted; ``equal-trees``; ``adds-nothing``:
    merged now, it would change no file; ``squashed``: one commit of the target makes the very same change.
    Raises GitError.
    """
    if tip == target:
        return "same-commit"
    if call(["merge-base", "--is-ancestor", tip, target], cwd).returncode == 0:
        return "" if _merge_reverted(cwd, tip, target) else "ancestor"
    done = call(["merge-base", target, tip], cwd)
    base = done.stdout.split()[0] if done.returncode == 0 else ""
    trees = [_tree(cwd, commit) for commit in (base, tip, target) if commit]
    if base and trees[0] == trees[1]:
        return "no-change"
    if trees[-2] == trees[-1]:
        return "equal-trees"
    if not base:
        return ""  # no common history: a merge of the two would be no merge
    merged = _merged_tree(cwd, tip, target)
    if merged == trees[2]:
        return "adds-nothing"
    if merged:
        return ""  # a merge without a conflict that changes something: what of it was there is there no more
    return "squashed" if _last_of(cwd, base, tip, f"{base}..{target}") == "made" else ""


def _merge_reverted(cwd: str, tip: str, target: str) -> bool:
    """Whether ``target`` undid the merge by which it got ``tip``.

    Not of a fast-forward: it does not tell where the branch began.
    """
    walk = output(["rev-list", "--ancestry-path", "--topo-order", "--parents", f"{tip}..{target}"], cwd)
    merge, *parents = walk.rstrip("\n").rpartition("\n")[2].split() or [""]
    if len(parents) < 2 or call(["merge-base", "--is-ancestor", tip, parents[0]], cwd).returncode == 0:
        return False
    return _last_of(cwd, parents[0], merge, f"{merge}..{target}") == "undone"


def _tree(cwd: str, commit: str) -> str:
    return output(["rev-parse", "--verify", f"{commit}^{{tree}}"], cwd).strip()


def _merged_tree(cwd: str, tip: str, target: str) -> str:
    """The tree of a merge of both, made without a working tree; "" with conflicts and before git 2.38.

    A merge driver that somebody configured may drop one side's change without a word: with one, nothing is proved.
    """
    if call(["config", "--get-regexp", r"^merge\..*\.driver$"], cwd).returncode == 0:
        return ""
    done = call(["merge-tree", "--write-tree", target, tip], cwd)
    return done.stdout.splitlines()[0].strip() if done.returncode == 0 and done.stdout else ""


def _last_of(cwd: str, old: str, new: str, span: str) -> str:
    """What commits of the range ``span`` did last with the change from ``old`` to ``new``: ``made`` it, line for line,
    or ``undone``; "" when none did.

    As git-patch-id(1), but with white space, modes and binary files compared too; line numbers may differ. Most commits
    are told apart by which files they touch.
    """
    pairs = {"made": (old, new), "undone": (new, old)}
    wanted = [_touched(names([*_RAW, *pair], cwd)).get("") for pair in pairs.values()]
    walk = output(["rev-list", "--no-merges", f"--max-count={_LIMIT}", span], cwd)
    alike = [c for c, touched in _touched(names([*_RAW, "--stdin"], cwd, stdin=walk)).items() if touched in wanted]
    patches = {what: _patch(cwd, *pair) for what, pair in pairs.items()} if alike else {}
    for commit in alike:  # the newest first
        patch = _patch(cwd, f"{commit}^", commit)
        for what in patches:
            if patch == patches[what]:
                return what
    return ""


def _touched(words: list[str]) -> dict[str, set[str]]:
    """{commit: what it changes, each "OLDMODE NEWMODE KIND NAME"}; "" is the commit of a comparison of two.

    ``:OLDMODE NEWMODE OLDID NEWID KIND`` NUL ``NAME`` NUL, after the commit's id with ``--stdin`` (git-diff-tree(1)).
    """
    found: dict[str, set[str]] = {}
    commit, rest = "", iter(words)
    for word in rest:
        if word.startswith(":"):
            old, new, _, _, kind = word[1:].split(" ")
            found.setdefault(commit, set()).add(f"{old} {new} {kind} {next(rest)}")
        else:
            commit = word.strip()
    return found


def _patch(cwd: str, old: str, new: str) -> list[str]:
    """The change from one commit to another, without what depends on where in a file and in history it is made."""
    lines = output(["diff-tree", "-p", "-r", *_PLAIN, old, new], cwd).split("\n")
    return ["@@" if line.startswith("@@ ") else line for line in lines if not line.startswith("index ")]


class Branch(NamedTuple):
    """What became of a branch: whether it was ``deleted``, and ``why`` (not); ``step`` is the proof, at ``tip``."""

    deleted: bool
    why: str
    step: str = ""
    tip: str = ""

    def document(self) -> dict[str, object]:
        return {"deleted": self.deleted, "why": self.why, "step": self.step or None, "tip": self.tip or None}


def judge(workspace: Workspace, branch: str) -> Branch:
    """Whether ``branch`` may be deleted: it is not the default branch, and merged into that. ``deleted`` is False."""
    if not branch:
        return Branch(False, "HEAD was on no branch")
    done = call(["rev-parse", "--verify", "--quiet", f"refs/heads/{branch}"], workspace.git_dir)
    tip = done.stdout.strip()
    if done.returncode or not tip:
        return Branch(False, f"{branch} has no commit")
    target = default_branch(workspace)
    if target is None:
        return Branch(False, "the default branch is not known", tip=tip)
    if branch in (target.name, target.name.partition("/")[2] if target.ref.startswith("refs/remotes/") else ""):
        return Branch(False, f"{branch} is the default branch", tip=tip)
    try:
        step = proof(workspace.git_dir, tip, target.commit)
    except GitError as exc:
        return Branch(False, f"git could not tell whether {branch} is merged: {exc.message}", tip=tip)
    if not step:
        return Branch(False, f"{branch} is not merged into {target.name}", tip=tip)
    return Branch(False, f"merged into {target.name}: {step}", step, tip)


def delete(workspace: Workspace, branch: str, judged: Branch, pinned: str, lock: int) -> Branch:
    """Delete ``branch`` if it was judged merged, no worktree has it, and it still stands at the judged commit.

    Its reflog goes with it: commits that only that reaches, not ``pinned`` (a ref), keep the branch. ``lock``: the
    descriptor of `k1ctl.worktrees.RepositoryLock`. Raises GitError.
    """
    from k1ctl.worktrees import entries

    if not judged.step:
        return judged
    holders = [os.path.basename(entry.path) for entry in entries(workspace.git_dir) if entry.branch == branch]
    holders += _busy_with(workspace, branch)
    if holders:
        return judged._replace(why=f"{branch} is in use in {holders[0]}")
    ref = f"refs/heads/{branch}"
    logged = output(["reflog", "show", "--format=%H", ref], workspace.git_dir).split()
    asked = "\n".join([*dict.fromkeys(logged), f"^{pinned}", f"^{judged.tip}"])
    if output(["rev-list", "--max-count=1", "--ignore-missing", "--stdin"], workspace.git_dir, stdin=asked).strip():
        return judged._replace(why=f"the reflog of {branch} has commits that are nowhere else")
    done = call(["update-ref", "-d", ref, judged.tip], workspace.git_dir, keep=(lock,))
    if done.returncode:
        return judged._replace(why=f"{branch} moved meanwhile")
    return judged._replace(deleted=True)


def _busy_with(workspace: Workspace, branch: str) -> list[str]:
    """Worktrees that rebase or bisect ``branch``: HEAD is detached there meanwhile (git's worktree.c)."""
    parent = os.path.join(workspace.git_dir, "worktrees")
    folders = [os.path.join(parent, name) for name in (os.listdir(parent) if os.path.isdir(parent) else ())]
    marks = ("rebase-merge/head-name", "rebase-apply/head-name", "BISECT_START")
    wanted = (os.fsencode(branch), b"refs/heads/" + os.fsencode(branch))
    return [
        os.path.basename(folder)
        for folder in (workspace.git_dir, *folders)
        if any((read_bytes(os.path.join(folder, mark)) or b"").strip() in wanted for mark in marks)
    ]
