"""Run by PlatformIO before the platform's own script (``extra_scripts = pre:``): how objects are shared, and LTO.

What it does is in variables of the environment; without them it does nothing. Python and SCons are PlatformIO's.

- ``K1BUILD_CCACHE`` (path): every C and C++ compilation goes through ccache.
- ``K1BUILD_OBJECTS`` (folder): compiled objects are shared through a SCons cache there.
- ``K1BUILD_PROJECT`` (folder): debug information names it ``.``, so that an object is the same from every worktree.
- ``K1BUILD_ANEW``: objects are stored but none is taken.
- ``K1BUILD_LINK_FLAGS``: words added to the linker's.

**Which objects are shared.** An object's name follows from the contents and the places of all inputs that SCons knows,
the compiler among them, and from the command. What a compiler reads and SCons does not see would be missing in that
name, and a worktree would get another one's object. So an object is shared only when SCons sees all: no include
through a macro, none of ``__has_include``, ``include_next``, ``#embed``, ``.incbin`` in any file it is made of, and no
option that reads or writes further files; nor may it hold the time of its compilation. SCons' own names for cached
objects are not used: it takes a file that is older than two days and kept its time for unchanged, and an input that is
edited while it is compiled goes unnoticed.
Its signature database stays in the build folder (PlatformIO puts it into a cache that a project configures, where the
databases of worktrees get mixed up and give stale objects).

**Warnings stay visible.** An object whose compiler said anything is not shared: whoever builds it has to see it too.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from hashlib import sha256

from SCons.CacheDir import CacheDir
from SCons.Script import DefaultEnvironment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_C = (".c", ".cc", ".cpp", ".cxx", ".c++", ".C")
_DIRECTIVE = re.compile(rb"(?:#|%:|\?\?=)\s*(?:include|import|include_next|embed)\b")
_SEEN = re.compile(rb'^[ \t]*#[ \t]*(?:include|import)[ \t]*(?:<[^>\n]+>|"[^"\n]+")', re.MULTILINE)
_HIDDEN = re.compile(
    rb"__has_include|__has_embed|__DATE__|__TIME__|__TIMESTAMP__|\.incbin|\\\r?\n[ \t]*(?:include|import|embed)\b"
)
_OPTION = re.compile(
    rb"\s(?:-include|-imacros|-isystem|-iquote|-idirafter|-iprefix|-iwith|-isysroot|-fplugin|-wrapper|-save-temps"
    rb"|-fdump|-fprofile|-ftest-coverage|--coverage|-gsplit-dwarf|-M[MDFGPQT]*|-B|@)"
)

_RACY = 50_000_000  # ns; a change in the same tick of the filesystem's clock (4 to 10 ms) would not show

env = DefaultEnvironment()
_anew = bool(os.environ.get("K1BUILD_ANEW"))
_noisy: set[str] = set()
_inputs: dict[str, Input] = {}


def _hides(text: bytes) -> bool:
    """Whether a file may make the compiler read what SCons does not see."""
    return len(_DIRECTIVE.findall(text)) != len(_SEEN.findall(text)) or _HIDDEN.search(text) is not None


class Input:
    """A file that an object is made of, as it was when it was read: ``digest`` of its contents, ``seen`` whether SCons
    sees every file that it makes the compiler read. Raises OSError."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as f:
            self._state = self._facts(os.fstat(f.fileno()))
            text = f.read()
        self._path, self._read = path, time.time_ns()
        self.digest = sha256(text).hexdigest()
        self.seen = b"\0" in text[:256] or not _hides(text)  # the former is the compiler itself

    @staticmethod
    def _facts(found: os.stat_result) -> tuple[int, int, int, int]:
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def unchanged(self) -> bool:
        """Whether the file is surely still what was read."""
        try:
            return self._facts(os.stat(self._path)) == self._state and self._read - self._state[3] > _RACY
        except OSError:
            return False


class Objects(CacheDir):  # type: ignore[misc]
    """A cache of the objects that may be shared; it needs no lock file, so a killed build leaves none."""

    def _readconfig(self, path: str) -> None:
        self.config = {"prefix_len": 2}
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as exc:
            sys.stdout.write(f"k1ctl: objects are not shared: {exc}\n")  # no reason for a build to fail

    def cachepath(self, node: Any) -> tuple[str | None, str | None]:
        """Folder and file of an object, (None, None) for what is not shared."""
        inputs = _inputs_of(node)
        if inputs is None:
            return None, None
        parts = [node.get_internal_path(), bytes(node.get_executor().get_contents()).decode("utf-8", "surrogateescape")]
        parts += [f"{place} {entry.digest}" for place, entry in sorted(inputs.items())]
        name = sha256("\0".join(parts).encode("utf-8", "surrogateescape")).hexdigest()
        folder = os.path.join(self.path, name[:2])
        return folder, os.path.join(folder, name)

    def retrieve(self, node: Any) -> bool:
        """Take the object from the cache; False when it has to be made."""
        if _anew or _inputs_of(node) is None:
            return False
        try:
            return bool(super().retrieve(node))
        except OSError:
            return False  # tidied away in this moment

    def push(self, node: Any) -> None:
        """Keep the object that was just made, unless one of its inputs changed meanwhile."""
        inputs = _inputs_of(node)
        if inputs is None or str(node.get_internal_path()) in _noisy:
            return
        if not all(entry.unchanged() for entry in inputs.values()):
            return
        if _anew:
            try:
                os.unlink(str(self.cachepath(node)[1]))
            except OSError:
                pass
        super().push(node)


def _inputs_of(node: Any) -> dict[str, Input] | None:
    """{place: file} of all that an object is made of; None for what is not shared."""
    if node.get_suffix() != ".o" or len(node.sources) != 1 or node.sources[0].get_suffix() not in _C:
        return None
    if _OPTION.search(b" " + node.get_executor().get_contents()):
        return None
    found = {}
    for child in node.children():
        file = child.srcnode()
        path = file.get_abspath()
        try:
            entry = _inputs.get(path) or _inputs.setdefault(path, Input(path))
        except OSError:
            return None
        if not entry.seen:
            return None
        found[file.get_internal_path()] = entry
    return found


def _spawn(shell: str, escape: object, command: str, words: list[str], environment: dict[str, str]) -> int:
    """SCons' own way to run a command, which also notes what a compiler says."""
    compiles = "-c" in words and "-o" in words
    done = subprocess.run([shell, "-c", " ".join(words)], env=environment, stderr=subprocess.PIPE if compiles else None)
    if compiles and done.stderr:
        _noisy.add(words[words.index("-o") + 1].strip('"').replace("\\", ""))
        sys.stderr.buffer.write(done.stderr)
        sys.stderr.buffer.flush()
    return done.returncode


def _compile_with(before: str, after: str) -> None:
    """Words around every C and C++ compilation, left out of its signature: they do not change what is made."""
    for name in ("CCCOM", "CXXCOM"):
        env[name] = f"{before}{env[name]}{after}"


if os.environ.get("K1BUILD_PROJECT"):
    env["K1BUILD_MAP"] = [f"-fdebug-prefix-map={os.environ['K1BUILD_PROJECT']}=."]
    _compile_with("", " $( $K1BUILD_MAP $)")
if os.environ.get("K1BUILD_CCACHE"):
    env.CacheDir(None)
    env["K1BUILD_CCACHE"] = [os.environ["K1BUILD_CCACHE"]]  # one word, whatever is in it
    _compile_with("$( $K1BUILD_CCACHE $) ", "")
elif os.environ.get("K1BUILD_OBJECTS"):
    try:
        env.CacheDir(os.environ["K1BUILD_OBJECTS"].replace("$", "$$"), Objects)
        env["SPAWN"] = _spawn
    except TypeError:
        pass  # a SCons whose caches cannot be told which objects to share: none is
if os.environ.get("K1BUILD_LINK_FLAGS"):
    env.Append(LINKFLAGS=os.environ["K1BUILD_LINK_FLAGS"].split())
