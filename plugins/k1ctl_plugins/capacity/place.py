"""Where a command that only looks was called: in a repository, or for the host alone."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.errors import ConfigError
from k1ctl.output import say

if TYPE_CHECKING:
    from k1ctl.cli import Context
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def settings(context: Context) -> tuple[Workspace | None, Config]:
    """The workspace and its configuration; outside a repository, where no root was given, None and the defaults, which
    is said on stderr. Raises ConfigError."""
    from k1ctl.config import outside

    try:
        workspace = context.workspace
    except ConfigError as exc:
        if context.root or os.environ.get("K1CTL_ROOT") or os.environ.get("CONDUCTOR_ROOT_PATH"):
            raise
        say(f"k1ctl: {exc}; shown with the defaults")
        return None, outside()
    return workspace, context.config
