"""``k1ctl worktree which``: whose port is it, and who listens there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import K1ctlError
from k1ctl.output import clean, emit_json, json_option, put

if TYPE_CHECKING:
    from k1ctl.ports import Holder
    from k1ctl_plugins.worktree.listeners import Listener


@click.command(short_help="Tell which worktree a port belongs to, and who listens there.")
@click.argument("port", type=click.IntRange(1, 65535))
@json_option
@pass_context
def which(ctx: Context, port: int, as_json: bool) -> None:
    """Tell whose PORT it is: the worktree that holds it, and each process that listens there, with its worktree.

    Worktrees of all repositories of this host are known. What other users' processes are, the system tells only root.
    Exit 1: no worktree holds it and nobody listens.

    Example: k1ctl worktree which 21003
    """
    from k1ctl import ports
    from k1ctl_plugins.worktree import listeners

    held = [holder for holder in ports.holders() if port in holder.ports]
    # a leased block that meets Conductor's makes way when its worktree asks next
    holder = min(held, key=lambda each: each.ports.origin != "conductor", default=None)
    found = listeners.at(port)
    taken = bool(found) or ports.listened_on(port)
    if holder is None and not taken:
        raise K1ctlError(
            f"nobody has port {port}: no worktree holds it, and nothing listens there",
            hint="k1ctl worktree ports lists the ports that worktrees hold",
            code="port-free",
            port=port,
        )
    if as_json:
        told = holder.document() | {"offset": port - holder.ports.first} if holder else None
        rows = [listener.document() for listener in found]
        emit_json({"ok": True, "port": port, "holder": told, "in_use": taken, "listeners": rows})
        return
    put(_held(port, holder))
    for listener in found:
        put(_listens(listener, holder))
    if taken and not found:
        put("listens:  somebody whom this user may not see, or a connection that just ended")
    elif not taken:
        put("listens:  nobody")


def _held(port: int, holder: Holder | None) -> str:
    if holder is None:
        return "held by:  no worktree"
    offset = port - holder.ports.first
    port_word = f"port + {offset}" if offset else "port"
    source = "CONDUCTOR_PORT" if holder.ports.origin == "conductor" else "leased"
    return clean(f"held by:  {holder.workspace} ({holder.path}), its {port_word} of {holder.ports}, {source}")


def _listens(listener: Listener, holder: Holder | None) -> str:
    who = f"{listener.name or 'a process of another user'}" + (f" (pid {listener.pid})" if listener.pid else "")
    at = f"{listener.protocol} {listener.address}"
    where = f", in {listener.cwd}" if listener.cwd else ""
    strange = listener.cwd and (listener.worktree is None or (holder and _differs(listener.worktree, holder.path)))
    owner = f"worktree {os.path.basename(listener.worktree)}" if listener.worktree else "no worktree"
    return clean(f"listens:  {who} at {at}{where}" + (f": {owner}" if strange or not holder else ""))


def _differs(one: str, other: str) -> bool:
    return os.path.realpath(one) != os.path.realpath(other)
