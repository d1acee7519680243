"""What git keeps of a worktree beside its files: HEAD, index, reflogs, an operation under way, stashes made in it."""

from __future__ import annotations

import os
import stat

from k1ctl.files import read_bytes
from k1ctl.worktrees import SET_UP

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.archive.files import Files

_SMALL = 1 << 20  # bytes of a file that may name commits; todo lists and patches are shorter
_OPERATIONS = (
    ("rebase-merge", "rebase"),
    ("rebase-apply", "rebase"),
    ("MERGE_HEAD", "merge"),
    ("CHERRY_PICK_HEAD", "cherry-pick"),
    ("REVERT_HEAD", "revert"),
    ("sequencer", "cherry-pick"),
    ("BISECT_LOG", "bisect"),
)
_FOLDERS = ("rebase-merge", "rebase-apply", "sequencer", "refs", "rewritten")
VOLATILE = ("gitdir", "FETCH_HEAD")  # written anew by whoever looks, or fetches in the background
_SHARED, _OBJECTS = "sharedindex.", "objects/"
_BY_CONTENT = (
    r"(^|/)(sharedindex\.[0-9a-f]{40,64}|objects/([0-9a-f]{2}/[0-9a-f]{38,62}|pack/pack-[0-9a-f]{40,64}\.[a-z]+))$"
)


class GitState:
    """A worktree's own git folder: ``files`` {path relative to it: facts}, ``operation`` under way or "",
    ``index`` its bytes, ``rebasing`` the branch that a rebase will move, with the commit it stands at."""

    def __init__(self, own: str, common: str) -> None:
        from k1ctl.archive.files import walk_whole

        self.own, self.common = own, common
        whole = walk_whole(own, ".", [])
        self.files: Files = {path[2:]: facts for path, facts in whole.items() if path != "." and _kept(path, facts)}
        self.operation = next((name for mark, name in _OPERATIONS if mark in self.files), "")
        if "rebase-apply/applying" in self.files:
            self.operation = "am"
        self.index = read_bytes(os.path.join(own, "index")) or b""
        self.rebasing = self._rebasing()

    def _rebasing(self) -> tuple[str, str]:
        for folder in ("rebase-merge", "rebase-apply"):
            name = (self._read(f"{folder}/head-name") or b"").strip()
            if name.startswith(b"refs/heads/"):
                return os.fsdecode(name[11:]), os.fsdecode((self._read(f"{folder}/orig-head") or b"").strip())
        return "", ""

    def _read(self, name: str) -> bytes | None:
        facts = self.files.get(name)
        if facts is None or not stat.S_ISREG(facts.st_mode) or facts.st_size > _SMALL:
            return None
        return read_bytes(os.path.join(self.own, name))

    def names_of_objects(self) -> set[str]:
        """Everything in the worktree's own refs, reflogs and the files of an operation that may name an object."""
        import re

        found: set[str] = set()
        for name, facts in self.files.items():
            if not stat.S_ISREG(facts.st_mode) or name.startswith("modules/"):
                continue
            if name.startswith("logs/"):
                for line in (read_bytes(os.path.join(self.own, name)) or b"").splitlines():
                    found.update(os.fsdecode(word) for word in line.split(b" ", 2)[:2])
            elif name.startswith(tuple(f + "/" for f in _FOLDERS)) or ("/" not in name and name.isupper()):
                found.update(os.fsdecode(word) for word in re.findall(rb"\b[0-9a-f]{7,64}\b", self._read(name) or b""))
        return {name for name in found if name.strip("0")}

    def stashes(self, branch: str) -> list[dict[str, str]]:
        """The stashes that were made on ``branch`` ("": on none), the newest first: ``commit`` and ``subject``.

        A repository has one list of stashes for all worktrees; only the subject tells where one comes from
        (builtin/stash.c: ``WIP on BRANCH: ...``, ``On BRANCH: ...``).
        """
        label = branch or "(no branch)"
        rows: list[dict[str, str]] = []
        for line in (read_bytes(os.path.join(self.common, "logs", "refs", "stash")) or b"").splitlines():
            head, _, subject = os.fsdecode(line).partition("\t")
            words = head.split(" ", 2)
            if len(words) == 3 and subject.startswith((f"WIP on {label}:", f"On {label}:")):
                rows.append({"commit": words[1], "subject": subject})
        return rows[::-1]

    def branch_reflog(self, branch: str) -> bytes:
        """The reflog of ``branch``, which goes with it when somebody deletes it."""
        return (read_bytes(os.path.join(self.common, "logs", "refs", "heads", branch)) or b"") if branch else b""

    def shared_indexes(self) -> bool:
        """Whether the index is split (git-update-index(1), SPLIT INDEX)."""
        return any(name.startswith(_SHARED) for name in self.files)

    def replaces(self) -> bool:
        """Whether objects may be checked out as others (git-replace(1))."""
        folder = os.path.join(self.common, "refs", "replace")
        packed = read_bytes(os.path.join(self.common, "packed-refs")) or b""
        return (os.path.isdir(folder) and bool(os.listdir(folder))) or b" refs/replace/" in packed

    @property
    def in_tables(self) -> bool:
        """Whether refs and reflogs are in tables that only git reads (extensions.refStorage)."""
        return any(name.startswith("reftable/") for name in self.files)

    def spilled(self) -> set[str]:
        """The configuration files in it that hold credentials, and what set-up keeps there: logs of what it ran."""
        names = (n for n in self.files if os.path.basename(n) in ("config", "config.worktree"))
        found = {name for name in names if holds_credentials(os.path.join(self.own, name))}
        return found | {name for name, facts in self.files.items() if _of_set_up(name) and stat.S_ISREG(facts.st_mode)}


def lasting(path: str) -> bool:
    """Whether a file of the own git folder says something of the worktree's state."""
    return path not in VOLATILE and not path.endswith(".lock")


def named_by_content(path: str) -> bool:
    """Whether git named a file by what is in it, and gives it new times without a change: an object or a pack, when the
    same is written once more (also in a clone beside it, which shares the file), and the shared part of a split index,
    when it is read (git-update-index(1), SPLIT INDEX)."""
    if _SHARED not in path and _OBJECTS not in path:
        return False
    import re

    return re.search(_BY_CONTENT, path) is not None


def _kept(path: str, facts: os.stat_result) -> bool:
    return not path.endswith(".lock") and not stat.S_ISSOCK(facts.st_mode)


def _of_set_up(path: str) -> bool:
    return path.startswith(f"{SET_UP}/")


def holds_credentials(config: str) -> bool:
    """Whether a git configuration file has a password in a URL, or a header with a token (git-config(1),
    http.extraHeader)."""
    import re

    text = (read_bytes(config) or b"").lower()
    return bool(re.search(rb"://[^/\s\"@]+:[^/\s\"@]+@", text) or b"extraheader" in text or b"://oauth" in text) or (
        re.search(rb"://[^/\s\"@:]{20,}@", text) is not None
    )


def submodules(tracked: dict[str, Any]) -> list[str]:
    """The paths of the index that are submodules, in order."""
    return sorted(path for path, rows in tracked.items() if any(row.mode == "160000" for row in rows))


def own_entries(state: GitState) -> Iterator[tuple[str, os.stat_result]]:
    """What of the own git folder is kept, in order."""
    for name, facts in sorted(state.files.items()):
        if name != "gitdir":  # it says where the worktree lies, and will be another
            yield name, facts
