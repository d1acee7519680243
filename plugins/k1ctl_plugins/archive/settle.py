"""What a killed removal or restore left is finished before archives are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.archive.folder import list_archives, restoring

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def settle(workspace: Workspace, config: Config, *, restores: bool = True) -> None:
    """Finish or take back the removals and, with ``restores``, the restores that were interrupted; costs a look at each
    state where there is none."""
    states = (archive.state for archive in list_archives(workspace))
    removing = any(state["state"] == "removing" or state.get("untidy") for state in states)
    if removing or (restores and restoring(workspace)):
        from k1ctl.archive.remove import recover
        from k1ctl.output import say

        for told in recover(workspace, config, restores=restores):
            say(told)
