"""``node_modules`` of pnpm, which has a store of its own: its files are clones of the store's, or hard links."""

from __future__ import annotations

import os
import time
from functools import partial

from k1ctl.programs import find_tool
from k1ctl.setup import SetupStep, StepReport
from k1ctl_plugins.worktree import npm

INSTALL = ("install", "--frozen-lockfile", "--prefer-offline", "--config.confirmModulesPurge=false")
_WHY = "pnpm has its own store"


def step(folder: str, name: str, lock: int) -> SetupStep:
    """The step for the ``pnpm-lock.yaml`` in ``folder``, called ``name`` in the worktree; pnpm holds ``lock``."""
    return SetupStep(f"pnpm:{name or '.'}", partial(install, folder, (lock,)), partial(plan, folder), ("links",))


def plan(folder: str) -> StepReport:
    """What `install` would do."""
    there = _there(folder)
    return there or StepReport(True, f"pnpm install would be run ({_WHY})", {"strategy": "store", "why": _WHY})


def _there(folder: str) -> StepReport | None:
    if npm.current(folder):
        return StepReport(False, "node_modules is up to date")
    if not find_tool("pnpm"):
        return StepReport(False, "pnpm was not found: node_modules is left as it is", {"tool": "pnpm"})
    return None


def install(folder: str, keep: tuple[int, ...]) -> StepReport:
    """Run ``pnpm install`` from its store, unless ``node_modules`` is what the lock file says.

    Raises K1ctlError with pnpm's own lines.
    """
    there = _there(folder)
    if there is not None:
        return there
    begun = time.monotonic()
    said = npm.run(find_tool("pnpm"), INSTALL, folder, keep)
    npm.write_mark(folder)
    facts = {"strategy": "store", "why": _WHY, **npm.taken(os.path.join(folder, "node_modules"))}
    return StepReport(True, f"pnpm: {said}", facts | {"seconds": round(time.monotonic() - begun, 3)})
