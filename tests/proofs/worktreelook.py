"""What somebody who works in a worktree could miss after it was archived and restored.

`look` writes down everything: the bytes, modes and links of every file, what git says of it, the index with its hidden
flags, the worktree's own git folder, and that all that its reflogs and marks name is still there. `differences` says
how two looks differ.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# A look changes nothing, not even the index's stat data; a daemon or a display setting hides nothing from it.
_CALM = {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
_STATUS = ("status", "--porcelain=v2", "-z", "-uall", "--ignored=traditional", "--ignore-submodules=none")
_NAMED = re.compile(rb"\b(?:[0-9a-f]{64}|[0-9a-f]{40})\b")
_OF_THE_INDEX = (b"index", b"sharedindex.")
_SLACK = 1000  # ns by which a time may be off: a double keeps no more of it


class Entry(NamedTuple):
    """One name in the tree: ``kind`` as ``ls -l`` tells it, ``mode`` bits, a digest or a link's target."""

    kind: str
    mode: str
    content: str


class Look(NamedTuple):
    """A worktree at one moment; ``times`` (ns) and ``same`` (names of one file) are of what git ignores."""

    files: Mapping[bytes, Entry]
    times: Mapping[bytes, int]
    same: Mapping[bytes, frozenset[bytes]]
    status: Mapping[bytes, int]
    index: Mapping[bytes, int]
    own: Mapping[bytes, bytes]
    objects: Mapping[bytes, bytes]
    nested: Mapping[bytes, bytes]
    refs: Mapping[bytes, bytes]


def look(tree: Path, dropped: frozenset[bytes] = frozenset()) -> Look:
    """Look at a worktree; ``dropped`` are the relative paths that can be made again and may be gone."""
    top = os.fsencode(tree)
    code, said = _git(top, "-c", "core.fsmonitor=false", *_STATUS)
    status = [line for line in said.split(b"\0") if not _within(line[2:].rstrip(b"/"), dropped)]
    files, facts = {}, {}
    for name, entry, about in _walk(top, b"", dropped):
        files[name], facts[name] = entry, about
    ignored = frozenset(line[2:].rstrip(b"/") for line in status if line.startswith(b"! "))
    files[b".git"] = files[b".git"]._replace(mode="")  # git's own link, made anew
    kept = {name: facts[name] for name in files if files[name].kind == "-" and _within(name, ignored)}
    inodes: dict[int, set[bytes]] = {}
    for name, about in kept.items():
        inodes.setdefault(about.st_ino, set()).add(name)
    own = dict(_own(own_git_dir(top)))
    index = [*_split("ls-files -s", _git(top, "ls-files", "-s", "-v", "-z"))]
    index += _split("resolve-undo", _git(top, "ls-files", "--resolve-undo", "-z"))
    named = {match for text in [*own.values(), *index] for match in _NAMED.findall(text)}
    refs = dict(reversed(line.split(b" ", 1)) for line in _git(top, "for-each-ref")[1].splitlines())
    return Look(
        files,
        {name: about.st_mtime_ns for name, about in kept.items()},
        {name: frozenset(names) for names in inodes.values() if len(names) > 1 for name in names},
        dict.fromkeys([b"exit %d" % code, *status], 1),
        dict.fromkeys([*index, _index_format(own_git_dir(top))], 1),
        own,
        _objects(top, named),
        dict(_nested(top, files)),
        {name: value for name, value in refs.items() if b"\trefs/k1ctl/" not in name},
    )


def differences(before: Look, after: Look) -> list[str]:
    """What is not as it was, a line each; [] when nothing is amiss."""
    found: list[str] = []
    for part in Look._fields:
        old, new = getattr(before, part), getattr(after, part)
        for name in sorted(old.keys() | new.keys()):
            one, two = old.get(name), new.get(name)
            if part == "times" and one is not None and two is not None and abs(one - two) < _SLACK:
                continue
            if one != two:
                found.append(f"{part} {os.fsdecode(name)!r}: {_short(one)} -> {_short(two)}")
    return found


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:90] + " ... " + text[-90:]


def own_git_dir(top: bytes) -> bytes:
    """The worktree's own git folder."""
    with open(os.path.join(top, b".git"), "rb") as f:
        return os.path.normpath(os.path.join(top, f.read().removeprefix(b"gitdir:").strip()))


def _git(cwd: bytes, *args: str, stdin: bytes = b"") -> tuple[int, bytes]:
    done = subprocess.run(["git", *args], cwd=cwd, input=stdin, capture_output=True, env={**os.environ, **_CALM})
    return done.returncode, done.stdout


def _split(what: str, answer: tuple[int, bytes]) -> list[bytes]:
    return [f"{what}: exit {answer[0]}".encode(), *filter(None, answer[1].split(b"\0"))]


def _within(name: bytes, folders: frozenset[bytes]) -> bool:
    """Whether ``name`` is one of the folders or below one."""
    while name:
        if name in folders:
            return True
        name = os.path.dirname(name)
    return False


def _walk(top: bytes, below: bytes, dropped: frozenset[bytes]) -> Iterator[tuple[bytes, Entry, os.stat_result]]:
    here = os.path.join(top, below) if below else top
    about = os.lstat(here)
    yield below, Entry("d", f"{stat.S_IMODE(about.st_mode):04o}", ""), about
    for found in os.scandir(here):
        name = os.path.join(below, found.name)
        if name in dropped:
            continue
        about = found.stat(follow_symlinks=False)
        if stat.S_ISDIR(about.st_mode):
            yield from _walk(top, name, dropped)
            continue
        kind, mode = stat.filemode(about.st_mode)[0], f"{stat.S_IMODE(about.st_mode):04o}"
        content = ""
        if kind == "-":
            with open(found.path, "rb") as f:
                content = hashlib.file_digest(f, "sha256").hexdigest()
        elif kind == "l":
            content = os.fsdecode(os.readlink(found.path))
        yield name, Entry(kind, mode, content), about


def _own(folder: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Every file of the own git folder but the index, of which git tells, and locks."""
    for here, folders, names in os.walk(folder):
        for name in names:
            path = os.path.join(here, name)
            if not (here == folder and name.startswith(_OF_THE_INDEX)) and not name.endswith(b".lock"):
                with open(path, "rb") as f:
                    yield os.path.relpath(path, folder), f.read()
        for name in folders:
            if not os.listdir(os.path.join(here, name)):
                yield os.path.relpath(os.path.join(here, name), folder) + b"/", b""


def _index_format(own: bytes) -> bytes:
    """Its version, and whether it is sparse: gitformat-index(5)."""
    try:
        with open(os.path.join(own, b"index"), "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return b"no index"
    return b"version %d, sparse %d" % (int.from_bytes(data[4:8]), b"sdir\0\0\0\0" in data)


def _objects(top: bytes, named: set[bytes]) -> dict[bytes, bytes]:
    """What is there of the objects that are named, and a digest of all they reach."""
    _, kinds = _git(top, "cat-file", "--batch-check", stdin=b"".join(name + b"\n" for name in sorted(named)))
    there = dict(line.split(b" ", 1) for line in kinds.splitlines() if not line.endswith(b" missing"))
    begin = b"".join(name + b"\n" for name in there)
    code, reached = _git(top, "rev-list", "--objects", "--no-object-names", "--stdin", stdin=begin)
    digest = hashlib.sha256(b"\n".join(sorted(reached.split()))).hexdigest()
    return {**there, b"reached": f"exit {code}, {len(reached.split())} objects, {digest}".encode()}


def _nested(top: bytes, files: Mapping[bytes, Entry]) -> Iterator[tuple[bytes, bytes]]:
    """What git says of each repository below."""
    for name in files:
        where = os.path.join(top, os.path.dirname(name))
        if os.path.basename(name) == b".git" and name != b".git":
            code, said = _git(where, *_STATUS)
            if _git(where, "rev-parse", "--show-toplevel")[1].rstrip(b"\n") != where:
                continue  # not a repository, whatever its name says
            told = _git(where, "show-ref", "--head")[1].splitlines()
            refs, stash = [r for r in told if b" refs/k1ctl/" not in r], _git(where, "stash", "list")
            fsck = _git(where, "fsck", "--no-dangling", "--no-progress", "--connectivity-only")
            yield name, b"%d %s|%r|%r|%r" % (code, said, refs, stash, fsck)
