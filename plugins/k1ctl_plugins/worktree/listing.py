"""The worktrees of a repository: what git keeps of each, whether it has changes, who made it, how long it is idle.

Only git knows exactly whether a worktree has changes, and its looks at a hundred of them cost what looking at each
file costs. They run side by side, started without a thread each. Where all of them would take longer than `BUDGET`,
those that were looked at within `KEEP` seconds and whose HEAD and index are the same since keep their answer; the row
says how old it is. git is told to take no lock, so that a look never makes an agent's commit fail.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.files import read_json, write_json
from k1ctl.git import GitError, environment, program
from k1ctl.units import parse_rfc3339, rfc3339
from k1ctl.worktrees import LIST, Entry, check_link, entries, origin, own_git_dir, parse, with_main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.workspace import Workspace

BUDGET = 0.12  # seconds of looking, after which recent answers are kept
KEEP = 60.0  # seconds
LIMIT = 30.0  # seconds for all looks: a disk that hangs must not take the list with it
STATUS = (
    *("-c", "core.fsmonitor=false", "status", "--porcelain", "-z"),
    *("--untracked-files=normal", "--no-renames", "--ignore-submodules=none"),
)
_NO_SUCH_OPTION = 129  # git's exit code for it
_NAMES = 500  # changed files whose times are asked for


class Look(NamedTuple):
    """What one look found: ``dirty`` None when git could not tell; ``newest`` the newest changed file's time; ``signs``
    what HEAD and index were then; ``at`` when it was."""

    dirty: bool | None
    newest: float
    signs: list[Any]
    at: float


def git_entries(workspace: Workspace) -> list[Entry]:
    """The repository's worktrees, the main one first, as `k1ctl.worktrees.entries`, which loads what costs.

    Raises GitError.
    """
    for _, code, said in answers([("", ["-C", workspace.path, *LIST])], LIMIT):
        if code == 0:
            return with_main(parse(os.fsdecode(said)), workspace.path)
        if code == _NO_SUCH_OPTION:
            return entries(workspace.path)
    check_link(workspace.path)
    raise GitError(f"git worktree list failed in {workspace.path}", hint="git worktree list, called there, says why")


def documents(workspace: Workspace, *, refresh: bool = False) -> list[dict[str, Any]]:
    """The worktrees as JSON, each with what is known of its changes; ``refresh``: look at each, keep no answer.

    Raises GitError.
    """
    found = git_entries(workspace)
    own = {entry.path: workspace.git_dir if entry.main else own_git_dir(entry.path) for entry in found}
    file = workspace.ops_path("cache", "worktrees.json")
    before = {} if refresh else _read(file)
    looks = look(found, own, before, first=workspace.path)
    if any(look is not before.get(path) for path, look in looks.items()) and os.path.isdir(workspace.ops):
        try:
            write_json(file, {path: look._asdict() for path, look in looks.items()})
        except OSError:
            pass
    here = _current(found, workspace.path)
    return [_document(entry, own[entry.path], looks.get(entry.path), here) for entry in found]


def _current(found: list[Entry], path: str) -> str:
    """The path, as git has it, of the worktree at ``path``; "" when it is none of them."""
    if any(entry.path == path for entry in found):
        return path
    real = os.path.realpath(path)
    return next((entry.path for entry in found if os.path.realpath(entry.path) == real), "")


def _document(entry: Entry, own: str, look: Look | None, here: str) -> dict[str, Any]:
    made = origin(entry.path, own) if own else {}
    active = _active(own, made, look)
    return {
        "name": os.path.basename(entry.path),
        "path": entry.path,
        "branch": entry.branch or None,
        "head": entry.head,
        "main": entry.main,
        "current": entry.path == here,
        "dirty": look.dirty if look else None,
        "dirty_age_seconds": round(max(0.0, time.time() - look.at), 3) if look else None,
        "missing": not os.path.isdir(entry.path),
        "bare": entry.bare,
        "locked": entry.locked,
        "prunable": entry.prunable,
        "creator": made.get("creator") or None,
        "base": made.get("base") or None,
        "active_at": rfc3339(active) if active else None,
        "idle_seconds": round(max(0.0, time.time() - active), 3) if active else None,
    }


def _active(own: str, made: dict[str, Any], look: Look | None) -> float:
    """The newest of index, reflog, creation and changed files; `k1ctl.archive.activity` knows more, and costs more."""
    times = [look.newest] if look else []
    for name in ("index", os.path.join("logs", "HEAD")) if own else ():
        try:
            times.append(os.stat(os.path.join(own, name)).st_mtime)
        except OSError:
            pass
    try:
        times.append(parse_rfc3339(str(made.get("at", ""))))
    except ValueError:
        pass
    return max(times, default=0.0)


def look(found: list[Entry], own: dict[str, str], before: dict[str, Look], *, first: str = "") -> dict[str, Look]:
    """Look at every worktree whose folder is there, ``first`` first, then those whose answer is missing or oldest."""
    signs = {e.path: _signs(e, own[e.path]) for e in found if not e.bare and os.path.isdir(e.path)}
    now = time.time()

    def kept(path: str) -> bool:
        there = before.get(path)
        return there is not None and there.signs == signs[path] and 0 <= now - there.at < KEEP

    order = sorted(signs, key=lambda p: (p != first, kept(p), before[p].at if p in before else 0.0))
    begun = time.monotonic()
    todo = ((p, ["-C", p, *STATUS]) for p in order if not kept(p) or time.monotonic() - begun < BUDGET)
    looks = {path: before[path] for path in order if kept(path)}
    for path, code, said in answers(todo, LIMIT):
        names = [line[3:] for line in said.split(b"\0") if line]
        newest = _newest(os.fsencode(path), names) if code == 0 else 0.0
        looks[path] = Look(bool(names) if code == 0 else None, newest, signs[path], time.time())
    return looks


def _signs(entry: Entry, own: str) -> list[Any]:
    try:
        index = os.stat(os.path.join(own, "index"))
    except OSError:
        return [entry.head, entry.branch]
    return [entry.head, entry.branch, index.st_ino, index.st_size, index.st_mtime_ns]


def _newest(top: bytes, names: list[bytes]) -> float:
    newest = 0.0
    for name in names[:_NAMES]:
        try:
            newest = max(newest, os.lstat(os.path.join(top, name)).st_mtime)
        except OSError:
            pass
    return newest


def _read(file: str) -> dict[str, Look]:
    kept = read_json(file)
    try:
        return {path: Look(**facts) for path, facts in kept.items()} if isinstance(kept, dict) else {}
    except TypeError:
        return {}


def answers(calls: Any, limit: float) -> Iterator[tuple[str, int | None, bytes]]:
    """Run git for each (key, words) of ``calls``, side by side; yields key, exit code and stdout as each ends.

    The exit code is None for what was not done within ``limit`` seconds: git is killed then, the rest not begun.
    """
    import select

    width = min(16, max(4, 2 * (os.cpu_count() or 1)))
    git, env, until = program(), environment(), time.monotonic() + limit
    waiting, running = iter(calls), dict[int, tuple[int, str, list[bytes]]]()
    try:
        while True:
            for key, words in waiting:
                fd, pid = _start(git, words, env)
                running[fd] = (pid, key, [])
                if len(running) >= width:
                    break
            if not running:
                return
            ready = select.select(list(running), [], [], max(0.0, until - time.monotonic()))[0]
            if not ready:
                yield from ((key, None, b"") for _, key, _ in running.values())
                yield from ((key, None, b"") for key, _ in waiting)
                return
            for fd in ready:
                pid, key, said = running[fd]
                data = os.read(fd, 1 << 16)
                if data:
                    said.append(data)
                    continue
                del running[fd]
                os.close(fd)
                yield key, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), b"".join(said)
    finally:
        for fd, (pid, _, _) in running.items():
            os.killpg(pid, signal.SIGKILL)  # not reaped yet, so the group is its own; git has children of submodules
            os.close(fd)
            os.waitpid(pid, 0)


def _start(git: str, words: list[str], env: dict[str, str]) -> tuple[int, int]:
    """Start git; (descriptor of its stdout, process id)."""
    out, inward = os.pipe()
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_DUP2, inward, 1),
        (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
    ]
    try:
        return out, os.posix_spawn(git, [git, *words], env, file_actions=actions, setpgroup=0)
    except BaseException:
        os.close(out)
        raise
    finally:
        os.close(inward)
