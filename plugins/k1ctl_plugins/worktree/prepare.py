"""Set up a worktree: one set-up at a time, each step after those it needs and timed, a failed one fails alone."""

from __future__ import annotations

import fcntl
import os
import time
import zlib
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl import disk
from k1ctl.errors import K1ctlError
from k1ctl.files import open_locked
from k1ctl.output import say
from k1ctl.setup import StepReport
from k1ctl_plugins.worktree import place
from k1ctl_plugins.worktree.steps import Options, all_steps, choose

if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.setup import SetupStep
    from k1ctl.workspace import Workspace


_LOOK = 0.05  # s between two looks at another set-up's lock


class Result(NamedTuple):
    """How one step ended: ``status`` is done, unchanged, planned, failed or skipped; ``seconds`` what it took.

    ``own_bytes`` is what it added to the disk for this worktree, ``shared_bytes`` what it took of others' without
    copying it; None where the step cannot tell.
    """

    name: str
    status: str
    summary: str
    seconds: float
    details: Mapping[str, Any]
    own_bytes: int | None = None
    shared_bytes: int | None = None

    def document(self) -> dict[str, Any]:
        return self._asdict()


class Watch:
    """Who is told how a set-up goes; this one listens to nothing."""

    def began(self, name: str, number: int, total: int) -> None:
        """Step ``name``, the ``number``-th of ``total``, begins."""

    def ended(self, result: Result) -> None:
        """A step ended, or was not run."""


class SetupLock:
    """One set-up at a time in a worktree; the descriptor may be handed to a tool that outlives us.

    ``grace``: seconds between TERM and KILL for a step's command that is past its limit, its own caller killed.
    """

    def __init__(self, workspace: Workspace, grace: float = 10.0) -> None:
        self.workspace, self.grace = workspace, grace
        own = f"setup-{zlib.crc32(os.path.realpath(workspace.path).encode(errors='surrogateescape')):08x}.lock"
        self.path = os.path.join(workspace.git_dir or workspace.ops_path("queue"), "k1ctl", own)

    def __enter__(self) -> int:
        fd = open_locked(self.path, blocking=False)
        if fd is None:
            from k1ctl_plugins.worktree import running

            what = running.describe(self.workspace) or f" (it holds {self.path})"
            say(f"another set-up of this worktree is under way, or a tool that it started{what}; waiting for it")
            while fd is None:
                ended = running.end_overdue(self.workspace, self.grace)
                if ended:
                    say(f"its step {ended} ran past its limit and was ended")
                time.sleep(_LOOK)
                fd = open_locked(self.path, blocking=False)
        self.fd = fd
        return fd

    def __exit__(self, *exc: object) -> None:
        fcntl.flock(self.fd, fcntl.LOCK_UN)  # also when a tool left a daemon behind that inherited the descriptor
        os.close(self.fd)


def run_steps(steps: list[SetupStep], *, dry_run: bool = False, watch: Watch | None = None) -> list[Result]:
    """Run the steps in order, each after those it needs; ``watch`` sees each as it begins and ends."""
    watch = watch or Watch()
    results: dict[str, Result] = {}
    waiting = list(steps)
    known = {step.name for step in steps}
    while waiting:
        ready = next((s for s in waiting if all(n in results for n in s.needs if n in known)), waiting[0])
        waiting.remove(ready)
        bad = [n for n in ready.needs if n in results and results[n].status in ("failed", "skipped")]
        if bad:
            result = Result(ready.name, "skipped", f"needs {', '.join(bad)}", 0.0, {})
        else:
            watch.began(ready.name, len(results) + 1, len(steps))
            result = _run(ready, dry_run)
        results[ready.name] = result
        watch.ended(result)
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
    except (K1ctlError, OSError) as exc:
        from k1ctl.failure import of_system

        known = of_system(exc) if isinstance(exc, OSError) else exc
        facts = {"error": known.document()["error"]}
        return Result(step.name, "failed", known.message, _since(begun), facts)
    except Exception as exc:  # a foreign step may fail in any way
        from k1ctl.plugins import one_line

        return Result(step.name, "failed", one_line(exc), _since(begun), {})
    status = "unchanged" if not report.changed else "planned" if dry_run else "done"
    own, shared = _bytes(report, "own_bytes"), _bytes(report, "shared_bytes")
    return Result(step.name, status, report.summary, _since(begun), report.details, own, shared)


def _bytes(report: StepReport, key: str) -> int | None:
    value = report.details.get(key)
    return value if isinstance(value, int) else None


def _since(begun: float) -> float:
    return round(time.monotonic() - begun, 3)


def set_up(
    workspace: Workspace,
    config: Config,
    plugins: Plugins,
    options: Options | None = None,
    *,
    watch: Watch | None = None,
) -> list[Result]:
    """Set the worktree up under its lock, and record the event ``worktree.setup``.

    Raises BusyError when the disk is too full to begin, ConfigError, UsageError; how each step went is in the results.
    """
    from k1ctl.events import emit

    options, watch = options or Options(), watch or Watch()
    dry_run, begun = options.dry_run, time.monotonic()
    if not dry_run:
        disk.check_room(config, workspace.path, 0, f"the set-up of {workspace.name}")
    with nullcontext(-1) if dry_run else SetupLock(workspace, config.get("process", "grace")) as lock:
        if not dry_run:
            place.sweep(workspace)
        found = [step for _, step in all_steps(workspace, config, plugins, lock, options)]
        chosen = choose(found, options, config.get("worktree", "skip"))
        for note in chosen.notes:
            say(note)
        results = run_steps(chosen.run, dry_run=dry_run, watch=watch)
        for name, by in chosen.left_out.items():
            results.append(Result(name, "skipped", f"left out ({by})", 0.0, {}))
            watch.ended(results[-1])
    failed = [r.name for r in results if r.status == "failed"]
    if not dry_run:
        sums = {key: total(results, key) for key in ("own_bytes", "shared_bytes")}
        emit(workspace, "worktree.setup", ok=not failed, failed=failed, setup_seconds=_since(begun), **sums)
    return results


def total(results: list[Result], key: str) -> int | None:
    """The sum of what the steps tell of ``own_bytes`` or ``shared_bytes``; None when none does."""
    told = [value for value in (getattr(result, key) for result in results) if value is not None]
    return sum(told) if told else None
