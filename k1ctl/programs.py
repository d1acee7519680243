"""Find programs, also when PATH is poor: Conductor, cron and launchd hand over almost none."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PLACES = (
    "~/.local/bin",
    "~/.volta/bin",
    "~/.asdf/shims",
    "~/.local/share/mise/shims",
    "~/.platformio/penv/bin",
    "/opt/local/bin",
)
STANDARD_FOLDERS = ("/opt/homebrew/bin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


def runnable(path: str) -> bool:
    """Whether ``path`` is a file that may be executed."""
    return os.path.isfile(path) and os.access(path, os.X_OK)


def search_path(environ: Mapping[str, str]) -> str:
    """PATH with the standard folders it lacks appended; empty and relative entries (the current folder) go."""
    folders = [f for f in environ.get("PATH", "").split(os.pathsep) if os.path.isabs(f)]
    return os.pathsep.join([*folders, *(f for f in STANDARD_FOLDERS if f not in folders)])


def first_runnable(places: Iterable[str]) -> str:
    """The first of ``places`` (``~`` is expanded) that can be executed, else ""."""
    return next((path for path in map(os.path.expanduser, places) if runnable(path)), "")


def which(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The absolute path of program ``name`` in PATH or the standard folders, else ""."""
    folders = search_path(os.environ if environ is None else environ).split(os.pathsep)
    return first_runnable(os.path.join(folder, name) for folder in folders)


def find_tool(name: str, environ: Mapping[str, str] | None = None) -> str:
    """The absolute path of a tool in PATH, the standard folders or where its installer puts it; "" when missing."""
    return which(name, environ) or first_runnable(
        os.path.join(folder, name) for folder in (*_PLACES, *_node_versions())
    )


def _node_versions() -> list[str]:
    """nvm's versions of node, newest first."""
    from glob import glob

    def version(folder: str) -> list[int]:
        words = os.path.basename(os.path.dirname(folder)).lstrip("v").split(".")
        return [int(word) if word.isdigit() else 0 for word in words]

    return sorted(glob(os.path.expanduser("~/.nvm/versions/node/v*/bin")), key=version, reverse=True)


def path_for(tool: str, environ: Mapping[str, str] | None = None) -> str:
    """A PATH for a tool: its own folder first, since npm is a script that looks for node."""
    return os.pathsep.join([os.path.dirname(tool), search_path(os.environ if environ is None else environ)])
