"""esptool in a virtual environment of its own, in the user's cache beside PlatformIO's."""

from __future__ import annotations

import os
import sys

from k1ctl.files import Locked, read_json, write_json
from k1ctl.platformio.install import remove_folder, run_step
from k1ctl.workspace import cache_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

NEWEST = 5  # the major version that is installed; 4 is what PlatformIO brings
_MARKER = "installed.json"


def esptool_folder(major: int = NEWEST, environ: Mapping[str, str] | None = None) -> str:
    """The folder of esptool's environment, one for each of its and of Python's versions."""
    name = f"esptool{major}-py{sys.version_info[0]}.{sys.version_info[1]}"
    return os.path.realpath(os.path.join(cache_dir(environ), "tools", name))


def installed(major: int = NEWEST, environ: Mapping[str, str] | None = None) -> dict[str, Any] | None:
    """What is installed: {esptool: path, version}; None when nothing usable is."""
    marker = read_json(os.path.join(esptool_folder(major, environ), _MARKER))
    if not isinstance(marker, dict) or not isinstance(marker.get("esptool"), str):
        return None
    return marker if os.access(marker["esptool"], os.X_OK) else None


def install(
    progress: Callable[[str, str], None], major: int = NEWEST, environ: Mapping[str, str] | None = None
) -> tuple[dict[str, Any], bool]:
    """Install esptool unless it is there; returns what `installed` returns, and whether work was done.

    One process at a time, under a lock that pip inherits. ``progress`` gets each step and the line it just printed.
    Raises InstallError.
    """
    done = installed(major, environ)
    if done is not None:
        return done, False
    folder = esptool_folder(major, environ)
    progress("waiting for another installation", "")
    with Locked(folder + ".lock") as lock:
        done = installed(major, environ)
        if done is not None:
            return done, False
        remove_folder(folder)
        return _install(folder, major, progress, lock.fd), True


def _install(folder: str, major: int, progress: Callable[[str, str], None], lock: int) -> dict[str, Any]:
    python = os.path.join(folder, "bin", "python")
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    venv = [sys.executable, "-m", "venv", folder]
    run_step("making a virtual environment", venv, progress, lock, "python's venv (Debian: python3-venv)")
    wanted = f"esptool>={major},<{major + 1}"
    run_step(f"installing {wanted}", [*pip, wanted], progress, lock, "the network, or pip's index settings")
    ask = "from importlib.metadata import version; print(version('esptool'))"
    version = run_step("asking for its version", [python, "-c", ask], progress, lock, "an esptool that k1ctl knows")[-1]
    name = "esptool" if major >= 5 else "esptool.py"
    marker = {"esptool": os.path.join(folder, "bin", name), "version": version}
    write_json(os.path.join(folder, _MARKER), marker, fsync=True)
    return marker
