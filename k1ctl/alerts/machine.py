"""From one look to the next: pending, firing, over.

Pure: what was kept, what was found, the pace and a moment give what is, and what changed. Nothing here reads a clock or
a file. What lies between two looks that both found something wrong counts as wrong, as long as they are no further
apart than ``gap``; who did not look does not know, and begins anew. Both clocks of the host have to agree on it
(`k1ctl.escalation.ladder.Moment`): a clock that was set, a host that slept or started anew only make it less.
"""

from __future__ import annotations

from k1ctl.alerts.kept import CRITICAL, ENTRY, FIRING, INACTIVE, PENDING, WARNING

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from k1ctl.alerts.kept import Entry
    from k1ctl.escalation.ladder import Moment

    Entries = dict[str, Entry]

FIRED, OVER = "firing", "over"  # what changes
FORGET = 86400.0  # s that an alert which is over is kept for people to see
MOST = 500  # alerts that are kept


class Finding:
    """What one look found of one subject of a rule. ``bad``: whether it is wrong, None where that cannot be known."""

    __slots__ = ("bad", "hint", "level", "limit", "name", "subject", "text", "told_by", "unit", "value")

    def __init__(
        self,
        name: str,
        bad: bool | None,
        text: str = "",
        *,
        subject: str = "",
        value: float | None = None,
        limit: float | None = None,
        unit: str = "",
        hint: str = "",
        level: str = WARNING,
        told_by: str = "",
    ) -> None:
        self.name, self.bad, self.text, self.subject, self.hint = name, bad, text, subject, hint
        self.value, self.limit, self.unit, self.level, self.told_by = value, limit, unit, level, told_by

    @property
    def key(self) -> str:
        """The name of its alert, as in ``device/k1``, by which people silence it."""
        return f"{self.name}/{self.subject}" if self.subject else self.name

    def facts(self) -> dict[str, Any]:
        """What an alert takes over from it."""
        names = ("name", "subject", "level", "value", "limit", "unit", "text", "hint", "told_by")
        return {name: getattr(self, name) for name in names}


class Pace:
    """Seconds: ``waits`` {rule: how long it has to be wrong}; ``gap``, the longest time between two looks that is taken
    for wrong; ``resolve``, how long it has to be well to be over."""

    __slots__ = ("gap", "resolve", "waits")

    def __init__(self, waits: Mapping[str, float], *, gap: float, resolve: float) -> None:
        self.waits, self.gap, self.resolve = waits, gap, resolve


def advance(
    entries: Mapping[str, Entry], findings: Iterable[Finding], looked: Iterable[str], pace: Pace, now: Moment
) -> tuple[Entries, list[tuple[str, str]]]:
    """(the alerts after this look, [(`FIRED` or `OVER`, key)]).

    ``looked``: the rules that could be looked at; what they do not speak of any more is well. An alert of a rule that
    could not is left as it is; one of a rule that is switched off, or is none any more, is over at once. ``entries``
    stays as it is.
    """
    after = {key: {**entry} for key, entry in entries.items()}
    seen, changes = set(), []
    rules = set(looked)
    for finding in findings:
        seen.add(finding.key)
        if finding.bad is None:
            continue
        entry = after.get(finding.key)
        if entry is None and not finding.bad:
            continue
        entry = after.setdefault(finding.key, {**ENTRY})
        was = entry["level"]
        if finding.bad or entry["state"] != FIRING:
            entry.update(finding.facts())
        moved = _moved(finding.key, entry, finding.bad, pace, now)
        if finding.bad and not moved and entry["state"] == FIRING and (was, entry["level"]) == (WARNING, CRITICAL):
            moved = [_fire(finding.key, entry, now)]  # people heard of a warning
        changes += moved
    for key, entry in after.items():
        if key in seen:
            continue
        if entry["name"] in rules:
            changes += _moved(key, entry, False, pace, now)
        elif entry["name"] not in pace.waits and entry["state"] != INACTIVE:
            changes += [(OVER, key)] if entry["state"] == FIRING else []
            _rest(entry, now)
    return _kept(after, now), changes


def _moved(key: str, entry: Entry, bad: bool, pace: Pace, now: Moment) -> list[tuple[str, str]]:
    """Move one alert on; what changed."""
    passed = now.since(entry["seen"]) if entry["seen"] else 0.0
    state = entry["state"]
    entry["seen"] = now.document()
    if state == FIRING:
        return _ends(key, entry, bad, passed, pace, now)
    if not bad:
        if state == PENDING:
            _rest(entry, now)
        return []
    if state == INACTIVE or passed > pace.gap:
        entry.update(state=PENDING, since=now.wall, held=0.0)
    else:
        entry["held"] += passed
    if entry["held"] < pace.waits[entry["name"]]:
        return []
    fired = _fire(key, entry, now)
    entry.update(state=FIRING, since=now.wall, began=entry["episode"], calm=0, well=0.0, over=0)
    return [fired]


def _fire(key: str, entry: Entry, now: Moment) -> tuple[str, str]:
    """Begin an episode that people have to hear of."""
    entry["episode"] = max(int(now.wall * 1000), entry["episode"] + 1)
    return FIRED, key


def _ends(key: str, entry: Entry, bad: bool, passed: float, pace: Pace, now: Moment) -> list[tuple[str, str]]:
    """A firing alert is over when it was well for ``resolve``: one that comes and goes goes on."""
    if bad:
        entry.update(calm=0, well=0.0)
        return []
    entry["well"] += passed if entry["calm"] else 0.0
    entry["calm"] = 1
    if entry["well"] < pace.resolve:
        return []
    _rest(entry, now)
    return [(OVER, key)]


def _rest(entry: Entry, now: Moment) -> None:
    """It is inactive; people who were told of it are owed that."""
    if entry["state"] == FIRING and entry["told"] >= entry["began"]:
        entry["over"] = entry["episode"]
    entry.update(state=INACTIVE, since=now.wall, held=0.0, calm=0, well=0.0)


def _kept(entries: Entries, now: Moment) -> Entries:
    """Without what is over for so long that nobody looks at it, and never more than `MOST`."""
    kept = {}
    for key, entry in entries.items():
        rests = entry["state"] == INACTIVE and not entry["over"]
        if not rests or abs(now.wall - entry["since"]) <= FORGET:
            kept[key] = entry
    if len(kept) > MOST:
        worst = sorted(kept, key=lambda k: ((FIRING, PENDING, INACTIVE).index(kept[k]["state"]), -kept[k]["since"]))
        kept = {key: kept[key] for key in worst[:MOST]}
    return kept
