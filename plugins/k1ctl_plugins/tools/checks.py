"""What `k1ctl doctor` is told of build tools: what the configured targets need."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing raised."""
    kinds: dict[str, str] = {}
    for name in sorted(config.names("targets"), key=lambda name: _there(workspace, config, name)):
        kinds[str(config.get("targets", name, "kind"))] = name  # one that can be built here, if there is one
    found = [_program("git", ERROR, "worktrees, builds and archives need it", "install git")]
    if "platformio" in kinds:
        found.append(_pio(config, kinds["platformio"]))
    if "npm" in kinds:
        found.append(_program("npm", WARNING, f"target {kinds['npm']} is built with it", "install Node.js"))
    for check in found:
        kind = {"no-pio": "platformio", "no-npm": "npm"}.get(check.code)
        if kind and not _there(workspace, config, kinds[kind]):
            check.level = NOTE  # nothing is there yet that it would build
    return found


def _there(workspace: Workspace, config: Config, target: str) -> bool:
    return os.path.isdir(os.path.join(workspace.path, str(config.get("targets", target, "path"))))


def _program(name: str, level: str, why: str, fix: str) -> Check:
    from k1ctl.programs import which

    path = which(name)
    if path:
        return Check(name, OK, f"{name} is {path}")
    return Check(f"no-{name}", level, f"{name} was not found", why=why, fix=f"{fix}, or add its folder to PATH")


def _pio(config: Config, target: str) -> Check:
    from k1ctl.errors import K1ctlError
    from k1ctl.platformio.locate import find_pio

    try:
        pio = find_pio(config)
    except K1ctlError as exc:
        return Check("no-pio", WARNING, exc.message, why=f"target {target} is built with it", fix="k1ctl tools install")
    return Check("pio", OK, f"pio is {pio.path} ({pio.origin})")
