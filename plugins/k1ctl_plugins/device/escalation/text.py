"""The escalation of a device in lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.output import clean, style

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLOURS = {"none": "green", "retry": "yellow", "agent": "yellow", "human": "red", "incident": "red"}


def lines(row: dict[str, Any]) -> Iterator[str]:
    """A headline, a line a step with its reason and who was told, the open failures, and what comes next."""
    state, name = row["state"], row["device"]
    since = f" since {row['since']}" if row["since"] else ""
    yield f"{name}: {style('no trouble' if state == 'none' else state, _COLOURS[state])}{since}"
    for step in row["steps"]:
        yield f"  {step['at']}  {step['rung']}: {clean(step['reason'])}{_told(step)}"
    for failure in row["failures"]:
        if failure["prompt"]:
            yield f"  prompt for {clean(failure['workspace'])}: {failure['prompt']}"
    if row["paused"] is not None:
        yield f"  device:{name} is paused: {clean(row['paused'])}"
    for coming in row["next"]:
        yield f"  next: {coming['rung']} {clean(coming['when'])}"


def _told(step: dict[str, Any]) -> str:
    if not step["notify"]:
        return ""
    if step["told"] is None:
        return " (people are still to be told)"
    if not step["told"]:
        return " (nobody to notify: k1ctl notify list)"
    told = ", ".join(f"{row['channel'] or row.get('plugin', '')} {row['outcome']}".strip() for row in step["told"])
    return f" ({clean(told)})"


def closed(done: dict[str, Any]) -> str:
    """What ``--close`` did."""
    if not done["changed"]:
        return f"{done['device']} has no open escalation"
    verb = "would be closed" if done["dry_run"] else "is closed"
    queue = "; its queue goes on" if done["resumes"] else ""
    return f"the escalation of {done['device']} (at {done['was']}) {verb}{queue}"
