"""Several devices asked at once, so that one which does not answer keeps nobody waiting but itself."""

from __future__ import annotations

from k1ctl.device import health
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from k1ctl.config import Config
    from k1ctl.device.health import Record
    from k1ctl.workspace import Workspace

Devices = dict[str, "dict[str, Any]"]


def configured(config: Config, names: Sequence[str] = ()) -> Devices:
    """The sections, each with its ``name``, of these devices (default: of all). Raises ConfigError (unknown-device)."""
    chosen = dict.fromkeys(names) or config.names("devices")
    return {name: {**config.named("devices", name), "name": name} for name in chosen}


def ask_each(
    workspace: Workspace, devices: Mapping[str, Mapping[str, Any]], *, window: float, max_age: float = 0.0
) -> dict[str, Record | str]:
    """The shared record of each device (as `k1ctl.device.health.ask`), or why there is none."""
    found: dict[str, Record | str] = {}

    def ask(name: str) -> None:
        try:
            found[name] = health.ask(workspace, devices[name], window=window, max_age=max_age)
        except K1ctlError as exc:
            found[name] = exc.message
        except OSError as exc:
            found[name] = exc.strerror or str(exc)

    if len(devices) < 2:
        for name in devices:
            ask(name)
        return found
    from threading import Thread

    threads = [Thread(target=ask, args=(name,), daemon=True) for name in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
