"""Which artifact a call means: its id says that for all targets."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl import artifacts
from k1ctl.errors import UsageError, WrongDataError
from k1ctl.output import clean

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
    wanted = reference.lower()[: artifacts.ID_LENGTH]
    if len(wanted) < 4 or not all(c in "0123456789abcdef" for c in wanted):
        raise UsageError(f"{reference!r} is no artifact's id", hint="4 hex digits of it, or more; or latest")
    base = workspace.ops_path("artifacts")
    if target:
        shelves = [artifacts.target_folder(workspace, target)]
    else:
        shelves = [os.path.join(base, name) for name in sorted(os.listdir(base))] if os.path.isdir(base) else []
    folders = (os.path.join(shelf, name) for shelf in shelves for name in artifacts.ids_in(shelf))
    fitting = [folder for folder in folders if os.path.basename(folder).startswith(wanted)]
    found = [artifact for artifact in map(artifacts.load_any, fitting) if artifact is not None]
    if len(found) > 1:
        named = " or ".join(f"{clean(each.target)} {each.id}" for each in found)
        raise UsageError(f"artifact {reference} may be {named}", hint="give more digits, or --target")
    if found:
        return found[0]
    if fitting:
        text = f"artifact {reference} is damaged: its {artifacts.MANIFEST} is none ({fitting[0]})"
        raise WrongDataError(text, hint="a build of the same bytes replaces it", code="artifact-damaged")
    of = f" of {clean(target)}" if target else ""
    text = f"there is no artifact {reference}{of}"
    raise WrongDataError(text, hint="k1ctl artifact list shows them", code="no-artifact")
