"""Write the contents of an archive, tar files and objects side by side, and say in a manifest what they are."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.archive import snapshot
from k1ctl.archive.files import odd_modes
from k1ctl.archive.folder import FORMAT
from k1ctl.archive.gitstate import lasting, named_by_content, own_entries, submodules
from k1ctl.archive.heads import REFLOG
from k1ctl.archive.tar import Writer
from k1ctl.archive.withheld import add_blobs, withhold
from k1ctl.git import GitError
from k1ctl.jsontext import dumps
from k1ctl.units import rfc3339
from k1ctl.worktrees import origin

if TYPE_CHECKING:
    from k1ctl.archive.calls import Calls, Running
    from k1ctl.archive.files import Look
    from k1ctl.archive.gitstate import GitState
    from k1ctl.archive.planning import Plan
    from k1ctl.workspace import Workspace

_SETTINGS = r"^extensions\.|^core\.(attributesfile|autocrlf)$|^branch\..*\.(remote|merge)$|^remote\..*\.promisor$"
_DIFF = ("diff", "--name-only", "-z", "--no-ext-diff", "--no-renames", "--ignore-submodules=none")
_MANY_COMMITS = 1000  # unpushed commits beyond which they are not counted


def write(calls: Calls, task: Plan, workspace: Workspace, building: str, name: str) -> dict[str, Any]:
    """Write tar files and objects, side by side; returns what the manifest says of them."""
    found, state = task.found, task.state
    sizes = snapshot.stored_sizes(calls, state, found)  # takes the longest
    config = calls.start("config", "-z", "--get-regexp", _SETTINGS)
    heads = calls.start("rev-parse", "HEAD^{commit}", "HEAD^{tree}")
    symbolic = calls.start("symbolic-ref", "-q", "HEAD")
    named = state.names_of_objects() | (snapshot.names_in_tables(calls) if state.in_tables else set())
    objects = snapshot.known_objects(calls, named) if named else None
    settings = _settings(config)
    scratch = snapshot.Scratch(
        os.path.join(building, "scratch"),
        workspace.git_dir,
        found.top,
        sha256=settings.get("extensions.objectformat") == "sha256",
    )
    head, head_tree = _head(task, heads)
    points_to = symbolic.line(accept=(0, 1))
    branch = points_to.removeprefix("refs/heads/") if points_to.startswith("refs/heads/") else ""
    unpushed = _count(calls, head)
    attributes = snapshot.attribute_files(workspace.git_dir, found, settings.get("core.attributesfile", ""))
    converts = snapshot.converts(attributes, settings)
    changes = _Changes(calls, converts)
    kept_back = withhold(calls, task, head, changes)
    index = snapshot.index_tree(calls, state, found, scratch, kept_back.entries)
    tars = _write_tars(calls, task, building, branch, kept_back.blobs)
    before = len(task.places.files)
    raw = snapshot.raw_tree(calls, state, found, task.places, scratch, attributes, sizes)
    if len(task.places.files) > before:  # git cannot hold some of the names
        tars = _write_tars(calls, task, building, branch, kept_back.blobs)
    index_tree = index.line()
    clean = index_tree == head_tree  # then HEAD is the commit of the index, too
    changes.compare(head if not clean else "")
    index_commit = None if clean else snapshot.commit(calls, index_tree, [head] if head else [], f"index of {name}")
    known = snapshot.objects_told(objects) if objects else {}
    tags = snapshot.tags(calls, known)
    stashes = state.stashes(branch)
    known |= {row["commit"]: "commit" for row in stashes if row["commit"] not in known}
    partial = any(key == "extensions.partialclone" or key.endswith(".promisor") for key in settings)
    pins, lost = snapshot.pins(calls, head, known, partial)
    blobs = _undone(calls, state)
    extra = snapshot.extra_tree(calls, known.items(), blobs)
    tree = raw.line()
    indexed = index_commit.line() if index_commit else head
    parents = list(dict.fromkeys([*([head] if head else []), indexed, *pins]))
    if extra:
        parents.append(snapshot.commit(calls, extra, [], f"objects of {name}").line())
    commit = snapshot.commit(calls, tree, parents, f"k1ctl archive {name}\n\n{found.top}").line()
    facts: dict[str, Any] = {"head": head or None, "branch": branch or None, "commit": commit, "tree": tree}
    facts |= {"index_commit": indexed, "files": tars, "stashes": stashes, "tags": tags}
    facts |= {"pinned": pins, "not_pinned": lost}
    facts["unpushed_count"] = int(unpushed.line()) if unpushed else 0
    facts["upstream"] = [settings.get(f"branch.{branch}.{key}", "") for key in ("remote", "merge")] if branch else []
    facts["changed"] = changes.count(head_tree, tree, found) if head else 0
    facts["plain_index"] = snapshot.rebuildable(state, found) and not kept_back.entries and not converts
    facts |= _nature(task)
    facts["fingerprint"] = _fingerprint(task, index_tree, facts)
    return facts


def _head(task: Plan, heads: Running) -> tuple[str, str]:
    """The commit and the tree that `rev-parse` told of HEAD; "" for both of a branch without a commit."""
    told = heads.text(accept=(0, 128)).split()  # 128: HEAD is a branch without a commit
    head, head_tree = told if len(told) == 2 and "^" not in told[1] else ("", "")
    if not head and task.entry.head.strip("0"):
        raise GitError(f"HEAD of {task.found.top} is {task.entry.head[:12]}, which cannot be read")
    return head, head_tree


class _Changes:
    """Which tracked files are changed. Where git ``converts`` files only git can tell, by reading them anew; elsewhere
    the trees tell."""

    def __init__(self, calls: Calls, converts: bool) -> None:
        self.calls = calls
        self._running = calls.start(*_DIFF, "--") if converts else None
        self._staged: Running | None = None
        self._names: set[str] | None = None
        self._asked = False

    def __call__(self) -> set[str] | None:
        """The files that differ from the index; None when git cannot tell, for a filter that is missing."""
        if not self._asked:
            self._asked = True
            self._running = self._running or self.calls.start(*_DIFF, "--")
            try:
                self._names = _names(self._running)
            except GitError:
                pass
        return self._names

    def compare(self, head: str) -> None:
        """Start comparing the index with ``head``; "" when they are the same."""
        if head and self._running:
            self._staged = self.calls.start("diff-index", "--cached", "--name-only", "-z", head, "--")

    def count(self, head_tree: str, tree: str, found: Look) -> int | None:
        """How many tracked files differ from the commit; None when git cannot tell."""
        if not self._running:
            names = _names(self.calls.start("diff-tree", "-r", "--name-only", "-z", head_tree, tree))
            sparse = (p for p in names if p not in found.files and found.tracked.get(p, " ")[0][0] in "Ss")
            return len(names - found.others - set(sparse))
        dirty = self()
        return None if dirty is None else len(dirty | (_names(self._staged) if self._staged else set()))


def _names(running: Running) -> set[str]:
    return set(filter(None, running.text().split("\0")))


def _count(calls: Calls, head: str) -> Any:
    if not head:
        return None
    return calls.start("rev-list", "--count", f"--max-count={_MANY_COMMITS}", head, "--not", "--remotes")


def _settings(config: Any) -> dict[str, str]:
    text = config.text(accept=(0, 1))
    return {key: value for key, _, value in (row.partition("\n") for row in text.split("\0")) if key}


def _undone(calls: Calls, state: GitState) -> set[str]:
    """The blobs of resolved conflicts, which ``git checkout -m`` brings back (index extension REUC)."""
    if b"REUC" not in state.index:
        return set()
    rows = calls.start("ls-files", "-z", "--resolve-undo").text().split("\0")
    return {row.split(" ")[1] for row in rows if row}


def _write_tars(calls: Calls, task: Plan, building: str, branch: str, blobs: set[str]) -> dict[str, Any]:
    """Write what there is of git.tar, files.tar and secrets.tar; {name: {bytes, sha256}}."""
    written: dict[str, Any] = {}
    hidden = task.state.spilled()
    git = [(name, os.path.join(task.own, name), facts) for name, facts in own_entries(task.state)]
    top = task.found.top
    tars = {
        "git.tar": [row for row in git if row[0] not in hidden],
        "files.tar": [(path, os.path.join(top, path), facts) for path, facts in sorted(task.places.files.items())],
        "secrets.tar": [(f"git/{name}", path, facts) for name, path, facts in git if name in hidden]
        + [("tree/" + path, os.path.join(top, path), facts) for path, facts in sorted(task.places.secrets.items())],
    }
    for name, rows in tars.items():
        if not rows and not (blobs and name == "secrets.tar"):
            continue
        path = os.path.join(building, name)
        if os.path.lexists(path):
            os.unlink(path)
        tar = Writer(path)
        try:
            for member, source, facts in rows:
                tar.add(source, member, facts, timeless=named_by_content(member))
            if name == "git.tar" and (log := task.state.branch_reflog(branch)):
                tar.add_bytes(REFLOG, log)
            if name == "secrets.tar":
                add_blobs(calls, tar, blobs)
            written[name] = tar.close(fsync=False)
        finally:
            tar.abandon()
    return written


def _nature(task: Plan) -> dict[str, Any]:
    """What neither a commit nor a tar file holds: folders, and modes beyond the one bit that git knows."""
    umask = os.umask(0o077)
    os.umask(umask)
    return {
        "umask": f"{umask:03o}",
        "mode": f"{task.found.mode:o}",
        "modes": odd_modes(task.found, task.places, umask),
        "empty_folders": task.found.empty,
        "special": task.places.special,
    }


def _fingerprint(task: Plan, index_tree: str, facts: dict[str, Any]) -> str:
    """What two saves of the same content share. Of the index its entries and flags: its stat data mean nothing."""
    from hashlib import sha256

    digest = sha256(task.found.listed)
    keys = ("tree", "head", "branch", "umask", "mode", "modes", "empty_folders", "special", "stashes")
    digest.update(os.fsencode(dumps([index_tree, *(facts[key] for key in keys)])))
    for name in ("files.tar", "secrets.tar"):
        digest.update(f"{name} {facts['files'].get(name)}\n".encode())
    lines = [
        f"{n}\0{f.st_mode} {f.st_size} {'' if named_by_content(n) else f.st_mtime_ns}\n"
        for n, f in own_entries(task.state)
        if n != "index" and lasting(n)
    ]
    digest.update(os.fsencode("".join(lines)))
    return digest.hexdigest()


def manifest(workspace: Workspace, task: Plan, name: str, reason: str, facts: dict[str, Any]) -> dict[str, Any]:
    entry, places = task.entry, task.places
    made = origin(entry.path)
    tracked = task.found.tracked
    counts = {
        "changed": facts.pop("changed"),
        "untracked": places.untracked,
        "ignored_kept": places.ignored,
        "secrets": len(places.secrets),
        "nested": len(task.kept),
    }
    return {
        "format": FORMAT,
        "id": name,
        "at": rfc3339(),
        "kind": "worktree",
        "workspace": os.path.basename(entry.path),
        "path": entry.path,
        "root": workspace.root,
        "git_dir": workspace.git_dir,
        "entry": os.path.basename(task.own),
        "reason": reason,
        "creator": made.get("creator"),
        "base": made.get("base"),
        **facts,
        "counts": counts,
        "regenerable": [f for f in task.found.regenerable if not any(k.startswith(f + "/") for k in task.kept)],
        "operation": task.state.operation or None,
        "rebasing": list(task.state.rebasing) if task.state.rebasing[0] else None,
        "sparse": any(rows[0][0] in "Ss" for rows in tracked.values()),
        "submodules": submodules(tracked),
        "nested": sorted(task.kept),
        "bytes": sum(row["bytes"] for row in facts["files"].values()),
        "restored_bytes": sum(task.found.files[p].st_size for p in places.commit) + places.tar_bytes,
    }
