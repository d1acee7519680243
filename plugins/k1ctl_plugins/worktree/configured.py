"""The steps of ``[setup.NAME]``: a command each, run when what it depends on changed, its output kept in a log.

A command is ended at the step's limit and when the call is interrupted. It holds the set-up's lock too: one that
outlives a killed call is waited for by the next.
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from k1ctl import git, ports
from k1ctl.errors import ConfigError, K1ctlError, NotExecutableError, NotFoundError
from k1ctl.files import read_json, write_json
from k1ctl.programs import find_tool, path_for, runnable
from k1ctl.setup import SetupStep, StepReport
from k1ctl.units import format_duration, rfc3339
from k1ctl_plugins.worktree import place
from k1ctl_plugins.worktree.running import Running

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_TAIL_BYTES, _TAIL_LINES = 8192, 12
_SHOWN = 100  # characters of a command that are worth a reader's time


def steps(workspace: Workspace, config: Config, lock: int, *, again: bool = False) -> Iterator[SetupStep]:
    """The configured steps, in the order of the file; ``again``: also those whose inputs are what they were."""
    for name in config.names("setup"):
        step = Step(name, config.section("setup", name), workspace, config, lock)
        run = partial(step.run, again=again)
        yield SetupStep(name, run, partial(step.run, again=again, dry_run=True), tuple(step.needs))


class Step:
    """One configured step in one worktree."""

    def __init__(self, name: str, section: dict[str, Any], workspace: Workspace, config: Config, lock: int) -> None:
        self.name, self.workspace, self.config, self.lock = name, workspace, config, lock
        self.command, self.needs, self.inputs = section["command"], section["needs"], section["inputs"]
        self.path, self.limit = section["path"], float(section["timeout"])
        self.log = place.log_file(workspace, name)
        self.memory = place.memory(workspace, "steps.json")

    def run(self, *, again: bool = False, dry_run: bool = False) -> StepReport:
        """Run the command unless it succeeded with these very inputs. Raises K1ctlError naming the log."""
        folder = self._folder()
        argv = self._argv(folder)
        found = self._matching(folder)
        digest = self._digest(folder, found)
        details = {"inputs": len(found)}
        if digest and not again and self._past().get(self.name, {}).get("sha256") == digest:
            return StepReport(False, f"unchanged inputs: {len(found)}", details)
        words = " ".join(" ".join(self.command).split())  # a script of several lines, too
        words = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}..."
        if dry_run:
            return StepReport(True, f"would be run: {words}", details)
        self._command(argv, folder)
        if digest:
            write_json(self.memory, {**self._past(), self.name: {"sha256": digest, "at": rfc3339()}})
        note = "" if found or not self.inputs else "; no file matches its inputs, so it is run each time"
        return StepReport(True, f"{words}{note}", {**details, "log": self.log})

    def _past(self) -> dict[str, Any]:
        value = read_json(self.memory)
        return value if isinstance(value, dict) else {}

    def _folder(self) -> str:
        folder = os.path.normpath(os.path.join(self.workspace.path, self.path))
        if not os.path.isdir(folder):
            raise self._wrong("path", f"{folder} is not there")
        if not place.within(os.path.join(folder, "x"), self.workspace.path):
            raise self._wrong("path", f"{folder} is not in this worktree")
        return folder

    def _argv(self, folder: str) -> list[str]:
        """The command with its program by absolute path: PATH may be poor."""
        import sys

        if not self.command:
            raise self._wrong("command", "what the step runs is yours to say")
        if any("\0" in word for word in self.command):
            raise self._wrong("command", "no word of a command can have a NUL in it")
        first, *rest = self.command
        if first == "k1ctl":
            return [sys.executable, "-P", "-m", "k1ctl", *rest]
        path = os.path.join(folder, os.path.expanduser(first)) if os.sep in first else find_tool(first)
        if not path or not os.path.isfile(path):
            hint = "install it, or write its path into the command"
            raise NotFoundError(f"{first} is not found", hint=hint, tool=first)
        if not runnable(path):
            raise NotExecutableError(f"{path} cannot be run", hint="chmod +x it", tool=path)
        return [path, *rest]

    def _matching(self, folder: str) -> list[str]:
        """The files that the globs of ``inputs`` match, relative to the step's folder."""
        from glob import glob

        found = {
            name
            for pattern in self.inputs
            for name in glob(pattern, root_dir=folder, recursive=True, include_hidden=True)
        }
        return sorted(name for name in found if os.path.isfile(os.path.join(folder, name)))

    def _digest(self, folder: str, found: list[str]) -> str:
        """SHA-256 over the command and the inputs, names and contents; "" where nothing tells whether it changed."""
        from hashlib import file_digest, sha256

        if not found:
            return ""
        total = sha256("\0".join([self.path, *self.command, ""]).encode(errors="surrogateescape"))
        for name in found:
            with open(os.path.join(folder, name), "rb") as f:
                total.update(os.fsencode(name) + b"\0" + file_digest(f, "sha256").digest())
        return total.hexdigest()

    def _environment(self, program: str) -> dict[str, str]:
        """The caller's, without what git tells its hooks of *their* worktree, with this one's ports."""
        env = {name: os.environ[name] for name in git.environment() if name in os.environ}
        held = ports.known(self.workspace, env)
        return {**env, "PATH": path_for(program), **(ports.variables(held) if held else {})}

    def _command(self, argv: list[str], folder: str) -> None:
        command = Running(self.workspace, self.name, self.limit, self.config.get("process", "grace"))
        code = command.run(argv, folder, self._environment(argv[0]), self.log, self.lock)
        if code is None:
            raise self._failed(f"ran past its limit of {format_duration(self.limit)}", "step-timeout")
        if code:
            how = f"exit {code}" if code > 0 else f"killed by signal {-code}"
            raise self._failed(f"{self.command[0]} failed: {how}", "step-failed")

    def _failed(self, message: str, code: str) -> K1ctlError:
        lines = tail(self.log)
        last = f": {lines[-1]}" if lines else ""
        return K1ctlError(f"{message}{last} ({self.log})", code=code, log=self.log, lines=lines)

    def _wrong(self, key: str, why: str) -> ConfigError:
        hint = f"set {key} under [setup.{self.name}] in {self.config.path}"
        return ConfigError(f"setup.{self.name}.{key}: {why}", hint=hint, step=self.name)


def tail(path: str) -> list[str]:
    """The last lines of a log that have anything in them."""
    with open(path, "rb") as f:
        f.seek(max(0, os.fstat(f.fileno()).st_size - _TAIL_BYTES))
        text = f.read().decode(errors="replace")
    return [line.rstrip() for line in text.splitlines() if line.strip()][-_TAIL_LINES:]
