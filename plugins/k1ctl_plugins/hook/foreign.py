"""Run a target that is a command of somebody else's: under a supervisor, or in the foreground of the terminal."""

from __future__ import annotations

import os

from k1ctl.errors import NotExecutableError, NotFoundError
from k1ctl.process.spec import RunSpec
from k1ctl.programs import find_tool, path_for, runnable
from k1ctl.queue import names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.hook.targets import Target


class Program:
    """What to run: ``argv`` with the program by absolute path, its ``env`` and ``folder``."""

    __slots__ = ("argv", "env", "folder")

    def __init__(
        self, target: Target, args: Sequence[str], config: Config, variables: Mapping[str, str] | None = None
    ) -> None:
        """Finds the program also when PATH is poor; ``variables`` are told to it beside the caller's.

        Raises NotFoundError, NotExecutableError, ConfigError.
        """
        self.folder = target.folder
        first, *rest = target.command
        if first == "pio":
            path, self.env = _pio(self.folder, config)
        else:
            path = _located(first, target)
            self.env = {**os.environ, "PATH": path_for(path)}
        self.env |= variables or {}
        self.argv = [path, *rest, *args]


def _located(word: str, target: Target) -> str:
    path = os.path.join(target.folder, os.path.expanduser(word)) if os.sep in word else find_tool(word)
    if not path or not os.path.isfile(path):
        hint = "install it, or write its absolute path into the command"
        raise NotFoundError(f"run target {target.name}: {word} is not found", hint=hint, tool=word)
    if not runnable(path):
        raise NotExecutableError(f"run target {target.name}: {path} cannot be run", hint="chmod +x it", tool=path)
    return path


def _pio(folder: str, config: Config) -> tuple[str, dict[str, str]]:
    """pio and its environment, with a build folder apart from the builds': test objects are not the firmware's."""
    from k1ctl.platformio.environment import own_folder, pio_environment
    from k1ctl.platformio.locate import find_pio
    from k1ctl.platformio.project import read_project

    pio = find_pio(config)
    env, _ = pio_environment(pio, read_project(folder))
    maker = names.stable_key(os.path.realpath(pio.path))[:8]  # no pio trusts another one's objects
    return pio.path, {**env, "PLATFORMIO_BUILD_DIR": os.path.join(own_folder(folder), f"run-{maker}")}


def spec(workspace: Workspace, target: Target, program: Program, result: str) -> RunSpec:
    """The run of a target that is not interactive; its caller's end is its own."""
    return RunSpec(
        "hook-run",
        program.argv,
        dict(target.resources),
        cwd=program.folder,
        env=program.env,
        wait=target.wait,
        timeout=target.timeout,
        key=key_of(workspace, target, program),
        label=f"hook run {target.name}",
        result=result,
        details={"target": target.name},
    )


def key_of(workspace: Workspace, target: Target, program: Program) -> str:
    """Whose place in line it is: the same call of the same worktree takes it over."""
    return names.stable_key(workspace.path, "hook", target.name, *program.argv[1:])


def run(workspace: Workspace, config: Config, target: Target, program: Program, result: str) -> int:
    """Run it to its end and return its status, or what k1ctl has to say instead. Raises OSError."""
    from k1ctl import lane
    from k1ctl.process.launch import launch

    return lane.finish(launch(workspace, config, spec(workspace, target, program, result)))
