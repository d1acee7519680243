"""What an upload writes into the ledger of its device's images, under the device's lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.device import images

if TYPE_CHECKING:
    from k1ctl.process.record import Run
    from k1ctl.workspace import Workspace


def begin(workspace: Workspace, run: Run) -> None:
    """The flash of this run is about to begin."""
    entry = _entry(run)
    if entry is not None:
        images.begin(workspace, run.record["details"]["device"]["name"], entry)


def settle(workspace: Workspace, run: Run, done: dict[str, Any]) -> None:
    """The flash of this run ended with this outcome document."""
    entry = _entry(run)
    if entry is not None:
        images.settle(workspace, run.record["details"]["device"]["name"], entry, done)


def _entry(run: Run) -> dict[str, Any] | None:
    """The run's image, when it is an app: a filesystem is nothing that a device goes back to."""
    sent = run.record["details"]
    if sent["image_kind"] != "app":
        return None
    about = {"run": run.id, "workspace": run.record.get("workspace", "")}
    return {**{key: sent[key] for key in ("artifact", "target", "sha256")}, **about}
