"""Delete archives for good: only past the retention, and only what a person saw in a plan and confirmed.

That is a guard against accidents, no more: whoever may write to the repository can delete its files anyway.

Each archive goes in this order: its state says ``purging``; its trash, what it holds of files, the copy of its manifest
and its ref; last its folder. Killed at any step it is still shown, as ``purging``, and the next purge finishes it.
Copies in stores stay.
"""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.archive.folder import archives_folder, list_archives
from k1ctl.archive.lock import ArchiveLock
from k1ctl.archive.trash import BESIDE, drop_if_empty, places
from k1ctl.errors import BusyError, K1ctlError, WrongDataError
from k1ctl.events import emit
from k1ctl.git import call, output
from k1ctl.units import format_duration, parse_rfc3339, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.archive.folder import Archive
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

PURGING = "purging"
_GONE = ".tmp-purged-"  # what a folder is called last; saving clears these away, too
_WORD = 6  # characters a person types


class Row(NamedTuple):
    """One archive of a plan: ``why_not`` is "" for one that goes; ``age_seconds`` is since its last change of state;
    ``bytes`` are its files, trash not counted; ``trash`` are the folders of it; ``held``: the trash has what was
    written while it was taken, and no archive holds."""

    archive: Archive
    why_not: str
    age_seconds: float
    bytes: int
    trash: tuple[str, ...]
    held: bool
    copies: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        facts = {"archive": self.archive.id, "state": self.archive.state["state"], "would_purge": not self.why_not}
        rest = {"age_seconds": round(self.age_seconds, 3), "bytes": self.bytes, "trash": list(self.trash)}
        return {**facts, "why_not": self.why_not or None, **rest, "held": self.held, "copies": list(self.copies)}


class Plan(NamedTuple):
    """What a purge would do with each archive that was named."""

    rows: tuple[Row, ...]

    @property
    def goes(self) -> list[Row]:
        return [row for row in self.rows if not row.why_not]

    @property
    def word(self) -> str:
        """What a person types to confirm just this plan."""
        from hashlib import sha256

        told = "\n".join(f"{r.archive.id} {r.archive.manifest.get('commit')} {r.trash} {r.held}" for r in self.goes)
        return sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:_WORD]


def plan(config: Config, archives: Sequence[Archive], older_than: float = 0.0, *, named: bool = False) -> Plan:
    """What would be purged of ``archives``: those whose last change is ``archive.keep`` ago, and ``older_than`` (s).

    ``named``: somebody named just these; then those go, too, whose trash has what no archive holds.
    """
    keep = max(float(config.get("archive", "keep")), older_than)
    return Plan(tuple(_row(archive, keep, named) for archive in archives))


def _row(archive: Archive, keep: float, named: bool) -> Row:
    from k1ctl.archive import copies

    state = archive.state
    age = max(time.time() - _since(archive, state), 0.0)
    held, why = bool(state.get("hold")), ""
    if state["state"] == "removing" or state.get("untidy"):
        why = "the removal of its worktree is not over"
    elif state["state"] != PURGING and age < keep:
        why = f"it is kept for {format_duration(keep)}, {format_duration(keep - age)} more"
    elif _restoring(archive):
        why = "a restore of it is not over"
    elif _pushing(archive):
        why = "it is being pushed"
    elif held and not named:
        why = "its trash has what was written while it was taken, and no archive holds: it goes only when it is named"
    trash = tuple(p for p in places(archive, str(archive.manifest.get("path", ""))) if os.path.lexists(p))
    size = 0
    for name in os.listdir(archive.folder):
        about = os.lstat(os.path.join(archive.folder, name))
        size += about.st_size if stat.S_ISREG(about.st_mode) else 0
    return Row(archive, why, age, size, trash, held, tuple(copies.of(archive)))


def _since(archive: Archive, state: dict[str, Any]) -> float:
    """When it last changed, in seconds since 1970; what cannot be read counts as just now."""
    try:
        return max(parse_rfc3339(str(archive.manifest["at"])), parse_rfc3339(str(state["at"])))
    except (ValueError, KeyError):
        return time.time()


def _restoring(archive: Archive) -> bool:
    """Whether a restore of it was begun and neither ended nor cleared up: its intent file stands."""
    ours = os.path.dirname(os.path.dirname(archive.folder))
    return os.path.exists(os.path.join(ours, "restore", f"{archive.id}.json"))


def _pushing(archive: Archive) -> bool:
    from k1ctl.files import open_locked

    path = os.path.join(archive.folder, ".push", "lock")
    if not os.path.exists(path):
        return False
    fd = open_locked(path, blocking=False)
    if fd is not None:
        os.close(fd)
    return fd is None


def purge(
    workspace: Workspace, config: Config, confirmed: Plan, older_than: float = 0.0, *, named: bool = False
) -> list[dict[str, Any]]:
    """Delete what goes by the plan that was ``confirmed``, which was made with the same arguments.

    Returns [{archive, outcome (purged, failed), message}].

    Raises BusyError (plan-changed) when the plan is another by now, and OSError. One that fails stays ``purging``.
    """
    done: list[dict[str, Any]] = []
    with ArchiveLock(workspace):
        _clear(archives_folder(workspace))
        wanted = {row.archive.id for row in confirmed.goes}
        now = plan(config, [a for a in list_archives(workspace) if a.id in wanted], older_than, named=named)
        if now.word != confirmed.word:
            raise BusyError(
                "what would be purged changed meanwhile", hint="look at the plan again", code="plan-changed"
            )
        for row in now.goes:
            message = ""
            try:
                _purge(workspace, row)
            except (OSError, K1ctlError) as exc:
                message = exc.message if isinstance(exc, K1ctlError) else f"{exc.strerror}: {exc.filename}"
            done.append({"archive": row.archive.id, "outcome": "failed" if message else "purged", "message": message})
    return done


def _purge(workspace: Workspace, row: Row) -> None:
    archive = row.archive
    state = archive.state
    if state["state"] != PURGING:
        archive.set_state(**{**state, "state": PURGING, "at": rfc3339()})
        if _pushing(archive):  # it began since the plan was made; one that begins now sees the state
            archive.set_state(**state)
            raise BusyError(f"archive {archive.id} is being pushed", code="archive-busy")
    for folder in row.trash:
        _delete(folder)
        if os.path.basename(os.path.dirname(folder)) == BESIDE:
            drop_if_empty(os.path.dirname(folder))
    for name in sorted(os.listdir(archive.folder)):
        if name not in ("manifest.json", "state.json"):
            _delete(os.path.join(archive.folder, name))
    _delete(workspace.ops_path("archive", archive.id))
    _drop_ref(workspace, archive)
    emit(workspace, "archive.purged", archive=archive.id, of=archive.manifest.get("workspace"), bytes=row.bytes)
    gone = os.path.join(os.path.dirname(archive.folder), f"{_GONE}{archive.id}")
    os.rename(archive.folder, gone)
    _delete(gone)


def _clear(base: str) -> None:
    """Delete the last folder of purges that were killed."""
    for name in os.listdir(base):
        if name.startswith(_GONE):
            _delete(os.path.join(base, name))


def _drop_ref(workspace: Workspace, archive: Archive) -> None:
    """Delete the ref if it holds the manifest's commit still. Raises WrongDataError, GitError."""
    done = call(["rev-parse", "--verify", "--quiet", archive.ref], workspace.git_dir)
    if done.returncode:
        return
    wanted = str(archive.manifest["commit"])
    if done.stdout.strip() != wanted:
        raise WrongDataError(f"{archive.ref} is not the archive's commit any more; it stays", code="archive-ref")
    output(["update-ref", "-d", archive.ref, wanted], workspace.git_dir)


def _delete(path: str) -> None:
    """Delete a file, a link or a folder and all below it; nothing there is no error. Raises OSError, K1ctlError."""
    from k1ctl.archive.deletion import delete_folder

    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(about.st_mode):
        os.unlink(path)
        return
    problems = delete_folder(path).problems
    if problems:
        raise K1ctlError(f"not all of {path} could be deleted: {'; '.join(problems)}", code="purge-stuck")
