"""The way into a limited command: a process that waits until it is limited, and then becomes the command.

It is a Python: a shell would drop variables whose names it does not like, and on macOS DYLD_*. What Python changes of
a process (signals it ignores, LC_CTYPE in the C locale) is put back.
"""

from __future__ import annotations

import os
import sys

from k1ctl.capacity import watchdog
from k1ctl.signals import FOR_COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_ENTRY = """
import os, sys, _signal
for n in (_signal.SIGINT, _signal.SIGPIPE, _signal.SIGXFSZ): _signal.signal(n, _signal.SIG_DFL)
fd, given, folder, argv = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4:]
if not os.read(fd, 1): os._exit(125)
os.close(fd)
for line in given.split("\\n"):
    name, was, value = line.partition("=")
    if was: os.environ[name] = value
    else: os.environ.pop(name, None)
try:
    if folder: os.chdir(folder)
    os.execvp(argv[0], argv)
except OSError as exc:
    os.write(2, os.fsencode(f"{exc.filename or argv[0]}: {exc.strerror}\\n"))
    os._exit(127 if isinstance(exc, FileNotFoundError) else 126)
"""
_CHANGED = ("LC_CTYPE", "__PYVENV_LAUNCHER__", "__CF_USER_TEXT_ENCODING")  # variables that a Python sets for itself


def start(
    words: Sequence[str], env: Mapping[Any, Any], actions: Sequence[Any], session: int, read: int, prefix: Sequence[str]
) -> int:
    """Start the process that becomes the command when a byte comes through ``read``; its pid. Raises OSError.

    ``words``: the folder it begins in ("": ours) and the command; ``prefix`` goes before all; ``actions`` are
    posix_spawn's; ``session``: ours, in which it stays (0: it gets one of its own).
    """
    number = next(fd for fd in range(3, 64) if not _inherited(fd))
    high = watchdog.high(read)
    values = {name: _variable(env, name) for name in _CHANGED}
    given = "\n".join(name if value is None else f"{name}={value}" for name, value in values.items())
    entry = [*prefix, sys.executable, "-I", "-S", "-c", _ENTRY, str(number), given, *words]
    more: dict[str, Any] = {"setpgroup": 0} if session else {"setsid": True}
    try:
        moves = [*actions, (os.POSIX_SPAWN_DUP2, high, number)]
        return os.posix_spawn(entry[0], entry, env, file_actions=moves, setsigdef=FOR_COMMANDS, **more)
    finally:
        os.close(high)


def check_executable(name: str, env: Mapping[Any, Any]) -> None:
    """Raise FileNotFoundError or PermissionError, as exec would, when ``name`` cannot be started."""
    import errno

    given = _variable(env, "PATH")
    folders = [""] if os.sep in name else (os.defpath if given is None else given).split(os.pathsep)
    found = False
    for folder in folders:
        path = os.path.join(folder, name) if folder else name
        if os.path.isfile(path):
            found = True
            if os.access(path, os.X_OK):
                return
        elif os.path.isdir(path) and os.sep in name:
            found = True
    code = errno.EACCES if found else errno.ENOENT
    raise OSError(code, os.strerror(code), name)


def _variable(env: Mapping[Any, Any], name: str) -> str | None:
    """A variable of an environment whose names are text or bytes."""
    value = env.get(name, env.get(name.encode()))
    return None if value is None else os.fsdecode(value)


def _inherited(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False
