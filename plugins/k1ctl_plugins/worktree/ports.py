"""``k1ctl worktree ports``: which worktree holds which ports of this host."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.errors import ConfigError, UsageError
from k1ctl.output import clean, emit_json, json_option, put, say, table

if TYPE_CHECKING:
    from k1ctl.ports import Holder
    from k1ctl.workspace import Workspace


@click.command(short_help="List the ports that worktrees hold, or give some up.")
@click.argument("name", required=False)
@click.option("--release", is_flag=True, help="Give NAME's ports up; its next set-up leases others.")
@click.option("--dry-run", is_flag=True, help="With --release: change nothing; tell what would be done.")
@json_option
@pass_context
def ports(ctx: Context, name: str | None, release: bool, dry_run: bool, as_json: bool) -> None:
    """List the ports that the worktrees of this host hold, of all its repositories; NAME is a worktree's name or path.

    A worktree gets ports by `k1ctl worktree setup`, or by the first `k1ctl hook run` in it, and keeps them until its
    folder is gone.

    \b
    Examples:
      k1ctl worktree ports
      k1ctl worktree ports oslo --json | jq '.[0].first'
      k1ctl worktree ports oslo --release
    """
    from k1ctl import ports as leases

    if release and not name:
        raise UsageError("--release wants the NAME of a worktree", hint="k1ctl worktree ports lists them")
    if dry_run and not release:
        raise UsageError("--dry-run goes with --release")
    found = [holder for holder in leases.holders() if name is None or _named(holder, name)]
    if name is not None and not found:
        raise UsageError(f"no worktree {name!r} holds ports", hint="k1ctl worktree ports lists those that do")
    here = _here(ctx)
    if release:
        found = [_one(found, here)]
        if not dry_run:
            leases.release(found[0].path)
        verb = "would be given up" if dry_run else "given up"
        say(clean(f"{verb}: {found[0].ports} of {found[0].workspace} ({found[0].path})"))
    if as_json:
        emit_json([holder.document() for holder in found])
        return
    if release:
        return
    path = os.path.realpath(here.path) if here else ""
    cells = [("*" if h.path == path else "", str(h.ports), h.workspace, h.ports.origin, h.path) for h in found]
    put(table(cells, ("", "PORTS", "WORKTREE", "ORIGIN", "PATH")))


def _here(ctx: Context) -> Workspace | None:
    """Where the call came from; None outside a repository: the ports are the host's."""
    try:
        return ctx.workspace
    except ConfigError:
        if ctx.root:
            raise
        return None


def _named(holder: Holder, name: str) -> bool:
    return name in (holder.workspace, os.path.basename(holder.path)) or os.path.realpath(name) == holder.path


def _one(found: list[Holder], here: Workspace | None) -> Holder:
    """The one that is meant: of those with the same name, this repository's. Raises UsageError naming the paths."""
    own = [holder for holder in found if here and holder.root == here.root]
    if len(found) > 1 and len(own) != 1:
        paths = ", ".join(holder.path for holder in found)
        raise UsageError(f"several worktrees have that name: {paths}", hint="give the path")
    return own[0] if own else found[0]
