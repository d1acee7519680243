"""Where worktrees are and what points to them: moved, copied, gone, half made, nested, in a folder that is swept."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.files import open_locked, read_bytes
from k1ctl.git import call
from k1ctl.worktrees import Entry, own_git_dir
from k1ctl_plugins.worktree.doctor_finding import Finding, listed, listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.workspace import Workspace

_SWEPT = ("/tmp", "/var/tmp", "/dev/shm", "/private/tmp", "/private/var/tmp", "/private/var/folders", "/run/user")


class Stray(NamedTuple):
    """A folder whose .git file leads to the entry of another path: ``folder`` is it, ``record`` the entry's folder,
    ``registered`` the path that the entry knows."""

    folder: str
    record: str
    registered: str


def find(workspace: Workspace, found: list[Entry], chosen: list[Entry]) -> Iterator[Finding]:
    """Findings of the repository, and of the ``chosen`` worktrees among all ``found``."""
    yield from _half_made(workspace)
    strays = find_strays(workspace, found)
    yield from _strays(strays)
    for entry in chosen:
        yield from _place(workspace, entry, found, strays)
    yield from _twice(found, chosen)


def find_strays(workspace: Workspace, found: list[Entry]) -> list[Stray]:
    """Folders beside the worktrees that have a .git file of one of them, but are not where its entry says."""
    records = os.path.join(os.path.realpath(workspace.git_dir), "worktrees")
    registered = {os.path.realpath(entry.path) for entry in found}
    parents = {os.path.dirname(entry.path) for entry in found}
    parents.add(f"{workspace.root}.worktrees")
    strays = []
    for parent in sorted(parents):
        for name in listing(parent):
            folder = os.path.join(parent, name)
            own = own_git_dir(folder)
            if not own or os.path.realpath(folder) in registered:
                continue
            if os.path.dirname(os.path.realpath(own)) == records:
                strays.append(Stray(folder, own, _registered(own)))
                continue
            record = os.path.join(records, os.path.basename(own))
            gone = _registered(record) if not os.path.lexists(own) else ""
            if gone and not os.path.lexists(gone) and os.path.basename(gone) == name:
                strays.append(Stray(folder, record, gone))  # the root was moved, too: neither leads to the other
    return strays


def _registered(record: str) -> str:
    """The folder of the worktree that git's ``record`` knows; "" without one."""
    link = os.fsdecode((read_bytes(os.path.join(record, "gitdir")) or b"").strip())
    return os.path.dirname(os.path.normpath(os.path.join(record, link))) if link else ""


def moved(strays: list[Stray]) -> list[Stray]:
    """Those that can only have been moved: nothing is left where the entry says, and no other folder claims it."""
    claims = [stray.record for stray in strays]
    return [s for s in strays if s.registered and not os.path.lexists(s.registered) and claims.count(s.record) == 1]


def _strays(strays: list[Stray]) -> Iterator[Finding]:
    mendable = moved(strays)
    for stray in strays:
        if stray in mendable:
            yield Finding(
                "worktree-moved",
                "error",
                stray.folder,
                f"{stray.folder} was moved here from {stray.registered} without telling git",
                "git takes the worktree for gone, and its next clean-up forgets it",
                "k1ctl worktree repair --all",
            )
        elif os.path.isdir(stray.record):
            others = [s.folder for s in strays if s.record == stray.record and s != stray]
            others += [stray.registered] if os.path.lexists(stray.registered) else []
            yield Finding(
                "worktree-copied",
                "error",
                stray.folder,
                f"{stray.folder} is a copy that shares index and HEAD with {listed(others)}",
                "a commit or `git add` in one changes what the other takes for its own",
                "make a worktree of its own with `k1ctl worktree add` and move the copy's files there",
                {"shared_with": others},
            )
        else:
            yield Finding(
                "broken-gitdir",
                "error",
                stray.folder,
                f"the .git file of {stray.folder} leads to {stray.record}, which is gone",
                "git does not work in it, and nothing protects its files",
                "keep the folder; make a worktree at its commit with `k1ctl worktree add` and move the files there",
            )


def _place(workspace: Workspace, entry: Entry, found: list[Entry], strays: list[Stray]) -> Iterator[Finding]:
    if not os.path.isdir(entry.path):
        if why := _unreachable(entry.path):
            yield Finding(
                "unreachable",
                "warning",
                entry.path,
                f"the folder {entry.path} cannot be looked at: {why}",
                "git takes it for gone, and its next clean-up may forget it",
                "make it readable again; `git worktree lock` keeps the entry meanwhile",
            )
        elif _recorded(workspace, entry) and not any(stray.registered == entry.path for stray in strays):
            locked = "; it is locked, so git keeps the entry" if entry.locked is not None else ""
            yield Finding(
                "worktree-gone",
                "warning",
                entry.path,
                f"the folder {entry.path} is gone, its entry is still there{locked}",
                "its branch counts as checked out, and a detached HEAD's commits hang on the entry alone",
                "if it was moved, call `git worktree repair` with its new path; else git's prune forgets it in time",
                {"head": entry.head, "branch": entry.branch or None},
            )
        return
    if not entry.main:
        yield from _link(workspace, entry)
    if entry.locked == "initializing":
        yield Finding(
            "half-made",
            "warning",
            entry.path,
            "git has marked it as being made (locked: initializing)",
            "a `git worktree add` is under way, or was killed and left files out",
            "if none is under way: `k1ctl worktree repair`, where k1ctl made it; else see `git status` and unlock it",
        )
    if not entry.bare:
        yield from _nested(entry, found)
    if not entry.main and (swept := _swept(entry.path)):
        yield Finding(
            "in-temporary-folder",
            "warning",
            entry.path,
            f"it lies in {swept}",
            "the system removes what is old there, uncommitted work with it",
            "`git worktree move` takes it elsewhere; `k1ctl worktree add` puts new ones beside the root",
        )


def _recorded(workspace: Workspace, entry: Entry) -> bool:
    """Whether git still has the entry: a worktree that is removed while we look is in order."""
    records = os.path.join(workspace.git_dir, "worktrees")
    return any(_registered(os.path.join(records, name)) == entry.path for name in listing(records))


def _unreachable(path: str) -> str:
    """Why a folder cannot be looked at; "" when it is plainly not there."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as exc:
        return exc.strerror or str(exc)
    return ""


def _link(workspace: Workspace, entry: Entry) -> Iterator[Finding]:
    own = own_git_dir(entry.path)
    back = os.fsdecode((read_bytes(os.path.join(own, "gitdir")) or b"").strip()) if own else ""
    ours = os.path.dirname(os.path.realpath(own)) == os.path.join(os.path.realpath(workspace.git_dir), "worktrees")
    if own and os.path.isdir(own) and back and not ours:
        yield Finding(
            "another-repository",
            "error",
            entry.path,
            f"its .git file leads to {own}, which is another repository's",
            "the branch that this repository keeps for it is not what is there",
            "move one of the two elsewhere with `git worktree move`, called in its repository",
        )
        return
    if own and os.path.isdir(own) and back:
        there = os.path.normpath(os.path.join(own, back))
        if os.path.realpath(there) == os.path.realpath(os.path.join(entry.path, ".git")):
            return
    yield Finding(
        "broken-gitdir",
        "error",
        entry.path,
        f"its .git file leads to {own}, which does not lead back" if own else "it has no .git file that leads to git",
        "git does not work in it, or works on another worktree's index",
        "k1ctl worktree repair",
    )


def _nested(entry: Entry, found: list[Entry]) -> Iterator[Finding]:
    inner = [e.path for e in found if e.path.startswith(entry.path.rstrip("/") + "/") and os.path.isdir(e.path)]
    if not inner:
        return
    if entry.main:
        done = call(["check-ignore", "-z", "--stdin"], entry.path, stdin="\0".join(inner))
        inner = [path for path in inner if path not in done.stdout.split("\0")]
        if inner:
            yield Finding(
                "nested-not-ignored",
                "warning",
                entry.path,
                f"worktrees lie in the root and are not ignored: {listed(inner)}",
                "`git add -A` in the root takes them up as embedded repositories",
                "add their folder to .git/info/exclude",
                {"nested": inner},
            )
        return
    yield Finding(
        "nested-worktree",
        "warning",
        entry.path,
        f"other worktrees lie in it: {listed(inner)}",
        "removing it takes them along, and tools that copy it copy them",
        "`git worktree move` takes them out; archive them before this one",
        {"nested": inner},
    )


def _twice(found: list[Entry], chosen: list[Entry]) -> Iterator[Finding]:
    for entry in chosen:
        others = [e.path for e in found if entry.branch and e.branch == entry.branch and e.path != entry.path]
        if others:
            yield Finding(
                "branch-twice",
                "error",
                entry.path,
                f"its branch {entry.branch} is checked out in {listed(others)} too",
                "a commit in one leaves the other with a HEAD that its files do not belong to",
                "switch one of them to a branch of its own: `git switch -c NAME`",
                {"branch": entry.branch, "others": others},
            )


def _half_made(workspace: Workspace) -> Iterator[Finding]:
    folder = os.path.join(workspace.git_dir, "k1ctl", "add")
    left = sorted(name for name in os.listdir(folder) if name.endswith(".json")) if os.path.isdir(folder) else []
    if not left:
        return
    fd = open_locked(os.path.join(workspace.git_dir, "k1ctl", "worktrees.lock"), blocking=False)
    if fd is None:
        return  # an add is under way, and this is its plan
    os.close(fd)
    yield Finding(
        "half-made-add",
        "warning",
        "",
        f"`worktree add` was killed before it was done: {listed([name.removesuffix('.json') for name in left])}",
        "half a worktree, its branch or its lock may be left",
        "`k1ctl worktree repair`; the next `k1ctl worktree add` clears up too",
        {"names": [name.removesuffix(".json") for name in left]},
    )


def _swept(path: str) -> str:
    import tempfile

    folders = [*_SWEPT, os.environ.get("TMPDIR") or "", tempfile.gettempdir()]
    for folder in folders:
        for top in {folder, os.path.realpath(folder)} if folder else ():
            if path.startswith(top.rstrip("/") + "/"):
                return folder
    return ""
