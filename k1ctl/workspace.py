"""Where am I: the worktree, the root it belongs to, and the folders under ``ops/``; found without starting git."""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


# folders under ops/ that change by themselves: nothing for a commit
CHANGING = (
    "alerts",
    "archive",
    "artifacts",
    "budget",
    "builds",
    "cache",
    "device",
    "events",
    "metrics",
    "queue",
    "runs",
)


class Workspace:
    """A worktree and the root whose ``ops/`` it shares.

    ``root`` and ``path`` are absolute; ``path`` is the worktree (the root itself in the main checkout); ``name`` is
    what other people see in the queue; ``git_dir`` is the repository's common git folder ("" outside git). ``inside``
    is False when the call came from elsewhere and only the root was given: then nobody said whose sources are meant.
    """

    __slots__ = ("git_dir", "inside", "name", "path", "root")

    def __init__(self, root: str, path: str, name: str, git_dir: str = "", *, inside: bool = True) -> None:
        self.root, self.path, self.name, self.git_dir, self.inside = root, path, name, git_dir, inside

    def check_inside(self) -> None:
        """For what works on a worktree's own files. Raises ConfigError (no-workspace) when none was meant."""
        if not self.inside:
            raise ConfigError(
                f"this was called outside every worktree of {self.root}, so it is not known whose files are meant",
                hint="cd into a worktree of it, or set CONDUCTOR_WORKSPACE_PATH to one",
                code="no-workspace",
            )

    @property
    def ops(self) -> str:
        return os.path.join(self.root, "ops")

    @property
    def config_file(self) -> str:
        return os.path.join(self.root, "ops", "k1ctl.toml")

    def ops_path(self, *parts: str) -> str:
        """A path under ``ops/``."""
        return os.path.join(self.root, "ops", *parts)

    def caller(self) -> str:
        """Who calls, as people are told: ``ada in oslo``."""
        import getpass

        return f"{getpass.getuser()} in {self.name}"


def _git_link(file: str) -> str:
    """The folder that a worktree's ``.git`` file points to (gitrepository-layout(5)). Raises ConfigError."""
    try:
        with open(file, encoding="utf-8", errors="surrogateescape") as f:
            text = f.read(4096)
    except OSError as exc:
        raise ConfigError(f"{file} cannot be read: {exc}") from exc
    if not text.startswith("gitdir:"):
        raise ConfigError(f"{file} is not a git link", hint="git worktree repair mends links after a move")
    return os.path.normpath(os.path.join(os.path.dirname(file), text[7:].strip()))


def find_checkout(start: str) -> tuple[str, str, str] | None:
    """The checkout around ``start`` as (its top folder, the main checkout, the common git folder); None outside git.

    A linked worktree's ``.git`` file leads to ``<common>/worktrees/<name>``, whose ``commondir`` file names the
    common folder; the main checkout is its parent. A ``.git`` file without ``commondir`` (submodule, separate git
    folder) is a checkout of its own.
    """
    folder = os.path.realpath(start)
    while True:
        git = os.path.join(folder, ".git")
        if os.path.isdir(git):
            return folder, folder, git
        if os.path.isfile(git):
            link = _git_link(git)
            try:
                with open(os.path.join(link, "commondir"), encoding="utf-8", errors="surrogateescape") as f:
                    common = os.path.realpath(os.path.join(link, f.read().strip()))
            except FileNotFoundError:
                return folder, folder, link
            return folder, os.path.dirname(common), common
        parent = os.path.dirname(folder)
        if parent == folder:
            return None
        folder = parent


def resolve(root: str | None = None, *, cwd: str | None = None, environ: Mapping[str, str] | None = None) -> Workspace:
    """The workspace that a command called here works for.

    Root: ``root`` (the ``--root`` option), ``K1CTL_ROOT``, ``CONDUCTOR_ROOT_PATH``, else the main checkout of the
    repository around ``cwd``. Worktree: the checkout of that root around ``cwd``, else the one that
    ``CONDUCTOR_WORKSPACE_PATH`` names if it is the root's, else the root, with ``inside`` False. Name:
    ``CONDUCTOR_WORKSPACE_NAME`` unless ``CONDUCTOR_WORKSPACE_PATH`` is another worktree, else the folder's name.
    Raises ConfigError outside a repository without a given root, or when the given root is not a folder.
    """
    env = os.environ if environ is None else environ
    given = root or env.get("K1CTL_ROOT") or env.get("CONDUCTOR_ROOT_PATH")
    try:
        here = cwd or os.getcwd()
    except FileNotFoundError as exc:
        raise ConfigError("the folder this was called in was removed", hint="cd to one that is there") from exc
    found = find_checkout(here)
    inside, conductors = True, env.get("CONDUCTOR_WORKSPACE_PATH") or ""
    if given:
        top = os.path.realpath(os.path.expanduser(given))
        if not os.path.isdir(top):
            raise ConfigError(f"the root {given} is not a folder", hint="check --root, K1CTL_ROOT, CONDUCTOR_ROOT_PATH")
        outer = find_checkout(top)
        top = outer[1] if outer and outer[0] == top else top
        if found is None or found[1] != top:
            inside = _within(here, top) and not (found and found[0] != top and _within(found[0], top))
            named = None if inside or not conductors else find_checkout(conductors)
            if named and named[:2] == (os.path.realpath(conductors), top):
                inside, found = True, named
            else:
                found = (top, top, outer[2] if outer and outer[1] == top else "")
        path, git_dir = found[0], found[2]
    elif found:
        path, top, git_dir = found
    else:
        raise ConfigError(
            f"{here} is not inside a git repository", hint="go into a worktree, or pass --root FOLDER or set K1CTL_ROOT"
        )
    name = os.path.basename(path) or "root"
    if not conductors or os.path.realpath(conductors) == path:
        name = env.get("CONDUCTOR_WORKSPACE_NAME") or name
    return Workspace(top, path, name, git_dir, inside=inside)


def _within(path: str, folder: str) -> bool:
    """Whether ``path`` is ``folder`` (a real path) or lies in it."""
    return (os.path.realpath(path) + os.sep).startswith(folder.rstrip(os.sep) + os.sep)


def host_dir(environ: Mapping[str, str] | None = None) -> str:
    """The folder for what belongs to the host and not to a repository: ``K1CTL_HOST_DIR``, else the user's state."""
    env = os.environ if environ is None else environ
    given = env.get("K1CTL_HOST_DIR")
    if given:
        return os.path.abspath(given)
    base = env.get("XDG_STATE_HOME") or os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(base, "k1ctl")


def cache_dir(environ: Mapping[str, str] | None = None) -> str:
    """The folder for what can be made again (tools): ``K1CTL_CACHE_DIR``, else ``k1ctl`` in the user's cache."""
    env = os.environ if environ is None else environ
    given = env.get("K1CTL_CACHE_DIR")
    if given:
        return os.path.abspath(given)
    base = env.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.path.join(base, "k1ctl")
