"""The kind of build ``platformio``: ``pio run`` for one environment of the project."""

from __future__ import annotations

import os

from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildRequest
from k1ctl.files import read_bytes, write_atomic
from k1ctl.platformio.environment import build_folder, check_folders, own_folder, pio_environment
from k1ctl.platformio.locate import find_pio
from k1ctl.platformio.output import PioReader
from k1ctl.platformio.project import read_project

_KEPT = ("firmware.bin", "firmware.elf", "firmware.map", "bootloader.bin", "partitions.bin")


class PlatformioKind(BuildKind):
    """PlatformIO projects."""

    name = "platformio"

    def prepare(self, request: BuildRequest) -> BuildCommand:
        check_folders(request.project, request.workspace.path)
        project = read_project(request.project)
        variant = project.environment(request.variant or str(request.settings["env"]))
        pio = find_pio(request.config)
        env, ignored = pio_environment(pio, project)
        argv = [pio.path, "run", "-e", variant]
        command = BuildCommand(argv, request.project, env, variant=variant, jobs_option="-j")
        if ignored:
            command.notes.append(f"ignored in the environment: {', '.join(ignored)}")
        if project.shares_objects:
            command.notes.append("the project's build_cache_dir is replaced by one in this worktree")
        return command

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        """Objects that another pio made are not trusted: its signature database may not be the one read now."""
        check_folders(request.project, request.workspace.path)
        folder, stamp = build_folder(request.project), os.path.join(own_folder(request.project), "pio")
        pio = os.path.realpath(command.argv[0])
        maker = f"{pio}\n{os.path.realpath(os.path.join(os.path.dirname(pio), 'python'))}\n"
        if read_bytes(stamp) != maker.encode():
            _remove(folder)
            write_atomic(stamp, maker)
        elif request.clean:
            _remove(os.path.join(folder, command.variant))

    def reader(self, request: BuildRequest) -> BuildReader:
        return PioReader()

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        folder = os.path.join(build_folder(request.project), command.variant)
        return {name: os.path.join(folder, name) for name in _KEPT}

    def tool_versions(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        """PlatformIO's version, read from its installation: asking pio itself takes 150 ms."""
        import glob

        base = os.path.dirname(os.path.dirname(os.path.realpath(command.argv[0])))
        found = glob.glob(os.path.join(glob.escape(base), "lib", "python*", "site-packages", "platformio-*.dist-info"))
        version = os.path.basename(found[0])[11:-10] if found else "unknown"
        return {"platformio": version, "pio": command.argv[0]}


def _remove(folder: str) -> None:
    """Remove a folder of built files; of a link only the link."""
    if os.path.islink(folder):
        os.unlink(folder)
    elif os.path.isdir(folder):
        import shutil

        shutil.rmtree(folder)
