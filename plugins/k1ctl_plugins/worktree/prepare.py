"""Set up a worktree: its own steps first, then those of other plugins; each timed, a failed one fails alone."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from contextlib import nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.errors import K1ctlError
from k1ctl.files import open_locked
from k1ctl.git import folders_with
from k1ctl.output import say
from k1ctl.setup import SetupStep, StepReport
from k1ctl_plugins.worktree import envfiles, links, npm, tools

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace


class Result(NamedTuple):
    """How one step ended: ``status`` is done, unchanged, planned, failed or skipped; ``seconds`` what it took."""

    name: str
    status: str
    summary: str
    seconds: float
    details: dict[str, Any]

    def document(self) -> dict[str, Any]:
        return self._asdict()


class SetupLock:
    """One set-up at a time in a worktree; the descriptor may be handed to a tool that outlives us."""

    def __init__(self, workspace: Workspace) -> None:
        own = f"setup-{zlib.crc32(os.path.realpath(workspace.path).encode()):08x}.lock"
        self.path = os.path.join(workspace.git_dir or workspace.ops_path("queue"), "k1ctl", own)

    def __enter__(self) -> int:
        fd = open_locked(self.path, blocking=False)
        if fd is None:
            say("another set-up of this worktree is under way; waiting for it")
            fd = open_locked(self.path)
        assert fd is not None
        self.fd = fd
        return fd

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # also when a tool left a daemon behind that inherited the descriptor
        os.close(self.fd)


def own_steps(workspace: Workspace, config: Config, lock: int, *, unlink: bool = True) -> Iterator[SetupStep]:
    """What every worktree needs: tools, no link out of the tree, ``.env`` files, ``npm ci``."""
    path = workspace.path
    yield SetupStep("tools", tools.look, tools.look)
    projects = _projects(workspace, config)
    yield SetupStep("links", partial(links.remove, path, projects, unlink=unlink), partial(links.plan, path, projects))
    globs = config.get("worktree", "copy")
    copy = partial(envfiles.copy, workspace, globs)
    yield SetupStep("env", copy, partial(copy, dry_run=True))
    if config.get("worktree", "npm"):
        for folder in folders_with(["package-lock.json"], path) if workspace.git_dir else ():
            full = os.path.join(path, folder)
            run = partial(npm.install, full, (lock,))
            yield SetupStep(f"npm:{folder or '.'}", run, partial(npm.plan, full), ("links",))


def _projects(workspace: Workspace, config: Config) -> list[str]:
    """The folders, relative to the worktree, that may have a ``.pio`` or ``node_modules``."""
    found = {"", *folders_with(["platformio.ini", "package.json"], workspace.path)} if workspace.git_dir else {""}
    found |= {os.path.normpath(config.get("targets", name, "path")) for name in config.names("targets")}
    return sorted(f for f in found if os.path.isdir(os.path.join(workspace.path, f)))


def foreign_steps(plugins: Plugins, workspace: Workspace, config: Config) -> list[SetupStep]:
    """The steps of all plugins; a plugin that cannot tell its steps becomes a step that fails with the reason."""
    steps: list[SetupStep] = []
    for name, given in plugins.each("k1ctl_setup_steps", workspace=workspace, config=config):
        if name in plugins.broken:
            continue  # told by the command; it may have had no steps
        steps += [SetupStep(name, partial(_fail, given))] if isinstance(given, K1ctlError) else given
    return steps


def _fail(exc: K1ctlError) -> StepReport:
    raise exc


def run_steps(
    steps: list[SetupStep], *, dry_run: bool = False, watch: Callable[[Result], None] | None = None
) -> list[Result]:
    """Run the steps in order, each after those it needs; ``watch`` sees each result as it comes."""
    results: dict[str, Result] = {}
    waiting = list(steps)
    known = {step.name for step in steps}
    while waiting:
        ready = next((s for s in waiting if all(n in results for n in s.needs if n in known)), waiting[0])
        waiting.remove(ready)
        bad = [n for n in ready.needs if n in results and results[n].status in ("failed", "skipped")]
        skipped = Result(ready.name, "skipped", f"needs {', '.join(bad)}", 0.0, {})
        result = skipped if bad else _run(ready, dry_run)
        results[ready.name] = result
        if watch is not None:
            watch(result)
    return list(results.values())


def _run(step: SetupStep, dry_run: bool) -> Result:
    begun = time.monotonic()
    try:
        if not dry_run:
            report = step.run()
        elif step.plan is not None:
            report = step.plan()
        else:
            report = StepReport(True, "would be run")
    except K1ctlError as exc:
        facts = {"error": exc.document()["error"]}
        return Result(step.name, "failed", exc.message, _since(begun), facts)
    except OSError as exc:
        return Result(step.name, "failed", str(exc), _since(begun), {})
    except Exception as exc:  # a foreign step may fail in any way
        from k1ctl.plugins import one_line

        return Result(step.name, "failed", one_line(exc), _since(begun), {})
    status = "unchanged" if not report.changed else "planned" if dry_run else "done"
    return Result(step.name, status, report.summary, _since(begun), report.details)


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def set_up(
    workspace: Workspace,
    config: Config,
    plugins: Plugins,
    *,
    dry_run: bool = False,
    unlink: bool = True,
    watch: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Set the worktree up under its lock, and record the event ``worktree.setup``."""
    from k1ctl.events import emit

    begun = time.monotonic()
    with nullcontext(-1) if dry_run else SetupLock(workspace) as lock:
        steps = [*own_steps(workspace, config, lock, unlink=unlink), *foreign_steps(plugins, workspace, config)]
        results = run_steps(steps, dry_run=dry_run, watch=watch)
    failed = [r.name for r in results if r.status == "failed"]
    if not dry_run:
        emit(workspace, "worktree.setup", ok=not failed, failed=failed, setup_seconds=_since(begun))
    return results
