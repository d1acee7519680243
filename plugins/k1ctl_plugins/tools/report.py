"""What ``k1ctl tools`` does and says, as documents."""

from __future__ import annotations

import time

from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.output import LiveLine
from k1ctl.platformio.install import core_folder, install, installed, tools_folder
from k1ctl.units import format_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.cli import Context


def install_tools() -> dict[str, Any]:
    """Install with a live line. Raises InstallError."""
    line = LiveLine()
    start = time.monotonic()
    try:
        found, changed = install(lambda step, text: line.update(f"{step}: {text}" if text else step, key=step))
    finally:
        line.clear()
    seconds = time.monotonic() - start
    what = f"PlatformIO {found['platformio']} with SCons {found['scons']}"
    text = f"{what} installed in {format_duration(seconds)}: {found['pio']}" if changed else f"{what}: {found['pio']}"
    return {"ok": True, "changed": changed, "seconds": round(seconds, 3), **found, "text": text}


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
    own = f"PlatformIO {found['platformio']}, SCons {found['scons']}" if found else "not installed"
    document["text"] = f"pio used:           {used}\ntools environment:  {own} ({tools_folder()})"
    return document
