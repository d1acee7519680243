"""What `k1ctl doctor` is told of devices: how they are configured, and what the last prober found; none is asked."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_OLD = 86400.0  # s after which the word of a prober says little


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Raises OSError."""
    from k1ctl.device.survey import configured

    sections = configured(config)
    if not sections:
        what = "no device is configured"
        fix = "`k1ctl device discover --toml` finds boards and prints their sections"
        return [Check("no-device", NOTE, what, why="uploads have nowhere to go", fix=fix)]
    return [
        *_defaults(config, list(sections)),
        *(check for device in sections.values() for check in _device(workspace, device)),
        *_esptool(config, sections),
    ]


def _defaults(config: Config, names: list[str]) -> Iterator[Check]:
    places = [("defaults", "device"), *(("targets", name, "device") for name in config.names("targets"))]
    for place in places:
        wanted = str(config.get(*place))
        if wanted and wanted not in names:
            what = f"{'.'.join(place)} is {wanted}, and there is no such device"
            why = "an upload that names no device is refused"
            yield Check("unknown-device", WARNING, what, why=why, fix=f"k1ctl config set {'.'.join(place)} {names[0]}")


def _device(workspace: Workspace, device: dict[str, Any]) -> Iterator[Check]:
    name = str(device["name"])
    if not device["host"]:
        fix = f"k1ctl config set devices.{name}.host {name}.local"
        why = "it is reached over USB alone, and nobody sees how it is"
        yield Check("no-address", WARNING, f"{name} has no address", why=why, fix=fix)
    else:
        yield _probe(workspace, device)
    if not device["mac"]:
        why = "another board that gets its address is taken for it where both run the same firmware"
        fix = f"`k1ctl device info {name}` tells it; `k1ctl config set devices.{name}.mac MAC`"
        yield Check("no-mac", NOTE, f"{name} is configured without its MAC", why=why, fix=fix)
    yield from _password(device)
    yield from _trouble(workspace, name)


def _probe(workspace: Workspace, device: dict[str, Any]) -> Check:
    from k1ctl.device.health import last
    from k1ctl.device.verdict import BROKEN, WRONG, judge
    from k1ctl.units import format_duration

    name, ask = str(device["name"]), f"k1ctl device health {device['name']}"
    record = last(workspace, device)
    if record is None:
        return Check("never-asked", NOTE, f"nobody asked {name} yet", why="", fix=ask)
    verdict, ago = judge(record, device), f"{format_duration(record['age_seconds'])} ago"
    if verdict.state == "online":
        return Check("device", OK, f"{name} answered {ago}")
    level = ERROR if verdict.state in (WRONG, BROKEN) else NOTE if record["age_seconds"] > _OLD else WARNING
    what = f"{name} was {verdict.state} {ago}: {verdict.message}"
    why = "what is sent there would reach another device" if level == ERROR else "uploads to it fail or wait"
    fix = f"{verdict.hint or 'look after it'}; then `{ask}`"
    return Check(f"device-{verdict.state}", level, what, why=why, fix=fix)


def _password(device: dict[str, Any]) -> Iterator[Check]:
    from shlex import quote

    name, file, variable = device["name"], str(device["password_file"]), str(device["password_env"])
    if file:
        path = os.path.expanduser(file)
        try:
            about = os.stat(path)
            if about.st_mode & 0o077:
                why = "whoever reads it can install what he likes on the device"
                what, fix = f"{path} of {name} is open to others", f"chmod 600 {quote(path)}"
                yield Check("password-open", WARNING, what, why=why, fix=fix)
        except OSError as exc:
            why = "the device refuses who does not know its password"
            fix = f"write it there (0600), or `k1ctl config unset devices.{name}.password_file`"
            yield Check("password-missing", ERROR, f"{path} of {name}: {exc.strerror}", why=why, fix=fix)
    elif variable and not os.environ.get(variable):
        what, fix = f"{variable}, for {name}, is not set here", f"export {variable}, with the password in it"
        why = "an upload from here is refused by the device"
        yield Check("password-missing", NOTE, what, why=why, fix=fix)


def _trouble(workspace: Workspace, name: str) -> Iterator[Check]:
    from k1ctl.device import images
    from k1ctl.escalation.keeper import load

    state = load(workspace, name)
    if state["rung"]:
        reason = str(state["steps"][-1]["reason"]) if state["steps"] else ""
        what = f"{name} has trouble since {state['since']} ({state['rung']}): {reason}"
        yield Check("escalation", WARNING, what, why="", fix=f"`k1ctl device escalation {name}` has its steps")
    current = images.read(workspace, name)["current"]
    if current and current["verification"] in ("needs-usb", "soak-failed", "not-back"):
        hours = (time.time() - _seconds(current["at"])) / 3600
        what = f"{name} runs an image that is not well ({current['verification']}) for {hours:.0f} h"
        why = "whoever tests on it sees another's fault"
        yield Check("bad-image", WARNING, what, why=why, fix=f"`k1ctl device rollback {name}`, or upload a good one")


def _seconds(at: Any) -> float:
    from k1ctl.units import parse_rfc3339

    try:
        return parse_rfc3339(str(at))
    except ValueError:
        return time.time()


def _esptool(config: Config, sections: dict[str, dict[str, Any]]) -> Iterator[Check]:
    from k1ctl.device.esptool import find_esptool
    from k1ctl.errors import K1ctlError

    try:
        tool = find_esptool(str(config.get("tools", "esptool")))
        yield Check("esptool", OK, f"esptool {tool.version} is there ({tool.origin})")
    except K1ctlError as exc:
        needed = any(device["usb_port"] for device in sections.values())
        why = "a device that took a bad image comes back over USB alone"
        yield Check("no-esptool", WARNING if needed else NOTE, exc.message, why=why, fix="k1ctl tools install esptool")
