"""Run a target that is a command of k1ctl, in this very process: another interpreter would cost 60 ms."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from k1ctl.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.cli import Context
    from k1ctl_plugins.hook.targets import Target

# How these take what an entry's `wait` and `timeout` say; others stand in no line.
_WAIT = {
    "build": "--wait",
    "upload": "--wait-limit",
    "queue run": "--wait",
    "device test": "--wait",
    "device console": "--wait",
}
_TIMEOUT = {"build": "--timeout", "queue run": "--timeout"}
# What a preset names all the same, for a command of somebody else in its place.
_ASKS_FOR = {"device test": "device:", "device console": "console:"}
_TWO_WORDS = (
    *(["queue", "run"], ["build", "list"], ["build", "show"], ["build", "log"]),
    *(["device", "test"], ["device", "console"]),
)


def words_of(target: Target, args: Sequence[str]) -> list[str]:
    """The words behind ``k1ctl``, with the target's limits where the entry's command sets none. Raises ConfigError."""
    words = [*target.command[1:], *args]
    if not words or words[0] == "hook" or words[0].startswith("-"):
        said = " ".join(target.command)
        raise ConfigError(
            f"run target {target.name} runs {said!r}, which is no command that a run target can be",
            hint='write a command of k1ctl other than hook, as in ["k1ctl", "build", "fw"]',
            target=target.name,
        )
    name = " ".join(words[:2]) if words[:2] in _TWO_WORDS else words[0]
    if not all(resource.startswith(_ASKS_FOR.get(name, "\n")) for resource in target.resources):
        raise _not_taken(target, "resources", f"k1ctl {name} asks for what it needs itself")
    if target.timeout and name not in _TIMEOUT:
        raise _not_taken(target, "timeout", f"k1ctl {name} has its own limits")
    if name not in _WAIT:
        return words
    at = len(name.split())
    before = words[: words.index("--")] if "--" in words else words
    added = []
    for option, seconds in ((_WAIT[name], target.wait), (_TIMEOUT.get(name), target.timeout)):
        if option and seconds is not None and not any(w.partition("=")[0] == option for w in before):
            added += [option, f"{seconds:g}"]
    return [*words[:at], *added, *words[at:]]


def run(context: Context, words: list[str], *, as_json: bool) -> int:
    """Do what ``k1ctl WORDS`` does and return its exit code. Raises K1ctlError and what click raises."""
    if words[:2] == ["queue", "run"]:
        from k1ctl import lane

        if as_json:
            raise UsageError("k1ctl queue run passes its command's output through: no --json", hint="--result FILE")
        parsed = lane.parse(words[2:])
        if parsed is not None:
            return lane.run(*parsed, context.workspace)
    if words[0] not in context.plugins.targets:
        raise ConfigError(f"k1ctl has no command {words[0]!r}", hint="k1ctl --help lists them")
    command = context.plugins.command(words[0])
    args = [*words[1:], *(["--json"] if as_json else [])]
    sys.argv = ["k1ctl", words[0], *args]  # `queue` reads there where its command begins
    parent = click.get_current_context().find_root()
    code: Any = command.main(args, prog_name=words[0], standalone_mode=False, parent=parent)
    return code if isinstance(code, int) else 0


def _not_taken(target: Target, key: str, why: str) -> ConfigError:
    return ConfigError(
        f"run_targets.{target.name}.{key} has no effect: {why}",
        hint=f"take {key} out of the entry",
        target=target.name,
        key=key,
    )
