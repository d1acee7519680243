"""``k1ctl worktree show``: all that is known of one worktree."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put
from k1ctl.units import format_duration, format_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn


@click.command(short_help="All that is known of one worktree.")
@click.argument("name", default="")
@json_option
@pass_context
def show(ctx: Context, name: str, as_json: bool) -> None:
    """Show all that is known of the worktree NAME (default: this one): where it is, who made it from what, how far it
    is from there and from the root's branch, what is changed and stashed, its ports, what it takes of the disk, when
    somebody last worked in it and how that is known, what runs and waits, and its newest artifacts.

    \b
    Examples:
      k1ctl worktree show
      k1ctl worktree show oslo --json | jq .unpushed_count
    """
    from k1ctl.worktrees import entries
    from k1ctl_plugins.worktree.choose import choose, here
    from k1ctl_plugins.worktree.show_facts import facts

    found = entries(ctx.workspace.path)
    (entry,) = choose(found, [name]) if name else here(found, ctx.workspace) or [_unknown(ctx.workspace.path)]
    told = facts(ctx.workspace, ctx.config, entry, found)
    if as_json:
        emit_json(told)
        return
    for key, value in _lines(told):
        put(f"{key:<10}  {clean(value)}")


def _unknown(path: str) -> NoReturn:
    from k1ctl_plugins.worktree.choose import NoWorktreeError

    raise NoWorktreeError(
        f"git has no worktree at {path}", hint="k1ctl worktree doctor, called in it, tells why; or name another one"
    )


def _lines(told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(Heading, text) of what there is to tell."""
    yield "worktree", f"{told['name']}{' (main)' * told['main']}"
    yield "path", f"{told['path']}{' (the folder is gone)' * told['missing']}"
    if told["bare"]:
        yield "branch", "none: the repository is bare"
    else:
        yield "branch", f"{told['branch'] or '(detached)'} at {told['head'][:12]}"
    if told["upstream"]:
        yield "upstream", told["upstream"]
    if told["locked"] is not None:
        yield "locked", told["locked"] or "without a reason"
    if told["prunable"] is not None:
        yield "prunable", told["prunable"]
    if told["creator"]:
        yield "made", f"by {told['creator']}, {told['made_at']}"
    if told["base"]:
        yield "base", f"{told['base'][:12]}, {_commits(told['commits_since_base'])} since"
    if told["root"]:
        there = told["root"]
        yield "root", f"{there['ahead']} ahead of {there['branch'] or 'its HEAD'}, {there['behind']} behind"
    yield "unpushed", "unknown" if told["unpushed_count"] is None else _commits(told["unpushed_count"])
    if told["operation"]:
        yield "under way", f"a {told['operation']}"
    yield "changes", _changes(told)
    yield from (("stash", f"{stash['name']}: {stash['subject']}") for stash in told["stashes"])
    if told["ports"]:
        yield "ports", f"{told['ports']['first']}-{told['ports']['last']} ({told['ports']['origin']})"
    if told["ports_problem"]:
        yield "ports", f"unknown: {told['ports_problem']}"
    if told["disk"]:
        yield "disk", _disk(told["disk"])
    if told["activity"]:
        yield "activity", f"{format_duration(told['idle_seconds'])} ago: {told['activity']}"
    yield from (("working", what) for what in told["working"])
    if told["last_run"]:
        yield "last run", f"{told['last_run']['label']}, {told['last_run']['at']}"
    for build in told["artifacts"]:
        dirty = ", with changes" if build["dirty"] else ""
        yield "artifact", f"{build['target']} {build['id']}, {build['at']}, of {str(build['commit'])[:12]}{dirty}"


def _commits(count: int | None) -> str:
    return "unknown" if count is None else f"{count} commit{'s' * (count != 1)}"


def _changes(told: dict[str, Any]) -> str:
    if told["changed_count"] is None:
        return "unknown"
    text = f"{told['changed_count']} changed ({told['staged_count']} staged), {told['untracked_count']} untracked"
    return text + (f", {told['conflict_count']} in conflict" if told["conflict_count"] else "")


def _disk(there: dict[str, Any]) -> str:
    parts = {"sources": "sources", "node_modules": "node_modules", "pio": ".pio", "regenerable": "else", "git": "git"}
    shown = [f"{word} {format_size(there[f'{part}_bytes'])}" for part, word in parts.items() if there[f"{part}_bytes"]]
    return f"{format_size(there['bytes'])} ({', '.join(shown)}), scanned {there['scanned_at']}"
