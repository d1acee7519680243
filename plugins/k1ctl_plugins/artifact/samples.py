"""Artifacts for a monitoring stack."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.samples import GAUGE, Family

if TYPE_CHECKING:
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def samples(workspace: Workspace, config: Config) -> list[Family]:
    """How many artifacts of each target there are, what they take as far as it was counted, and the limit."""
    from k1ctl import artifacts
    from k1ctl.files import read_json

    count = Family("k1_artifacts", GAUGE, "Artifacts by target.")
    size = Family("k1_artifacts_bytes", GAUGE, "What the artifacts of a target take, as counted when one was kept.")
    base = workspace.ops_path("artifacts")
    for shelf in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        ids = artifacts.ids_in(os.path.join(base, shelf))
        if not ids:
            continue
        target = artifacts.target_of(shelf)
        count.add(len(ids), target=target)
        known = read_json(os.path.join(base, shelf, artifacts.SIZES))
        if isinstance(known, dict) and isinstance(known.get("bytes"), int):
            size.add(known["bytes"], target=target)
    limit = Family("k1_artifacts_limit_bytes", GAUGE, "What artifacts may take in all ([artifact] limit).")
    most = int(config.get("artifact", "limit"))
    return [count, size, *([limit.add(most)] if most else [])]
