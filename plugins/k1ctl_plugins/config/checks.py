"""What `k1ctl doctor` is told of the configuration. A file that cannot be read is the doctor's own finding."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing raised."""
    found = [*_file(config), *_variables(config), *_targets(workspace, config), *_open(config)]
    return found or [Check("config", OK, f"{config.path} is in order")]


def _file(config: Config) -> Iterator[Check]:
    if not os.path.exists(config.path):
        yield Check(
            "no-config", NOTE, f"there is no {config.path}", why="all settings have their defaults", fix="k1ctl init"
        )


def _variables(config: Config) -> Iterator[Check]:
    from k1ctl.config import unknown_variables

    for name, near in unknown_variables(config, os.environ):
        what = f"{name} is set in the environment and is no setting"
        fix = f"did you mean {near}?" if near else f"unset {name}"
        yield Check("unknown-variable", WARNING, what, why="whoever set it believes it has an effect", fix=fix)


def _targets(workspace: Workspace, config: Config) -> Iterator[Check]:
    for name in config.names("targets"):
        path = os.path.join(workspace.path, str(config.get("targets", name, "path")))
        if not os.path.isdir(path):
            what = f"target {name} is built in {path}, which is not there"
            fix = f"k1ctl config set targets.{name}.path FOLDER"
            yield Check("no-project", NOTE, what, why=f"`k1ctl build {name}` fails in this worktree", fix=fix)


def _open(config: Config) -> Iterator[Check]:
    """Tables of plugins that nobody installed."""
    from k1ctl.discovery import entry_points

    known = entry_points()
    for name in config.plugins:
        if name not in known:
            what = f"[plugins.{name}] is set, and no plugin {name} is installed"
            why = "nobody reads it"
            yield Check("unknown-plugin", NOTE, what, why=why, fix="pip install the distribution that brings it")
