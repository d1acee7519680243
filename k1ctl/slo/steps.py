"""What single failures ask for, long before a share of many is broken: the steps of the annex.

Builds are escalated after two failures in a row, uploads after one; an upload of more than two minutes is looked into.
An upload's failure climbs the device's own ladder as well (docs/escalation.md); here it is named with its runs.
"""

from __future__ import annotations

from k1ctl.units import format_duration, parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.slo.objectives import Rule
    from k1ctl.tally.fold import Tally
    from k1ctl.tally.kinds import Outcome

ESCALATE, INVESTIGATE = "escalate", "investigate"
_SHOWN = 5  # of a kind: the newest; runs of one step: the newest


class Step:
    """``what``: escalate (failures of a workspace in a row) or investigate (one that took long), since ``at`` (RFC
    3339); ``count`` of them; the ``runs`` that count, newest first; ``text``."""

    __slots__ = ("at", "count", "runs", "target", "text", "what", "workspace")

    def __init__(
        self, what: str, text: str, *, workspace: str, target: str, count: int, runs: list[str], at: str
    ) -> None:
        self.what, self.text, self.workspace, self.target = what, text, workspace, target
        self.count, self.runs, self.at = count, runs, at

    def document(self) -> dict[str, Any]:
        """The step in JSON's terms."""
        return {name: getattr(self, name) for name in self.__slots__}


def steps(rule: Rule, tally: Tally, window: float, now: float) -> list[Step]:
    """The steps that the newest ends (`Tally.last`) of the last ``window`` seconds ask for, newest first."""
    from k1ctl.tally.kinds import verdict

    since = now - window
    ours = [o for o in tally.last if o.kind == rule.kind and rule.of in ("", o.target) and parse_rfc3339(o.at) >= since]
    found = _in_a_row(rule, [o for o in ours if verdict(o.kind, o.result)]) if rule.escalate else []
    if rule.investigate:
        slow = [o for o in ours if o.seconds is not None and o.seconds > rule.investigate and o.result == "done"]
        found += [_slow(rule, o) for o in slow[:_SHOWN]]
    return found


def _in_a_row(rule: Rule, ends: list[Outcome]) -> list[Step]:
    """Failures of one target in one workspace that no success followed."""
    from k1ctl.tally.kinds import verdict

    rows: dict[tuple[str, str], list[Outcome]] = {}
    over = set()
    for end in ends:
        key = (end.workspace, end.target)
        if verdict(end.kind, end.result) > 0:
            over.add(key)
        elif key not in over:
            rows.setdefault(key, []).append(end)
    return [_failed(rule, row) for row in rows.values() if len(row) >= rule.escalate][:_SHOWN]


def _failed(rule: Rule, row: list[Outcome]) -> Step:
    last, count = row[0], len(row)
    many = f"{count} {rule.kind}s of {last.target or rule.kind} in a row" if count > 1 else f"the last {rule.kind}"
    more = f" of {last.target}" if count == 1 and last.target else ""
    text = f"{many}{more} failed in {last.workspace or 'no workspace'}: {last.code or last.result}"
    runs = [end.run for end in row if end.run][:_SHOWN]
    return Step(ESCALATE, text, workspace=last.workspace, target=last.target, count=count, runs=runs, at=last.at)


def _slow(rule: Rule, end: Outcome) -> Step:
    took, mark = format_duration(end.seconds or 0.0), format_duration(rule.investigate)
    waited = f", {format_duration(end.wait_seconds)} of it in line" if end.wait_seconds else ""
    text = f"an {rule.kind}" if rule.kind == "upload" else f"a {rule.kind}"
    text += f" of {end.target or rule.kind} in {end.workspace or 'no workspace'} took {took}{waited} (look into it"
    text += f" above {mark})"
    runs = [end.run] if end.run else []
    return Step(INVESTIGATE, text, workspace=end.workspace, target=end.target, count=1, runs=runs, at=end.at)
