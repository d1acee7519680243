"""The kind of build ``platformio``: ``pio run`` for one environment of the project."""

from __future__ import annotations

import os

from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildRequest, BuildResult
from k1ctl.errors import UsageError, WrongDataError
from k1ctl.files import read_bytes, write_atomic
from k1ctl.platformio.caching import ccache_hits, choose, objects_folder, statistics, tidy
from k1ctl.platformio.environment import build_folder, check_folders, own_folder, pio_environment
from k1ctl.platformio.locate import find_pio
from k1ctl.platformio.output import PioReader
from k1ctl.platformio.project import read_project

_LEVELS = ("-O0", "-O1", "-O2", "-O3", "-Os", "-Og")  # a framework's own comes behind ours, and the last one counts
_KEPT = ("firmware.bin", "firmware.elf", "firmware.map", "bootloader.bin", "partitions.bin")


class PlatformioKind(BuildKind):
    """PlatformIO projects."""

    name = "platformio"
    releases = True

    def prepare(self, request: BuildRequest) -> BuildCommand:
        check_folders(request.project, request.workspace.path, clean=request.clean)
        project = read_project(request.project)
        flags = release_flags(request)
        wanted = request.variant or str(request.settings["env"])
        if request.release and not flags:
            wanted = str(request.settings["release_env"])
        variant = project.environment(wanted)
        pio = find_pio(request.config)
        env, ignored = pio_environment(pio, project)
        caching = choose(
            project,
            env,
            wanted=str(request.config.get("build", "cache")),
            folder=_shared_folder(request),
            size=int(request.config.get("build", "cache_size")),
            anew=request.clean,
            link_flags=" ".join(flags),
        )
        env.update(caching.env)
        if flags:
            env["PLATFORMIO_BUILD_DIR"] = build_folder(request.project, release=True)
            env["PLATFORMIO_BUILD_FLAGS"] = " ".join(flags)
            env["PLATFORMIO_BUILD_UNFLAGS"] = " ".join(flag for flag in _LEVELS if flag not in flags)
        command = BuildCommand(
            [pio.path, "run", "-e", variant], request.project, env, variant=variant, jobs_option="-j"
        )
        command.cache = caching.name or ("project" if project.shares_objects else "")
        if ignored:
            command.notes.append(f"ignored in the environment: {', '.join(ignored)}")
        if project.shares_objects:
            command.notes.append("the project's build_cache_dir is replaced by one in this worktree")
        command.notes += caching.notes
        return command

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        """Objects that another pio made are not trusted: its signature database may not be the one read now. Nor is an
        image that lies there: once a script gives the program another name (PROGNAME), pio leaves it as it is."""
        check_folders(request.project, request.workspace.path, clean=request.clean)
        stamp = os.path.join(own_folder(request.project), "pio")
        pio = os.path.realpath(command.argv[0])
        maker = f"{pio}\n{os.path.realpath(os.path.join(os.path.dirname(pio), 'python'))}\n"
        if read_bytes(stamp) != maker.encode():
            _remove(build_folder(request.project))
            _remove(build_folder(request.project, release=True))
            write_atomic(stamp, maker)
        elif request.clean:
            _remove(_folder(request, command))
        _unlink(os.path.join(_folder(request, command), _KEPT[0]))
        if command.cache == "ccache":  # a version that writes no statistics leaves none
            _unlink(statistics(request.project))

    def end(self, request: BuildRequest, command: BuildCommand) -> None:
        if command.cache == "objects":
            tidy(objects_folder(_shared_folder(request)), int(request.config.get("build", "cache_size")))

    def from_nothing(self, request: BuildRequest, command: BuildCommand) -> bool:
        return request.clean or not os.path.isdir(_folder(request, command))

    def cache_hits(self, request: BuildRequest, command: BuildCommand, read: BuildResult) -> int | None:
        if command.cache == "ccache":
            return ccache_hits(request.project) if read.steps else 0
        return read.cache_hits if command.cache else None

    def reader(self, request: BuildRequest) -> BuildReader:
        return PioReader()

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        folder = _folder(request, command)
        if not os.path.isfile(os.path.join(folder, _KEPT[0])):
            others = sorted(name for name in os.listdir(folder) if name.endswith((".bin", ".elf", ".hex")))
            there = f"there are {', '.join(others)}: " if others else ""
            hint = f"{there}where a script sets PROGNAME, k1ctl needs it to be firmware; see k1ctl build log"
            raise WrongDataError(f"the build left no {os.path.join(folder, _KEPT[0])}", hint=hint, code="no-output")
        return {name: os.path.join(folder, name) for name in _KEPT}

    def tool_versions(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        """PlatformIO's version, read from its installation: asking pio itself takes 150 ms."""
        import glob

        base = os.path.dirname(os.path.dirname(os.path.realpath(command.argv[0])))
        found = glob.glob(os.path.join(glob.escape(base), "lib", "python*", "site-packages", "platformio-*.dist-info"))
        version = os.path.basename(found[0])[11:-10] if found else "unknown"
        return {"platformio": version, "pio": command.argv[0]}


def release_flags(request: BuildRequest) -> list[str]:
    """The flags that make this build a release; none for any other, and where an environment is made for it.

    Raises UsageError.
    """
    if not request.release:
        return []
    if not request.settings["release_env"]:
        flags = list(request.settings["release_flags"])
        if flags:
            return flags
        hint = f"set release_env or release_flags in [targets.{request.target}]"
        raise UsageError(f"target {request.target} has nothing to make a release with", hint=hint)
    if request.variant:
        named = request.settings["release_env"]
        raise UsageError(f"--env and --release exclude each other: a release of {request.target} builds {named}")
    return []


def _shared_folder(request: BuildRequest) -> str:
    return request.workspace.ops_path("builds")


def _folder(request: BuildRequest, command: BuildCommand) -> str:
    return os.path.join(command.env["PLATFORMIO_BUILD_DIR"], command.variant)


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _remove(folder: str) -> None:
    """Remove a folder of built files; of a link only the link."""
    if os.path.islink(folder):
        os.unlink(folder)
    elif os.path.isdir(folder):
        import shutil

        shutil.rmtree(folder)
