"""What is wrong inside a worktree: links that leave it, changed seeds, what git does not ignore or does not show."""

from __future__ import annotations

import os
from collections import Counter
from typing import TYPE_CHECKING

from k1ctl import clone
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json
from k1ctl.git import GitError, call, folders_with, names
from k1ctl.workspace import CHANGING, cache_dir
from k1ctl_plugins.worktree import links, readonly, tools
from k1ctl_plugins.worktree.doctor_finding import Finding, listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl.worktrees import Entry

_FOLDERS = 50  # of node_modules, looked into for files that have other names, too


def find(workspace: Workspace, config: Config, entry: Entry, found: list[Entry]) -> Iterator[Finding]:
    """The findings inside the worktree ``entry``, whose folder is there and whose git works."""
    path = entry.path
    modules = _folders(path, ["package-lock.json", "package.json"])
    firmware = _folders(path, ["platformio.ini"])
    yield from _links(entry, config, sorted({"", *modules, *firmware}), found)
    for folder in modules:
        yield from _seed(workspace, path, folder)
    yield from _ignored(workspace, path, modules, firmware)
    yield from _hidden(path)
    yield from _line_ends(path)
    yield from _colliding(path)
    yield from _ops_not_ignored(workspace) if entry.main else _own_ops(workspace, path)
    yield from _tools(config, path, modules)


def _folders(path: str, files: list[str]) -> list[str]:
    return [f for f in folders_with(files, path) if os.path.isdir(os.path.join(path, f))]


def leaving(path: str, folders: list[str]) -> list[links.Link]:
    """The .pio and node_modules that lead out of the worktree; a project folder that does so itself is told by `_links`
    alone: it is no link of ours to take away."""
    top, found = os.path.realpath(path), []
    for folder in folders:
        if (os.path.realpath(os.path.join(top, folder)) + "/").startswith(top + "/"):
            found += links.leaving(path, [folder])
    return found


def _links(entry: Entry, config: Config, folders: list[str], found: list[Entry]) -> Iterator[Finding]:
    try:
        allowed = readonly.declared(config)
    except K1ctlError as exc:
        yield Finding("read-only-unsafe", "error", entry.path, exc.message, "a link to it is written through", exc.hint)
        allowed = []
    top = os.path.realpath(entry.path)
    strange = [f for f in folders if not (os.path.realpath(os.path.join(top, f)) + "/").startswith(top + "/")]
    leave = [links.Link(f, os.path.realpath(os.path.join(top, f))) for f in strange] + leaving(entry.path, folders)
    for link in leave:
        if link.path in allowed:
            continue
        owner = next((e for e in found if (link.target + "/").startswith(e.path + "/") and e.path != entry.path), None)
        into = f", in the worktree {os.path.basename(owner.path)}" if owner else ""
        build = ".pio" in link.path.split("/")
        yield Finding(
            "link-leaves-worktree",
            "error",
            entry.path,
            f"{link.path} is a link to {link.target}{into}",
            "a build here may end with the other tree's firmware"
            if build
            else "`npm ci` here empties the other tree's",
            "make it a folder of this worktree"
            if link.path in strange
            else "`k1ctl worktree repair` unlinks it, then set up",
            link._asdict() | {"of_worktree": owner.path if owner else None},
        )


def _seed(workspace: Workspace, path: str, folder: str) -> Iterator[Finding]:
    """A node_modules whose files are those of a seed (hard links), and the seed is not what it was."""
    modules = os.path.join(path, folder, "node_modules")
    mark = read_json(os.path.join(modules, ".k1ctl-lock"))
    key = mark.get("key") if isinstance(mark, dict) else None
    if not isinstance(key, str) or mark.get("strategy", "store") != "store" or not _linked(modules):
        return
    for home in (os.path.join(cache_dir(), "npm"), os.path.join(workspace.git_dir, "k1ctl", "npm")):
        told = read_json(os.path.join(home, key, "seed.json"))
        if not isinstance(told, dict):
            continue
        if mark.get("seed", told.get("digest")) != told.get("digest"):
            yield Finding(
                "seed-replaced",
                "warning",
                path,
                f"{os.path.join(folder, 'node_modules')} shares files with a seed that was replaced since",
                "when somebody had changed it in place, the change is still here",
                "`k1ctl worktree setup` there brings node_modules anew",
                {"seed": key, "home": home},
            )
            continue
        try:
            if clone.scan(os.path.join(home, key, "node_modules")).digest() == told.get("digest"):
                continue
        except (OSError, K1ctlError):
            pass
        yield Finding(
            "seed-changed",
            "error",
            path,
            f"{os.path.join(folder, 'node_modules')} shares files with a seed that somebody changed in place",
            "the change is in every worktree that has files of this seed",
            "remove node_modules here and in the others and run `k1ctl worktree setup`: the seed is built anew",
            {"seed": key, "home": home},
        )


def _linked(modules: str) -> bool:
    """Whether a file a few folders down has another name elsewhere."""
    for looked, (folder, _, files) in enumerate(os.walk(modules)):
        if any(os.lstat(os.path.join(folder, name)).st_nlink > 1 for name in files[:3]):
            return True
        if looked == _FOLDERS:
            break
    return False


def _ignored(workspace: Workspace, path: str, modules: list[str], firmware: list[str]) -> Iterator[Finding]:
    """What git must ignore: .pio and node_modules as folders and as links, and .env where there is one."""
    wanted = [os.path.join(f, "node_modules") for f in modules] + [os.path.join(f, ".pio") for f in firmware]
    secrets = [".env"] if any(os.path.lexists(os.path.join(p, ".env")) for p in (path, workspace.root)) else []
    asked = [*(f"{name}/" for name in wanted), *secrets]
    if not asked:
        return
    done = call(["check-ignore", "-z", "-v", "-n", "--no-index", "--stdin"], path, stdin="\0".join(asked))
    fields = done.stdout.split("\0")  # source, line, pattern, path; the first three empty without a match
    rules = {fields[i + 3].rstrip("/"): fields[i : i + 3] for i in range(0, len(fields) - 3, 4)}
    tracked = set(names(["ls-files", "-z", "--", *secrets], path)) if secrets else set()
    for name in [*wanted, *secrets]:
        source, line, pattern = rules.get(name, ["", "", ""])
        missed = not pattern or pattern.startswith("!")
        if name in secrets and name in tracked:
            yield _secret(path, name, "git tracks it: it is in the repository's history", "secret-tracked")
        elif missed and name in secrets:
            yield _secret(path, name, "git does not ignore it", "secret-not-ignored")
        elif missed:
            yield Finding(
                "not-ignored",
                "warning",
                path,
                f"git does not ignore {name}",
                "`git add -A` takes thousands of files up, and the worktree always counts as changed",
                f"write {os.path.basename(name)} into .gitignore",
                {"name": name},
            )
        elif pattern.endswith("/"):
            yield Finding(
                "pattern-misses-links",
                "note",
                path,
                f"the pattern {pattern} ({source}:{line}) ignores the folder {name}, but not a link of that name",
                "a link that a tool puts there is committed by `git add -A`",
                f"write {pattern.rstrip('/')} without the slash at its end",
                {"name": name, "pattern": pattern, "file": source, "line": int(line)},
            )


def _secret(path: str, name: str, what: str, code: str) -> Finding:
    return Finding(
        code,
        "error" if code == "secret-not-ignored" else "warning",
        path,
        f"{name}: {what}",
        "one `git add -A` and its secrets are pushed"
        if code == "secret-not-ignored"
        else "who has the repository has it",
        f"write {name} into .gitignore"
        if code == "secret-not-ignored"
        else "change the secrets, and let git forget it",
        {"name": name},
    )


def _hidden(path: str) -> Iterator[Finding]:
    """Flags that make git overlook edits (git-update-index(1)); in a sparse checkout S is how it should be."""
    sparse = call(["config", "--bool", "core.sparseCheckout"], path).stdout.strip() == "true"
    shown = [(line[0], line[2:]) for line in names(["ls-files", "-v", "-z"], path)]
    hidden = [name for flag, name in shown if flag.islower() or (flag == "S" and not sparse)]
    if hidden:
        yield Finding(
            "hidden-edits",
            "warning",
            path,
            f"git overlooks edits of {len(hidden)} files (assume-unchanged or skip-worktree): {listed(hidden)}",
            "`git status` calls them unchanged, `git worktree remove` and a checkout lose them",
            "`git update-index --no-assume-unchanged --no-skip-worktree FILE` shows them again",
            {"count": len(hidden), "names": hidden[:20]},
        )


def _line_ends(path: str) -> Iterator[Finding]:
    """Files committed with CRLF that git wants to convert: they count as changed as soon as they are touched.

    With text=auto git leaves those as they were committed (gitattributes(5)).
    """
    found = []
    for line in names(["ls-files", "--eol", "-z"], path):
        facts, _, name = line.partition("\t")
        if facts.startswith(("i/crlf", "i/mixed")) and "attr/text" in facts and "attr/text=auto" not in facts:
            found.append(name)
    if found:
        yield Finding(
            "line-ends",
            "note",
            path,
            f"{len(found)} files were committed with CRLF although their attributes make them text: {listed(found)}",
            "they count as changed without an edit, and every worktree shows others",
            "`git add --renormalize .` and commit, once",
            {"count": len(found), "names": found[:20]},
        )


def _colliding(path: str) -> Iterator[Finding]:
    tracked = names(["ls-files", "-z"], path)
    count = Counter(name.casefold() for name in tracked)
    same = sorted(name for name in tracked if count[name.casefold()] > 1)
    if same:
        folds = os.path.exists(os.path.join(path, ".GIT"))
        yield Finding(
            "names-collide",
            "warning" if folds else "note",
            path,
            f"{len(same)} names differ only in case: {listed(same, 4)}",
            "on macOS only one of each is there, and it shows as changed",
            "rename one of each with `git mv`",
            {"count": len(same), "names": same[:20], "filesystem_folds_case": folds},
        )


def _ops_not_ignored(workspace: Workspace) -> Iterator[Finding]:
    """What changes by itself under ops/, where git would take it up."""
    there = [f"ops/{name}" for name in CHANGING if os.path.isdir(workspace.ops_path(name))]
    if not there:
        return
    asked = "\0".join(f"{name}/" for name in there)
    done = call(["check-ignore", "-z", "--no-index", "--stdin"], workspace.root, stdin=asked)
    ignored = {name.rstrip("/") for name in done.stdout.split("\0")}
    missed = [
        name for name in there if name not in ignored and not names(["ls-files", "-z", "--", name], workspace.root)
    ]
    if missed:
        yield Finding(
            "ops-not-ignored",
            "warning",
            workspace.root,
            f"git does not ignore {listed(missed)}",
            "they change with every call: the root always counts as changed, and `git add -A` takes them up",
            "`k1ctl init`, called again, writes them into .git/info/exclude",
            {"names": missed},
        )


def _own_ops(workspace: Workspace, path: str) -> Iterator[Finding]:
    own = os.path.join(path, "ops")
    if not os.path.isdir(own) or os.path.realpath(own) == os.path.realpath(workspace.ops):
        return
    try:
        strange = names(["ls-files", "-z", "-o", "--directory", "--", "ops"], path)
    except GitError:
        strange = []
    if strange:
        yield Finding(
            "ops-not-used",
            "warning",
            path,
            f"it has an ops/ of its own with {listed(strange)}",
            f"k1ctl never reads it: queue, runs and settings are in {workspace.ops}",
            "move what is needed into the root's ops/",
            {"names": strange[:20]},
        )


def _tools(config: Config, path: str, modules: list[str]) -> Iterator[Finding]:
    missing = [name for name in config.get("worktree", "tools") if not tools.find(name)]
    if not modules:
        missing = [name for name in missing if name not in ("node", "npm")]
    if missing:
        yield Finding(
            "tools-missing",
            "warning",
            path,
            f"not found: {', '.join(missing)}",
            "set-up and builds that need them fail",
            "install them, or change worktree.tools",
            {"tools": missing},
        )
