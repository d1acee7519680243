"""Logins in what a push would send: ``git pull https://ada:TOKEN@host/x`` writes its whole line into the reflog, and a
branch may follow such a URL."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.archive.gitruns import FILES, GIT, parts
from k1ctl.archive.gitstate import holds_credentials

if TYPE_CHECKING:
    from collections.abc import Collection

_NAMES = ("config", "config.worktree", "fetch_head", "k1ctl-branch-log")
_IN_URL = r"://([^/\s@:]*:[^/\s@]*|[^/\s@:]{20,})@"


def found(folder: str, names: Collection[str], scratch: str) -> list[str]:
    """The settings and reflogs with a login, in those tar files of ``folder`` that ``names`` has; ``scratch``: a folder
    for a file. Raises OSError, WrongDataError for a tar that is none."""
    told = []
    path = os.path.join(scratch, "member")
    for tar in (GIT, FILES):
        if tar not in names:
            continue
        source = os.path.join(folder, tar)
        with open(source, "rb") as file:
            for part in parts(source):
                words = part.plain.split("/")
                inside = tar == GIT or ".git" in words
                if not (inside and part.member.kind == "file" and ("logs" in words or words[-1] in _NAMES)):
                    continue
                file.seek(part.member.offset)
                with open(path, "wb") as f:
                    f.write(file.read(part.member.size))
                if holds_credentials(path):
                    told.append(f"{part.name} in {tar}")
    if os.path.lexists(path):
        os.unlink(path)
    return told


def without(value: Any) -> Any:
    """``value``, as of JSON, with no login in a URL."""
    import re

    if isinstance(value, str):
        return re.sub(_IN_URL, "://", value) if "@" in value else value
    if isinstance(value, list):
        return [without(each) for each in value]
    if isinstance(value, dict):
        return {key: without(each) for key, each in value.items()}
    return value
