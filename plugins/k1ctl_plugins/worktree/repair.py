"""``k1ctl worktree repair``: mend what can be mended without losing anything."""

from __future__ import annotations

import os

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say


@click.command(short_help="Mend what can be mended without losing anything.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Mend every worktree of the repository.")
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would be mended.")
@json_option
@pass_context
def repair(ctx: Context, names: tuple[str, ...], every: bool, dry_run: bool, as_json: bool) -> int:
    """Mend the repository and this worktree, those named, or all: half of a `worktree add` that was killed, links after
    a worktree or the root was moved, lock files whose git is dead, .pio and node_modules that link out of the tree (the
    link goes, its target stays).

    An entry whose folder is gone is never dropped: the commits of its detached HEAD would go with it. `worktree doctor`
    tells what else is wrong, and what to do. Run again, it finds nothing to do. Exit 1 when something was not mended.

    \b
    Examples:
      k1ctl worktree repair --all --dry-run
      k1ctl worktree repair oslo
    """
    from k1ctl.events import emit
    from k1ctl.worktrees import entries, whole
    from k1ctl_plugins.worktree.choose import choose, here
    from k1ctl_plugins.worktree.repair_steps import mend

    workspace = ctx.workspace
    found = entries(workspace.path if os.path.isdir(workspace.path) else whole(workspace))
    chosen = found if every else choose(found, names) if names else here(found, workspace)
    done = []
    for step in mend(workspace, ctx.config, found, chosen, dry_run=dry_run):
        done.append(step)
        if step.problem:
            say(f"not mended: {clean(step.what)}: {clean(step.problem)}")
            continue
        if not dry_run:
            emit(workspace, "worktree.repaired", path=step.worktree, code=step.code, what=step.what)
        if not as_json:
            put(f"{'would be mended' if dry_run else 'mended'}: {clean(step.what)}")
    gone = [entry.path for entry in entries(whole(workspace)) if not os.path.isdir(entry.path)]
    if gone and not dry_run:
        say(f"left alone: entries whose folder is gone: {len(gone)}; `k1ctl worktree doctor --all` tells of them")
    failed = any(step.problem for step in done)
    if as_json:
        steps = [step.document() for step in done]
        emit_json({"ok": not failed, "dry_run": dry_run, "repairs": steps, "gone": gone})
    elif not done:
        say("nothing to mend")
    return 1 if failed else 0
