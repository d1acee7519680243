"""Tracked files with a secret's name whose content is not history yet: it must not become history by being saved.

What is committed of them is in every clone. What was changed or staged since, or is hidden behind an index flag, goes
to secrets.tar like any other secret: the file, and the staged content, which git would lose with the index.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.archive.calls import Calls
    from k1ctl.archive.planning import Plan
    from k1ctl.archive.tar import Writer

_ARGUMENTS = 50_000  # bytes of names that are handed over as arguments
BLOB = "blob/"  # in secrets.tar: the staged contents, by their ids


class Withheld(NamedTuple):
    """``entries`` {path: MODE OID, as it is committed, or "" when it is not} of what is staged; ``blobs`` their ids in
    the index."""

    entries: dict[str, str]
    blobs: set[str]


def withhold(calls: Calls, task: Plan, head: str, changes: Callable[[], set[str] | None]) -> Withheld:
    """Move such files from the commit's ``task.places`` to the secrets, and return what of the index is one.

    ``changes`` tells the files that git finds changed, None when it cannot. Raises GitError.
    """
    tracked, places = task.found.tracked, task.places
    listed = os.fsdecode(task.found.listed)
    named = [path for path in tracked if task.secrets.path(path)] if task.secrets.anywhere(listed) else []
    if not named:
        return Withheld({}, set())
    dirty = changes()
    committed: dict[str, str] = {}
    if head:
        env = {"GIT_LITERAL_PATHSPECS": "1"}
        words = [head, "--", *named] if sum(map(len, named)) < _ARGUMENTS else ["-r", head]
        for row in calls.start("ls-tree", "-z", "--full-tree", *words, env=env).text().split("\0"):
            facts, _, path = row.partition("\t")
            committed[path] = " ".join(facts.split(" ")[::2])
    entries: dict[str, str] = {}
    blobs: set[str] = set()
    for path in named:
        rows = tracked[path]
        if rows[0].stage == "0" and committed.get(path, "") != f"{rows[0].mode} {rows[0].oid}":
            entries[path] = committed.get(path, "")
            if rows[0].mode != "160000":
                blobs.add(rows[0].oid)
        hidden = dirty is None or path in dirty or any(row.tag != "H" for row in rows)
        if (hidden or path in entries) and path in task.found.files:
            places.secrets[path] = task.found.files[path]
    places.commit[:] = [path for path in places.commit if path not in places.secrets]
    return Withheld(entries, blobs)


def add_blobs(calls: Calls, tar: Writer, blobs: set[str]) -> None:
    """Add the staged contents to secrets.tar. Raises GitError."""
    for oid in sorted(blobs):
        tar.add_bytes(BLOB + oid, calls.start("cat-file", "blob", oid).data())


def put_back(calls: Calls, folder: str) -> None:
    """Give git the contents that `add_blobs` kept, which lie in ``folder`` by now. Raises GitError."""
    for name in sorted(os.listdir(folder)):
        calls.start("hash-object", "-w", "--no-filters", "--", os.path.join(folder, name)).data()
