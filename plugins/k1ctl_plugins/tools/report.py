"""What ``k1ctl tools`` does and says, as documents."""

from __future__ import annotations

import time

from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.output import LiveLine
from k1ctl.platformio.install import core_folder, install, installed, tools_folder
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from k1ctl.cli import Context
    from k1ctl.config import Config

    Progress = Callable[[str, str], None]


def install_tools() -> dict[str, Any]:
    """Install with a live line. Raises InstallError."""
    found, changed, seconds = _live(install)
    what = f"PlatformIO {found['platformio']} with SCons {found['scons']}"
    text = f"{what} installed in {format_duration(seconds)}: {found['pio']}" if changed else f"{what}: {found['pio']}"
    return {"ok": True, "changed": changed, "seconds": round(seconds, 3), **found, "text": text}


def install_esptool() -> dict[str, Any]:
    """Install esptool with a live line. Raises InstallError."""
    from k1ctl.device.esptool_install import install

    found, changed, seconds = _live(install)
    said = f" installed in {format_duration(seconds)}" if changed else ""
    text = f"esptool {found['version']}{said}: {found['esptool']}"
    return {"ok": True, "changed": changed, "seconds": round(seconds, 3), **found, "text": text}


def plan_esptool() -> dict[str, Any]:
    """What `install_esptool` would do."""
    from k1ctl.device.esptool_install import esptool_folder, installed

    found, folder = installed(), esptool_folder()
    text = f"nothing to do: {found['esptool']}" if found else f"would install esptool into {folder}"
    return {"ok": True, "dry_run": True, "would_change": not found, "folder": folder, **(found or {}), "text": text}


def _live(work: Callable[[Progress], tuple[dict[str, Any], bool]]) -> tuple[dict[str, Any], bool, float]:
    line = LiveLine()
    start = time.monotonic()
    try:
        found, changed = work(lambda step, text: line.update(f"{step}: {text}" if text else step, key=step))
    finally:
        line.clear()
    return found, changed, time.monotonic() - start


def plan() -> dict[str, Any]:
    """What `install_tools` would do."""
    found = installed()
    if found is not None:
        return {"ok": True, "dry_run": True, "would_change": False, **found, "text": f"nothing to do: {found['pio']}"}
    folder = tools_folder()
    return {
        "ok": True,
        "dry_run": True,
        "would_change": True,
        "folder": folder,
        "core_dir": core_folder(),
        "text": f"would install PlatformIO and the SCons it wants into {folder}, packages into {core_folder()}",
    }


def tools_status(ctx: Context) -> dict[str, Any]:
    """Which pio is used, and the tools environment; outside a repository without its configuration."""
    from k1ctl.platformio.locate import find_pio

    found = installed()
    document: dict[str, Any] = {"ok": True, "tools": found, "folder": tools_folder(), "pio": None, "origin": None}
    try:
        config = ctx.config
    except ConfigError:
        config = None
    try:
        pio = find_pio(config)
    except K1ctlError as exc:
        used = f"{exc.message} ({exc.hint})"
    else:
        used = f"{pio.path} ({pio.origin})"
        document.update(pio=pio.path, origin=pio.origin)
    document["esptool"], told = _esptool(config)
    own = f"PlatformIO {found['platformio']}, SCons {found['scons']}" if found else "not installed"
    document["text"] = (
        f"pio used:           {used}\nesptool used:       {told}\ntools environment:  {own} ({tools_folder()})"
    )
    return document


def _esptool(config: Config | None) -> tuple[dict[str, Any] | None, str]:
    from k1ctl.device.esptool import find_esptool

    try:
        tool = find_esptool(str(config.get("tools", "esptool")) if config else "")
    except K1ctlError as exc:
        return None, f"{exc.message} ({exc.hint})"
    told = f"{' '.join(tool.argv)} ({tool.origin}, {tool.version})"
    return {"argv": list(tool.argv), "origin": tool.origin, "version": tool.version}, told
