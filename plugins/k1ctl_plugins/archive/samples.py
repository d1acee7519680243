"""Archives for a monitoring stack."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.workspace import Workspace


def samples(workspace: Workspace) -> list[Family]:
    """How many archives there are and what their files take; what lies in the trash beside them is not walked."""
    from k1ctl.archive.folder import archives_folder

    count = size = 0
    base = archives_folder(workspace) if workspace.git_dir else ""
    for name in os.listdir(base) if os.path.isdir(base) else ():
        try:
            files = {entry.name: entry for entry in os.scandir(os.path.join(base, name))}
            if "manifest.json" in files:  # without it, a leftover
                count += 1
                size += sum(f.stat(follow_symlinks=False).st_size for f in files.values() if f.is_file())
        except OSError:
            continue
    return [
        Family("k1_archives", GAUGE, "Archived workspaces that can be brought back.").add(count),
        Family("k1_archives_bytes", GAUGE, "What the files of archives take, trash left out.").add(size),
    ]
