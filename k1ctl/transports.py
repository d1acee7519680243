"""Transports: what a plugin gives ``k1ctl upload`` so that an image reaches a device in some other way."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.artifacts import Artifact
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


class Delivery:
    """One upload that was asked for.

    ``target`` is the name in ``[targets.NAME]`` and ``settings`` its section; ``device`` the section of the device with
    its ``name``; ``kind`` of image ``app`` or ``filesystem``; ``full``: the whole set, with bootloader and partition
    table; ``artifact`` None until it is chosen.
    """

    __slots__ = ("artifact", "config", "device", "full", "kind", "settings", "target", "workspace")

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        target: str,
        settings: dict[str, Any],
        device: dict[str, Any],
        *,
        kind: str = "app",
        full: bool = False,
    ) -> None:
        self.workspace, self.config, self.target, self.settings = workspace, config, target, settings
        self.device, self.kind, self.full = device, kind, full
        self.artifact: Artifact | None = None


class Transport:
    """A way to a device, chosen by ``upload --via NAME``. Subclass it and return it from `k1ctl_transports`.

    The upload's supervisor stands in line, holds the lease and the host's guard of the device, and runs `worker`. A
    worker reads ``flash.json`` in the run's folder: {run, workspace, device (with ``name``), image (a path),
    image_kind, sha256, host_dir, ota, and what `job` adds}. It prints ``stage NAME`` and ``taken BYTES TOTAL`` lines
    (what the device has). It leaves ``flash-outcome.json`` there, replaced as a whole: {outcome, code, message,
    exit_code, hint, pid (its own), transport}, with the outcome ``sending`` before anything on the device may change,
    and at the end ``installed``, ``refused``, ``unknown`` or ``failed``; and it ends with that exit code: 0, 1 refused,
    69 not reached and nothing changed, 76 unknown. An upload is tried again on 69, 76 and a killed worker.

    What the device does with an image that was installed (is it back, the same one, does it pass its soak) is verified
    behind the worker, whatever the transport. Where the outcome also has ``uptime_before_ms`` and ``probed_monotonic``
    (the host's monotonic clock when that was told), a device that did not restart is told from one that did;
    ``device_mac`` and ``device_identity`` are compared with what answers then.
    """

    name = ""
    about = ""  # a few words, as in "over a USB cable"
    kinds: tuple[str, ...] = ("app",)  # the kinds of image it takes
    full = False  # whether it can write the whole set

    def check(self, delivery: Delivery) -> None:
        """Refuse, before the call stands in line, what cannot work from here. Raises K1ctlError."""

    def job(self, delivery: Delivery) -> dict[str, Any]:
        """What the worker's ``flash.json`` has beside the fields of every job; no secrets."""
        return {}

    def worker(self) -> list[str]:
        """Program and words that do it; the run's folder is added."""
        raise NotImplementedError

    def limit(self, delivery: Delivery) -> float | None:
        """Seconds after which a worker that keeps none of its own limits is stopped from outside; None: never."""
        return None
