"""One check: look, move the alerts on, keep them, tell people.

The events of what changed are written before the state is: who is killed between the two tells them twice. People are
told from what was kept (`telling`), never from what was only seen.
"""

from __future__ import annotations

import os
import time

from k1ctl.alerts import kept, machine
from k1ctl.alerts.kept import FIRING, Alert
from k1ctl.alerts.machine import Pace
from k1ctl.alerts.silences import pruned
from k1ctl.files import open_locked, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.alerts.kept import State
    from k1ctl.alerts.looks import Looked
    from k1ctl.config import Config
    from k1ctl.escalation.ladder import Moment
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

PATIENCE = 10.0  # s that another process may hold the state: each does for some writes only
RARE = 3  # checks in a row that were too far apart, after which it is said
_OVERTAKEN = 60.0  # s that another check may be ahead; more of it on both clocks is a host that started anew
_EVENTS = {machine.FIRED: "alert.firing", machine.OVER: "alert.resolved"}


class Checked:
    """What a check found: all ``alerts`` (`k1ctl.alerts.state`), what ``changed`` [(firing or over, alert)], the rules
    that ``failed`` {rule: why}, what people were ``told`` [{key, subject, channels}], ``skipped``: another check looked
    later than this one, ``rare``: the last checks were so far apart that nothing can be wrong for long, ``stuck``: why
    people do not hear of it, "" for no such reason."""

    __slots__ = ("alerts", "changed", "failed", "rare", "skipped", "stuck", "told")

    def __init__(self, alerts: list[Alert], changed: list[tuple[str, Alert]], failed: dict[str, str]) -> None:
        self.alerts, self.changed, self.failed = alerts, changed, failed
        self.told: list[dict[str, Any]] = []
        self.skipped = self.rare = False
        self.stuck = ""

    @property
    def firing(self) -> list[Alert]:
        """Those that fire and are not silenced."""
        return [alert for alert in self.alerts if alert.state == FIRING and not alert.silenced]


def pace(config: Config) -> Pace:
    """The pace of ``[alerts]``, of the rules that are on."""
    from k1ctl.alerts.looks import UNSEEN, UNSEEN_FOR, switched_on

    waits = {name: float(section["for"]) for name, section in switched_on(config).items()}
    waits[UNSEEN] = UNSEEN_FOR
    return Pace(waits, gap=float(config.get("alerts", "gap")), resolve=float(config.get("alerts", "resolve")))


def check(workspace: Workspace, config: Config, plugins: Plugins | None, *, dry_run: bool = False) -> Checked:
    """See `k1ctl.alerts.check`."""
    from k1ctl.alerts import telling
    from k1ctl.alerts.looks import look
    from k1ctl.errors import K1ctlError
    from k1ctl.escalation.ladder import Moment
    from k1ctl.failure import words
    from k1ctl.overview.parts import Sources

    now = Moment(time.time(), time.monotonic())
    looked, by = look(Sources(workspace, config)), pace(config)
    if dry_run:
        found, state = _found(kept.usable(workspace), looked, by, now)
        if plugins is not None:
            found.told = telling.outlook(workspace, config, state, now.wall)
        return found
    try:
        with Held(workspace) as held:
            found, state = _found(held.state, looked, by, now)
            if not found.skipped:
                _tell_of(workspace, state, found.changed)
                held.write(state)
        if plugins is not None:
            found.told = telling.tell(workspace, config, plugins)
            found.stuck = telling.stuck(workspace)
    except (K1ctlError, OSError) as exc:
        if plugins is not None:
            _, state = _found(kept.load(workspace), looked, by, now)
            telling.tell_unkept(workspace, config, plugins, state, words(exc))
        raise
    return found


def _found(before: State, looked: Looked, by: Pace, now: Moment) -> tuple[Checked, State]:
    """(What a check says after this look, the state to keep)."""
    state, changes, skipped = _advanced(before, looked, by, now)
    found = _checked(state, changes, looked, now)
    found.skipped = skipped
    return found, state


def _advanced(before: State, looked: Looked, by: Pace, now: Moment) -> tuple[State, list[tuple[str, str]], bool]:
    """(the state after this look, what changed, whether another check has looked since)."""
    last = before["checked"]
    if last and all(0 < last[clock] - getattr(now, clock) < _OVERTAKEN for clock in ("wall", "monotonic")):
        return before, [], True
    entries, changes = machine.advance(before["alerts"], looked.findings, looked.rules, by, now)
    rare = before["rare"] + 1 if last and now.since(last) > by.gap else 0
    silences = pruned(before["silences"], now.wall)
    return {**before, "alerts": entries, "checked": now.document(), "rare": rare, "silences": silences}, changes, False


def _tell_of(workspace: Workspace, state: State, changes: list[tuple[str, Alert]]) -> None:
    from k1ctl.events import emit

    for what, key in [(what, alert.key) for what, alert in changes]:
        entry = state["alerts"][key]
        about = {name: entry[name] for name in ("name", "subject", "level", "value", "limit", "unit")}
        emit(workspace, _EVENTS[what], key=key, episode=entry["episode"], **about, message=entry["text"])


def _checked(state: State, changes: list[tuple[str, str]], looked: Looked, now: Moment) -> Checked:
    alerts = kept.alerts_of(state, now.wall)
    by_key = {alert.key: alert for alert in alerts}
    found = Checked(alerts, [(what, by_key[key]) for what, key in changes if key in by_key], looked.failed)
    found.rare = state["rare"] >= RARE
    return found


class Held:
    """``with Held(workspace) as held:`` has the state to itself: ``state``, and `write`. Raises BusyError (alerts-busy)
    when another process holds it for `PATIENCE` seconds, OSError."""

    def __init__(self, workspace: Workspace, patience: float = PATIENCE) -> None:
        self.path, self.patience, self.fd = kept.path_of(workspace), patience, -1
        self.state: State = kept.fresh()
        self.workspace = workspace

    def __enter__(self) -> Held:
        self.fd = _locked(self.path.removesuffix(".json") + ".lock", self.patience)
        try:
            self.state = kept.usable(self.workspace)
        except BaseException:
            os.close(self.fd)
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)

    def write(self, state: State) -> None:
        """Keep ``state``."""
        write_json(self.path, state)
        self.state = state


def _locked(path: str, patience: float) -> int:
    from k1ctl.errors import BusyError

    deadline = time.monotonic() + patience
    while True:
        fd = open_locked(path, blocking=False)
        if fd is not None:
            return fd
        if time.monotonic() >= deadline:
            raise BusyError(
                f"{path} is held by another process for {patience:g} s",
                hint="a check of alerts that was stopped; fuser or lsof names it",
                code="alerts-busy",
            )
        time.sleep(0.01)
