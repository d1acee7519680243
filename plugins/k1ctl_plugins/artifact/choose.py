"""Which artifact a call means: its id says that for all targets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl import artifacts
from k1ctl.errors import UsageError, WrongDataError

if TYPE_CHECKING:
    from k1ctl.artifacts import Artifact
    from k1ctl.cli import Context

LATEST = "latest"


def choose(context: Context, reference: str, target: str = "") -> Artifact:
    """The artifact whose id begins with ``reference`` (4 digits or more), of any target unless one is named; for
    ``latest`` what this worktree built last of ``target`` (default: ``defaults.target``).

    Raises WrongDataError when there is none, UsageError when it fits several.
    """
    workspace = context.workspace
    if reference == LATEST:
        workspace.check_inside()
        return artifacts.find(workspace, target or str(context.config.get("defaults", "target")))
    base = workspace.ops_path("artifacts")
    shelves = os.listdir(base) if os.path.isdir(base) else []
    found = []
    for name in [target] if target else [artifacts.target_of(shelf) for shelf in sorted(shelves)]:
        try:
            found.append(artifacts.find(workspace, name, reference))
        except WrongDataError:
            continue
    if not found:
        of = f" of {target}" if target else ""
        raise WrongDataError(
            f"there is no artifact {reference}{of}", hint="k1ctl artifact list shows them", code="no-artifact"
        )
    if len(found) > 1:
        named = " or ".join(f"{each.target} {each.id}" for each in found)
        raise UsageError(f"artifact {reference} may be {named}", hint="give more digits, or --target")
    return found[0]
