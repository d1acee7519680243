"""Remove a worktree that an archive holds, so that no moment is left at which neither of the two is whole.

Everything is checked once more; then the state says ``removing`` and where everything is to go, the worktree's folder
is renamed into the trash, and compared with what was saved where nobody can come to any more: when it is not the same,
or somebody works in it, it is renamed back. Then git's entry of this one worktree is renamed, too, and the state says
``archived``. Folders that can be made again are deleted in the trash, last.

A call that was killed is finished, or undone, by the next one: `recover`.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.archive import checks, merged, trash
from k1ctl.archive.aside import aside
from k1ctl.archive.deletion import delete_below
from k1ctl.archive.folder import list_archives, restoring
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.merged import Branch
from k1ctl.archive.processes import Processes, named
from k1ctl.archive.save import unchanged, unchanged_at
from k1ctl.errors import BusyError, K1ctlError
from k1ctl.events import emit
from k1ctl.files import read_bytes, sync_folders, write_json
from k1ctl.git import call
from k1ctl.units import rfc3339
from k1ctl.worktrees import RepositoryLock, entries, own_git_dir

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.archive.files import Look
    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry


class RefusedError(BusyError):
    """The worktree stays, as it was: ``findings`` are why."""

    code = "archive-refused"

    def __init__(self, findings: Sequence[checks.Finding]) -> None:
        self.findings = list(findings)
        told = "; ".join(finding.message for finding in self.findings)
        super().__init__(told, hint=self.findings[0].hint, findings=[f.document() for f in self.findings])


class Removed(NamedTuple):
    """A removed worktree: where its ``trash`` is, the bytes that were ``freed``, what happened to the ``branch`` (None:
    it was not asked about), and ``notes`` on what could not be tidied up."""

    archive: str
    path: str
    trash: str
    freed_bytes: int
    branch: Branch | None
    notes: list[str]

    def document(self) -> dict[str, Any]:
        return {**self._asdict(), "branch": self.branch and self.branch.document()}


_CHANGED = checks.Finding(
    "changed-meanwhile", "refuse", "it changed since it was saved", "somebody works in it; the next run sees to it"
)


class _Move(NamedTuple):
    """Where everything of a removal is and goes: the worktree ``path`` to ``tree`` in ``trash``, git's entry ``own`` to
    ``git``; ``before`` is the archive's state until then."""

    path: str
    tree: str
    own: str
    git: str
    trash: str
    before: dict[str, Any]


def remove(
    workspace: Workspace,
    config: Config,
    entry: Entry,
    archive: Archive,
    *,
    branch_policy: str = "keep",
    look: Look | None = None,
) -> Removed:
    """Remove the worktree ``entry``, which ``archive`` holds.

    ``branch_policy``: ``keep``, or ``delete-if-merged``. ``look``: what `k1ctl.archive.save.save` just saw of it;
    without, it is looked at also before it is moved. Raises RefusedError when it is not what the archive holds any
    more, or somebody uses it: then it is where it was. K1ctlError, OSError when it cannot be moved.
    """
    with ArchiveLock(workspace):
        _check(workspace, config, entry, archive)
        look = look or unchanged(workspace, config, entry, archive)
        if look is None:
            raise RefusedError([_CHANGED])
        with RepositoryLock(workspace) as lock:
            _check_entry(workspace, entry)
            judged = merged.judge(workspace, entry.branch) if branch_policy == "delete-if-merged" else None
            move = _take_away(archive, entry.path)
            late = _late(workspace, config, move, archive, look)
            if late:
                _put_back(archive, move)
                raise RefusedError(late)
            _take_entry(archive, move)
            branch = judged and merged.delete(workspace, entry.branch, judged, archive.ref, lock)
        _verify(workspace, archive, move)
        return _finish(workspace, archive, move, branch)


def _check(workspace: Workspace, config: Config, entry: Entry, archive: Archive) -> None:
    """Raises RefusedError unless the worktree may go and the archive is whole."""
    problems = aside(_problems, workspace, archive)
    found = checks.examine_again(workspace, config, entry, Processes().lasting([entry.path]))
    found += checks.ties(entry.path, archive.manifest.get("nested", ()))
    found += [checks.Finding("archive-not-whole", "refuse", problem) for problem in problems()]
    if found:
        raise RefusedError(found)


def _problems(workspace: Workspace, archive: Archive) -> list[str]:
    """What the archive lacks: the pinned commit and all that only it reaches, and the files in full size.

    `k1ctl.archive.verify.verify` looks deeper; this is quick in a repository of any size.
    """
    walk = ["rev-list", "--objects", archive.ref, "--not", "--exclude=refs/k1ctl/*", "--all", "--"]
    done = call(walk, workspace.git_dir)
    if done.stdout.startswith(f"{archive.manifest['commit']}\n"):
        broken = [f"objects are missing: {done.stderr.strip()}"] if done.returncode else []
    else:
        broken = [f"{archive.ref} is not the commit that was saved"]
    return [*broken, *_lacking(archive)]


def _lacking(archive: Archive) -> list[str]:
    """The archive's files that are not there in full size."""
    lacking = []
    for name, facts in archive.manifest["files"].items():
        path = os.path.join(archive.folder, name)
        size = os.lstat(path).st_size if os.path.isfile(path) else -1
        lacking += [] if size == facts["bytes"] else [f"{name} is not whole"]
    return lacking


def _check_entry(workspace: Workspace, entry: Entry) -> None:
    known = entries(workspace.git_dir)
    now = next((e for e in known if e.path == entry.path), None)
    found = list(checks.nested(workspace, entry, known))
    if now is None or (now.head, now.branch, now.locked) != (entry.head, entry.branch, entry.locked):
        found.append(checks.Finding("changed-meanwhile", "refuse", "git's record of it changed meanwhile"))
    if found:
        raise RefusedError(found)


def _take_away(archive: Archive, path: str) -> _Move:
    """Rename the worktree's folder into the trash. Raises K1ctlError, with everything as it was."""
    before = archive.state
    path = os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path))
    first, second = trash.places(archive, path)
    same = os.stat(path).st_dev == os.stat(archive.folder).st_dev
    for place in (first, second) if same else (second,):
        number = next(n for n in range(1, 1000) if not _taken(place, first, n))
        tree, git = os.path.join(place, _numbered("tree", number)), os.path.join(first, _numbered("git", number))
        move = _Move(path, tree, own_git_dir(path), git, place, before)
        archive.set_state("removing", **move._asdict())
        try:
            for folder in {place, first}:
                os.makedirs(folder, mode=0o700, exist_ok=True)
            os.rename(path, tree)
        except OSError as exc:
            _undo(archive, move)
            if exc.errno == errno.EXDEV and place == first:
                continue  # a bind mount: one filesystem, and no rename from one to the other
            raise K1ctlError(
                f"{path} cannot be moved to {tree}: {exc.strerror}",
                hint="it stays as it was; its archive is whole",
                code="cannot-move",
            ) from exc
        return move
    raise AssertionError("the second place is on no other filesystem than the worktree")


def _taken(place: str, first: str, number: int) -> bool:
    """Whether an earlier removal (before a restore) has left something under these names."""
    wanted = (os.path.join(place, _numbered("tree", number)), os.path.join(first, _numbered("git", number)))
    return any(os.path.lexists(path) for path in wanted)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _late(
    workspace: Workspace, config: Config, move: _Move, archive: Archive, look: Look | None = None
) -> list[checks.Finding]:
    """What works in the worktree that was taken away, and that it is not what was saved."""
    found = [*checks.locks(move.own)]
    there = Processes().below(move.tree)
    if there:
        found.append(checks.Finding("process", "refuse", named(there), "end it, or leave the folder with it"))
    if unchanged_at(workspace, config, archive, move.tree, move.own, look) is None:
        found.append(_CHANGED)
    return found


def _put_back(archive: Archive, move: _Move) -> None:
    """Rename the worktree back. Raises K1ctlError when its place is taken: then it stays in the trash for good."""
    if os.path.lexists(move.path):
        archive.set_state("archived", **{**_kept(move), "hold": True})
        raise K1ctlError(
            f"{move.path} is something else by now; the worktree was taken to {move.tree} and stays there",
            hint=f"k1ctl archive show {archive.id}",
            code="removal-incomplete",
        )
    os.rename(move.tree, move.path)
    sync_folders(os.path.dirname(move.path), move.trash)
    _undo(archive, move)


def _undo(archive: Archive, move: _Move) -> None:
    """The state as it was before; folders that were made for the trash go."""
    first = os.path.dirname(move.git)
    for folder in dict.fromkeys((move.trash, first, os.path.dirname(move.trash))):
        if folder != archive.folder:
            trash.drop_if_empty(folder)
    archive.set_state(**move.before)


def _take_entry(archive: Archive, move: _Move) -> None:
    """Rename git's entry of this one worktree; with that, git knows it no more."""
    os.rename(move.own, move.git)
    sync_folders(os.path.dirname(move.path), move.trash, os.path.dirname(move.own))
    _note(archive, "archived", **_kept(move), untidy=True)


def _note(archive: Archive, state: str, **facts: Any) -> None:
    """The state, where a power cut may bring back the one before: from that one `recover` comes to this one again."""
    write_json(os.path.join(archive.folder, "state.json"), {"state": state, "at": rfc3339(), **facts})


def _kept(move: _Move) -> dict[str, Any]:
    return {"path": move.path, "trash": move.trash, "tree": move.tree, "git": move.git}


def _verify(workspace: Workspace, archive: Archive, move: _Move) -> None:
    """Raises K1ctlError unless the worktree is gone from its place and from git, and lies in the trash."""
    wrong = [f"{path} is still there" for path in (move.path, move.own) if os.path.lexists(path)]
    wrong += [f"{move.tree} is not there"] if not os.path.isdir(move.tree) else []
    records = os.path.join(workspace.git_dir, "worktrees")  # gone with its last worktree
    for name in os.listdir(records) if os.path.isdir(records) else ():
        wrong += [f"git still lists {move.path}"] if _is_of(os.path.join(records, name), move.path) else []
    wrong += _lacking(archive)
    if wrong:
        raise K1ctlError(
            f"the removal of {move.path} did not come to its end: {'; '.join(wrong)}",
            hint=f"what it was is in {archive.id}; k1ctl archive verify {archive.id} tells more",
            code="removal-incomplete",
        )


def _finish(workspace: Workspace, archive: Archive, move: _Move, branch: Branch | None, **more: Any) -> Removed:
    """Delete what can be made again, give up the ports, and say so; may be done again."""
    from k1ctl import ports

    done = delete_below(move.tree, [str(folder) for folder in archive.manifest.get("regenerable", ())])
    notes = [f"not deleted from the trash: {problem}" for problem in done.problems]
    try:
        if not os.path.lexists(move.path):  # finished late, another worktree may be there by now
            ports.release(move.path)
        _unlink_git(move.tree)
    except (K1ctlError, OSError) as exc:
        notes.append(f"not tidied up: {exc}")
    _note(archive, **{key: value for key, value in archive.state.items() if key != "untidy"})
    facts = {"path": move.path, "trash": move.trash, "freed_bytes": done.freed_bytes, **more}
    if branch is not None:
        facts["branch"] = branch.document()
    emit(workspace, "archive.removed", archive=archive.id, of=archive.manifest.get("workspace"), **facts)
    return Removed(archive.id, move.path, move.trash, done.freed_bytes, branch, notes)


def _unlink_git(tree: str) -> None:
    """The link to git's entry gets another name: a new worktree of this name may get an entry of this name, and git,
    called in the trash, would take the files there for its own."""
    link = os.path.join(tree, ".git")
    if os.path.isfile(link):
        os.rename(link, f"{link}.archived")


def recover(workspace: Workspace, config: Config, *, restores: bool = True) -> list[str]:
    """Finish, or undo, the removals that were killed, and with ``restores`` those, too; returns a sentence for each
    that is known of. Quick when there are none.

    Under the `ArchiveLock`, which it takes. Raises K1ctlError, OSError.
    """
    told = []
    with ArchiveLock(workspace):
        if restores and restoring(workspace):
            from k1ctl.archive import restore

            with RepositoryLock(workspace):
                told += restore.settle(workspace)
        for archive in list_archives(workspace):
            state = archive.state
            if state["state"] == "removing":
                with RepositoryLock(workspace):
                    told.append(_recover(workspace, config, archive, _move_of(state)))
            elif state["state"] == "archived" and state.get("untidy"):
                _finish(workspace, archive, _move_of(state), None, recovered=True)
                told.append(f"the removal of {state['path']} was finished: {archive.id}")
    return told


def _move_of(state: dict[str, Any]) -> _Move:
    """The move that a state tells of; of one that is over, what is still known."""
    texts = {name: str(state.get(name) or "") for name in ("path", "tree", "own", "git", "trash")}
    before = state.get("before")
    facts = before if isinstance(before, dict) else {"state": "saved"}
    return _Move(**texts, before=facts)


def _recover(workspace: Workspace, config: Config, archive: Archive, move: _Move) -> str:
    """One removal that was killed between its states, by what of it is found where."""
    if not os.path.isdir(move.tree):
        if os.path.lexists(move.path):
            if os.path.isdir(move.git) and not os.path.lexists(move.own):
                os.rename(move.git, move.own)  # a power cut undid the first of the two renames alone
            _undo(archive, move)
            return f"the removal of {move.path} had not begun; it is as it was"
        if not os.path.isdir(os.path.dirname(move.path)):
            return f"the removal of {move.path} cannot be finished: its disk is not there"
        archive.set_state("archived", **{**_kept(move), "trash": "", "tree": ""})
        return f"{move.path} and its trash are gone; {archive.id} holds what it was"
    hold: dict[str, Any] = {}
    if os.path.isdir(move.own) and _is_of(move.own, move.path) and not _has(move.path, move.own):
        late = _late(workspace, config, move, archive)
        if late and not os.path.lexists(move.path):
            _put_back(archive, move)
            return f"the removal of {move.path} was undone: {late[0].message}"
        hold = {"hold": True} if late else {}
        _take_entry(archive, move)
    archive.set_state("archived", **{**_kept(move), **hold, "untidy": True})
    _finish(workspace, archive, move, None, recovered=True)
    return f"the removal of {move.path} was finished: {archive.id}"


def _has(path: str, own: str) -> bool:
    """Whether a worktree lies at ``path`` that was made there since, with git's entry ``own``."""
    there = own_git_dir(path)
    return bool(there) and os.path.realpath(there) == os.path.realpath(own)


def _is_of(own: str, path: str) -> bool:
    """Whether git's entry ``own`` is that of the worktree at ``path``."""
    link = os.fsdecode(read_bytes(os.path.join(own, "gitdir")) or b"").rstrip("\r\n")
    back = os.path.dirname(os.path.join(own, link))
    return os.path.join(os.path.realpath(os.path.dirname(back)), os.path.basename(back)) == path
