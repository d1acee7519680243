"""The kind of build ``command``: any program, run without a shell; what it leaves is named in ``outputs``."""

from __future__ import annotations

import os

from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildRequest
from k1ctl.errors import ConfigError, NotExecutableError, NotFoundError, UsageError
from k1ctl.programs import find_tool, path_for
from k1ctl_plugins.build import outputs
from k1ctl_plugins.build.lines import LineReader

JOBS = "{jobs}"


class CommandKind(BuildKind):
    """Programs of the project's own: make, cmake, a script."""

    name = "command"
    releases = True
    every_output_counts = True

    def prepare(self, request: BuildRequest) -> BuildCommand:
        outputs.check_project(request)
        outputs.check_patterns(request)
        key = "command_release" if request.release else "command"
        words = list(request.settings[key])
        if request.variant:
            raise UsageError(f"target {request.target} is of kind command, which has no environments (--env)")
        if not words and request.release:
            hint = f"set command_release in [targets.{request.target}]"
            raise UsageError(f"target {request.target} has no --release", hint=hint)
        if not words:
            hint = f'set it, as in command = ["make", "-j{JOBS}"]'
            raise ConfigError(f"targets.{request.target}.command is not set", hint=hint, code="no-command")
        program = _program(words[0], request)
        env = {**os.environ, "PATH": path_for(program), "PWD": os.path.realpath(request.project)}
        jobs = JOBS if any(JOBS in word for word in words[1:]) else ""
        return BuildCommand([program, *words[1:]], request.project, env, jobs_option=jobs)

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        outputs.check_project(request)
        if request.clean:
            outputs.remove(request, outputs.check_patterns(request))
        outputs.check_places(request, outputs.check_patterns(request))

    def reader(self, request: BuildRequest) -> BuildReader:
        return LineReader()

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        files = outputs.collect(request, outputs.check_patterns(request))
        outputs.note_unwritten(command, files)
        return files


def _program(word: str, request: BuildRequest) -> str:
    """The program by absolute path: one with a slash is taken from the project folder."""
    if os.sep not in word:
        found = find_tool(word)
        if not found:
            hint = f"it is the first word of command in [targets.{request.target}]"
            raise NotFoundError(f"{word} was not found", hint=hint, tool=word)
        return found
    path = os.path.normpath(os.path.join(request.project, os.path.expanduser(word)))
    if not os.path.isfile(path):
        raise NotFoundError(f"{path} is not there", hint=f"see command in [targets.{request.target}]", tool=word)
    if not os.access(path, os.X_OK):
        raise NotExecutableError(f"{path} cannot be run", hint="chmod +x it", tool=word)
    return path
