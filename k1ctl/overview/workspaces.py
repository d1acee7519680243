"""The worktrees of a repository, and what k1ctl does in each now. Read from git's own files (gitrepository-layout(5)):
no git is started."""

from __future__ import annotations

import os

from k1ctl.overview.line import expected
from k1ctl.overview.parts import STATES, Part, reason, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.overview.parts import Sources
    from k1ctl.tally.fold import Activity

_DOING = {"build": "building", "upload": "uploading", "device-test": "testing"}  # by the kind of a run; else: running


def look(sources: Sources) -> Part:
    """Rows: ``name``, ``path``, ``branch`` (None: detached), ``main``, ``current``, ``missing``, ``state`` (one of
    uploading, testing, building, running, waiting, parked, idle), ``doing`` (all of it: state, label, run, ticket,
    resources, since, seconds, position, expected_seconds, waits_for), ``holds`` resources, ``promised_bytes`` of
    memory, ``active_at`` and ``idle_seconds`` by events, index and reflog, the last ``build`` and ``upload``,
    ``setup_failed`` (the steps in which the last set-up failed; None: in none), ``turns``.

    Who stands in the queue and has no worktree here (another repository that shares it) is a row without a path.
    """
    doing = _doing(sources)
    rows = []
    activities, error = _activities(sources)
    trees = worktrees(sources.workspace.root, sources.workspace.git_dir)
    names = [sources.workspace.name if p == sources.workspace.path else os.path.basename(p) for p, _, _ in trees]
    for name, (path, own, main) in zip(names, trees, strict=True):
        mine = doing.get(name, [])
        if names.count(name) > 1:  # two folders of one name: the records of the runs tell whose each is
            mine = [each for each in mine if sources.path_of(each["run"]) in ("", path)]
        rows.append(_row(sources, name, path, own, main, mine, activities.get(name)))
    for name in sorted(set(doing) - set(names)):
        rows.append(_row(sources, name, "", "", False, doing[name], activities.get(name)))
    counts: dict[str, Any] = {state: sum(row["state"] == state for row in rows) for state in STATES}
    return Part(rows, {"count": len(rows), **{state: count for state, count in counts.items() if count}}, error=error)


def _activities(sources: Sources) -> tuple[dict[str, Activity], str]:
    """({workspace: what its events say}, why that is not known): worktrees are told of all the same."""
    try:
        return sources.tally.workspaces, ""
    except Exception as exc:  # whatever it is, worktrees and tickets are there
        return {}, reason(exc)


def worktrees(root: str, git_dir: str) -> list[tuple[str, str, bool]]:
    """(path, its own git folder, whether it is the main one) of every worktree, the main one first, then by name."""
    found = []
    if os.path.lexists(os.path.join(root, ".git")):
        found.append((root, git_dir, True))
    folder = os.path.join(git_dir, "worktrees")
    try:
        names = sorted(os.listdir(folder)) if git_dir else []
    except OSError:
        names = []
    for name in names:
        own = os.path.join(folder, name)
        link = _text(os.path.join(own, "gitdir"))
        if link:
            found.append((os.path.dirname(os.path.normpath(os.path.join(own, link))), own, False))
    return found or [(root, "", True)]


def branch_of(own: str) -> str | None:
    """The branch that HEAD in a worktree's own git folder names; None when it is detached, or cannot be read."""
    head = _text(os.path.join(own, "HEAD"))
    return head[5:].strip().removeprefix("refs/heads/") if head.startswith("ref:") else None


_texts: dict[str, tuple[tuple[int, int, int], str]] = {}  # {path: (what it was when it was read, what it said)}


def _text(path: str) -> str:
    """What a small file says; one that is as it was when it was last read is not opened again."""
    try:
        known = _texts.get(path)
        if known is not None and known[0] == _stamp(os.stat(path)):
            return known[1]
        with open(path, "rb") as f:
            stamp, text = _stamp(os.fstat(f.fileno())), os.fsdecode(f.read(4096)).rstrip("\n")
    except OSError:
        return ""
    if len(_texts) > 2000:
        _texts.clear()
    _texts[path] = (stamp, text)
    return text


def _stamp(stat: os.stat_result) -> tuple[int, int, int]:
    return stat.st_ino, stat.st_mtime_ns, stat.st_size


def _row(
    sources: Sources,
    name: str,
    path: str,
    own: str,
    main: bool,
    doing: list[dict[str, Any]],
    activity: Activity | None,
) -> dict[str, Any]:
    from k1ctl.units import rfc3339

    active = _active(own)
    told = None if activity is None else sources.ago(activity.at)
    idle = min((s for s in (told, None if not active else sources.ago(active)) if s is not None), default=None)
    states = [each["state"] for each in doing] or ["idle"]
    promises = [p for p in sources.promises if not p.waiting and _of(sources, p.root, p.workspace, name, path)]
    return {
        "name": name,
        "path": path or None,
        "branch": branch_of(own) if own else None,
        "main": main,
        "current": bool(path) and path == sources.workspace.path,
        "missing": bool(path) and not os.path.isdir(path),
        "state": min(states, key=STATES.index),
        "doing": doing,
        "holds": [r for each in doing if each["state"] not in ("waiting", "parked") for r in each["resources"]],
        "promised_bytes": sum(p.units.get("mem", 0) for p in promises) << 20,
        "active_at": None if idle is None else rfc3339(sources.now - idle),
        "idle_seconds": 0.0 if doing else idle,
        "last_event": None if activity is None else activity.event,
        "build": activity.build.document() if activity and activity.build else None,
        "upload": activity.upload.document() if activity and activity.upload else None,
        "setup_failed": (activity.unset or None) if activity and path else None,
        "turns": 0 if activity is None else activity.turns,
    }


def _of(sources: Sources, root: str, workspace: str, name: str, path: str) -> bool:
    return workspace == name and (not root or (root == sources.workspace.root) == bool(path))


def _active(own: str) -> float:
    """When git last wrote the worktree's index or reflog, in seconds since 1970; 0 where that is not known."""
    times = [0.0]
    for file in ("index", "logs/HEAD") if own else ():
        try:
            times.append(os.stat(os.path.join(own, file)).st_mtime)
        except OSError:
            pass
    return max(times)


def _doing(sources: Sources) -> dict[str, list[dict[str, Any]]]:
    """{workspace: what it does or waits for}: from its tickets, and from promises of what has no ticket."""
    found: dict[str, list[dict[str, Any]]] = {}
    starts = expected(sources)
    runs = set()
    for row in sources.tickets:
        runs.add(row.get("run"))
        found.setdefault(sources.owner(row), []).append(_ticket(sources, row, starts))
    for promise in sources.promises:
        if promise.kind == "reservation" or promise.run in runs or promise.root not in ("", sources.workspace.root):
            continue
        state = "waiting" if promise.waiting else _DOING.get(promise.kind, "running")
        found.setdefault(promise.workspace or "?", []).append(
            {
                **_nothing(state, promise.what or promise.kind, promise.run),
                "kind": promise.kind,
                "resources": ["memory"] if promise.waiting else [],
                "seconds": sources.ago(promise.since) if promise.since else None,
            }
        )
    return found


def _ticket(sources: Sources, row: dict[str, Any], starts: dict[int, float | None]) -> dict[str, Any]:
    kind, running = str(row.get("kind", "")), row["state"] == "running"
    state = _DOING.get(kind, "running") if running and not row.get("waits_for") else row["state"]
    since = row.get("granted_at") if running else row.get("queued_at")
    return {
        **_nothing(
            "waiting" if state == "running" and row.get("waits_for") else state,
            str(row.get("label") or row.get("command") or row.get("holder") or kind or "?"),
            str(row.get("run", "")),
        ),
        "kind": kind,
        "ticket": row["ticket"],
        "resources": shown(row["resources"]),
        "since": since or None,
        "seconds": sources.ago(since),
        "position": row.get("position"),
        "expected_seconds": starts.get(row["ticket"]),
        "waits_for": row.get("waits_for") or None,
    }


def _nothing(state: str, label: str, run: str) -> dict[str, Any]:
    empty = dict.fromkeys(("ticket", "since", "seconds", "position", "expected_seconds", "waits_for"))
    return {"state": state, "label": label, "run": run, "kind": "", "resources": [], **empty}
