"""The set-up step of PlatformIO projects: the packages a project wants are installed once, before builds run at once.

Running builds are not protected from another call that installs packages into the same folders, so one call does it,
under a lock of each (the core folder, and the packages' folder where that is set apart: several core folders may share
it), and remembers for which project file it was done. Packages without a fixed version are told: what one day's set-up
installs, another day's replaces under running builds.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.files import Locked, read_bytes, read_json, write_json
from k1ctl.platformio.environment import check_folders, pio_environment
from k1ctl.platformio.locate import Pio, find_pio
from k1ctl.platformio.pins import unpinned
from k1ctl.platformio.project import read_ini, read_project
from k1ctl.setup import SetupStep, StepReport

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_OWN = ".k1ctl-packages"
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
    loose = unpinned(read_ini(project))
    details = {"pio": pio.path, "origin": pio.origin, "unpinned": loose}
    stamp = _stamp(pio, project)
    if _installed(pio, stamp):
        return _report(False, f"packages are there ({pio.path})", details)
    if dry_run:
        return _report(True, f"packages would be installed by {pio.path}", details)
    with ExitStack() as stack:
        locks = [stack.enter_context(Locked(os.path.join(f, _OWN, "lock"))).fd for f in _folders(pio)]
        if not _installed(pio, stamp):
            _install(pio, project, locks)
            write_json(stamp, {"project": project, "packages": _packages(pio)})
            return _report(True, f"packages installed by {pio.path}", details)
    return _report(False, f"packages are there, just installed by another set-up ({pio.path})", details)


def _report(changed: bool, said: str, details: dict[str, Any]) -> StepReport:
    loose = details["unpinned"]
    more = f" and {len(loose) - 1} more" if len(loose) > 1 else ""
    warning = f"; without a fixed version: {loose[0]}{more}" if loose else ""
    return StepReport(changed, said + warning, details)


def _stamp(pio: Pio, project: str) -> str:
    """A file in the core folder named after the project file's content and the pio: done for one, done for all."""
    from hashlib import sha256

    ini = read_bytes(os.path.join(project, "platformio.ini")) or b""
    digest = sha256(b"\0".join([os.path.realpath(pio.path).encode(), ini])).hexdigest()[:24]
    return os.path.join(_core_folder(pio), _OWN, digest)


def _installed(pio: Pio, stamp: str) -> bool:
    """Whether it was done, and nobody removed or renamed a package since."""
    told = read_json(stamp)
    return isinstance(told, dict) and set(told.get("packages", ())) <= set(_packages(pio))


def _packages(pio: Pio) -> list[str]:
    """The folders of platforms and packages that there are."""
    core = _core_folder(pio)
    places = [os.path.join(core, "platforms"), _packages_folder(pio) or os.path.join(core, "packages")]
    return sorted(os.path.join(p, name) for p in places if os.path.isdir(p) for name in os.listdir(p))


def _folders(pio: Pio) -> list[str]:
    """Where pio installs, in one order for all who lock them."""
    found = {os.path.realpath(folder) for folder in (_core_folder(pio), _packages_folder(pio)) if folder}
    return sorted(found)


def _packages_folder(pio: Pio) -> str:
    """The packages' folder where the user set it apart; k1ctl's own pio keeps to its core folder."""
    return "" if pio.core_dir else os.environ.get("PLATFORMIO_PACKAGES_DIR", "")


def _core_folder(pio: Pio) -> str:
    return pio.core_dir or os.environ.get("PLATFORMIO_CORE_DIR") or os.path.expanduser("~/.platformio")


def _install(pio: Pio, project: str, locks: list[int]) -> None:
    """Run pio; it holds the locks too, so that one which outlives us is not joined by a second."""
    import subprocess

    env, _ = pio_environment(pio, read_project(project))
    argv = [pio.path, "pkg", "install", "--project-dir", project]
    try:
        done = subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=_LIMIT, check=False, pass_fds=locks
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
