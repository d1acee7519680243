"""The image of a filesystem, built by PlatformIO (``pio run -t buildfs``) under the leases of a build of its target."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from k1ctl import artifacts, retention
from k1ctl.builds import SourceState
from k1ctl.errors import K1ctlError, UsageError, WrongDataError
from k1ctl.files import read_bytes
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import View
from k1ctl.queue import names
from k1ctl_plugins.upload.images import FILESYSTEM, shelf_of

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.process.attempt import Ending
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace

# espressif32, builder/main.py: the image is built each time, which is told in a line unless pio is to be verbose; it is
# named after board_build.filesystem unless ESP32_FS_IMAGE_NAME says otherwise.
NAMES = ("littlefs.bin", "spiffs.bin", "fatfs.bin")
_TOLD = re.compile(rb"^Building FS image from .* directory to (.+?)\s*$", re.MULTILINE)


class _Talk(View):
    """PlatformIO's output is talk: what `k1ctl upload` prints as data is the outcome."""

    def output(self, fd: int, data: bytes) -> None:
        super().output(2, data)


def build(workspace: Workspace, config: Config, target: str, settings: dict[str, Any], wait: float | None) -> str:
    """Build the target's filesystem image, keep it as an artifact and return its id.

    Raises UsageError (not a PlatformIO target), ConfigError, WrongDataError (it made no image, or one that does not
    fit), K1ctlError with code build-failed and exit code 1.
    """
    if settings["kind"] != "platformio":
        raise UsageError(
            f"target {target} is of kind {settings['kind']}: only PlatformIO builds filesystems",
            hint="--artifact PATH sends one that was made otherwise",
        )
    from k1ctl.platformio.environment import check_folders, pio_environment
    from k1ctl.platformio.locate import find_pio
    from k1ctl.platformio.project import read_project

    folder = os.path.normpath(os.path.join(workspace.path, str(settings["path"])))
    check_folders(folder, workspace.path)
    project = read_project(folder)
    variant = project.environment(str(settings["env"]))
    pio = find_pio(config)
    env, _ = pio_environment(pio, project)
    tree = names.stable_key(os.path.realpath(workspace.path))[:12]
    spec = RunSpec(
        "queue-run",
        [pio.path, "run", "-e", variant, "-t", "buildfs"],
        {names.check_resource(f"build:{target}"): 1, f"tree:{tree}": 1},
        cwd=folder,
        env=env,
        wait=wait,
        timeout=config.get("build", "timeout"),
        key=names.stable_key(workspace.path, "buildfs", target, variant),
        label=f"build {target} {FILESYSTEM}",
    )
    work = _Work(
        workspace, config, target, settings, os.path.join(env["PLATFORMIO_BUILD_DIR"], variant), variant, folder
    )
    finished = launch(workspace, config, spec, before=work.before, after=work.after, view=_Talk())
    ending = finished.ending
    if ending.result is not None:
        return str(ending.result["artifact"])
    told = ending.error or {}
    made = K1ctlError(
        f"nothing was sent: {ending.message}",
        hint=told.get("hint", ending.hint),
        code=ending.code,
        **({"run": finished.run} if finished.run else {}),
    )
    made.exit_code = ending.exit_code
    raise made


class _Work:
    """What happens in the supervisor, with the leases held."""

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        target: str,
        settings: dict[str, Any],
        made_in: str,
        variant: str,
        project: str,
    ) -> None:
        self.workspace, self.config, self.target, self.settings = workspace, config, target, settings
        self.made_in, self.variant, self.project = made_in, variant, project
        self.state: SourceState | None = None

    def before(self, run: Run, spec: RunSpec) -> None:
        """An image that lies there may be an old one, of another kind of filesystem too: what is there later is new."""
        self.state = SourceState(self.workspace.path, self.project)
        for name in NAMES:
            try:
                os.unlink(os.path.join(self.made_in, name))
            except FileNotFoundError:
                pass

    def after(self, run: Run, ending: Ending) -> dict[str, Any] | None:
        """Keep what was made. Raises K1ctlError, OSError."""
        shelf = shelf_of(self.target, FILESYSTEM)
        try:
            if ending.exit_code:
                self._name_failure(ending, run)
                artifacts.note_failed(self.workspace, shelf, run.id)
                return None
            return {"artifact": self._keep(run, shelf).id}
        except BaseException:
            artifacts.note_failed(self.workspace, shelf, run.id)
            raise

    def _name_failure(self, ending: Ending, run: Run) -> None:
        if ending.interrupted and ending.code not in ("timed-out", "cancelled"):
            ending.exit_code, ending.by, ending.code, ending.message = 130, "k1ctl", "interrupted", "stopped by ^C"
        elif ending.by == "command" and ending.exit_code < 128:
            ending.message = f"pio run -e {self.variant} -t buildfs failed (exit code {ending.exit_code})"
            ending.exit_code, ending.code, ending.hint = 1, "build-failed", f"its log is {run.log}"

    def _keep(self, run: Run, shelf: str) -> artifacts.Artifact:
        from k1ctl.device.image import check_filesystem

        made = self._made(run)
        check_filesystem(made, self.settings["filesystem_size"])
        source = self.state.document() if self.state else {"commit": "", "dirty": None}
        facts = {
            "image_kind": FILESYSTEM,
            "environment": self.variant,
            **source,
            "sources": self.state.fingerprint() if self.state else "",
            "tools": {},
            "seconds": (run.record.get("attempts") or [{}])[-1].get("run_seconds"),
            "run": run.id,
        }
        kept = artifacts.store(self.workspace, shelf, {f"{FILESYSTEM}.bin": made}, facts)
        retention.trim(self.workspace, self.config)
        return kept

    def _made(self, run: Run) -> str:
        """The path of the one image that this run made. Raises WrongDataError."""
        told = _TOLD.findall(read_bytes(run.log) or b"")
        made = [os.path.join(self.project, os.fsdecode(told[-1]))] if told else []
        made += [] if told else [path for name in NAMES if os.path.isfile(path := os.path.join(self.made_in, name))]
        if len(made) == 1 and os.path.isfile(made[0]):
            return made[0]
        raise WrongDataError(
            f"pio run -t buildfs made {len(made) if len(made) > 1 else 'none'} of {', '.join(NAMES)} in {self.made_in}",
            hint="--artifact PATH sends an image of another name",
            code="no-output",
        )
