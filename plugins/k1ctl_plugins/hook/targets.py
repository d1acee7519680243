"""Run targets: the entries of ``[run_targets]``, which of them is meant, and what it comes to in this worktree."""

from __future__ import annotations

import os

from k1ctl import ports
from k1ctl.errors import ConfigError, K1ctlError, UnknownTargetError
from k1ctl.output import say
from k1ctl.queue import names
from k1ctl.tomllines import split_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

VARIABLES = ("RUN_TARGET", "K1_TARGET")  # what the scripts of both generations asked for, the newer one first


class Target:
    """A run target as it is in one worktree.

    ``command`` its words, with ``{port}`` left as it is in a worktree that has no ports yet; ``folder`` the absolute
    folder it runs in; ``resources`` {name: slots}; ``wait`` seconds in line at most; ``timeout`` seconds it may take
    (None: no limit); ``interactive`` whether it belongs into the terminal's foreground; ``about`` one line;
    ``port_words`` the words at the end of the command that a port stands in.
    """

    __slots__ = ("about", "command", "folder", "interactive", "name", "port_words", "resources", "timeout", "wait")

    def __init__(self, name: str, entry: Mapping[str, Any], config: Config, workspace: Workspace) -> None:
        """``entry`` is the section of this name. Raises ConfigError."""
        self.name, self.about, self.interactive = name, str(entry["about"]), bool(entry["interactive"])
        self.wait = float(entry["wait"] or config.get("hooks", "wait"))
        self.timeout = float(entry["timeout"]) or None
        self.port_words = list(entry["port"])
        self.command = [*entry["command"], *_with_port(self.port_words, _known_port(self.port_words, workspace))]
        path = _fill(name, "path", entry["path"], config, workspace)
        for key, words in (("command", self.command), ("path", [path])):
            if any("\0" in word for word in words):
                raise _wrong(name, key, "no word of a command and no folder can have a NUL in it", "")
        self.folder = os.path.normpath(os.path.join(workspace.path, path))
        words = [_fill(name, "resources", word, config, workspace) for word in entry["resources"]]
        try:
            self.resources = names.parse_needs(words) if words else {}
        except K1ctlError as exc:
            raise _wrong(name, "resources", exc.message, exc.hint) from exc

    @property
    def own(self) -> bool:
        """Whether it is a command of k1ctl itself."""
        return self.command[:1] == ["k1ctl"]

    def check(self, config: Config) -> None:
        """Raises ConfigError when nobody has said what to run, or its folder is not there."""
        if not self.command:
            raise ConfigError(
                f"run target {self.name} has no command yet: what it runs is yours to say",
                hint=f'set command under [run_targets."{self.name}"] in {config.path}',
                code="no-command",
                target=self.name,
            )
        if not os.path.isdir(self.folder):
            raise ConfigError(
                f"run target {self.name} belongs into {self.folder}, which is not there",
                hint=f'set path under [run_targets."{self.name}"] in {config.path}',
                code="no-folder",
                target=self.name,
            )

    def lease_ports(self, workspace: Workspace, config: Config) -> dict[str, str]:
        """Lease the worktree's ports, put the first one into the command, and return the variables that tell of it.

        Where the command asks for none, a worktree that gets no ports is told, and {} returned. Raises K1ctlError.
        """
        try:
            held = ports.lease(workspace, config)
        except K1ctlError as exc:
            if self.port_words:
                raise
            say(f"this worktree has no ports: {exc.message}")
            return {}
        if self.port_words:
            self.command[-len(self.port_words) :] = _with_port(self.port_words, str(held.first))
        return ports.variables(held)

    def document(self) -> dict[str, Any]:
        """The target as JSON."""
        return {
            "name": self.name,
            "command": self.command,
            "folder": self.folder,
            "resources": self.resources,
            "wait_seconds": self.wait,
            "timeout_seconds": self.timeout,
            "interactive": self.interactive,
            "about": self.about,
        }


def choose(given: str | None, config: Config, environ: Mapping[str, str]) -> tuple[str, str]:
    """(the target that is meant, who named it): the call, ``RUN_TARGET``, ``K1_TARGET``, else ``hooks.target``.

    What is empty counts as not set.
    """
    if given:
        return given, "the call"
    for variable in VARIABLES:
        if environ.get(variable):
            return environ[variable], variable
    return str(config.get("hooks", "target")), "hooks.target"


def find(name: str, config: Config, workspace: Workspace) -> Target:
    """The target of this name. Raises UnknownTargetError, which lists all; ConfigError."""
    known = config.names("run_targets")
    if name not in known:
        from difflib import get_close_matches

        near = get_close_matches(name, known, 1)
        raise UnknownTargetError(
            f"there is no run target {name!r}" + (f"; did you mean {near[0]}?" if near else ""),
            hint=f"there are: {', '.join(known)}",
            target=name,
            targets=known,
        )
    return Target(name, config.section("run_targets", name), config, workspace)


def rows(config: Config, workspace: Workspace) -> list[dict[str, Any]]:
    """Every target as JSON; ``origin`` tells whether somebody configured any of it; ``error`` what is wrong with it."""
    found = []
    for name in config.names("run_targets"):
        section = config.section("run_targets", name)
        origins = {config.origin("run_targets", name, key) for key in section}
        origin = next((o for o in ("environment", "file") if o in origins), "default")
        try:
            found.append({**Target(name, section, config, workspace).document(), "origin": origin})
        except ConfigError as exc:
            raw = {"name": name, "command": section["command"], "about": section["about"], "origin": origin}
            found.append({**raw, "error": exc.message})
    return found


def _known_port(words: list[str], workspace: Workspace) -> str:
    """The worktree's first port as far as it is known without leasing; "" when it is not, or nobody asks."""
    held = ports.known(workspace, os.environ) if words else None
    return str(held.first) if held else ""


def _with_port(words: list[str], port: str) -> list[str]:
    return [word.replace("{port}", port) if port else word for word in words]


def _fill(name: str, key: str, text: str, config: Config, workspace: Workspace) -> str:
    """``text`` with the setting in place of each ``{dotted.key}``, and this worktree's lock in place of ``{tree}``."""
    head, brace, rest = text.partition("{")
    if not brace:
        return text
    inner, brace, tail = rest.partition("}")
    try:
        # as `k1ctl build` names the lock of a worktree's build folder
        tree = names.stable_key(os.path.realpath(workspace.path))[:12]
        value = tree if inner == "tree" else str(config.get(*split_key(inner)))
    except ConfigError as exc:
        raise _wrong(name, key, f"{{{inner}}}: {exc.message}", exc.hint) from exc
    return head + value + _fill(name, key, tail, config, workspace)


def _wrong(name: str, key: str, message: str, hint: str) -> ConfigError:
    return ConfigError(f"run_targets.{name}.{key}: {message}", hint=hint, target=name, key=key)
