"""Where HEAD of a restored worktree points, and which branches have to be made for it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.errors import K1ctlError, UsageError
from k1ctl.files import read_bytes
from k1ctl.git import call

if TYPE_CHECKING:
    from k1ctl.archive.calls import Calls
    from k1ctl.archive.folder import Archive
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

REFLOG = "k1ctl-branch-log"  # in git.tar: the reflog of the branch, which goes with it when somebody deletes it


class Heads(NamedTuple):
    """``branch`` is checked out ("": none); ``text`` is written to HEAD ("": it stays as it was saved); ``make`` are
    branches to make, each with its commit; ``warnings`` say why it is not as it was."""

    branch: str
    text: str
    make: dict[str, str]
    warnings: list[str]


def settle(workspace: Workspace, archive: Archive, there: list[Entry], new: str) -> Heads:
    """Settle it for ``archive`` among the worktrees ``there``; ``new`` is the branch that the caller wants.

    Raises UsageError, K1ctlError (branch-exists).
    """
    manifest = archive.manifest
    head, branch = manifest["head"] or "", manifest["branch"] or ""
    if new:
        return _on_new(workspace, archive, new, head)
    make: dict[str, str] = {}
    warnings: list[str] = []
    if manifest.get("rebasing"):
        name, commit = manifest["rebasing"]
        tip = _tip(workspace, name)
        holder = _holder(workspace, there, name)
        taken = "" if tip else _in_the_way(workspace, name)
        if taken:
            warnings.append(f"the branch {name}, which is being rebased, cannot be made again: there is {taken}")
        elif not tip and commit:
            make[name] = commit
        elif holder:
            warnings.append(f"the branch {name}, which is being rebased, is checked out in {holder}")
        elif tip != commit:
            warnings.append(f"the branch {name}, which is being rebased, moved since: the rebase cannot end on it")
    if not branch:
        return Heads("", "", make, warnings)
    tip = _tip(workspace, branch)
    if not head:
        if tip:
            raise K1ctlError(
                f"{branch} had no commit when it was archived, and has some now",
                hint="--branch NEW restores it on another new branch",
                code="branch-exists",
            )
        return Heads(branch, "", make, warnings)
    taken = "" if tip else _in_the_way(workspace, branch)
    if not tip and not taken:
        return Heads(branch, "", make | {branch: head}, warnings)
    holder = _holder(workspace, there, branch)
    if tip == head and not holder:
        return Heads(branch, "", make, warnings)
    why = f"is checked out in {holder}" if holder else f"moved from {head[:12]} to {tip[:12]} since"
    why = f"is gone, and there is {taken} in its place" if taken else why
    warnings.append(f"HEAD is detached at {head[:12]}: the branch {branch} {why}; --branch NEW would make another")
    return Heads("", head + "\n", make, warnings)


def make(calls: Calls, workspace: Workspace, archive: Archive, heads: Heads, record: str) -> None:
    """Make the branches, unless somebody has meanwhile, and write HEAD. Raises GitError."""
    log = read_bytes(os.path.join(record, REFLOG))
    if log is not None:
        os.unlink(os.path.join(record, REFLOG))
    for branch, commit in heads.make.items():
        nothing = "0" * len(commit)
        calls.start("update-ref", f"refs/heads/{branch}", commit, nothing).data()
        if branch == archive.manifest["branch"]:
            _bring_back(calls, workspace, archive, branch, log)
    if heads.text:
        _write_head(calls, workspace, record, heads.text)


def about_stashes(workspace: Workspace, archive: Archive) -> list[str]:
    """Which stashes were made in it, as sentences, and how to get back one that was dropped since."""
    log = read_bytes(os.path.join(workspace.git_dir, "logs", "refs", "stash")) or b""
    there = {os.fsdecode(line.split(b" ")[1]) for line in log.splitlines() if line.count(b" ")}
    told = []
    for row in archive.manifest["stashes"]:
        commit, subject = row["commit"], row["subject"]
        if commit in there:
            told.append(f"a stash was made in it: {subject} ({commit[:12]})")
        else:
            told.append(f"a stash of it was dropped since: {subject}; git stash store -m NAME {commit} lists it again")
    return told


def _on_new(workspace: Workspace, archive: Archive, new: str, head: str) -> Heads:
    if call(["check-ref-format", "--branch", new], workspace.path).returncode or new.startswith("-"):
        raise UsageError(f"{new!r} is not a branch name", hint="git check-ref-format tells the rules")
    if archive.manifest["operation"] in ("rebase", "am"):
        raise UsageError(
            f"{archive.id} is in the middle of a {archive.manifest['operation']}, which ends on its own branch",
            hint="restore it without --branch",
        )
    if _tip(workspace, new):
        raise K1ctlError(f"there is a branch {new} already", hint="choose another --branch", code="branch-exists")
    return Heads(new, f"ref: refs/heads/{new}\n", {new: head} if head else {}, [])


def _tip(workspace: Workspace, branch: str) -> str:
    done = call(["rev-parse", "-q", "--verify", f"refs/heads/{branch}^{{commit}}"], workspace.path)
    return done.stdout.strip() if done.returncode == 0 else ""


def _holder(workspace: Workspace, there: list[Entry], branch: str) -> str:
    return next((entry.path for entry in there if entry.branch == branch), "") or _rebased_in(workspace, branch)


def _in_the_way(workspace: Workspace, branch: str) -> str:
    """A branch whose name does not go together with ``branch``: of ``a`` and ``a/b`` there is only one."""
    parts = branch.split("/")
    above = ["/".join(parts[:i]) for i in range(1, len(parts))]
    asked = [f"refs/heads/{branch}/", *(f"refs/heads/{name}" for name in above)]
    names = call(["for-each-ref", "--format=%(refname)", *asked], workspace.git_dir).stdout.splitlines()
    found = [name for name in names if name in asked or name.startswith(asked[0])]  # a pattern fits what is below, too
    return found[0].removeprefix("refs/heads/") if found else ""


def _rebased_in(workspace: Workspace, branch: str) -> str:
    """The worktree in which ``branch`` is being rebased: git takes it as checked out there."""
    base = os.path.join(workspace.git_dir, "worktrees")
    for name in os.listdir(base) if os.path.isdir(base) else ():
        for folder in ("rebase-merge", "rebase-apply"):
            told = read_bytes(os.path.join(base, name, folder, "head-name")) or b""
            if os.fsdecode(told.strip()) == f"refs/heads/{branch}":
                return name
    return ""


def _bring_back(calls: Calls, workspace: Workspace, archive: Archive, branch: str, log: bytes | None) -> None:
    """What git forgot with the branch: its reflog, and what it follows."""
    path = os.path.join(workspace.git_dir, "logs", "refs", "heads", branch)
    if log and os.path.isdir(os.path.join(workspace.git_dir, "logs")):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(log)
    remote, merge = archive.manifest.get("upstream") or ("", "")
    if remote and merge:
        calls.start("config", f"branch.{branch}.remote", remote).data()
        calls.start("config", f"branch.{branch}.merge", merge).data()


def _write_head(calls: Calls, workspace: Workspace, record: str, text: str) -> None:
    path = os.path.join(record, "HEAD")
    if b"refs/heads/.invalid" not in (read_bytes(path) or b""):
        with open(path, "wb") as f:
            f.write(os.fsencode(text))
        return
    env = {"GIT_DIR": record, "GIT_COMMON_DIR": workspace.git_dir}  # refs are kept in tables: only git writes them
    name = text.rstrip("\n")
    if name.startswith("ref: "):
        calls.start("symbolic-ref", "HEAD", name[5:], env=env).data()
    else:
        calls.start("update-ref", "--no-deref", "HEAD", name, env=env).data()
