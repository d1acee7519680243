"""A root with a device in trouble, and a lamp that writes down what people are told of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from k1ctl import config as configuration
from k1ctl import events, notify
from k1ctl.config import Config
from k1ctl.escalation import keeper, telling
from k1ctl.escalation.ladder import OFFLINE
from k1ctl.files import write_json
from k1ctl.queue import view
from k1ctl.workspace import Workspace

DEVICE = '[devices.k1]\nhost = "127.0.0.1"\n'


class Lamp(notify.Channel):
    """Writes down the keys of what it is told."""

    name = "lamp"

    def __init__(self, file: Path) -> None:
        self.file = file

    def send(self, notification: notify.Notification, timeout: float) -> str:
        with self.file.open("a") as f:
            f.write(notification.key + "\n")
        return "lit"


class Few:
    """Plugins with one channel."""

    def __init__(self, *channels: notify.Channel) -> None:
        self.channels = channels

    def each(self, hook: str, **_: Any) -> Iterator[tuple[str, Any]]:
        yield "desk", list(self.channels)


class Desk:
    """A root with a device; ``tell`` is done by the test, not by a process of its own."""

    def __init__(self, root: Path, more: str = '[notify]\ncommand = ["true"]\n') -> None:
        root.mkdir()
        (root / "ops" / "queue").mkdir(parents=True)
        (root / "ops" / "k1ctl.toml").write_text(DEVICE + more)
        self.workspace = Workspace(str(root), str(root), "oslo")
        self.config: Config = configuration.load(self.workspace)
        self.told = root / "told"
        self.plugins: Any = Few(Lamp(self.told))
        self.queue = str(root / "ops" / "queue")
        self.path = keeper.state_path(self.workspace, "k1")

    def see(self, what: str, **facts: Any) -> str:
        return keeper.observe(self.workspace, self.config, "k1", what, apart=False, **facts)

    def tell(self) -> list[Any]:
        return telling.tell(self.workspace, self.config, self.plugins, "k1")

    def away(self, seconds: float = 1e6) -> None:
        """It did not answer for so long, and a look was just now."""
        self.see(OFFLINE, message="no route")
        state = self.state
        if state["offline"]:
            state["offline"]["seconds"] = seconds
            write_json(self.path, state)

    @property
    def state(self) -> Any:
        return keeper.load(self.workspace, "k1")

    @property
    def paused(self) -> str | None:
        return view.paused(self.queue).get("device:k1")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in events.read(self.workspace.ops_path("events")) if e["event"] == name]

    def keys(self) -> list[str]:
        return self.told.read_text().split() if self.told.exists() else []
