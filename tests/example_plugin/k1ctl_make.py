"""A plugin for k1ctl: the kind of build ``make``, and the command ``k1ctl make`` that tells what is out of date."""

from __future__ import annotations

import os
from typing import Any

import click

from k1ctl.builds import BuildCommand, BuildKind, BuildReader, BuildRequest, BuildResult
from k1ctl.cli import Context, pass_context, purpose
from k1ctl.errors import ConfigError, K1ctlError, NotFoundError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import emit_json, json_option, put, table
from k1ctl.programs import which

_OF_AN_OUTER_MAKE = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


@hookimpl
def k1ctl_command() -> click.Command:
    return make


@hookimpl
def k1ctl_build_kinds() -> list[BuildKind]:
    return [MakeKind()]


class MakeKind(BuildKind):
    """``kind = "make"`` in [targets.NAME]: runs make in the target's folder; ``env`` (or --env) is its goal."""

    name = "make"

    def prepare(self, request: BuildRequest) -> BuildCommand:
        if not os.path.isfile(os.path.join(request.project, "Makefile")):
            raise ConfigError(f"{request.project} has no Makefile", hint=f"set path in [targets.{request.target}]")
        goal = request.variant or str(request.settings["env"])
        env = {name: value for name, value in os.environ.items() if name not in _OF_AN_OUTER_MAKE}
        argv = [find_make(), *([goal] if goal else [])]
        return BuildCommand(argv, request.project, env, variant=goal, jobs_option="-j")

    def begin(self, request: BuildRequest, command: BuildCommand) -> None:
        if request.clean:
            run_quietly([command.argv[0], "clean"], command)

    def reader(self, request: BuildRequest) -> BuildReader:
        return MakeReader()

    def outputs(self, request: BuildRequest, command: BuildCommand) -> dict[str, str]:
        image = str(request.config.plugins.get("make", {}).get("image", "firmware.bin"))
        return {os.path.basename(image): os.path.join(request.project, image)}


class MakeReader(BuildReader):
    """Picks the compiler's messages out of make's log."""

    def __init__(self) -> None:
        self._result = BuildResult()

    def feed(self, line: bytes | str) -> str | None:
        text = (line.decode("utf-8", "replace") if isinstance(line, bytes) else line).rstrip()
        if " error: " in text or text.startswith("make: ***"):
            self._result.errors.append(text)
            self._result.error_count += 1
        elif " warning: " in text:
            self._result.warnings.append(text)
            self._result.warning_count += 1
        return None

    def result(self) -> BuildResult:
        return self._result


@purpose("Look", example="k1ctl make")
@click.command(short_help="Tell which make targets are out of date.")
@json_option
@pass_context
def make(ctx: Context, as_json: bool) -> None:
    """Tell which targets of kind make are out of date in this worktree; nothing is built.

    Example: k1ctl make --json
    """
    rows: list[dict[str, Any]] = []
    for target in ctx.config.names("targets"):
        request = BuildRequest(ctx.workspace, ctx.config, target)
        if request.settings["kind"] == MakeKind.name:
            command = MakeKind().prepare(request)
            status = run_quietly([*command.argv, "--question"], command)
            if status > 1:
                raise K1ctlError(f"make cannot tell about {target}", hint=f"make -C {request.project}", target=target)
            rows.append({"target": target, "path": request.project, "up_to_date": status == 0})
    if as_json:
        emit_json(rows)
    else:
        put(table([(r["target"], "yes" if r["up_to_date"] else "no") for r in rows], ("TARGET", "UP TO DATE")))


def find_make() -> str:
    """The path of make. Raises NotFoundError."""
    path = which("make")
    if not path:
        raise NotFoundError("make is not there", hint="install it", tool="make")
    return path


def run_quietly(argv: list[str], command: BuildCommand) -> int:
    """Run make where the build would run it; its exit code."""
    import subprocess  # 3 ms that `k1ctl --help` does not need

    return subprocess.run(argv, cwd=command.cwd, env=command.env, capture_output=True).returncode
