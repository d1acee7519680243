"""What `k1ctl doctor` is told of the channels over which people hear of trouble."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, Check

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing is sent, and nothing raised."""
    from k1ctl.errors import K1ctlError
    from k1ctl_plugins.notify.channels import configured

    channels = configured(workspace, config)
    if not channels:
        fix = "set [notify] command, apprise_file or apprise_env (docs/escalation.md)"
        why = "trouble that reaches a person, and alerts that fire, are seen by who looks"
        return [Check("nobody", NOTE, "nobody is notified", why=why, fix=fix)]
    found = []
    for channel in channels:
        try:
            channel.check()
            found.append(Check("channel", OK, f"{channel.name}: {channel.about}"))
        except K1ctlError as exc:
            why, fix = "people are not told over it", exc.hint or "k1ctl notify list"
            found.append(Check("channel-broken", ERROR, f"{channel.name}: {exc.message}", why=why, fix=fix))
    return found
