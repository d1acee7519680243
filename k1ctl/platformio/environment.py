"""The environment that pio gets: nothing inherited that moves or mixes its files, nothing that makes it wait.

**A build folder of k1ctl's own** (``.pio/k1ctl/build``). Two pio in one build folder at once mix their objects, and
somebody may run pio by hand. Also, SCons trusts its signature database for what an object was built from; the
database's name carries pio's Python, and it lies in the object cache where one is configured. Two pio with different
databases in one build folder take each other's objects for their own: exit 0 with old firmware. Fetched libraries
(``.pio/libdeps``) stay common. An object cache that the project configures is replaced by one in the worktree for the
same reason; worktrees share objects as `k1ctl.platformio.caching` says.

**A platforms folder per worktree** for ``platform = symlink://...``: PlatformIO records such a link once per core
folder, with the first worktree's path, and all other worktrees then build with that one's scripts.
"""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError
from k1ctl.programs import search_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from k1ctl.platformio.locate import Pio
    from k1ctl.platformio.project import Project

FIXED = {
    "PLATFORMIO_SETTING_ENABLE_TELEMETRY": "no",
    "PLATFORMIO_SETTING_CHECK_PLATFORMIO_INTERVAL": "3650",  # days; a check that finds no network takes 60 s
    "PLATFORMIO_NO_ANSI": "1",
}
_KEPT_OF_USER = ("PLATFORMIO_CORE_DIR", "PLATFORMIO_PACKAGES_DIR", "PLATFORMIO_GLOBALLIB_DIR", "PLATFORMIO_AUTH_TOKEN")
_PYTHON = ("PYTHONPATH", "PYTHONHOME", "__PYVENV_LAUNCHER__")


def own_folder(project: str) -> str:
    """The folder in the worktree's ``.pio`` that belongs to k1ctl."""
    return os.path.join(project, ".pio", "k1ctl")


def build_folder(project: str, release: bool = False) -> str:
    """PLATFORMIO_BUILD_DIR of k1ctl's builds; those with ``release_flags`` have one of their own, since PlatformIO
    removes a whole build folder when flags differ from the last time."""
    return os.path.join(own_folder(project), "release" if release else "build")


def pio_environment(
    pio: Pio, project: Project, environ: Mapping[str, str] | None = None
) -> tuple[dict[str, str], list[str]]:
    """The environment for ``pio run`` and the names of the inherited variables that were left out.

    Every inherited ``PLATFORMIO_*`` goes, except settings (``PLATFORMIO_SETTING_*``) and, for a user's own pio, where
    its packages are: what is built must follow from the worktree alone.
    """
    given = os.environ if environ is None else environ
    kept = () if pio.core_dir else _KEPT_OF_USER
    strange = _PYTHON if pio.core_dir else ()
    ignored = [
        name
        for name in given
        if name in strange
        or (name.startswith("PLATFORMIO_") and not name.startswith("PLATFORMIO_SETTING_") and name not in kept)
    ]
    env = {name: value for name, value in given.items() if name not in ignored}
    own = own_folder(project.path)
    env.update(FIXED)
    env["PATH"] = search_path(given)
    env["PLATFORMIO_WORKSPACE_DIR"] = os.path.join(project.path, ".pio")
    env["PLATFORMIO_BUILD_DIR"] = build_folder(project.path)
    if pio.core_dir:
        env["PLATFORMIO_CORE_DIR"] = pio.core_dir
    if project.links_platform:
        env["PLATFORMIO_PLATFORMS_DIR"] = os.path.join(own, "platforms")
    if project.shares_objects:
        env["PLATFORMIO_BUILD_CACHE_DIR"] = os.path.join(own, "cache")
    return env, sorted(set(ignored) - set(FIXED))


def check_folders(project: str, tree: str, *, clean: bool = False) -> None:
    """Refuse a project or a ``.pio`` that leads out of the worktree ``tree``.

    One ``.pio`` for several trees gives one of them the other's firmware with exit 0. ``clean``: what is in the build
    folders is about to be removed, of a link the link. Raises ConfigError.
    """
    top = os.path.realpath(tree)
    if not _inside(os.path.realpath(project), top):
        raise ConfigError(f"{project} leads out of the worktree {tree}", code="outside-tree", path=project)
    own, folders = own_folder(project), (build_folder(project), build_folder(project, release=True))
    mended = [os.path.join(project, ".pio"), os.path.join(project, ".pio", "libdeps")]  # by worktree setup
    built = [] if clean else [entry for folder in folders for entry in _entries(folder)]
    for path in [*mended, own, *folders, *built]:
        if os.path.islink(path) and not _inside(os.path.realpath(path), top):
            remedy = "k1ctl worktree setup removes the link" if path in mended else "remove the link"
            raise ConfigError(
                f"{path} is a link to {os.path.realpath(path)}, outside this worktree: "
                "two trees that share it get each other's firmware",
                hint=f"{remedy} (the link only)",
                code="linked-pio",
                path=path,
            )


def _entries(folder: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in os.listdir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _inside(path: str, top: str) -> bool:
    return path == top or path.startswith(top.rstrip("/") + "/")
