"""Telling people: what is told, the channels that plugins add, and what became of it."""

from __future__ import annotations

import time

from k1ctl.cutoff import CutOff
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace

INFO, WARNING, CRITICAL = "info", "warning", "critical"
SENT, FAILED = "sent", "failed"
_SPARE = 2.0  # s beyond a channel's own limit until it is cut off
_AGAIN = 1.0  # s until it is again, should it have caught that


class Notification:
    """What people are told.

    ``level``: ``warning`` (a person is needed), ``critical`` (an incident), ``info`` (it is over; a test). ``subject``
    and ``text`` are for people; ``reason`` is the event's; ``device``, ``workspace`` and ``run`` may be "" (none).
    ``key``: the same one means the same notification, should it come twice. ``recovered``: what was told of is over.
    ``at`` is RFC 3339.
    """

    __slots__ = ("at", "device", "key", "level", "reason", "recovered", "run", "subject", "text", "workspace")

    def __init__(
        self,
        level: str,
        subject: str,
        reason: str,
        *,
        key: str,
        text: str = "",
        device: str = "",
        workspace: str = "",
        run: str = "",
        recovered: bool = False,
        at: str = "",
    ) -> None:
        from k1ctl.units import rfc3339

        self.level, self.subject, self.reason, self.key, self.text = level, subject, reason, key, text or reason
        self.device, self.workspace, self.run, self.recovered = device, workspace, run, recovered
        self.at = at or rfc3339()

    def document(self) -> dict[str, Any]:
        """All of it by name, as a command gets it."""
        return {name: getattr(self, name) for name in self.__slots__}


class Channel:
    """A way to people. Subclass it and return it from `k1ctl_notify`.

    It says on every line of it only what may be read by all: addresses hold secrets.
    """

    name = ""
    about = ""  # a few words, as in "a command of yours"

    def check(self) -> None:
        """Raise K1ctlError when it cannot work as it is configured."""

    def send(self, notification: Notification, timeout: float) -> str:
        """Send it within ``timeout`` seconds and return a few words on it. What is raised is told and logged."""
        raise NotImplementedError


def channels(
    plugins: Plugins, workspace: Workspace, config: Config
) -> tuple[list[tuple[str, Channel]], list[tuple[str, str]]]:
    """([(plugin, channel that is configured)], [(plugin, why it was left out)])."""
    found: list[tuple[str, Channel]] = []
    broken: list[tuple[str, str]] = []
    for plugin, offered in plugins.each("k1ctl_notify", workspace=workspace, config=config):
        if isinstance(offered, K1ctlError):
            broken.append((plugin, offered.message))
            continue
        for channel in offered:
            if isinstance(channel, Channel):
                found.append((plugin, channel))
            else:
                broken.append((plugin, "k1ctl_notify: not a list of Channel"))
    return found, broken


def possible(config: Config) -> bool:
    """Whether anybody might be notified: something is configured, or a plugin is there that is not k1ctl's own.

    Costs no import of a plugin; `channels` knows for certain.
    """
    import os

    from k1ctl.discovery import BUILT_IN, allowed, entry_points

    if any(config.get("notify", key) for key in ("command", "apprise_file", "apprise_env")):
        return True
    there = allowed(entry_points(), os.environ.get("K1CTL_PLUGINS", ""))
    return any(not module.startswith(BUILT_IN) for module in there.values())


def send(
    plugins: Plugins, workspace: Workspace, config: Config, notification: Notification, *, dry_run: bool = False
) -> list[dict[str, Any]]:
    """Send through every channel, each under its own limit, and write an event for each.

    Returns [{plugin, channel, outcome (sent, failed; with ``dry_run`` would-send), message, seconds}]; a channel that
    fails, hangs or is broken is one row and disturbs no other.
    """
    from k1ctl.events import emit

    limit = float(config.get("notify", "timeout"))
    found, broken = channels(plugins, workspace, config)
    rows = [_row(plugin, "", FAILED, why, 0.0) for plugin, why in broken]
    for plugin, channel in found:
        rows.append(_through(plugin, channel, notification, limit, dry_run))
    if not dry_run:
        about = {k: getattr(notification, k) for k in ("key", "level", "subject", "device", "run")}
        for row in rows:
            emit(workspace, f"notify.{row['outcome']}", **about, **{k: v for k, v in row.items() if k != "outcome"})
    return rows


def _row(plugin: str, channel: str, outcome: str, message: str, seconds: float) -> dict[str, Any]:
    return {
        "plugin": plugin,
        "channel": channel,
        "outcome": outcome,
        "message": message,
        "seconds": round(seconds, 3),
    }


def _through(plugin: str, channel: Channel, notification: Notification, limit: float, dry_run: bool) -> dict[str, Any]:
    from k1ctl.plugins import one_line

    begun, outcome = time.monotonic(), SENT
    try:
        channel.check()
        if dry_run:
            return _row(plugin, channel.name, "would-send", channel.about, 0.0)
        with CutOff(limit + _SPARE, _AGAIN):
            message = str(channel.send(notification, limit))[:300]
    except K1ctlError as exc:
        outcome, message = FAILED, exc.message
    except (Exception, SystemExit) as exc:  # a foreign channel may fail in any way
        outcome, message = FAILED, one_line(exc)
    return _row(plugin, channel.name, outcome, message, time.monotonic() - begun)
