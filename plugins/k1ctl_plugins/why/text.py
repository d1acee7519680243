"""The answer for people: in one sentence, what stands behind it, what proves it, what to do next."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.output import clean, put, say, style
from k1ctl.reasons import AROUND, NO_WORK, RUNS, WAITS

if TYPE_CHECKING:
    from k1ctl.reasons import Reason
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.why.answer import Answer

_ALSO = 4  # further reasons that are told
_WIDTH = 400  # characters of an event that are shown; --json has all of it
_COLOURS = {"failed": "red", "running": "green", "no work": "green"}


def show(answer: Answer, workspace: Workspace) -> None:
    """Print it; what could not be asked is told on stderr."""
    from k1ctl.escalation.prompts import masked

    for line in lines(answer, workspace):
        put(masked(line))
    for plugin, message in answer.left_out.items():
        say(masked(f"left out of plugin {plugin}: {message}"))


def lines(answer: Answer, workspace: Workspace) -> list[str]:
    """The lines of it."""
    first = answer.first
    found = [f"{style(first.kind, 'bold', _COLOURS.get(first.kind, 'yellow'))}: {clean(first.text)}"]
    found += [f"  {clean(sentence)}" for sentence in first.chain]
    found += [f"  | {clean(line)}" for line in first.lines]
    rest = answer.reasons[1:]
    now = (WAITS, RUNS, AROUND)
    also = [r for r in rest if r.stage in now or (first.stage not in now and r.kind != NO_WORK)][:_ALSO]
    if also:
        found += ["", style("also", "bold")]
        found += [f"  {reason.kind}: {clean(reason.text)}" for reason in also]
    if also and len(rest) > len(also):
        found.append(f"  and {len(rest) - len(also)} more: --json has them")
    proof = _proof(first, workspace)
    if proof:
        found += ["", style("what proves it", "bold"), *(f"  {clean(line)}" for line in proof)]
    if first.next:
        found += ["", style("next", "bold"), f"  {clean(first.next)}"]
    return found


def _proof(reason: Reason, workspace: Workspace) -> list[str]:
    from k1ctl.events_text import line_for_people

    events = [line_for_people(event) for event in reason.events]
    events = [line if len(line) <= _WIDTH else f"{line[:_WIDTH]}..." for line in events]
    return events + [path.removeprefix(workspace.root + "/") for path in reason.files]
