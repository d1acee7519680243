"""The channels as rows, and what became of a try."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.notify import FAILED, INFO, Notification, channels, send

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

NOBODY = "nobody is notified: set [notify] command, apprise_file or apprise_env (docs/escalation.md)"


def rows(plugins: Plugins, workspace: Workspace, config: Config) -> list[dict[str, Any]]:
    """Each configured channel: {channel, plugin, about, ok, message}; broken plugins are rows without a channel."""
    found, broken = channels(plugins, workspace, config)
    told = [{"channel": "", "plugin": p, "about": "", "ok": False, "message": why} for p, why in broken]
    for plugin, channel in found:
        why = ""
        try:
            channel.check()
        except K1ctlError as exc:
            why = exc.message
        told.append({"channel": channel.name, "plugin": plugin, "about": channel.about, "ok": not why, "message": why})
    return told


def try_all(plugins: Plugins, workspace: Workspace, config: Config, *, dry_run: bool) -> list[dict[str, Any]]:
    """As `k1ctl.notify.send`, of a notification for trying. Raises ConfigError (no-channel)."""
    told = Notification(
        INFO,
        f"a try by k1ctl in {workspace.name}",
        "somebody called `k1ctl notify test`",
        key=f"test/{os.urandom(4).hex()}",
        workspace=workspace.name,
    )
    done = send(plugins, workspace, config, told, dry_run=dry_run)
    if not done:
        raise ConfigError("no channel is configured", hint=NOBODY, code="no-channel")
    return done


def failure(done: list[dict[str, Any]]) -> K1ctlError | None:
    """What to fail with when a channel failed."""
    failed = [row["channel"] or row["plugin"] for row in done if row["outcome"] == FAILED]
    if not failed:
        return None
    text = f"{len(failed)} of {len(done)} channels failed: {', '.join(failed)}"
    return K1ctlError(text, hint="k1ctl notify list says how they are configured", code="notify-failed")


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    name = row["channel"] or f"plugin {row['plugin']}"
    why = f": {row['message']}" if row["message"] else ""
    return f"{name}: {row['outcome'].replace('-', ' ')}{why}"
