"""What alerts tell a monitoring stack."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def families(workspace: Workspace, config: Config) -> list[Family]:
    """The alerts as the last check left them, by rule; nothing where nobody ever checked."""
    from k1ctl.alerts import FIRING, PENDING, checked_at, state
    from k1ctl.alerts.looks import UNSEEN, switched_on

    checked = checked_at(workspace)
    if checked is None:
        return []
    firing = Family("k1_alert_firing", GAUGE, "Alerts of a rule that fire.")
    pending = Family("k1_alert_pending", GAUGE, "Alerts of a rule that are wrong, but not for long enough yet.")
    found = state(workspace)
    for name in (*switched_on(config), UNSEEN):
        ours = [alert.state for alert in found if alert.name == name]
        firing.add(ours.count(FIRING), alert=name)
        pending.add(ours.count(PENDING), alert=name)
    at = Family("k1_alert_checked_at_seconds", GAUGE, "When alerts were checked last, in seconds since 1970.")
    return [firing, pending, at.add(checked)]
