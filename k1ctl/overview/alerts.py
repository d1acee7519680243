"""What the last `k1ctl alert check` found: alerts that fire, and that are about to."""

from __future__ import annotations

from k1ctl.overview.parts import Part

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.overview.parts import Sources

_KEYS = ("name", "key", "state", "level", "since", "value", "unit", "limit", "text", "silenced")


def look(sources: Sources) -> Part:
    """Rows: ``name``, ``key``, ``state`` (firing, pending), ``level`` (critical, warning), ``since``, ``value`` in
    ``unit``, ``limit``, ``text``, ``silenced`` until when ("" for not); firing ones first, of these the critical ones.
    Facts: ``age_seconds`` of the check (None: never), and whether it is ``stale``, older than alerts.gap."""
    from k1ctl.alerts import checked_at, state

    found = [alert for alert in state(sources.workspace) if alert.state in ("firing", "pending")]
    found.sort(key=lambda alert: (alert.state != "firing", alert.level != "critical", bool(alert.silenced)))
    age = sources.ago(checked_at(sources.workspace))
    stale = age is not None and age > float(sources.config.get("alerts", "gap"))
    return Part([{key: getattr(alert, key) for key in _KEYS} for alert in found], {"age_seconds": age, "stale": stale})
