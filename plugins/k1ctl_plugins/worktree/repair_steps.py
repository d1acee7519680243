"""What ``k1ctl worktree repair`` mends: only what can be mended without losing anything, each told, each idempotent."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.errors import K1ctlError
from k1ctl.git import folders_with, output
from k1ctl.worktrees import Entry, RepositoryLock, own_git_dir, whole
from k1ctl_plugins.worktree import adding, doctor_locks, doctor_places, readonly
from k1ctl_plugins.worktree.doctor_tree import leaving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class Mend(NamedTuple):
    """One thing that was mended (or would be): ``what`` in a sentence; ``problem`` why it could not be, else ""."""

    code: str
    worktree: str
    what: str
    problem: str = ""

    def document(self) -> dict[str, Any]:
        return self._asdict() | {"ok": not self.problem}


def mend(
    workspace: Workspace, config: Config, found: list[Entry], chosen: list[Entry], *, dry_run: bool
) -> Iterator[Mend]:
    """Mend the repository and the chosen worktrees, each thing yielded as it is done. Entries whose folder is gone are
    never dropped: what only they hold would go with them."""
    yield from _half_made(workspace, dry_run)
    yield from _moved(workspace, found, dry_run)
    yield from _locks(workspace, chosen, dry_run)
    for entry in chosen:
        if not entry.bare and ((os.path.isdir(entry.path) and own_git_dir(entry.path)) or entry.main):
            yield from _links(config, entry, dry_run)


def _half_made(workspace: Workspace, dry_run: bool) -> Iterator[Mend]:
    try:
        for path in adding.recover(workspace, dry_run=dry_run):
            yield Mend("half-made-add", path, f"cleared up after a `worktree add` of {path} that was killed")
    except (K1ctlError, OSError) as exc:
        yield Mend("half-made-add", "", "clearing up after a `worktree add` that was killed", str(exc))


def _moved(workspace: Workspace, found: list[Entry], dry_run: bool) -> Iterator[Mend]:
    """git-worktree(1), repair: links both ways between the repository and worktrees that were moved by hand."""
    strays = doctor_places.moved(doctor_places.find_strays(workspace, found))
    broken = [e for e in found if not e.main and os.path.isdir(e.path) and not os.path.isdir(own_git_dir(e.path))]
    whats = [Mend("worktree-moved", s.folder, f"told git that {s.registered} is at {s.folder} now") for s in strays]
    whats += [Mend("broken-gitdir", e.path, f"made the .git file of {e.path} lead to its entry again") for e in broken]
    if not whats:
        return
    foreign = _foreign(workspace, found)
    if foreign:
        why = f"git would change the .git file of {foreign}, which leads to another repository"
        yield from (what._replace(problem=why) for what in whats)
        return
    problem = ""
    if not dry_run:
        with RepositoryLock(workspace) as lock:
            try:
                output(["worktree", "repair", "--", *(s.folder for s in strays)], whole(workspace), keep=(lock,))
            except K1ctlError as exc:
                problem = exc.message
    yield from (what._replace(problem=problem) for what in whats)


def _foreign(workspace: Workspace, found: list[Entry]) -> str:
    """A registered path that holds a worktree of another repository by now; ""."""
    records = os.path.join(os.path.realpath(workspace.git_dir), "worktrees")
    for entry in found:
        own = "" if entry.main else own_git_dir(entry.path)
        if own and os.path.isdir(own) and os.path.dirname(os.path.realpath(own)) != records:
            return entry.path
    return ""


def _locks(workspace: Workspace, chosen: list[Entry], dry_run: bool) -> Iterator[Mend]:
    for where, lock in doctor_locks.locks(workspace, chosen):
        if not lock.holder and (dry_run or _take_away(lock.path)):
            yield Mend("stale-lock", where, f"removed {lock.path}, which a git that was killed had left")


def _take_away(path: str) -> bool:
    """Remove a stale lock; one that somebody made in its place meanwhile is put back."""
    aside = f"{path}.k1ctl-{os.getpid()}"
    try:
        before = os.lstat(path)
        if not doctor_locks.is_stale(path):
            return False
        os.rename(path, aside)
    except OSError:
        return False
    taken = os.lstat(aside)
    same = (taken.st_ino, taken.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    if not same:
        try:
            os.link(aside, path)
        except OSError:
            pass
    os.unlink(aside)
    return same


def _links(config: Config, entry: Entry, dry_run: bool) -> Iterator[Mend]:
    try:
        folders = sorted({"", *folders_with(["platformio.ini", "package.json", "package-lock.json"], entry.path)})
        allowed = readonly.declared(config)
        for link in leaving(entry.path, folders):
            if link.path in allowed:
                continue
            if not dry_run:
                os.unlink(os.path.join(entry.path, link.path))
            yield Mend(
                "link-leaves-worktree", entry.path, f"unlinked {link.path}; its target {link.target} is untouched"
            )
    except (K1ctlError, OSError) as exc:
        yield Mend("link-leaves-worktree", entry.path, f"looking for links that leave {entry.path}", str(exc))
