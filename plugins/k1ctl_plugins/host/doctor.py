"""``k1ctl host doctor``: which limits hold here, and what would make them hold better."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from k1ctl.output import clean, emit_json, json_option, put, say, style

if TYPE_CHECKING:
    from k1ctl.capacity.doctor import Finding

_COLOURS = {"ok": "green", "note": "dim", "warning": "yellow", "error": "red"}


@click.command(short_help="Find out which limits hold here, and what would help.")
@json_option
def doctor(as_json: bool) -> int:
    """Find out, by trying, what k1ctl can hold a command to on this host: by what means a limit of memory and of cores
    is kept, whether locks work in the host's folder, whether the system tells what stalls, within which limits all of
    this runs, and whether a kill for want of memory would take the terminal along.

    Exit 1 when something endangers promises (error), 0 with warnings and notes alone.

    \b
    Examples:
      k1ctl host doctor
      k1ctl host doctor --json | jq -r '.findings[] | select(.level == "warning") | .fix'
    """
    from k1ctl.capacity import doctor as engine
    from k1ctl.capacity import facts

    findings = engine.examine(facts.read(environ={}))  # limits are tried here: a file of facts is of another host
    failed = any(finding.level == "error" for finding in findings)
    if as_json:
        emit_json({"ok": not failed, "findings": [finding.document() for finding in findings]})
        return 1 if failed else 0
    for finding in findings:
        _tell(finding)
    counts = {level: sum(f.level == level for f in findings) for level in ("error", "warning", "note")}
    said = ", ".join(f"{n} {level}{'s' * (n != 1)}" for level, n in counts.items() if n)
    say(f"{len(findings)} examined: {said or 'all holds'}")
    return 1 if failed else 0


def _tell(finding: Finding) -> None:
    put(f"{style(finding.level, _COLOURS[finding.level])}  {finding.code}: {clean(finding.what)}")
    if finding.why:
        put(f"    why: {clean(finding.why)}")
        put(f"    fix: {clean(finding.fix)}")
