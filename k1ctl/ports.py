"""Ten ports a workspace, leased on this host: a block belongs to a worktree's path for as long as its folder is there.

Ports are the host's, so all repositories share one file under the host's state folder. It is changed under a flock and
replaced by rename: a process that is killed leaves the old file or the new one, and no lock. What CONDUCTOR_PORT
names is Conductor's to allot; it is recorded, so that nobody else is given any of it.
"""

from __future__ import annotations

import os

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
    """Who holds a block: the worktree at ``path``, called ``workspace``, of the root ``root``, since ``at``."""

    __slots__ = ("at", "path", "ports", "root", "workspace")

    def __init__(self, path: str, ports: Ports, *, workspace: str, root: str, at: str) -> None:
        self.path, self.ports, self.workspace, self.root, self.at = path, ports, workspace, root, at

    @property
    def there(self) -> bool:
        """Whether its folder is; when it is not, its ports are free."""
        return os.path.isdir(self.path)

    def document(self) -> dict[str, Any]:
        """The holder as JSON."""
        block = {"first": self.ports.first, "last": self.ports.last, "count": self.ports.count}
        facts = {"workspace": self.workspace, "path": self.path, "root": self.root, "leased_at": self.at}
        return {**block, "origin": self.ports.origin, **facts}


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
            there = [holder for holder in _read() if holder.there]
            kept = _kept(there, path, wanted, config)
            if kept is not None:
                return kept
            others = [holder for holder in there if holder.path != path]
            if wanted is None:
                ports = _free_block(config, others)
            else:
                ports = wanted
                others = _without_conductors(wanted, others, sure=bool(env.get("CONDUCTOR_WORKSPACE_PATH")))
            mine = Holder(path, ports, workspace=workspace.name, root=workspace.root, at=rfc3339())
            _write([*others, mine])
            return ports
    except OSError as exc:
        raise ConfigError(
            f"{_file()} cannot be written: {exc.strerror}",
            hint="set K1CTL_HOST_DIR to a folder that can be, or leave set-up's step ports out (worktree.skip)",
            code="ports-not-written",
        ) from exc


def of(workspace: Workspace) -> Ports | None:
    """The ports that the worktree holds; None when it holds none. Raises ConfigError."""
    path = os.path.realpath(workspace.path)
    return next((holder.ports for holder in _read() if holder.path == path), None)


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


def variables(ports: Ports, environ: Mapping[str, str]) -> dict[str, str]:
    """What a command of the worktree is told: K1CTL_PORT, and CONDUCTOR_PORT where it is not set."""
    first = str(ports.first)
    return {"K1CTL_PORT": first, "CONDUCTOR_PORT": environ.get("CONDUCTOR_PORT") or first}


def listened_on(port: int) -> bool:
    """Whether the port cannot be bound on the loopback addresses of this host: somebody has it, or nobody may."""
    import errno
    import socket

    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
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


def _without_conductors(wanted: Ports, others: list[Holder], *, sure: bool) -> list[Holder]:
    """The others' blocks beside what Conductor gave us; what it had given to another before is that one's no more.

    A leased block that meets it stays until its worktree asks again, and moves then. Raises BusyError when nobody but
    the variable itself says that it means us.
    """
    for holder in others:
        if holder.ports.origin == "conductor" and holder.ports.meets(wanted) and not sure:
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
    data = read_bytes(_file())
    if data is None:
        return []
    try:
        rows = loads(data.decode(errors="surrogateescape"))
        return [
            Holder(
                row["path"],
                Ports(int(row["first"]), int(row["count"]), str(row["origin"])),
                workspace=str(row["workspace"]),
                root=str(row["root"]),
                at=str(row["leased_at"]),
            )
            for row in rows
        ]
    except (ValueError, KeyError, TypeError) as exc:
        raise ConfigError(
            f"{_file()} cannot be read: {exc!r}",
            hint="move it away; each worktree leases ports anew with k1ctl worktree setup",
            code="bad-ports-file",
        ) from exc


def _write(found: list[Holder]) -> None:
    write_json(_file(), [holder.document() for holder in sorted(found, key=lambda h: h.ports.first)], fsync=True)
