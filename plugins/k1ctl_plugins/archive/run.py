"""``k1ctl archive run``: archive the worktrees that nobody works in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.durations import DURATION
from k1ctl.output import LiveLine, clean, emit_json, json_option, put, say, table
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl_plugins.archive.idle import Report


@click.command(short_help="Archive the worktrees that nobody works in, or those that are named.")
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--older-than", type=DURATION, metavar="D", help="Idle for so long (default: archive.older_than).")
@click.option("--include", multiple=True, metavar="GLOB", help="Only those of this name or path (repeatable).")
@click.option("--exclude", multiple=True, metavar="GLOB", help="None of this name or path (repeatable).")
@click.option(
    "--branch-policy",
    type=click.Choice(["keep", "delete-if-merged"]),
    help="What becomes of the branch (default: archive.branch_policy).",
)
@click.option("--dry-run", is_flag=True, help="Change nothing; tell what would become of each.")
@json_option
@pass_context
def run(
    ctx: Context,
    names: tuple[str, ...],
    older_than: float | None,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    branch_policy: str | None,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Archive the worktrees that have been idle for a week, or those that are named, however recently they were used.

    Idle: no commit, no move of HEAD, no change of the index or of a file, no run and no place in the queue. Each is
    saved whole, and then moved into the trash beside its archive; `k1ctl archive restore` brings it back. One that
    somebody uses, that is locked, or that cannot be looked at for certain is refused, with the reason. Conductor's
    own worktrees are saved and stay: Conductor removes them. The trash goes after archive.keep_trash, once its archive
    was verified.

    Exit code 1: something failed, one that was named was refused, or one cannot be looked at. Others that are merely
    in use are told, with exit code 0.

    \b
    Examples:
      k1ctl archive run --dry-run
      k1ctl archive run --older-than 3d --exclude 'release-*'
      k1ctl archive run oslo --branch-policy delete-if-merged --json
    """
    from k1ctl_plugins.archive.idle import Request
    from k1ctl_plugins.archive.idle import run as archive

    config = ctx.config
    policy = branch_policy or config.get("archive", "branch_policy")
    idle = config.get("archive", "older_than") if older_than is None else older_than
    live = LiveLine()
    request = Request(names, idle, include, exclude, policy, dry_run)
    try:
        report = archive(ctx.workspace, config, request, watch=live.update if live.terminal else lambda text: None)
    finally:
        live.clear()
    if as_json:
        emit_json([outcome.document() for outcome in report.outcomes])
    elif report.outcomes:
        rows = [(o.name, o.result, o.idle(), o.detail()) for o in report.outcomes]
        put(table(rows, ("NAME", "RESULT", "IDLE", "DETAIL")))
    _tell(report, config, ctx.workspace.root, dry_run)
    return 1 if any(o.bad for o in report.outcomes) or any(s.problems for s in report.swept) else 0


def _tell(report: Report, config: Config, root: str, dry_run: bool) -> None:
    from k1ctl import disk

    for sentence in report.recovered:
        say(sentence)
    for outcome in report.outcomes:
        for finding in outcome.findings if outcome.result == "refused" else ():
            if finding.level == "refuse" and finding.hint:
                say(f"{outcome.name}: {clean(finding.hint)}")
        if outcome.error is not None and outcome.error.hint:
            say(f"{outcome.name}: {clean(outcome.error.hint)}")
    whole = [one.archive for one in report.swept if not one.problems]
    if whole:
        of = whole[0] if len(whole) == 1 else f"{len(whole)} archives"
        say(f"the trash of {of}: {'would be deleted' if dry_run else 'deleted'}")
    for one in report.swept:
        if one.problems:
            say(f"the trash of {one.archive}: {clean('; '.join(['not wholly deleted', *one.problems]))}")
    if not report.outcomes:
        say("there is no worktree to archive: k1ctl worktree list shows them")
    archived = [o for o in report.outcomes if o.result == "archived"]
    freed = sum(o.freed_bytes for o in archived) + sum(one.freed_bytes for one in report.swept)
    words = [f"{format_size(freed)} freed"] if archived or freed else []
    if archived:
        words.append(f"the rest stays in the trash for {format_duration(config.get('archive', 'keep_trash'))}")
        words[0] = f"archived {len(archived)} worktree{'s' if len(archived) != 1 else ''}: {words[0]}"
    if words:
        say(", ".join([*words, f"the disk is {disk.use(root).percent} % full"]))
