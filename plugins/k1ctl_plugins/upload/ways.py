"""The ways an upload may go: to the device that was named, or to each device of a group, of which it takes one."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError
from k1ctl.queue import choice, names
from k1ctl.transports import Delivery
from k1ctl_plugins.upload import transports, verification

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.plugins import Plugins
    from k1ctl.workspace import Workspace


class Way:
    """How the image gets to one device: the ``delivery``, its ``transport``, and once there is an artifact the ``job``
    of the worker with the ``checks`` that follow."""

    def __init__(self, delivery: Delivery, plugins: Plugins, via: str) -> None:
        self.delivery, self.device = delivery, delivery.device
        self.transport = transports.find(via, delivery, plugins)
        self.transport.check(delivery)
        self.job: dict[str, Any] = {}
        self.checks: dict[str, Any] = {}

    def carry(self, artifact: Artifact, soak: float | None) -> Way:
        """Take the artifact. Raises K1ctlError where the device cannot have it so."""
        self.delivery.artifact = artifact
        self.checks = verification.job(self.delivery, soak)
        self.job = {**self.transport.job(self.delivery), **self.checks}
        return self

    @property
    def limit(self) -> float | None:
        """Seconds after which an attempt is stopped from outside."""
        return verification.limit(self.transport.limit(self.delivery), self.delivery, self.checks["soak"])


class Ways:
    """The ways that are open, in the order in which a free device is taken; ``warnings`` tell which are not, and why.

    ``asked`` is the device or the group that was asked for.
    """

    def __init__(self, asked: str, open_ones: list[Way], warnings: list[str]) -> None:
        self.asked, self.open, self.warnings = asked, open_ones, warnings

    @classmethod
    def find(
        cls, workspace: Workspace, config: Config, asked: str, interface: str, deliver: Callable[[dict[str, Any]], Way]
    ) -> Ways:
        """Those to the devices that ``asked`` may stand for. Raises ConfigError; K1ctlError where none is open."""
        ways = cls(asked, [], [])
        where = [_device(workspace, config, name, interface) for name in choice.members(config, asked) or [asked]]
        ways._keep({device["name"]: partial(deliver, device) for device in where})
        return ways

    def carry(self, artifact: Artifact, soak: float | None) -> None:
        """Let each take the artifact. Raises K1ctlError where none can."""
        self._keep({way.device["name"]: partial(way.carry, artifact, soak) for way in self.open})

    def _keep(self, steps: dict[str, Callable[[], Way]]) -> None:
        """What the steps of the devices make is open, without those that fail."""
        made: list[Way] = []
        failed: list[K1ctlError] = []
        for device, step in steps.items():
            try:
                made.append(step())
            except K1ctlError as exc:
                failed.append(exc)
                self.warnings.append(f"{device} is left out: {exc.message}")
        if not made:
            raise failed[0]
        self.open = made

    @property
    def resource(self) -> str:
        """What the queue is asked for."""
        for way in self.open:
            names.check_resource(f"device:{way.device['name']}")
        return choice.one_of([way.device["name"] for way in self.open])

    @property
    def limit(self) -> float | None:
        """Seconds for an attempt, whichever it will be."""
        limits = [way.limit for way in self.open]
        known = [limit for limit in limits if limit is not None]
        return max(known) if len(known) == len(limits) else None

    def to(self, device: str) -> Way:
        """The way to the device that the queue gave, "" where there was no choice."""
        (way,) = [way for way in self.open if way.device["name"] == device] if device else self.open
        return way


def _device(workspace: Workspace, config: Config, name: str, interface: str) -> dict[str, Any]:
    """The settings of a device, with this call's ``interface``. Raises ConfigError."""
    where = {"name": name, **config.named("devices", name)}
    where["interface"] = interface or where["interface"]
    if where["password_file"]:
        where["password_file"] = os.path.join(workspace.root, os.path.expanduser(where["password_file"]))
    return where
