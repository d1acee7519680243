"""The set-up step of PlatformIO projects: the packages a project wants are installed once, before builds run at once.

Running builds are not protected from another call that installs packages into the same core folder, so one call does
it, under a lock of that folder, and remembers for which project file it was done.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.files import Locked, read_bytes, write_atomic
from k1ctl.platformio.environment import check_folders, pio_environment
from k1ctl.platformio.locate import Pio, find_pio
from k1ctl.platformio.project import read_project
from k1ctl.setup import SetupStep, StepReport

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_LIMIT = 3600.0  # s; a toolchain is some hundred MB


def setup_steps(workspace: Workspace, config: Config) -> list[SetupStep]:
    """One step for each configured PlatformIO target whose project is in this worktree."""
    steps = []
    for target in config.names("targets"):
        settings = config.section("targets", target)
        project = os.path.normpath(os.path.join(workspace.path, settings["path"]))
        if settings["kind"] == "platformio" and os.path.isfile(os.path.join(project, "platformio.ini")):
            run = partial(prepare, workspace, config, project)
            steps.append(SetupStep(f"platformio:{target}", run, partial(run, dry_run=True), ("links",)))
    return steps


def prepare(workspace: Workspace, config: Config, project: str, *, dry_run: bool = False) -> StepReport:
    """Find pio and have the project's packages installed in its core folder; no build is made.

    Raises NotFoundError without a pio, ConfigError for a ``.pio`` that leads out, K1ctlError with pio's last lines.
    """
    if not dry_run:  # a dry run has not unlinked yet what leads out
        check_folders(project, workspace.path)
    pio = find_pio(config)
    stamp = _stamp(pio, project)
    if read_bytes(stamp) is not None:
        return StepReport(False, f"packages are there ({pio.path})", {"pio": pio.path, "origin": pio.origin})
    details = {"pio": pio.path, "origin": pio.origin}
    if dry_run:
        return StepReport(True, f"packages would be installed by {pio.path}", details)
    with Locked(os.path.join(os.path.dirname(stamp), "lock")) as lock:
        if read_bytes(stamp) is None:
            _install(pio, project, lock.fd)
            write_atomic(stamp, project + "\n")
            return StepReport(True, f"packages installed by {pio.path}", details)
    return StepReport(False, f"packages are there, just installed by another set-up ({pio.path})", details)


def _stamp(pio: Pio, project: str) -> str:
    """A file in the core folder named after the project file's content and the pio: done for one, done for all."""
    from hashlib import sha256

    ini = read_bytes(os.path.join(project, "platformio.ini")) or b""
    digest = sha256(b"\0".join([os.path.realpath(pio.path).encode(), ini])).hexdigest()[:24]
    return os.path.join(_core_folder(pio), ".k1ctl-packages", digest)


def _core_folder(pio: Pio) -> str:
    return pio.core_dir or os.environ.get("PLATFORMIO_CORE_DIR") or os.path.expanduser("~/.platformio")


def _install(pio: Pio, project: str, lock: int) -> None:
    """Run pio; it holds the lock too, so that one which outlives us is not joined by a second."""
    import subprocess

    env, _ = pio_environment(pio, read_project(project))
    argv = [pio.path, "pkg", "install", "--project-dir", project]
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=_LIMIT, check=False, pass_fds=(lock,)
        )
    except FileNotFoundError as exc:
        raise NotFoundError(f"{pio.path} is gone", hint="k1ctl tools install") from exc
    except subprocess.TimeoutExpired as exc:
        raise K1ctlError(f"pio pkg install took longer than {_LIMIT:g} s", code="packages-failed") from exc
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()][-5:]
        raise K1ctlError(
            f"pio pkg install failed: {lines[-1] if lines else 'no word why'}", code="packages-failed", lines=lines
        )
