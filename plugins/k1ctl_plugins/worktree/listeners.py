"""Who has a port: the processes that listen there, and the worktree that each of them works in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.errors import ConfigError
from k1ctl.workspace import find_checkout

if TYPE_CHECKING:
    from collections.abc import Iterator


class Listener(NamedTuple):
    """A process at a port: ``pid`` is None for another user's, ``worktree`` the checkout that its ``cwd`` lies in."""

    pid: int | None
    name: str | None
    address: str
    protocol: str
    cwd: str | None
    worktree: str | None

    def document(self) -> dict[str, Any]:
        return self._asdict()


def at(port: int) -> list[Listener]:
    """Who listens at a TCP port or has a UDP port bound, as far as this user may see; one entry a process."""
    found: dict[tuple[int | None, str], Listener] = {}
    for pid, address, protocol in sorted(_sockets(port), key=lambda row: (row[0] is None, row[0] or 0, row[2], row[1])):
        key = (pid, protocol)
        if key in found:
            found[key] = found[key]._replace(address=f"{found[key].address}, {address}")
        else:
            name, cwd = _process(pid)
            found[key] = Listener(pid, name, address, protocol, cwd, _checkout(cwd))
    return list(found.values())


def _sockets(port: int) -> Iterator[tuple[int | None, str, str]]:
    """(pid, address, protocol) of each socket that waits at the port."""
    import psutil

    try:
        rows = [(each.pid, each) for each in psutil.net_connections(kind="inet")]
    except psutil.AccessDenied:  # macOS tells each process's own, for those of this user
        rows = [(pid, each) for pid in psutil.pids() for each in _of_process(pid)]
    for pid, each in rows:
        if each.laddr and each.laddr.port == port and (each.status == psutil.CONN_LISTEN or _is_udp(each)):
            yield pid, str(each.laddr.ip), "udp" if _is_udp(each) else "tcp"


def _is_udp(connection: Any) -> bool:
    import socket

    return connection.type == socket.SOCK_DGRAM and not connection.raddr


def _of_process(pid: int) -> list[Any]:
    import psutil

    try:
        process = psutil.Process(pid)
        ask = getattr(process, "net_connections", None) or process.connections  # its name since psutil 6
        return list(ask(kind="inet"))
    except (psutil.Error, OSError):
        return []


def _process(pid: int | None) -> tuple[str | None, str | None]:
    """(name, current folder) of a process; None for what this user may not see."""
    import psutil

    if pid is None:
        return None, None
    try:
        process = psutil.Process(pid)
        name = process.name()
    except psutil.Error:
        return None, None
    try:
        return name, process.cwd() or None
    except (psutil.Error, OSError):
        return name, None


def _checkout(cwd: str | None) -> str | None:
    try:
        found = find_checkout(cwd) if cwd and os.path.isdir(cwd) else None
    except (ConfigError, OSError):  # its git folder is another user's
        return None
    return found[0] if found else None
