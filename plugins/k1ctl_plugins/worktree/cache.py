"""Bring ``node_modules`` into a worktree: cloned, linked or copied from a seed, or installed by the package manager.

A tree that is brought is made beside the old one, in a folder that git ignores, and renamed; the mark that it is whole
is written last. Killed at any step, the next set-up clears what is there and does it again.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import clone, disk
from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.files import write_atomic
from k1ctl.git import folders_with
from k1ctl.output import say
from k1ctl.programs import find_tool
from k1ctl.setup import SetupStep, StepReport
from k1ctl.workspace import cache_dir
from k1ctl_plugins.worktree import cache_apart, cache_key, cache_pnpm, npm, seeds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

SCRATCH = ".k1ctl-modules"  # beside node_modules, and so on its filesystem
_UNFIT = ("special-file", "seed-unstable", "no-flock")  # codes of what only a seed cannot be
_MOUNTED = "node_modules is a mount point"
_VERBS = {"clone": "cloned", "store": "linked", "copy": "copied"}


class NpmProject(NamedTuple):
    """A project of npm: its ``folder`` in worktree ``top``; ``homes`` where seeds may lie, best first; ``wanted`` the
    strategy; ``locks`` descriptors that npm holds while it works; ``check_room`` refuses what the disk cannot take."""

    folder: str
    top: str
    homes: tuple[str, ...]
    wanted: str
    locks: tuple[int, ...]
    check_room: Callable[[int], None]


class Choice(NamedTuple):
    """``how`` a tree is copied, from a seed in ``home``, and ``why`` so when it is not what was wanted or best."""

    how: str
    home: str
    why: str


def steps(workspace: Workspace, config: Config, lock: int, wanted: str = "") -> Iterator[SetupStep]:
    """One step for each lock file of npm or pnpm that git tracks in the worktree; ``wanted``: ``worktree.cache`` unless
    given; ``lock``: the set-up's own."""
    wanted = wanted or config.get("worktree", "cache")
    homes = (os.path.join(cache_dir(), "npm"), os.path.join(workspace.git_dir, "k1ctl", "npm"))
    found: dict[str, SetupStep] = {}
    for folder in folders_with(cache_key.LOCKS, workspace.path) if workspace.git_dir else ():
        full = os.path.normpath(os.path.join(workspace.path, folder))
        room = partial(_check_room, config, full)
        project = NpmProject(full, workspace.path, homes, wanted, (lock,), room)
        run = partial(install, project)
        found[folder] = SetupStep(f"npm:{folder or '.'}", run, partial(plan, project), ("links",))
    for folder in folders_with(["pnpm-lock.yaml"], workspace.path) if workspace.git_dir else ():
        step = cache_pnpm.step(os.path.normpath(os.path.join(workspace.path, folder)), folder, lock)
        if folder not in found or find_tool("pnpm"):
            found[folder] = step
    yield from found.values()


def _check_room(config: Config, folder: str, need: int) -> None:
    """Raises BusyError (disk-full)."""
    disk.check_room(config, folder, need, f"node_modules of {folder}")


def plan(project: NpmProject) -> StepReport:
    """What `install` would do."""
    if _current(project):
        return StepReport(False, "node_modules is up to date")
    why = _in_the_tree(project)
    if why:
        return StepReport(True, f"npm ci would be run ({why})", {"strategy": "install", "why": why})
    return StepReport(
        True, f"node_modules would be brought from a seed ({project.wanted})", {"strategy": project.wanted}
    )


def _current(project: NpmProject, key: str = "") -> bool:
    """Whether nothing is to be done. Links to a seed's files are brought anew when own files are asked for, and when
    that seed was replaced: what somebody changed in it is in the files that the links lead to."""
    if not npm.current(project.folder, key):
        return False
    mark = npm.mark(project.folder)
    if mark.get("strategy") != "store":
        return True
    seed = str(mark.get("seed", ""))
    return project.wanted in ("auto", "store") and not seeds.replaced(project.homes, str(mark.get("key")), seed)


def _in_the_tree(project: NpmProject) -> str:
    if project.wanted == "install":
        return "as asked"
    if os.path.ismount(os.path.join(project.folder, "node_modules")):
        return _MOUNTED
    return cache_apart.obstacle(project.folder, project.top) or _no_home(project.homes[0])


def _no_home(home: str) -> str:
    """Why seeds cannot lie there; a folder that is missing can be made where the one above it may be written."""
    there = home
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    good = os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK)
    return "" if good else f"k1ctl's cache cannot be written: {there}"


def install(project: NpmProject) -> StepReport:
    """Make ``node_modules`` what the lock file says, unless it is.

    Raises NotFoundError (no npm), K1ctlError with npm's own lines.
    """
    begun = time.monotonic()
    program = find_tool("npm")
    if not program:
        if _current(project):
            return StepReport(False, "node_modules is up to date")
        raise NotFoundError("npm was not found", hint="install Node.js, or set worktree.npm = false")
    tools = cache_key.toolchain(program, npm.environment(program, project.folder), project.folder)
    key = cache_key.key(project.folder, tools, os.environ)
    clear(project.folder)
    if _current(project, key):
        return StepReport(False, "node_modules is up to date")
    why = _in_the_tree(project)
    if not why:
        try:
            facts = _bring(project, program, key)
            return StepReport(True, _summary(facts), facts | {"seconds": _since(begun)})
        except (OSError, K1ctlError) as exc:
            why = no_seed(project, exc)
            if not why:
                raise
        finally:
            with suppress(OSError):  # somebody may write into the old packages as they go
                clear(project.folder)
    said = npm.run(program, npm.CI, project.folder, project.locks)
    npm.write_mark(project.folder, key=key, strategy="install")
    facts = {"strategy": "install", "why": why, **npm.taken(os.path.join(project.folder, "node_modules"))}
    return StepReport(True, f"npm ci: {said} ({why})", facts | {"seconds": _since(begun)})


def no_seed(project: NpmProject, exc: OSError | K1ctlError) -> str:
    """Why ``npm ci`` in the tree may succeed all the same; "" when nothing speaks for it."""
    if isinstance(exc, K1ctlError):
        full = exc.code == "npm-failed" and "ENOSPC" in " ".join([exc.message, *exc.details.get("lines", ())])
        if exc.code in _UNFIT:
            return exc.message
    else:
        full = exc.errno in (errno.ENOSPC, errno.EDQUOT)
        file = os.fspath(exc.filename or "")
        if not full and isinstance(file, str) and any(file.startswith(home + os.sep) for home in project.homes):
            return f"k1ctl's cache cannot be used: {exc}"
        if exc.errno == errno.EBUSY:  # one that `os.path.ismount` does not see: bound from the same filesystem
            return _MOUNTED
    home = project.homes[0] if os.path.isdir(project.homes[0]) else project.folder
    apart = os.stat(home).st_dev != os.stat(project.folder).st_dev
    return "the disk of k1ctl's cache is full" if full and apart else ""


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def _summary(facts: dict[str, Any]) -> str:
    seed = f"a seed, built in {facts['build_seconds']:.1f} s" if facts["seed_built"] else "a seed"
    text = f"{facts['files']} files {_VERBS[facts['strategy']]} from {seed}"
    if facts["absolute_paths"]:
        text += f"; {len(facts['absolute_paths'])} of them name the folder that they were built in"
    return f"{text} ({facts['why']})" if facts["why"] else text


def clear(folder: str) -> None:
    """Remove what a set-up that was killed left beside ``node_modules``; set-ups of a worktree take turns."""
    clone.remove_tree(os.path.join(folder, SCRATCH))


def _bring(project: NpmProject, program: str, key: str) -> dict[str, Any]:
    """Bring the tree of ``key`` from its seed; returns the facts of the step's report."""
    scratch = os.path.join(project.folder, SCRATCH)
    os.mkdir(scratch)
    write_atomic(os.path.join(scratch, ".gitignore"), "*\n")  # it hides the folder and itself
    scripts = cache_apart.scripts(project.folder)
    if scripts and npm.run(program, ("config", "get", "ignore-scripts"), project.folder) == "true":
        scripts = []
    choice = choose(project, scratch, scripts=scripts)
    new = os.path.join(scratch, "node_modules")
    build = partial(_build, project, program)
    with seeds.hold(choice.home, key, build, say) as seed:
        linked = choice.how == "link"
        if choice.how == "copy":
            project.check_room(sum(item.allocated for item in seed.listing.files))
        made = clone.copy_tree(seed.folder, new, choice.how, listing=seed.listing, writable=not linked)
        for file in () if linked else seed.read_only:
            os.chmod(os.path.join(new, file), stat.S_IMODE(os.lstat(os.path.join(new, file)).st_mode) & ~0o222)
        built, told, digest = seed.built, seed.facts, seed.digest
    _swap(project.folder, scratch)
    for name in scripts:  # each alone: npm run would run the ones before and after it, too, and once more
        npm.run(program, ("run", "--ignore-scripts", name), project.folder, project.locks)
    linked_to = {"seed": digest} if linked else {}
    npm.write_mark(project.folder, key=key, strategy="store" if linked else choice.how, **linked_to)
    if built:
        seeds.prune(choice.home, key)
    return {
        "strategy": "store" if linked else choice.how,
        "why": choice.why,
        "seed": key,
        "seed_built": built,
        "build_seconds": told.get("build_seconds", 0.0),
        "own_bytes": made.own_bytes,
        "shared_bytes": made.shared_bytes,
        "files": made.files,
        "scripts": scripts,
        "absolute_paths": told.get("absolute_paths", []),
    }


def choose(project: NpmProject, scratch: str, *, scripts: Sequence[str] = ()) -> Choice:
    """How to copy into ``scratch``, by trying it: as wanted, else a clone, else a copy."""
    first = project.homes[0]
    os.makedirs(first, mode=0o700, exist_ok=True)
    apart = os.stat(first).st_dev != os.stat(scratch).st_dev
    homes = project.homes if apart else (first,)
    why = ""
    if project.wanted == "store" and scripts:
        why = f"not linked: its {scripts[0]} script might write into a file that others share"
    elif project.wanted == "store":
        home = _first(homes, partial(clone.can_link, into=scratch))
        if home:
            return Choice("link", home, "")
        why = "not linked: the cache and the worktree are on two filesystems"
    if project.wanted != "copy":
        home = _first(homes, partial(clone.can_clone, into=scratch))
        if home:
            return Choice("clone", home, why)
        why = "; ".join(filter(None, [why, "not cloned: the filesystem cannot"]))
    return Choice("copy", first, why)


def _first(homes: Sequence[str], works: Callable[[str], bool]) -> str:
    for home in homes:
        os.makedirs(home, mode=0o700, exist_ok=True)
        if works(home):
            return home
    return ""


def _build(project: NpmProject, program: str, scratch: str, lock: int) -> dict[str, Any]:
    """Install the packages of ``project`` into ``scratch``, away from any worktree."""
    begun = time.monotonic()
    cache_apart.prepare(project.folder, scratch)
    npm.run(program, npm.CI, scratch, (*project.locks, lock))
    return {"build_seconds": _since(begun), "absolute_paths": cache_apart.absolute(scratch)}


def _swap(folder: str, scratch: str) -> None:
    """Put the new ``node_modules`` in the project of the old one, which `clear` removes."""
    modules, old = os.path.join(folder, "node_modules"), os.path.join(scratch, "old", "node_modules")
    if os.path.lexists(modules):
        os.mkdir(os.path.dirname(old))
        os.rename(modules, old)
    os.rename(os.path.join(scratch, "node_modules"), modules)
