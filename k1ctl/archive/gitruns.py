"""What git would run of an archive that somebody else wrote: settings and hooks of git folders, steps of a rebase.

Of a clone git runs nothing, but of a git folder that comes as a whole it does (git(1), SECURITY), as by
``core.fsmonitor`` at every ``git status``. So the git folders in the tar files of a copy may have only settings that
are known to run nothing. Names are compared as the most careless filesystem does: case folded, and without the
characters that HFS+ leaves out (git's ``is_hfs_dotgit``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from k1ctl.archive.tar import members
from k1ctl.git import call

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from k1ctl.archive.tar import Member

GIT, FILES = "git.tar", "files.tar"
_LEFT_OUT = dict.fromkeys((*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF))
_LIMIT = 1 << 20  # bytes of a file that is looked into
_SETTINGS = ("config", "config.worktree")
_SECTIONS = ("advice", "color", "extensions", "fetch", "index", "pull", "push", "rerere", "user")
_CORE = """abbrev autocrlf bare bigfilethreshold commitgraph compression eol filemode ignorecase logallrefupdates
 multipackindex precomposeunicode preloadindex quotepath repositoryformatversion safecrlf sharedrepository
 sparsecheckout sparsecheckoutcone splitindex symlinks trustctime untrackedcache"""
_REMOTE = "url pushurl fetch push pushdefault tagopt prune prunetags mirror promisor partialclonefilter"
_SUBMODULE = "url active branch ignore fetchrecursesubmodules shallow recurse"
_LFS = {
    "filter.lfs.clean": "git-lfs clean -- %f",
    "filter.lfs.smudge": "git-lfs smudge -- %f",
    "filter.lfs.process": "git-lfs filter-process",
}  # `git lfs install --local`; without the other words nothing comes from the archive
_YES_OR_NO = ("true", "false", "yes", "no", "on", "off", "1", "0", "")


class Part(NamedTuple):
    """A member of a tar file: ``name`` as it is, ``plain`` as the most careless filesystem compares it."""

    name: str
    plain: str
    member: Member


def misplaced(path: str) -> list[str]:
    """What no tar file of an archive has, and a restore would stumble over: sentences."""
    tar = os.path.basename(path)
    told = []
    seen: set[str] = set()
    for part in parts(path):
        if part.member.kind != "folder" and part.name in seen:
            told.append(f"{tar}: {part.name!r} is there twice")
        seen.add(part.name)
        if tar == GIT and part.member.kind == "link" and "/" not in part.plain:
            told.append(f"{tar}: {part.name!r} is a link")
        elif tar == FILES and part.plain.split("/")[0] == ".git":
            told.append(f"{tar}: {part.name!r} is no file of a worktree")
    return told


def found(folder: str, manifest: dict[str, Any]) -> list[str]:
    """What git would run, or use elsewhere, of the tar files in ``folder``: sentences. Raises OSError, WrongDataError
    for a tar that is none."""
    told: list[str] = []
    for tar in (GIT, FILES):
        path = os.path.join(folder, tar)
        if tar in manifest["files"]:
            with open(path, "rb") as file:
                told += [f"{tar}: {line}" for line in _Tar(tar, path, file, manifest).told()]
    return told


class _Tar:
    def __init__(self, tar: str, path: str, file: BinaryIO, manifest: dict[str, Any]) -> None:
        self.file, self.manifest, self.all_git = file, manifest, tar == GIT
        self.parts = list(parts(path))
        self.known = {part.name: part.member for part in self.parts}
        heads = {os.path.dirname(part.plain) for part in self.parts if os.path.basename(part.plain) == "head"}
        self.roots = heads | ({""} if self.all_git else set())
        worktree = str(manifest["path"])
        own = os.path.join(str(manifest["git_dir"]), "worktrees", str(manifest["entry"]))
        self.base, self.worktree, self.modules = (own if self.all_git else worktree), worktree, f"{own}/modules/"

    def told(self) -> Iterator[str]:
        for part in self.parts:
            why = self._why(part)
            if why:
                yield f"{part.name!r} {why}"

    def _why(self, part: Part) -> str:
        above, last = os.path.split(part.plain)
        words = above.split("/") if above else []
        inside = self.all_git or ".git" in words
        kind = part.member.kind
        if kind == "folder":
            return ""
        if last == ".git":
            return "is a link" if kind == "link" else self._why_link(part)
        if not inside and not any("/".join(words[:i]) in self.roots for i in range(len(words) + 1)):
            return ""
        if kind == "link":
            return "is a link" if inside or last in (*_SETTINGS, "hooks", "commondir", "head") else ""
        if last in _SETTINGS:
            keys = self._keys(part)
            return f"sets {' and '.join(keys[:5])}" if keys else ""
        if last == "commondir" and above and self._content(part).strip() != b"../..":
            return "takes its settings from elsewhere"
        if _is_hook(words, self.roots) and not last.endswith(".sample"):
            return "is a hook"
        if last.startswith("git-rebase-todo") and _runs(self._content(part)):
            return "has commands to run"
        return ""

    def _why_link(self, part: Part) -> str:
        """Of a ``.git`` that is a file: it may name a git folder of the archive's own, which is looked into as well."""
        text = self._content(part)
        if not text.startswith(b"gitdir:"):
            return "is no git folder"
        to = os.path.normpath(os.path.join(self.base, os.path.dirname(part.name), os.fsdecode(text[7:].strip())))
        ours = f"{self.worktree}/"
        within = to.startswith(ours) and ".git" in to[len(ours) :].split("/")
        return "" if within or to.startswith(self.modules) else "is a git folder elsewhere"

    def _keys(self, part: Part) -> list[str]:
        """The settings in a configuration file that may run something, or lead elsewhere."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="k1ctl-") as folder:
            path = os.path.join(folder, "config")
            with open(path, "wb") as f:
                f.write(self._content(part))
            done = call(["config", "--no-includes", "-z", "--list", "-f", path], folder)
        if done.returncode:
            return ["what cannot be read"]
        rows = (row.partition("\n")[::2] for row in done.stdout.split("\0") if row)
        at = os.path.join(self.base, os.path.dirname(part.name))
        return list(dict.fromkeys(key for key, value in rows if not self._is_harmless(key, value, at)))

    def _is_harmless(self, key: str, value: str, at: str) -> bool:
        section, _, rest = key.partition(".")
        name = rest.rpartition(".")[2]
        if key == "core.worktree":
            return f"{os.path.normpath(os.path.join(at, value))}/".startswith(f"{self.worktree}/")
        if key == "core.fsmonitor":  # a word that is no boolean is a command
            return value.lower() in _YES_OR_NO
        if section == "core":
            return name in _CORE.split()
        if section in ("branch", "gc"):
            return name not in ("mergeoptions", "recentobjectshook")
        if section in ("remote", "submodule"):
            return name in (_REMOTE if section == "remote" else _SUBMODULE).split()
        return section in _SECTIONS or key == "filter.lfs.required" or _LFS.get(key) == value

    def _content(self, part: Part) -> bytes:
        """What is in a file; b"\\0", which nothing takes for what it should be, when it is too large."""
        member = part.member
        while member.kind == "same":  # of one before it: `tar_problems`, `misplaced`
            member = self.known[member.target]
        if member.kind != "file" or member.size > _LIMIT:
            return b"\0"
        self.file.seek(member.offset)
        return self.file.read(member.size)


def parts(path: str) -> Iterator[Part]:
    """The members of the tar at ``path``."""
    with open(path, "rb", buffering=_LIMIT) as file:
        for member in members(file):
            yield Part(member.name, member.name.translate(_LEFT_OUT).casefold().rstrip("/"), member)


def _is_hook(words: list[str], roots: set[str]) -> bool:
    """Whether a file in the folder ``words`` is one: in ``hooks`` of a git folder."""
    places = (i for i, word in enumerate(words) if word == "hooks")
    return any("/".join(words[:i]) in roots or (i and words[i - 1] == ".git") for i in places)


def _runs(todo: bytes) -> bool:
    """Whether a list of git-rebase(1), INTERACTIVE MODE, has a command to run."""
    firsts = (line.split(None, 1)[0] for line in todo.splitlines() if line.strip())
    return b"\0" in todo or any(first in (b"exec", b"x") for first in firsts)
