"""Where the queue is."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def queue_folder(workspace: Workspace, config: Config) -> str:
    """The folder of the queue: ``[queue] dir``, else ``ops/queue``."""
    given = config.get("queue", "dir")
    if not given:
        return workspace.ops_path("queue")
    return os.path.realpath(os.path.join(workspace.root, os.path.expanduser(given)))  # one folder, one name
