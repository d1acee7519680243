"""The completion files: written for the repository, found again where they were installed, put where a shell looks."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NamedTuple

from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.files import read_bytes, write_atomic
from k1ctl.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import click

FILES = {"bash": "k1ctl.bash", "zsh": "_k1ctl", "fish": "k1ctl.fish"}
SHARED = {
    "bash": "share/bash-completion/completions",
    "zsh": "share/zsh/site-functions",
    "fish": "share/fish/vendor_completions.d",
}
_MARK = "# made from the commands of k1ctl; "
_NOTE = f"{_MARK}change those, then run `make docs`"


class ForeignFileError(K1ctlError):
    """Somebody else's file stands where the completion file belongs."""

    code = "foreign-file"


class Installed(NamedTuple):
    """``path`` is the file the shell reads; ``target`` what it links to ("" when it is a copy); ``next`` what the user
    has left to do ("" nothing)."""

    path: str
    target: str
    changed: bool
    next: str


def render(root: click.Group, shell: str, *, foreign: bool = False) -> str:
    """The completion file of ``shell`` for the commands of ``root``, those of third parties only with ``foreign``."""
    from k1ctl_plugins.completion import bash, fish, tree, zsh

    parts = [_NOTE]
    for name in (f"engine.{shell}", f"values.{shell}"):
        data = read_bytes(os.path.join(os.path.dirname(__file__), name))
        parts += [] if data is None else [data.decode()]
    engine = "\n".join(parts)
    settings = sorted(".".join("@" if part == "*" else part for part in place) for place in SETTINGS)
    found = tree.commands(root, foreign=foreign)
    return {"bash": bash.render, "zsh": zsh.render, "fish": fish.render}[shell](found, settings, engine)


def packaged(shell: str) -> str:
    """The path of the file that came with k1ctl: in the source tree, else where pip put it. Raises NotFoundError."""
    import sysconfig

    tree = os.path.normpath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
    places = [os.path.join(tree, "completions"), os.path.join(sys.prefix, SHARED[shell])]
    for scheme in (sysconfig.get_default_scheme(), sysconfig.get_preferred_scheme("user")):
        places.append(os.path.join(sysconfig.get_path("data", scheme), SHARED[shell]))
    for path in (os.path.join(place, FILES[shell]) for place in places):
        if os.path.isfile(path):
            return path
    raise NotFoundError(
        f"{FILES[shell]} was not installed with k1ctl", hint=f"k1ctl completion {shell} --plugins writes it anew"
    )


def place(shell: str, environ: Mapping[str, str]) -> str:
    """Where a user's own completion file of this shell belongs."""
    home = os.path.expanduser("~")
    data = environ.get("XDG_DATA_HOME") or os.path.join(home, ".local", "share")
    if shell == "bash":
        folder = environ.get("BASH_COMPLETION_USER_DIR") or os.path.join(data, "bash-completion")
        folder = os.path.join(folder.partition(":")[0], "completions")
    elif shell == "zsh":
        folder = os.path.join(data, "zsh", "site-functions")
    else:
        folder = os.path.join(environ.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "fish", "completions")
    return os.path.join(folder, FILES[shell])


def install(shell: str, environ: Mapping[str, str], text: str = "", *, dry_run: bool = False) -> Installed:
    """Put the file where ``shell`` looks for a user's own: a link to the packaged one, so that it stays up to date, or
    ``text`` itself. Raises ForeignFileError, NotFoundError, OSError."""
    path, target = place(shell, environ), "" if text else packaged(shell)
    there = read_bytes(path)
    if there is not None and _MARK.encode() not in there:
        raise ForeignFileError(f"{path} is not k1ctl's", hint="move it away, or source the file yourself", path=path)
    if target:  # pip install --user puts the packaged file into that very place
        same = os.path.realpath(path) == os.path.realpath(target)
    else:
        same = there == text.encode() and not os.path.islink(path)
    if not same and not dry_run:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if target:
            temporary = f"{path}.{os.getpid()}"
            os.symlink(target, temporary)
            os.replace(temporary, path)
        else:
            write_atomic(path, text)
    left = ""
    if shell == "zsh":
        left = f"if it is not there yet, put this before compinit in ~/.zshrc: fpath=({os.path.dirname(path)} $fpath)"
    elif shell == "bash":
        left = f"without the bash-completion package, put this into ~/.bashrc: source {path}"
    return Installed(path, target, not same, left)
