"""Which steps a set-up has, the worktree's own, other plugins' and configured ones, and which a call leaves out."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import ports
from k1ctl.errors import ConfigError, K1ctlError, UsageError
from k1ctl.git import folders_with
from k1ctl.setup import SetupStep, StepReport
from k1ctl_plugins.worktree import cache, configured, envfiles, links, readonly, templates, tools

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

_GUARD = "links"  # without it a tool that empties its folder would empty another tree's
BUILT_IN = ("tools", "links", "ports", "templates", "env")


class Options(NamedTuple):
    """How a set-up is to go: ``dry_run`` changes nothing; ``unlink`` takes links away that lead out, or refuses them;
    ``only`` and ``skip`` name steps (globs); ``again`` runs configured steps although nothing they depend on changed;
    ``cache`` is how node_modules come, ``symlink`` links folders of worktree.read_only, too ("": worktree.cache).
    """

    dry_run: bool = False
    unlink: bool = True
    only: tuple[str, ...] = ()
    skip: tuple[str, ...] = ()
    again: bool = False
    cache: str = ""


class Chosen(NamedTuple):
    """The steps to run, in order; those that are ``left_out`` {name: by what}; and ``notes`` worth telling."""

    run: list[SetupStep]
    left_out: dict[str, str]
    notes: list[str]


def all_steps(
    workspace: Workspace, config: Config, plugins: Plugins, lock: int, options: Options
) -> list[tuple[str, SetupStep]]:
    """Every step with who brings it: ``built-in``, a plugin's name or ``setup.NAME``. Raises ConfigError when a
    configured one has the name of another."""
    found = [("built-in", step) for step in _own(workspace, config, lock, options)]
    found += _foreign(plugins, workspace, config)
    for step in configured.steps(workspace, config, lock, again=options.again):
        twin = next((origin for origin, other in found if other.name == step.name), "")
        if twin or step.name in BUILT_IN:
            raise ConfigError(
                f"setup.{step.name}: there is a step of that name already ({twin or 'built-in'})",
                hint=f"give it another name in {config.path}; worktree.skip leaves the other one out",
                code="duplicate-step",
            )
        found.append((f"setup.{step.name}", step))
    return found


def _own(workspace: Workspace, config: Config, lock: int, options: Options) -> Iterator[SetupStep]:
    """What every worktree needs: tools, no link out of the tree, ports, filled-in templates, ``.env`` files, npm."""
    path = workspace.path
    look = partial(tools.look, config.get("worktree", "tools"))
    yield SetupStep("tools", look, look)
    projects = _projects(workspace, config)
    remove = partial(links.remove, path, projects, unlink=options.unlink)
    yield SetupStep("links", remove, partial(links.plan, path, projects))
    yield SetupStep("ports", partial(_lease, workspace, config), partial(_lease, workspace, config, dry_run=True))
    fill = partial(templates.apply, workspace, config, os.environ)
    yield SetupStep("templates", fill, partial(fill, dry_run=True))
    found = templates.find(workspace, config)
    without = {file for t in found for file in (t.file, os.path.relpath(t.source, workspace.root))}
    copy = partial(envfiles.copy, workspace, config.get("worktree", "copy"), without=without)
    yield SetupStep("env", copy, partial(copy, dry_run=True))
    if options.cache == "symlink":
        yield readonly.step(workspace, config)
    if config.get("worktree", "npm"):
        yield from cache.steps(workspace, config, lock, "" if options.cache == "symlink" else options.cache)


def _lease(workspace: Workspace, config: Config, *, dry_run: bool = False) -> StepReport:
    """Lease the worktree's ports, as `k1ctl.ports` does."""
    before = ports.of(workspace)
    wanted = ports.given(workspace, os.environ)
    if dry_run and (before is None or wanted not in (None, before)):
        return StepReport(True, f"would be recorded: {wanted}" if wanted else "ports would be leased")
    rivals = [f"{holder.workspace} ({holder.path})" for holder in ports.rivals(workspace, os.environ)]
    held = before if dry_run and before else ports.lease(workspace, config)
    where = "from CONDUCTOR_PORT" if held.origin == "conductor" else "leased"
    told = f"; some were those of {_list(rivals)}: set that up again for others" if rivals and held != before else ""
    details = {"first": held.first, "last": held.last, "count": held.count, "origin": held.origin}
    return StepReport(held != before, f"{held} ({where}){told}", details)


def _projects(workspace: Workspace, config: Config) -> list[str]:
    """The folders, relative to the worktree, that may have a ``.pio`` or ``node_modules``."""
    found = {"", *folders_with(["platformio.ini", "package.json"], workspace.path)} if workspace.git_dir else {""}
    found |= {os.path.normpath(config.get("targets", name, "path")) for name in config.names("targets")}
    return sorted(f for f in found if os.path.isdir(os.path.join(workspace.path, f)))


def _foreign(plugins: Plugins, workspace: Workspace, config: Config) -> list[tuple[str, SetupStep]]:
    """The steps of all plugins; a plugin that cannot tell its steps becomes a step that fails with the reason."""
    found: list[tuple[str, SetupStep]] = []
    for name, given in plugins.each("k1ctl_setup_steps", workspace=workspace, config=config):
        if name in plugins.broken:
            continue  # told by the command; it may have had no steps
        steps = [SetupStep(name, partial(_fail, given))] if isinstance(given, K1ctlError) else given
        found += [(name, step) for step in steps]
    return found


def _fail(exc: K1ctlError) -> StepReport:
    raise exc


def choose(steps: list[SetupStep], options: Options, configured_skip: Iterable[str]) -> Chosen:
    """Leave out what worktree.skip and the call name; ``only`` is those it names and what they need.

    The step ``links`` is not left out where one that is run needs it: the tools of such steps empty their folders.
    Raises UsageError for a name in the call that no step has, ConfigError for steps that need each other.
    """
    names = [step.name for step in steps]
    for pattern in (*options.only, *options.skip):
        if not _matching([pattern], names):
            raise UsageError(f"there is no step {pattern!r}{_near(pattern, names)}", hint=f"there are: {_list(names)}")
    configured_skip = [] if options.only else list(configured_skip)
    notes = [
        f"worktree.skip names no step of this worktree: {pattern}{_near(pattern, names)}"
        for pattern in configured_skip
        if not _matching([pattern], names)
    ]
    notes += [
        f"{step.name} needs {need}, which is no step of this worktree{_near(need, names)}"
        for step in steps
        for need in step.needs
        if need not in names
    ]
    wanted = _with_needs(steps, _matching(options.only, names)) if options.only else set(names)
    left_out = dict.fromkeys(_matching(configured_skip, names), "worktree.skip")
    left_out |= dict.fromkeys(_matching(options.skip, names), "--skip")
    run = [step for step in steps if step.name in wanted and step.name not in left_out]
    needing = [step.name for step in run if _GUARD in step.needs]
    if _GUARD in left_out and needing:
        notes.append(f"{_GUARD} is not left out: {_list(needing)} would follow a link into another tree")
        del left_out[_GUARD]
        run = [step for step in steps if step.name in wanted and step.name not in left_out]
    _check_order(run)
    return Chosen(run, {name: by for name, by in left_out.items() if name in wanted}, notes)


def _check_order(run: list[SetupStep]) -> None:
    """Raises ConfigError when steps need each other, so that none can be the first."""
    left = {step.name: {need for need in step.needs if any(other.name == need for other in run)} for step in run}
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    if left:
        raise ConfigError(
            f"steps that need each other, or what does: {_list([*left])}",
            hint="change needs under [setup.NAME], or leave one of them out: --skip STEP",
            code="step-circle",
        )


def _matching(patterns: Iterable[str], names: list[str]) -> list[str]:
    patterns = list(patterns)
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _with_needs(steps: list[SetupStep], names: list[str]) -> set[str]:
    """The steps of these names, and those they need, and so on."""
    needs = {step.name: step.needs for step in steps}
    found, left = set[str](), list(names)
    while left:
        name = left.pop()
        if name not in found and name in needs:
            found.add(name)
            left += needs[name]
    return found


def _near(name: str, names: list[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, names, 1)
    return f"; did you mean {near[0]}?" if near else ""


def _list(names: list[str]) -> str:
    return ", ".join(names)


def rows(found: list[tuple[str, SetupStep]], chosen: Chosen) -> list[dict[str, Any]]:
    """The steps as JSON."""
    run = {step.name for step in chosen.run}
    return [
        {
            "name": step.name,
            "needs": list(step.needs),
            "origin": origin,
            "run": step.name in run,
            "left_out_by": None if step.name in run else chosen.left_out.get(step.name, "--only"),
        }
        for origin, step in found
    ]
