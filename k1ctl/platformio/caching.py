"""How worktrees share compiled objects: through ccache, else through SCons' cache made safe, else not at all.

`k1ctl.platformio.scons_script` does it within pio; here it is chosen and told what to do through the environment.
docs/builds.md says why objects are shared only in these ways.
"""

from __future__ import annotations

import os
import time

from k1ctl.errors import NotFoundError
from k1ctl.files import read_bytes, write_atomic
from k1ctl.platformio.environment import own_folder
from k1ctl.programs import which

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.platformio.project import Project

SCRIPT = os.path.join(os.path.realpath(os.path.dirname(__file__)), "scons_script.py")
_READ_BY_COMPILERS = ("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "GCC_EXEC_PREFIX", "COMPILER_PATH")
_HITS = (b"direct_cache_hit", b"preprocessed_cache_hit")  # ccache 4.4 and later, docs: "stats_log"

_TIDY_EVERY, _LEFT_AFTER = 3600.0, 86400.0  # s


class Caching:
    """What was chosen: ``name`` is ``ccache``, ``objects`` or "" (nothing is shared); ``env`` has the variables that
    make pio do it, ``notes`` why something else was chosen than was asked for."""

    __slots__ = ("env", "name", "notes")

    def __init__(self, name: str, env: dict[str, str], notes: list[str]) -> None:
        self.name, self.env, self.notes = name, env, notes


def choose(
    project: Project,
    env: dict[str, str],
    *,
    wanted: str,
    folder: str,
    size: int,
    anew: bool = False,
    link_flags: str = "",
) -> Caching:
    """The caching of one build with pio's environment ``env``.

    ``wanted`` is the setting ``build.cache``; ``folder`` where the worktrees keep what they share, ``size`` bytes at
    most; ``anew``: store, but take nothing; ``link_flags`` go to the linker. Raises NotFoundError when ccache is wanted
    and missing.
    """
    notes: list[str] = []
    given: dict[str, str] = {"K1BUILD_LINK_FLAGS": link_flags} if link_flags else {}
    name = _name(env, wanted, notes)
    if project.one_line_scripts and (name or given):
        notes.append(
            "extra_scripts stands in one line of platformio.ini, to which PlatformIO can add none: "
            "objects are not shared" + (" and the linker gets no release_flags" if given else "")
        )
        return Caching("", {}, notes)
    if name:
        real = os.path.realpath(project.path)
        given |= {"K1BUILD_PROJECT": real, "PWD": real}  # gcc takes the name of its folder from PWD
    if name == "ccache":
        given |= {
            "K1BUILD_CCACHE": which("ccache", env),
            "CCACHE_BASEDIR": real,
            "CCACHE_NOHASHDIR": "1",  # the folder's name is mapped in what is compiled
            "CCACHE_NODIRECT": "1",  # its direct mode does not see what __has_include finds: another tree's object
            "CCACHE_SLOPPINESS": "",
            "CCACHE_STATSLOG": statistics(project.path),
        }
        if not env.get("CCACHE_DIR"):  # the user's own may be out of a sandbox's reach, and its ccache.conf unsafe
            given |= {"CCACHE_DIR": os.path.join(folder, "ccache"), "CCACHE_MAXSIZE": f"{max(1, size >> 10)}Ki"}
        given |= {"CCACHE_RECACHE": "1"} if anew else {}
    elif name == "objects":
        given |= {"K1BUILD_OBJECTS": objects_folder(folder)}
        given |= {"K1BUILD_ANEW": "1"} if anew else {}
    if given:
        given["PLATFORMIO_EXTRA_SCRIPTS"] = f"pre:{SCRIPT}"
    return Caching(name, given, notes)


def _name(env: dict[str, str], wanted: str, notes: list[str]) -> str:
    if wanted in ("auto", "ccache") and which("ccache", env):
        return "ccache"
    if wanted == "ccache":
        raise NotFoundError("ccache is not found", hint="install it, or set build.cache to objects or off")
    if wanted == "off":
        return ""
    strange = [name for name in _READ_BY_COMPILERS if env.get(name)]
    if strange:
        notes.append(f"objects are not shared: {', '.join(strange)} may change what a compiler reads (ccache sees it)")
        return ""
    return "objects"


def objects_folder(folder: str) -> str:
    """Where objects are shared without ccache."""
    return os.path.join(folder, "objects")


def statistics(project: str) -> str:
    """The file in which ccache notes what became of each compilation of the last build in this worktree."""
    return os.path.join(own_folder(project), "ccache.stats")


def ccache_hits(project: str) -> int | None:
    """How many compilations of the last build ccache answered; None when it does not say (before 4.4)."""
    told = read_bytes(statistics(project))
    return None if told is None else sum(line in _HITS for line in told.splitlines())


def tidy(folder: str, limit: int, every: float = _TIDY_EVERY) -> int:
    """Remove the objects that were not used for longest until the folder takes 80 % of ``limit`` bytes; how many.

    At most once in ``every`` seconds. SCons sets an object's time when it is used; a build that misses one in this
    moment compiles it. What a killed build left half copied goes after a day.
    """
    stamp = os.path.join(folder, ".tidied")
    try:
        if os.path.exists(stamp) and time.time() - os.stat(stamp).st_mtime < every:
            return 0
        write_atomic(stamp, "")
        return _remove_beyond(folder, limit)
    except OSError:
        return 0  # removed by hand, no folder, or read-only: no reason for a build to fail


def _remove_beyond(folder: str, limit: int) -> int:
    objects: list[tuple[float, int, str]] = []
    for base, folders, files in os.walk(folder):
        for name in files if base != folder else ():
            path = os.path.join(base, name)
            try:
                found = os.stat(path)
            except FileNotFoundError:
                continue
            objects.append((found.st_mtime, found.st_size, path))
        folders[:] = [name for name in folders if base == folder or not _left(os.path.join(base, name))]
    total, gone = sum(size for _, size, _ in objects), 0
    if total > limit:
        for _, size, path in sorted(objects):
            if total <= limit * 0.8:
                break
            try:
                os.unlink(path)
            except FileNotFoundError:
                continue
            total, gone = total - size, gone + 1
    return gone


def _left(folder: str) -> bool:
    """Whether a folder within a cache folder was left by a killed build; then it is removed."""
    import shutil

    try:
        old = time.time() - os.stat(folder).st_mtime > _LEFT_AFTER
    except FileNotFoundError:
        return True
    if old:
        shutil.rmtree(folder, ignore_errors=True)
    return old
