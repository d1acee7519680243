"""Ten ports a workspace, leased on this host: a block belongs to a worktree for as long as its folder is there.

Ports are the host's, so all repositories share one file under the host's state folder. It is changed under a flock and
replaced by rename: a process that is killed leaves the old file or the new one, and no lock. A worktree that is moved
keeps its block: git notes the new path in the worktree's own git folder. What CONDUCTOR_PORT names is Conductor's to
allot; it is recorded, so that nobody else is given any of it.
"""

from __future__ import annotations

import os
import stat

from k1ctl.errors import BusyError, ConfigError
from k1ctl.files import Locked, read_bytes, write_json
from k1ctl.jsontext import loads
from k1ctl.units import rfc3339
from k1ctl.workspace import host_dir

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

CONDUCTOR_COUNT = 10  # ports from CONDUCTOR_PORT on that are the workspace's
_HIGHEST = 65535
_NAMED = 8  # holders that a refusal names


class Ports:
    """The ports ``first`` to ``last`` of one worktree; ``origin`` is ``leased`` or ``conductor``."""

    __slots__ = ("count", "first", "origin")

    def __init__(self, first: int, count: int, origin: str) -> None:
        self.first, self.count, self.origin = first, count, origin

    @property
    def last(self) -> int:
        return self.first + self.count - 1

    def __contains__(self, port: int) -> bool:
        return self.first <= port <= self.last

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ports) and other.key() == self.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __str__(self) -> str:
        return f"{self.first}-{self.last}" if self.count > 1 else str(self.first)

    def key(self) -> tuple[int, int, str]:
        return self.first, self.count, self.origin

    def meets(self, other: Ports) -> bool:
        """Whether they share a port."""
        return self.first <= other.last and other.first <= self.last


class Holder:
    """Who holds a block: the worktree at ``path``, called ``workspace``, of the root ``root``, since ``at``.

    ``git_dir`` is the worktree's own git folder ("" without one), by which it is known again when it was moved.
    """

    __slots__ = ("at", "git_dir", "path", "ports", "root", "workspace")

    def __init__(self, path: str, ports: Ports, *, workspace: str, root: str, at: str, git_dir: str = "") -> None:
        self.path, self.ports, self.workspace, self.root, self.at = path, ports, workspace, root, at
        self.git_dir = git_dir

    @property
    def there(self) -> bool:
        """Whether its folder is; when it is not, its ports are free. One that may not be looked at counts."""
        return _is_folder(self.path)

    def document(self) -> dict[str, Any]:
        """The holder as JSON."""
        block = {"first": self.ports.first, "last": self.ports.last, "count": self.ports.count}
        facts = {"workspace": self.workspace, "path": self.path, "root": self.root, "leased_at": self.at}
        return {**block, "origin": self.ports.origin, **facts, "git_dir": self.git_dir or None}


def lease(workspace: Workspace, config: Config, environ: Mapping[str, str] | None = None) -> Ports:
    """The worktree's ports: those it has, those that CONDUCTOR_PORT names, else the first free block of [ports].

    Called again it returns the same ones, whoever listens on them by now. Blocks of worktrees whose folder is gone
    are free. Raises BusyError (ports-exhausted, ports-taken), ConfigError.
    """
    env = os.environ if environ is None else environ
    wanted = given(workspace, env)
    path = os.path.realpath(workspace.path)
    kept = _kept(_read(), path, wanted, config)
    if kept is not None:
        return kept
    try:
        with Locked(_file() + ".lock"):
            return _lease(workspace, path, wanted, config, sure=bool(env.get("CONDUCTOR_WORKSPACE_PATH")))
    except OSError as exc:
        raise ConfigError(
            f"{exc.filename or _file()} cannot be written: {exc.strerror}",
            hint="set K1CTL_HOST_DIR to a folder that can be, or leave set-up's step ports out (worktree.skip)",
            code="ports-not-written",
        ) from exc


def _lease(workspace: Workspace, path: str, wanted: Ports | None, config: Config, *, sure: bool) -> Ports:
    own, found = _own_git_dir(path), _read()
    if own and all(holder.path != path for holder in found):
        for holder in found:
            if holder.git_dir == own and not holder.there:  # moved by hand: git does not know yet
                holder.path = path
    there = [holder for holder in found if holder.there]
    kept = _kept(there, path, wanted, config)
    if kept is not None:
        _write(there)
        return kept
    others = [holder for holder in there if holder.path != path]
    if wanted is None:
        ports = _free_block(config, others)
    else:
        ports, others = wanted, _making_way(wanted, others, sure=sure)
    mine = Holder(path, ports, workspace=workspace.name, root=workspace.root, at=rfc3339(), git_dir=own)
    _write([*others, mine])
    return ports


def of(workspace: Workspace) -> Ports | None:
    """The ports that the worktree holds; None when it holds none. Raises ConfigError."""
    path = os.path.realpath(workspace.path)
    return next((holder.ports for holder in _read() if holder.path == path), None)


def known(workspace: Workspace, environ: Mapping[str, str]) -> Ports | None:
    """What `lease` would return, as far as it is known without leasing: Conductor's word, else what the worktree holds.

    Raises ConfigError.
    """
    return given(workspace, environ) or of(workspace)


def rivals(workspace: Workspace, environ: Mapping[str, str]) -> list[Holder]:
    """Other worktrees that hold any of the ports that CONDUCTOR_PORT gives this one. Raises ConfigError."""
    wanted, path = given(workspace, environ), os.path.realpath(workspace.path)
    return [h for h in holders() if h.path != path and h.ports.meets(wanted)] if wanted else []


def holders() -> list[Holder]:
    """Who holds ports on this host, by first port; worktrees whose folder is gone left out. Raises ConfigError."""
    return sorted((h for h in _read() if h.there), key=lambda holder: holder.ports.first)


def release(path: str) -> bool:
    """Give up the ports of the worktree at ``path``, whether its folder is there or not; False when it had none."""
    path = os.path.realpath(path)
    if all(holder.path != path for holder in _read()):
        return False
    with Locked(_file() + ".lock"):
        before = _read()
        after = [holder for holder in before if holder.path != path and holder.there]
        _write(after)
        return any(holder.path == path for holder in before)


def given(workspace: Workspace, environ: Mapping[str, str]) -> Ports | None:
    """What CONDUCTOR_PORT says of this worktree; None when it is not set, or set for another one.

    Set by k1ctl itself for a command below it (K1CTL_PORT beside it is the same), it says nothing new: that command
    may be in another worktree by now. Raises ConfigError when it is no port.
    """
    text = environ.get("CONDUCTOR_PORT", "")
    theirs = environ.get("CONDUCTOR_WORKSPACE_PATH", "")
    if not text or text == environ.get("K1CTL_PORT"):
        return None
    if theirs and os.path.realpath(theirs) != os.path.realpath(workspace.path):
        return None
    if not (text.isascii() and text.isdigit() and 0 < int(text) <= _HIGHEST - CONDUCTOR_COUNT + 1):
        raise ConfigError(f"CONDUCTOR_PORT is {text!r}, which is not the first of {CONDUCTOR_COUNT} ports")
    return Ports(int(text), CONDUCTOR_COUNT, "conductor")


def variables(ports: Ports) -> dict[str, str]:
    """What a command of the worktree is told, whatever its caller's CONDUCTOR_PORT is: that may be another's."""
    return dict.fromkeys(("K1CTL_PORT", "CONDUCTOR_PORT"), str(ports.first))


def listened_on(port: int) -> bool:
    """Whether the port cannot be bound: somebody has it at any address of this host, or nobody may."""
    import errno
    import socket

    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):  # bound for a moment, no server
        try:
            with socket.socket(family, socket.SOCK_STREAM) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((address, port))
        except OSError as exc:
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # a host without IPv6
                return True
    return False


def _kept(found: list[Holder], path: str, wanted: Ports | None, config: Config) -> Ports | None:
    """The worktree's own block, as long as it still is what it should have."""
    mine = next((holder.ports for holder in found if holder.path == path), None)
    if mine is None or wanted is not None:
        return mine if mine == wanted else None
    if mine.origin == "conductor":
        return mine
    first, last, count = _range(config)
    fits = mine.count == count and mine.first >= first and mine.last <= last
    disturbed = any(h.ports.origin == "conductor" and h.ports.meets(mine) and h.there for h in found if h.path != path)
    return mine if fits and not disturbed else None


def _making_way(wanted: Ports, others: list[Holder], *, sure: bool) -> list[Holder]:
    """The others' blocks beside what Conductor gave us; what it had given to another before is that one's no more.

    A leased block that meets it stays until its worktree asks again, and moves then. Raises BusyError when nobody but
    the variable itself says that it means us.
    """
    for holder in others:
        if holder.ports.meets(wanted) and not sure:
            raise BusyError(
                f"CONDUCTOR_PORT is {wanted.first}, but the ports {holder.ports} are those of {holder.path}",
                hint="unset CONDUCTOR_PORT, or give that worktree's ports up: k1ctl worktree ports NAME --release",
                code="ports-taken",
                holders=[holder.document()],
            )
    return [h for h in others if h.ports.origin != "conductor" or not h.ports.meets(wanted)]


def _range(config: Config) -> tuple[int, int, int]:
    """(first port, last port, ports a block) of [ports]. Raises ConfigError when not one block fits."""
    first, last, count = (int(config.get("ports", key)) for key in ("first", "last", "count"))
    if first < 1 or first + count - 1 > last:
        raise ConfigError(
            f"[ports] has no room for a block: first {first}, last {last}, count {count}",
            hint=f"set ports.first and ports.last in {config.path}",
        )
    return first, last, count


def _free_block(config: Config, others: list[Holder]) -> Ports:
    first, last, count = _range(config)
    foreign = 0
    for start in range(first, last - count + 2, count):
        block = Ports(start, count, "leased")
        if any(holder.ports.meets(block) for holder in others):
            continue
        if not any(listened_on(port) for port in range(block.first, block.last + 1)):
            return block
        foreign += 1
    theirs = [holder for holder in others if holder.ports.meets(Ports(first, last - first + 1, ""))]
    named = ", ".join(f"{holder.workspace} ({holder.ports})" for holder in theirs[:_NAMED])
    named += f" and {len(theirs) - _NAMED} more" if len(theirs) > _NAMED else ""
    used = f"other programs listen in {foreign}" if foreign else ""
    raise BusyError(
        f"no {count} ports are free in {first}-{last}: "
        + "; ".join(word for word in (f"held by {named}" if named else "", used) if word),
        hint=f"k1ctl worktree ports tells who holds them; ports.first and ports.last in {config.path} set the range",
        code="ports-exhausted",
        holders=[holder.document() for holder in theirs],
    )


def _file() -> str:
    return os.path.join(host_dir(), "ports.json")


def _read() -> list[Holder]:
    """All holders, those whose folder is gone too. Raises ConfigError for a file that is not ours."""
    try:
        data = read_bytes(_file())
        rows = [] if data is None else loads(data.decode(), bounded=True)
        found = [_holder(row) for row in rows]
    except OSError as exc:
        raise ConfigError(f"{_file()} cannot be read: {exc.strerror}", code="bad-ports-file") from exc
    except (ValueError, KeyError, TypeError, RecursionError) as exc:
        raise ConfigError(
            f"{_file()} is damaged, or of another version of k1ctl: {type(exc).__name__}: {exc}",
            hint="unless a newer k1ctl wrote it, move it away: each worktree leases anew with k1ctl worktree setup",
            code="bad-ports-file",
        ) from exc
    noted = [row["path"] for row in rows]
    at_home = {holder.path for holder, path in zip(found, noted, strict=True) if holder.path == path}
    for holder, path in zip(found, noted, strict=True):
        if holder.path in at_home:  # it was mounted a second time, elsewhere: that place is gone
            holder.path = path
    return found


def _holder(row: dict[str, Any]) -> Holder:
    """One row of the file, at the path where git says that the worktree is by now."""
    texts = [row[key] for key in ("path", "origin", "workspace", "root", "leased_at")] + [row.get("git_dir") or ""]
    ports = Ports(row["first"], row["count"], texts[1])
    if not all(isinstance(text, str) for text in texts) or not 0 < ports.first <= ports.last <= _HIGHEST:
        raise ValueError(f"no block of ports: {ports}")
    path, _, workspace, root, at, git_dir = texts
    return Holder(_place(path, git_dir), ports, workspace=workspace, root=root, at=at, git_dir=git_dir)


def _place(path: str, git_dir: str) -> str:
    """Where a worktree is that was at ``path``: there, or where its own git folder says that it was moved to
    (gitrepository-layout(5), worktrees/<id>/gitdir)."""
    if not git_dir or _own_git_dir(path) == git_dir:
        return path
    try:
        noted = os.fsdecode((read_bytes(os.path.join(git_dir, "gitdir")) or b"").rstrip(b"\n"))
    except OSError:
        noted = ""
    folder = os.path.realpath(os.path.dirname(os.path.join(git_dir, noted)))
    return folder if noted and _own_git_dir(folder) == git_dir else path


def _own_git_dir(path: str) -> str:
    from k1ctl.worktrees import own_git_dir

    try:
        return own_git_dir(path)
    except OSError:  # another user's
        return ""


def _is_folder(path: str) -> bool:
    try:
        return stat.S_ISDIR(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return False
    except OSError:  # another user's, or a disk that does not answer
        return True


def _write(found: list[Holder]) -> None:
    write_json(_file(), [holder.document() for holder in sorted(found, key=lambda h: h.ports.first)], fsync=True)
