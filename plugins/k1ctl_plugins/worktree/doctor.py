"""``k1ctl worktree doctor``: what is wrong with worktrees, and why it matters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from k1ctl.cli import Context, pass_context
from k1ctl.output import clean, emit_json, json_option, put, say, style
from k1ctl_plugins.worktree.doctor_finding import listed

if TYPE_CHECKING:
    from k1ctl_plugins.worktree.doctor_finding import Finding

_COLOURS = {"error": "red", "warning": "yellow", "note": "dim"}


@click.command(short_help="Find what is wrong with worktrees, and tell why it matters.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="Examine every worktree of the repository.")
@json_option
@pass_context
def doctor(ctx: Context, names: tuple[str, ...], every: bool, as_json: bool) -> int:
    """Examine this worktree, those named, or all: links that lead out of it, seeds that were changed in place, stale
    locks, moved, copied, nested and half-made worktrees, what git should ignore and what it does not show, missing
    tools. Nothing is changed.

    Exit 1 when something endangers work or builds (error), 0 with warnings and notes alone.

    \b
    Examples:
      k1ctl worktree doctor
      k1ctl worktree doctor --all --json | jq -r '.findings[] | select(.level == "error") | .what'
    """
    from k1ctl.worktrees import entries
    from k1ctl_plugins.worktree.choose import choose, here
    from k1ctl_plugins.worktree.doctor_rounds import examine

    found = entries(ctx.workspace.path)
    chosen = found if every else choose(found, names) if names else here(found, ctx.workspace)
    findings = examine(ctx.workspace, ctx.config, found, chosen)
    failed = any(finding.level == "error" for finding in findings)
    if as_json:
        examined = [entry.path for entry in chosen]
        emit_json({"ok": not failed, "examined": examined, "findings": [f.document() for f in findings]})
    else:
        _tell(findings)
        counts = {level: sum(f.level == level for f in findings) for level in _COLOURS}
        told = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in counts.items() if n) or "nothing is wrong"
        say(f"{len(chosen)} worktree{'s' * (len(chosen) != 1)} examined: {told}")
    return 1 if failed else 0


def _tell(findings: list[Finding]) -> None:
    """Each finding once, with the worktrees that have it."""
    alike: dict[tuple[str, str, str, str, str], list[str]] = {}
    for code, level, worktree, what, why, fix, _ in findings:
        alike.setdefault((level, code, what, why, fix), []).append(os.path.basename(worktree) or "repository")
    for (level, code, what, why, fix), names in alike.items():
        put(f"{style(level, _COLOURS[level])}  {clean(listed(names))}  {code}: {clean(what)}")
        put(f"    why: {clean(why)}")
        put(f"    fix: {clean(fix)}")
