"""What is wrong for longer than it may be: rules, the states of their alerts, and telling people.

There is no daemon. Whoever calls `check`, cron mostly, looks at the files of ``ops/`` and at the host, moves each alert
on (`machine`) and keeps it in ``ops/alerts/state.json`` (`kept`), which anybody reads with `state`.
"""

from __future__ import annotations

from k1ctl.alerts.kept import FIRING, INACTIVE, PENDING, Alert, checked_at, state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.alerts.checking import Checked
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

__all__ = ["FIRING", "INACTIVE", "PENDING", "Alert", "check", "checked_at", "state"]


def check(workspace: Workspace, config: Config, plugins: Plugins | None = None, *, dry_run: bool = False) -> Checked:
    """Look at everything that has a rule, keep what is so, and with ``plugins`` tell people through their channels.

    ``dry_run``: only say what would come of it. Raises BusyError where another check holds the state for too long,
    ConfigError, OSError.
    """
    from k1ctl.alerts.checking import check as check_

    return check_(workspace, config, plugins, dry_run=dry_run)
