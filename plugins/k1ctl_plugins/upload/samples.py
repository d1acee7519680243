"""Uploads for a monitoring stack: how they ended, and how long they took from asking to the device's OK."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.metrics import outcomes

if TYPE_CHECKING:
    from k1ctl.samples import Family
    from k1ctl.workspace import Workspace


def samples(workspace: Workspace) -> list[Family]:
    """Outcomes and durations since the first event."""
    return outcomes.families(workspace, "upload", "uploads")
