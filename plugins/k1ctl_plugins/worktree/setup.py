"""``k1ctl worktree setup``: prepare a worktree to work in."""

from __future__ import annotations

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.errors import UsageError
from k1ctl.output import emit_json, json_option, put, say, table


@click.command(short_help="Prepare this worktree to work in.")
@click.option("--unlink/--no-unlink", default=True, help="Remove a .pio or node_modules that links out, or refuse.")
@click.option("--only", multiple=True, metavar="STEP", help="Run this step and those it needs; repeatable, globs.")
@click.option("--skip", multiple=True, metavar="STEP", help="Leave this step out; repeatable, globs.")
@click.option(
    "--cache",
    type=click.Choice(["auto", "store", "clone", "copy", "install", "symlink"]),
    help="How node_modules come, here and now; symlink: link the folders of worktree.read_only, too.",
)
@click.option("--again", is_flag=True, help="Run configured steps although nothing they depend on has changed.")
@click.option("--wait", type=DURATION, default=0.0, metavar="D", help="Wait at most D for room on this host; then 75.")
@click.option("--list", "list_them", is_flag=True, help="List the steps, and do nothing.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be done.")
@json_option
@pass_context
def setup(
    ctx: Context,
    unlink: bool,
    only: tuple[str, ...],
    skip: tuple[str, ...],
    cache: str | None,
    again: bool,
    wait: float,
    list_them: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Prepare this worktree to work in; run again, it does what is missing.

    It finds the tools, removes a .pio or node_modules that links out of the tree (the link, not its target), leases
    ten ports, fills in the templates of worktree.templates, copies git-ignored .env files from the root, brings
    node_modules where a lock file is, and does what other plugins and [setup.NAME] add. At the end it tells the
    seconds of each step, and its bytes where they are known: of its own, and shared with other worktrees.

    A new worktree is one more agent: where capacity.agents are there already, or as many as capacity.per_agent lets
    in, or memory is above capacity.admit_percent, nothing is set up, and the exit code is 75.

    \b
    Examples:
      k1ctl worktree setup --dry-run
      k1ctl worktree setup --only 'npm:*' --json
      k1ctl worktree setup --list
    """
    from k1ctl import disk
    from k1ctl_plugins.worktree.reporting import run_set_up
    from k1ctl_plugins.worktree.steps import Options

    ctx.workspace.check_inside()
    options = Options(dry_run=dry_run, unlink=unlink, only=only, skip=skip, again=again, cache=cache or "")
    if list_them:
        if dry_run:
            raise UsageError("--list does nothing: no --dry-run with it")
        _list(ctx, options, as_json)
        return
    if hint := disk.suggest(ctx.config, ctx.workspace.path):
        say(hint)
    document = run_set_up(ctx, ctx.workspace, options, wait=wait)
    if as_json:
        emit_json(document)


def _list(ctx: Context, options: object, as_json: bool) -> None:
    from k1ctl_plugins.worktree import steps

    assert isinstance(options, steps.Options)
    found = steps.all_steps(ctx.workspace, ctx.config, ctx.plugins, -1, options)
    chosen = steps.choose([step for _, step in found], options, ctx.config.get("worktree", "skip"))
    for note in chosen.notes:
        say(note)
    rows = steps.rows(found, chosen)
    if as_json:
        emit_json(rows)
        return
    cells = [(row["name"], ", ".join(row["needs"]) or "-", row["origin"], row["left_out_by"] or "-") for row in rows]
    put(table(cells, ("STEP", "NEEDS", "FROM", "LEFT OUT BY")))
