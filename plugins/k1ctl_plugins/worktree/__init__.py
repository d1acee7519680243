"""``k1ctl worktree``: make a worktree, set it up, and see which there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context, purpose
from k1ctl.errors import K1ctlError
from k1ctl.hookspecs import hookimpl
from k1ctl.output import clean, emit_json, json_option, put, say, table
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.worktree.prepare import Result


@purpose("Work", example="k1ctl worktree add oslo")
@click.group()
def worktree() -> None:
    """Make worktrees, set them up, and list them.

    \b
    Examples:
      k1ctl worktree add oslo --base origin/main
      k1ctl worktree setup --json
      k1ctl worktree list
    """


@worktree.command()
@click.option("--unlink/--no-unlink", default=True, help="Remove a .pio or node_modules that links out, or refuse.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def setup(ctx: Context, unlink: bool, dry_run: bool, as_json: bool) -> None:
    """Prepare this worktree to work in; run again, it does what is missing.

    It finds the tools, removes a .pio or node_modules that links out of the tree (the link, not its target), copies
    git-ignored .env files from the root, runs npm ci where a lock file is, and does what other plugins add.

    Example: k1ctl worktree setup --dry-run
    """
    ctx.workspace.check_inside()
    document = _set_up(ctx, ctx.workspace, dry_run=dry_run, unlink=unlink)
    if as_json:
        emit_json(document)


@worktree.command()
@click.argument("name")
@click.option("--branch", default="", metavar="B", help="The new branch (default: NAME).")
@click.option("--base", default="", metavar="REF", help="Where it starts (default: the root's HEAD).")
@click.option("--path", default="", metavar="P", help="Where it is put (default: ROOT.worktrees/NAME beside the root).")
@click.option("--no-setup", is_flag=True, help="Do not run setup in it.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be made.")
@json_option
@pass_context
def add(
    ctx: Context, name: str, branch: str, base: str, path: str, no_setup: bool, dry_run: bool, as_json: bool
) -> None:
    """Make a worktree on a new branch and set it up.

    One is made at a time in a repository. When it cannot be made, nothing of it is left; when the set-up fails, the
    worktree stays and `k1ctl worktree setup`, called in it, goes on.

    Example: k1ctl worktree add oslo --base origin/main --json
    """
    from k1ctl.events import emit
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.worktree import adding

    begun = time.monotonic()
    workspace = ctx.workspace
    plan = adding.make_plan(workspace, name, branch=branch, base=base, path=path)
    document = {"ok": True, "name": name, "path": plan.path, "branch": plan.branch, "base": plan.base}
    if dry_run:
        adding.check_free(workspace, plan)
        say(f"would be made: {plan.path} on branch {plan.branch} at {plan.base[:12]}")
        if as_json:
            emit_json(document | {"dry_run": True})
        return
    resumed = adding.add(workspace, plan)
    seconds = round(time.monotonic() - begun, 3)
    made = Workspace(workspace.root, plan.path, name, workspace.git_dir)
    emit(made, "worktree.added", path=plan.path, branch=plan.branch, base=plan.base, add_seconds=seconds)
    say(f"{'found finished' if resumed else 'made'}: {plan.path} on branch {plan.branch} in {format_duration(seconds)}")
    steps = None if no_setup else _set_up(ctx, made)
    if as_json:
        emit_json(document | {"dry_run": False, "resumed": resumed, "add_seconds": seconds, "setup": steps})
    else:
        put(plan.path)


@worktree.command("list")
@json_option
@pass_context
def list_worktrees(ctx: Context, as_json: bool) -> None:
    """List the repository's worktrees.

    Example: k1ctl worktree list --json | jq -r '.[] | select(.dirty) | .path'
    """
    from k1ctl_plugins.worktree.listing import documents

    rows = documents(ctx.workspace.path, ctx.workspace.path)
    if as_json:
        emit_json(rows)
        return
    cells = []
    for row in rows:
        notes = ["main"] * row["main"] + ["locked"] * (row["locked"] is not None)
        notes += ["prunable"] * (row["prunable"] is not None) + ["changed"] * bool(row["dirty"])
        mark, state = "*" if row["current"] else "", ", ".join(notes)
        cells.append((mark, row["name"], row["branch"] or "-", row["head"][:12], row["path"], state))
    put(table(cells, ("", "NAME", "BRANCH", "HEAD", "PATH", "STATE")))


def _set_up(ctx: Context, workspace: Workspace, *, dry_run: bool = False, unlink: bool = True) -> dict[str, object]:
    """Set up, telling each step as it ends; returns the report. Raises K1ctlError naming the steps that failed."""
    from k1ctl_plugins.worktree.prepare import set_up

    begun = time.monotonic()
    results = set_up(workspace, ctx.config, ctx.plugins, dry_run=dry_run, unlink=unlink, watch=_tell)
    for name, broken in ctx.plugins.broken.items():
        say(f"plugin {name} is left out: {broken.message}")
    seconds = round(time.monotonic() - begun, 3)
    failed = [result.name for result in results if result.status == "failed"]
    facts = {"root": workspace.root, "workspace": workspace.name, "path": workspace.path, "dry_run": dry_run}
    report = {**facts, "setup_seconds": seconds, "steps": [result.document() for result in results]}
    if failed:
        raise K1ctlError(
            f"set-up of {workspace.path} failed: {', '.join(failed)}",
            hint="the other steps are done; mend it and run k1ctl worktree setup there again",
            code="setup-failed",
            failed=failed,
            **report,
        )
    say(f"set up {workspace.path} in {format_duration(seconds)}")
    return {"ok": True, **report}


def _tell(result: Result) -> None:
    say(f"{result.status:<9}  {result.name:<14}  {format_duration(result.seconds):>7}  {clean(result.summary)}")


@hookimpl
def k1ctl_command() -> click.Command:
    return worktree
