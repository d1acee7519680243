"""Make a worktree as old as one that nobody has worked in for a while."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

from k1ctl.files import read_json, write_json
from k1ctl.units import rfc3339
from k1ctl.worktrees import own_git_dir

DAY = 86400.0


def age(tree: Path, seconds: float = 30 * DAY) -> float:
    """Set every time that tells of work in ``tree`` back by ``seconds``; returns the time that it then shows."""
    then = time.time() - seconds
    own = Path(own_git_dir(str(tree)))
    log = own / "logs" / "HEAD"
    if log.exists():
        log.write_bytes(re.sub(rb"> \d+ ", b"> %d " % then, log.read_bytes()))
    origin = own / "k1ctl.json"
    if origin.exists():
        write_json(str(origin), {**read_json(str(origin)), "at": rfc3339(then)})
    for top in (tree, own):
        if top == own:  # the index knows the files by their times, as it would after a month
            subprocess.run(["git", "update-index", "-q", "--refresh"], cwd=tree, capture_output=True)
        for base, folders, names in os.walk(top, topdown=False):
            for name in (*names, *folders, "."):
                os.utime(os.path.join(base, name), (then, then), follow_symlinks=False)
    return then
