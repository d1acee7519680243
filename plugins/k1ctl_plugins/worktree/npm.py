"""``npm ci`` where a lock file is, from npm's shared cache, and only when the lock file is not installed yet."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.files import read_bytes, read_json, write_json
from k1ctl.setup import StepReport
from k1ctl_plugins.worktree import tools

if TYPE_CHECKING:
    from collections.abc import Sequence

MARK = os.path.join("node_modules", ".k1ctl-lock")
LIMIT_SECONDS = 1800.0


def digest(folder: str) -> str:
    """SHA-256 over the lock file and package.json of ``folder``."""
    import hashlib

    total = hashlib.sha256()
    for name in ("package-lock.json", "package.json"):
        total.update(read_bytes(os.path.join(folder, name)) or b"")
        total.update(b"\0")
    return total.hexdigest()


def current(folder: str) -> bool:
    """Whether ``node_modules`` is what a finished ``npm ci`` made of this very lock file."""
    mark = read_json(os.path.join(folder, MARK))
    return isinstance(mark, dict) and mark.get("sha256") == digest(folder)


def plan(folder: str) -> StepReport:
    """What `install` would do."""
    if current(folder):
        return StepReport(False, "node_modules is up to date")
    return StepReport(True, "npm ci would be run")


def install(folder: str, keep: Sequence[int] = ()) -> StepReport:
    """Run ``npm ci`` in ``folder``; ``keep``: descriptors (locks) that npm holds open while it works.

    The mark is written last: an installation that was killed has none and is done again. Raises NotFoundError
    (no npm), K1ctlError with npm's own lines.
    """
    import subprocess

    if current(folder):
        return StepReport(False, "node_modules is up to date")
    npm = tools.find("npm")
    if not npm:
        raise NotFoundError("npm was not found", hint="install Node.js, or set worktree.npm = false")
    env = {**os.environ, "PATH": tools.path_for(npm)}
    try:
        done = subprocess.run(
            [npm, "ci", "--prefer-offline", "--no-audit", "--no-fund"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_SECONDS,
            pass_fds=tuple(keep),
        )
    except subprocess.TimeoutExpired:
        raise K1ctlError(f"npm ci ran past {LIMIT_SECONDS:.0f} s", code="npm-timeout") from None
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        errors = [line for line in said if "npm error" in line or "npm ERR!" in line] or said
        raise K1ctlError(
            f"npm ci failed with exit {done.returncode}: {errors[0] if errors else ''}",
            code="npm-failed",
            log=errors[-20:],
        )
    write_json(os.path.join(folder, MARK), {"sha256": digest(folder)})
    lines = [line for line in done.stdout.splitlines() if line.strip()]
    return StepReport(True, f"npm ci: {lines[-1] if lines else 'done'}")
