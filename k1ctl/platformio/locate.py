"""Find PlatformIO, also when PATH is poor."""

from __future__ import annotations

import os

from k1ctl.errors import NotExecutableError, NotFoundError
from k1ctl.programs import first_runnable, runnable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.config import Config

_PIO_PLACES = ("~/.platformio/penv/bin/pio", "~/.local/bin/pio", "/opt/homebrew/bin/pio", "/usr/local/bin/pio")


class Pio:
    """A pio that can be run.

    ``path`` is absolute; ``origin`` says who named it (``configured``, ``PATH``, ``well-known`` or ``tools``);
    ``core_dir`` is the folder that PLATFORMIO_CORE_DIR must name, "" for a pio of the user's, which keeps its own.
    """

    __slots__ = ("core_dir", "origin", "path")

    def __init__(self, path: str, origin: str, core_dir: str = "") -> None:
        self.path, self.origin, self.core_dir = path, origin, core_dir


def find_pio(config: Config | None = None, environ: Mapping[str, str] | None = None) -> Pio:
    """The pio to use: the setting ``tools.pio``, PATH, well-known places, and last the tools environment.

    A user's own pio goes first because his packages are there. Raises NotFoundError (127) when there is none, or
    when the configured one is missing; NotExecutableError (126) when the configured one cannot be run.
    """
    env = os.environ if environ is None else environ
    configured = str(config.get("tools", "pio")) if config is not None else ""
    if configured:
        return Pio(_configured(configured), "configured")
    for folder in env.get("PATH", "").split(os.pathsep):
        path = os.path.join(folder, "pio")
        if os.path.isabs(path) and runnable(path):
            return Pio(path, "PATH")
    found = first_runnable(_PIO_PLACES)
    if found:
        return Pio(found, "well-known")
    from k1ctl.platformio.install import installed

    tools = installed(env)
    if tools is None:
        raise NotFoundError("PlatformIO (pio) is not found", hint="k1ctl tools install, or set tools.pio", tool="pio")
    return Pio(tools["pio"], "tools", tools["core_dir"])


def _configured(given: str) -> str:
    path = os.path.expanduser(given)
    if not os.path.isabs(path):
        raise NotFoundError(f"tools.pio is {given!r}, which is not an absolute path", tool="pio")
    if not os.path.isfile(path):
        raise NotFoundError(f"tools.pio names {path}, which is not there", hint="k1ctl config show tools", tool="pio")
    if not os.access(path, os.X_OK):
        raise NotExecutableError(f"tools.pio names {path}, which cannot be run", hint="chmod +x it", tool="pio")
    return path
