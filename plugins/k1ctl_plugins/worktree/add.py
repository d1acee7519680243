"""``k1ctl worktree add``: a worktree on a new branch, set up."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import emit_json, json_option, put, say
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from k1ctl_plugins.worktree.adding import Plan


@click.command(short_help="Make a worktree on a new branch and set it up.")
@click.argument("name")
@click.option("--branch", default="", metavar="B", help="The new branch (default: NAME).")
@click.option("--base", default="", metavar="REF", help="Where it starts (default: the root's HEAD).")
@click.option("--path", default="", metavar="P", help="Where it is put (default: ROOT.worktrees/NAME beside the root).")
@click.option("--lock", default="", metavar="REASON", help="Lock it for git, so that nothing removes or prunes it.")
@click.option(
    "--cache",
    type=click.Choice(["auto", "store", "clone", "copy", "install", "symlink"]),
    help="How node_modules come, as in `worktree setup`.",
)
@click.option("--no-setup", is_flag=True, help="Do not run setup in it.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be made.")
@json_option
@pass_context
def add(
    ctx: Context,
    name: str,
    branch: str,
    base: str,
    path: str,
    lock: str,
    cache: str | None,
    no_setup: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make a worktree on a new branch and set it up.

    One is made at a time in a repository. When it cannot be made, nothing of it is left; when the set-up fails, the
    worktree stays and `k1ctl worktree setup`, called in it, goes on. Where the disk would be used above
    disk.stop_percent, all worktrees together take more than disk.total_quota, or the host has no room for one more
    agent (capacity.agents, per_agent, admit_percent), none is made (exit 75).

    Example: k1ctl worktree add oslo --base origin/main --json
    """
    from k1ctl import disk
    from k1ctl.events import emit
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.worktree import adding
    from k1ctl_plugins.worktree.reporting import run_set_up
    from k1ctl_plugins.worktree.steps import Options

    begun = time.monotonic()
    workspace = ctx.workspace
    plan = adding.make_plan(workspace, name, branch=branch, base=base, path=path, lock=lock)
    need = adding.need(workspace, plan)
    document = {"ok": True, "name": name, "path": plan.path, "branch": plan.branch, "base": plan.base}
    document |= {"creator": plan.creator, "locked": plan.lock or None, "need_bytes": need}

    def room() -> None:
        _check_room(ctx, plan, need, agent=not no_setup)

    room()
    if hint := disk.suggest(ctx.config, plan.path):
        say(hint)
    if dry_run:
        adding.check_free(workspace, plan)
        say(f"would be made: {plan.path} on branch {plan.branch} at {plan.base[:12]}, {format_size(need)}")
        if as_json:
            emit_json(document | {"dry_run": True})
        return
    resumed = adding.add(workspace, plan, room)
    seconds = round(time.monotonic() - begun, 3)
    made = Workspace(workspace.root, plan.path, name, workspace.git_dir)
    facts = {"path": plan.path, "branch": plan.branch, "base": plan.base, "creator": plan.creator}
    emit(made, "worktree.added", **facts, need_bytes=need, add_seconds=seconds)
    say(f"{'found finished' if resumed else 'made'}: {plan.path} on branch {plan.branch} in {format_duration(seconds)}")
    steps = None if no_setup else run_set_up(ctx, made, Options(cache=cache or ""))
    if time.monotonic() - begun > seconds + 1:
        adding.settle(plan.path)
    if as_json:
        emit_json(document | {"dry_run": False, "resumed": resumed, "add_seconds": seconds, "setup": steps})
    else:
        put(plan.path)


def _check_room(ctx: Context, plan: Plan, need: int, *, agent: bool) -> None:
    """Raises BusyError where the disk, the quota or, for a worktree that an ``agent`` is to work in, the host has no
    room for ``need`` bytes more."""
    from k1ctl import disk, diskscan
    from k1ctl.worktrees import entries
    from k1ctl_plugins.worktree import agents

    if agent:
        agents.look(ctx.workspace, ctx.config, plan.path)
    disk.check_room(ctx.config, plan.path, need, f"the worktree {plan.name}")
    if ctx.config.get("disk", "total_quota"):
        diskscan.check_quota(ctx.workspace, ctx.config, entries(ctx.workspace.path), need, f"the worktree {plan.name}")
