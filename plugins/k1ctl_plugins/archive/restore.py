"""``k1ctl archive restore``: bring a worktree back."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import LiveLine, clean, emit_json, json_option, put, say
from k1ctl.units import format_duration


@click.command(short_help="Bring a worktree back from its archive.")
@click.argument("reference", metavar="ID")
@click.option("--to", default="", metavar="PATH", help="Where it is put (default: where it was).")
@click.option("--branch", default="", metavar="NEW", help="Put it on a new branch of this name.")
@click.option("--dry-run", is_flag=True, help="Check the archive and change nothing; tell what would be made.")
@json_option
@pass_context
def restore(ctx: Context, reference: str, to: str, branch: str, dry_run: bool, as_json: bool) -> None:
    """Bring a worktree back from the archive ID: an id, its beginning, or a worktree's name for its newest archive.

    All is as it was: files, index, HEAD and reflog, a rebase or merge under way, repositories inside. It is on its
    branch again where that still stands, or was deleted; else HEAD is detached at the same commit. Nothing is
    written over, and the archive stays until it is purged.

    \b
    Example:
      k1ctl archive restore oslo
      k1ctl archive restore 20261114-0912 --to ../oslo-again --branch oslo-2
    """
    from k1ctl.archive import restore as restoring
    from k1ctl.archive.folder import find
    from k1ctl_plugins.archive.settle import settle

    if not dry_run:
        settle(ctx.workspace, ctx.config, restores=False)  # a restore sees itself to one that was interrupted
    archive = find(ctx.workspace, reference)
    facts = {"archive": archive.id, "workspace": archive.manifest["workspace"]}
    if dry_run:
        plan = restoring.plan(ctx.workspace, ctx.config, archive, to=to, branch=branch)
        on = f"on branch {plan.heads.branch}" if plan.heads.branch else "with a detached HEAD"
        say(clean(f"would be restored: {archive.id} to {plan.intent.target}, {on}"))
        warnings = restoring.differences(ctx.workspace, archive, plan)
        for warning in warnings:
            say(clean(warning))
        if as_json:
            where = {"path": plan.intent.target, "branch": plan.heads.branch or None}
            emit_json({"ok": True, "dry_run": True, **facts, **where, "warnings": warnings})
        return
    line = LiveLine()
    try:
        watch = line.update if line.terminal else None
        done = restoring.restore(ctx.workspace, ctx.config, archive, to=to, branch=branch, watch=watch)
    finally:
        line.clear()
    on = f"on branch {done.branch}" if done.branch else "with a detached HEAD"
    say(clean(f"restored: {archive.id} to {done.path}, {on}, in {format_duration(done.seconds)}"))
    for warning in done.warnings:
        say(clean(warning))
    if as_json:
        where = {"path": done.path, "branch": done.branch or None}
        more = {"detached": done.detached, "warnings": done.warnings, "seconds": done.seconds}
        emit_json({"ok": True, "dry_run": False, **facts, **where, **more})
    else:
        put(done.path)
