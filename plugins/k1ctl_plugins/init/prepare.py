"""Folders under ``ops/``, the configuration file, and the lines in ``.git/info/exclude``; each step can be repeated."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError
from k1ctl.files import Locked, read_bytes, write_atomic
from k1ctl.filesystem import check_locks, mount_of
from k1ctl.workspace import CHANGING

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace

FOLDERS = ("queue", "runs", "artifacts", "events", "device", "metrics", "archive")
EXCLUDED = (
    *(f"/ops/{name}/" for name in CHANGING),
    *("/ops/state.db*", "/ops/state.lock", "/ops/budget-sync.lock", "/ops/hooks/k1ctl.path"),
)
BEGIN = "# k1ctl: what changes by itself under ops/"
END = "# k1ctl: end"


class Report:
    """What `prepare` made and what it found in place; ``notes`` are lines for people."""

    def __init__(self, root: str, dry_run: bool) -> None:
        self.root, self.dry_run = root, dry_run
        self.created: list[str] = []
        self.kept: list[str] = []
        self.notes: list[str] = []
        self.filesystem = ""

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        facts = {"root": self.root, "dry_run": self.dry_run, "filesystem": self.filesystem}
        return {"ok": True, **facts, "created": self.created, "kept": self.kept, "notes": self.notes}


def prepare(workspace: Workspace, text: str, *, dry_run: bool = False) -> Report:
    """Make what is missing; ``text`` is the configuration file for a root that has none.

    Raises ConfigError (no flock, a network filesystem, ``ops`` is not a folder), OSError (read-only, full).
    """
    report = Report(workspace.root, dry_run)
    ops = workspace.ops
    if os.path.lexists(ops) and not os.path.isdir(ops):
        raise ConfigError(f"{ops} is there and not a folder", hint="move it away")
    if dry_run:
        report.filesystem = mount_of(workspace.root).kind
        _plan(workspace, report)
        return report
    _folder(ops, report)
    report.filesystem = check_locks(ops).kind
    for name in FOLDERS:
        _folder(os.path.join(ops, name), report)
    _sort(report, workspace.config_file, write_new(workspace.config_file, text))
    exclude = exclude_file(workspace)
    if exclude:
        with Locked(os.path.join(workspace.git_dir, "k1ctl", "exclude.lock")):
            old = (read_bytes(exclude) or b"").decode(errors="surrogateescape")
            new = with_block(old)
            if new != old:
                write_atomic(exclude, new.encode(errors="surrogateescape"))
        _sort(report, exclude, new != old)
    else:
        report.notes.append(f"{workspace.root} is not a git checkout: nothing was excluded from git")
    return report


def _plan(workspace: Workspace, report: Report) -> None:
    paths = [workspace.ops, *(workspace.ops_path(name) for name in FOLDERS), workspace.config_file]
    for path in paths:
        _sort(report, path, not os.path.lexists(path))
    exclude = exclude_file(workspace)
    if exclude:
        old = (read_bytes(exclude) or b"").decode(errors="surrogateescape")
        _sort(report, exclude, with_block(old) != old)


def _sort(report: Report, path: str, new: bool) -> None:
    (report.created if new else report.kept).append(path)


def _folder(path: str, report: Report) -> None:
    try:
        os.mkdir(path)
    except FileExistsError:
        report.kept.append(path)
    else:
        report.created.append(path)


def write_new(path: str, text: str) -> bool:
    """Write ``path`` whole unless something is there; False when it is. Of two writers exactly one succeeds."""
    if os.path.lexists(path):
        return False
    temporary = os.path.join(os.path.dirname(path), f".{os.path.basename(path)}.{os.getpid()}.new")
    write_atomic(temporary, text)
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def exclude_file(workspace: Workspace) -> str:
    """The repository's ``info/exclude`` ("" outside git); a link is followed, so that the link stays."""
    return os.path.realpath(os.path.join(workspace.git_dir, "info", "exclude")) if workspace.git_dir else ""


def with_block(text: str) -> str:
    """An exclude file with exactly one block of ours, where it stood before, else at the end."""
    lines = text.splitlines()
    block = [BEGIN, *EXCLUDED, END]
    if BEGIN in lines:
        start = lines.index(BEGIN)
        stop = start + 1
        while stop < len(lines) and lines[stop].startswith("/ops/"):
            stop += 1
        stop += stop < len(lines) and lines[stop] == END
        lines[start:stop] = block
    else:
        lines += block
    return "\n".join(lines) + "\n"
