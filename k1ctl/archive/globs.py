"""The globs of ``[archive]``: each is matched against a name, and against the whole path."""

from __future__ import annotations

import os
from fnmatch import fnmatchcase

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def matches(path: str, globs: Iterable[str]) -> bool:
    """Whether the last part of ``path`` or ``path`` itself fits one of ``globs`` (fnmatch; ``~`` is the home folder;
    ``*`` crosses ``/``). A slash at the end of either means nothing."""
    path = path.rstrip("/")
    name = os.path.basename(path)
    wanted = [os.path.expanduser(glob).rstrip("/") for glob in globs]
    return any(fnmatchcase(name, glob) or fnmatchcase(path, glob) for glob in wanted)
