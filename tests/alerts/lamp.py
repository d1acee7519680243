"""A root with alerts that a test orders about, and a lamp that people look at: what was told stands in a file."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k1ctl import alerts, config, events, notify
from k1ctl.alerts import checking
from k1ctl.workspace import Workspace

# two alerts that a test can order about: a stale exporter, and tokens that are nearly spent
SETTINGS = """
[alerts]
resolve = 0
throttle = 0
[budget]
day = 1000
[notify]
command = ["true"]
""" + "".join(f"[alerts.{rule}]\non = false\n" for rule in ("disk", "host", "device", "escalation", "burn", "success"))


class Lamp(notify.Channel):
    """Writes down what it is told; fails while ``broken`` is there."""

    name = "lamp"

    def __init__(self, folder: Path) -> None:
        self.file, self.broken = folder / "told", folder / "broken"

    def send(self, notification: notify.Notification, timeout: float) -> str:
        if self.broken.exists():
            raise OSError("no bulb")
        with self.file.open("a") as f:
            f.write(f"{notification.key} {notification.level} {int(notification.recovered)}\n")
        return "lit"


class Few:
    """Plugins with one channel."""

    def __init__(self, channel: notify.Channel) -> None:
        self.channel = channel

    def each(self, hook: str, **_: Any) -> Iterator[tuple[str, Any]]:
        yield "desk", [self.channel]


class Desk:
    """A root; its exporter is stale, or its day's tokens are spent, as the test says."""

    def __init__(self, root: Path, toml: str = "") -> None:
        (root / "ops" / "metrics").mkdir(parents=True)
        (root / "ops" / "k1ctl.toml").write_text(toml + SETTINGS)
        self.workspace = Workspace(str(root), str(root), "oslo")
        self.config = config.load(self.workspace)
        self.lamp = Lamp(root)
        self.plugins: Any = Few(self.lamp)
        self.file = root / "ops" / "metrics" / "k1ctl.prom"
        self.file.write_text("")

    def stale(self, wrong: bool = True) -> Desk:
        os.utime(self.file, (time.time() - 7200 * wrong,) * 2)
        return self

    def spend(self) -> None:
        from k1ctl.budget.ledger import Ledger

        Ledger(self.workspace, self.config).reserve(950, agent="A")

    def check(self, notified: bool = True, **options: Any) -> checking.Checked:
        return alerts.check(self.workspace, self.config, self.plugins if notified else None, **options)

    @property
    def states(self) -> dict[str, str]:
        return {alert.key: alert.state for alert in alerts.state(self.workspace)}

    def told(self) -> list[str]:
        """What people heard, without the numbers of episodes."""
        lines = self.lamp.file.read_text().splitlines() if self.lamp.file.exists() else []
        return ["/".join(w for w in line.split()[0].split("/") if not w.isdigit()) for line in lines]

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in events.read(self.workspace.ops_path("events")) if e["event"] == name]
