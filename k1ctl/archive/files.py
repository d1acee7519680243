"""What is in a worktree, and where each file of it is kept: one look that can be compared with a later one.

Names are what `os.fsdecode` makes of their bytes. A file's state is its inode, mode, size, mtime and ctime: no program
can change its bytes and leave all five alone.
"""

from __future__ import annotations

import os
import stat
from hashlib import sha256

from k1ctl.archive.gitstate import lasting, named_by_content
from k1ctl.archive.patterns import Globs
from k1ctl.errors import K1ctlError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.archive.calls import Calls

LIST = ("ls-files", "-z", "-s", "-v", "--cached", "--others", "--exclude-standard")
Files = dict[str, os.stat_result]
_COMPOSES = os.uname().sysname == "Darwin"
_NAMED = 5  # files that a refusal names


class UnreadableError(K1ctlError):
    """Something in the worktree cannot be read, so it cannot be kept."""

    code = "unreadable"


class Tracked(str):
    """An entry of the index as ``git ls-files -s -v`` writes it, without the path: ``TAG MODE OID STAGE``."""

    __slots__ = ()

    @property
    def tag(self) -> str:
        return self[0]

    @property
    def mode(self) -> str:
        return self[2:8]

    @property
    def oid(self) -> str:
        return self[9:-2]

    @property
    def stage(self) -> str:
        return self[-1]


class Look:
    """What was in the worktree at ``top``, a folder of this ``mode``.

    ``tracked`` {path: its entries in the index, one, or several of a conflict}; ``others`` untracked, not ignored;
    ``files`` {path: facts} of everything but what is in ``nested`` repositories ({folder: {path: facts}}, the folders
    in it too) and in ``regenerable`` folders; ``made_again``: folders whose ignored files are regenerable, too, but in
    which git tracks something; ``folders`` {path: facts}, ``empty`` those with nothing in them; ``digest`` tells two
    looks apart; ``newest`` is the newest ctime, in nanoseconds.
    """

    def __init__(self, top: str) -> None:
        self.top = top
        self.mode = stat.S_IMODE(os.lstat(top).st_mode)
        self.tracked: dict[str, list[Tracked]] = {}
        self.others: set[str] = set()
        self.live: set[str] = set()  # the folders of both, and those around them
        self.files: Files = {}
        self.folders: Files = {}
        self.empty: list[str] = []
        self.nested: dict[str, Files] = {}
        self.regenerable: list[str] = []
        self.made_again: list[str] = []
        self.denied: list[str] = []
        self.listed = b""
        self.digest = ""
        self.newest = 0

    def check_readable(self) -> None:
        """Raises UnreadableError that names what cannot be read."""
        if self.denied:
            named = ", ".join(self.denied[:_NAMED]) + (" ..." if len(self.denied) > _NAMED else "")
            raise UnreadableError(
                f"{len(self.denied)} of {self.top} cannot be read, so it cannot be kept: {named}",
                hint="chmod u+r on a file, u+rx on a folder; or move it out of the worktree",
                paths=self.denied[:100],
            )


def look(calls: Calls, top: str, own: str, regenerable: Globs, before: Look | None = None) -> Look:
    """Look at the worktree ``top`` whose own git folder is ``own``.

    ``before``: an earlier look to compare this one with. git is asked for no list then: that follows from the index
    and from files, which are looked at. (Nor could it tell after the worktree was moved: links of repositories in it to
    each other lead nowhere.) Raises GitError, OSError.
    """
    whole = walk_whole(
        own, ".", []
    )  # before git reads the index: replaced meanwhile, it is another one at the next look
    own_files = {path: facts for path, facts in whole.items() if lasting(path[2:])}
    running = None if before else calls.start(*LIST)
    found = Look(top)
    if before is not None:
        found.listed = before.listed
        found.tracked, found.others, found.live = before.tracked, before.others, before.live
    elif running is not None:
        found.listed = running.data()
        _parse(found, os.fsdecode(found.listed))
    _walk(found, calls, regenerable, before)
    lines = [f"{found.mode:o}\n", *_lines(found.files)]
    lines += [f"{path}/ {facts.st_mode:o}\n" for path, facts in sorted(found.folders.items())]
    lines += [f"{path}/ {found.folders[path].st_mtime_ns}\n" for path in sorted(found.empty) if path in found.folders]
    for name, within in sorted(found.nested.items()):
        lines += [f"{name}//\n", *_lines(within)]
    lines += ["//\n", *_lines(own_files)]
    digest = sha256(found.listed)
    digest.update(os.fsencode("".join(lines)))
    found.digest = digest.hexdigest()
    everything = (found.files, own_files, *found.nested.values())
    times = (f.st_ctime_ns for group in everything for p, f in group.items() if not named_by_content(p))
    found.newest = max(times, default=0)
    return found


def _lines(files: Files) -> list[str]:
    return [
        f"{path}/ {f.st_mode}\n"
        if f.st_mode & 0o170000 == stat.S_IFDIR
        else f"{path}\0{f.st_mode} {f.st_size}\n"
        if named_by_content(path)
        else f"{path}\0{f.st_ino} {f.st_mode} {f.st_size} {f.st_mtime_ns} {f.st_ctime_ns}\n"
        for path, f in sorted(files.items())
    ]


def _parse(found: Look, text: str) -> None:
    tracked, others = found.tracked, found.others
    for line in text.split("\0"):
        if line[:2] == "? ":
            others.add(line[2:])
        elif line:
            facts, _, path = line.partition("\t")
            if path in tracked:
                tracked[path].append(Tracked(facts))
            else:
                tracked[path] = [Tracked(facts)]
    live = {path.rpartition("/")[0] for path in tracked} | {path.rstrip("/").rpartition("/")[0] for path in others}
    for folder in list(live):
        while "/" in folder and (folder := folder.rpartition("/")[0]) not in live:
            live.add(folder)
    found.live = live


def _walk(found: Look, calls: Calls, regenerable: Globs, before: Look | None) -> None:
    """Fill in what is on the disk. A folder that can be made again, by its name and because git ignores it, is only
    searched for repositories, unless git tracks something in it or would."""
    live = found.live
    pending, asked = [""], list[str]()
    while pending:
        folder = pending.pop()
        for inner in _walk_folder(found, folder):
            if found.made_again and inner not in live and (inner + "/").startswith(tuple(found.made_again)):
                found.regenerable.append(inner)
                _search(found, inner)
            elif regenerable.name(os.path.basename(inner)) or regenerable.path(inner):
                asked.append(inner)
            else:
                pending.append(inner)
        if not pending and asked:
            ignored = _ignored_before(before) if before else _ignored(calls, asked)
            pending, asked = _settle(found, ignored, asked, live), []
    for folder in found.regenerable:
        found.folders.pop(folder, None)


def _walk_folder(found: Look, folder: str) -> list[str]:
    """Note the files of one folder, and return the folders in it."""
    entries = _entries(found.top, folder, found.denied)
    if folder and any(len(name) == 4 and name.lower() == ".git" for name, _ in entries):
        found.nested[folder] = walk_whole(found.top + "/" + folder, folder, found.denied)
        return []
    if folder and not entries:
        found.empty.append(folder)
    prefix, inner = folder + "/" if folder else "", []
    for name, facts in entries:
        path = prefix + name
        if facts.st_mode & 0o170000 == stat.S_IFDIR:
            found.folders[path] = facts
            inner.append(path)
        elif path != ".git":
            found.files[path] = facts
            if not facts.st_mode & 0o400 and not stat.S_ISLNK(facts.st_mode):
                _check(found.top, path, found.denied)
    return inner


def _settle(found: Look, ignored: set[str], asked: list[str], live: set[str]) -> list[str]:
    """Of folders with a name of what can be made again: search those that git ignores, return the others to walk."""
    walked = []
    for folder in asked:
        if folder not in ignored:
            walked.append(folder)
        elif folder in live:
            found.made_again.append(folder + "/")
            walked.append(folder)
        else:
            found.regenerable.append(folder)
            _search(found, folder)
    return walked


def _ignored_before(before: Look) -> set[str]:
    """Those that git ignored; another one is walked, and what is in it tells the looks apart."""
    return {*before.regenerable, *(folder.rstrip("/") for folder in before.made_again)}


def _ignored(calls: Calls, folders: list[str]) -> set[str]:
    """Those that git ignores, whatever is tracked in them."""
    stdin = os.fsencode("".join(folder + "\0" for folder in folders))
    running = calls.start("check-ignore", "-z", "--no-index", "--stdin", stdin=stdin)
    return set(os.fsdecode(running.data(accept=(0, 1))).split("\0"))  # 1: none of them


def _search(found: Look, top: str) -> None:
    """Find the repositories in a folder that is not kept otherwise."""
    pending = [top]
    while pending:
        folder = pending.pop()
        inner: list[str] = []
        try:
            with os.scandir(os.path.join(found.top, folder)) as entries:
                for entry in entries:
                    if entry.name.lower() == ".git":
                        found.nested[folder] = walk_whole(found.top + "/" + folder, folder, found.denied)
                        inner = []
                        break
                    if entry.is_dir(follow_symlinks=False):
                        inner.append(f"{folder}/{entry.name}")
        except FileNotFoundError:
            continue
        except PermissionError:
            found.denied.append(folder)
        pending += inner


def _entries(top: str, folder: str, denied: list[str]) -> list[tuple[str, os.stat_result]]:
    """What is in the folder, in the order of names."""
    try:
        with os.scandir(f"{top}/{folder}" if folder else top) as found:
            rows = [(entry.name, entry.stat(follow_symlinks=False)) for entry in found]
    except PermissionError:
        denied.append(folder + "/")
        return []
    if _COMPOSES:
        rows = [(_composed(name), facts) for name, facts in rows]
    return sorted(rows)


def _composed(name: str) -> str:
    """A name as git writes it: on macOS composed (core.precomposeUnicode), whatever the disk says."""
    if name.isascii():
        return name
    from unicodedata import normalize

    return normalize("NFC", name)


def walk_whole(top: str, name: str, denied: list[str]) -> Files:
    """{path, beginning with ``name``: facts} of all below the folder ``top`` and of itself; links are not followed."""
    found: Files = {name: os.lstat(top)}
    pending = [(top, name)]
    while pending:
        folder, prefix = pending.pop()
        for entry, facts in _entries(folder, "", denied):
            found[f"{prefix}/{entry}"] = facts
            if stat.S_ISDIR(facts.st_mode):
                pending.append((f"{folder}/{entry}", f"{prefix}/{entry}"))
            elif not facts.st_mode & 0o400 and not stat.S_ISLNK(facts.st_mode):
                _check(folder, entry, denied)
    return found


def _check(top: str, path: str, denied: list[str]) -> None:
    if not os.access(os.path.join(top, path), os.R_OK):
        denied.append(path)


class Places:
    """Where each file of a `Look` is kept: ``commit`` paths, ``files`` and ``secrets`` {path: facts} for tar files,
    ``special`` what nothing can hold (sockets, devices)."""

    def __init__(self) -> None:
        self.commit: list[str] = []
        self.untracked = 0
        self.ignored = 0
        self.files: Files = {}
        self.secrets: Files = {}
        self.special: list[str] = []

    @property
    def tar_bytes(self) -> int:
        """The size of what goes to tar files."""
        return sum(facts.st_size for _, facts in self.in_tars)

    @property
    def in_tars(self) -> Iterator[tuple[str, os.stat_result]]:
        yield from self.files.items()
        yield from self.secrets.items()


def place(found: Look, secrets: Globs, kept: dict[str, Files], spilled: set[str]) -> Places:
    """Sort the files of a look. ``kept``: the nested repositories to keep; ``spilled``: files that hold secrets,
    whatever their names."""
    places, made_again = Places(), tuple(found.made_again)
    for path, facts in found.files.items():
        kind = stat.S_IFMT(facts.st_mode)
        if kind not in (stat.S_IFREG, stat.S_IFLNK):
            _keep(places, secrets, path, facts, spilled)
        elif path in found.tracked:
            places.commit.append(path)
        elif path in found.others:
            places.untracked += 1
            if path in spilled or secrets.path(path):
                places.secrets[path] = facts
            else:
                places.commit.append(path)
        elif not path.startswith(made_again):
            places.ignored += 1
            _keep(places, secrets, path, facts, spilled)
    for name, within in kept.items():
        _keep_nested(places, secrets, name, within, spilled)
    return places


def _keep(places: Places, secrets: Globs, path: str, facts: os.stat_result, spilled: set[str]) -> None:
    if stat.S_IFMT(facts.st_mode) not in (stat.S_IFREG, stat.S_IFLNK, stat.S_IFDIR, stat.S_IFIFO):
        places.special.append(path)
    else:
        (places.secrets if path in spilled or secrets.path(path) else places.files)[path] = facts


def _keep_nested(places: Places, secrets: Globs, name: str, within: Files, spilled: set[str]) -> None:
    """A whole repository: within its git folder names are git's own, and say nothing of secrets."""
    inside = name + "/.git/"
    for path, facts in within.items():
        if stat.S_ISDIR(facts.st_mode) or (
            path.startswith(inside) and path not in spilled and "/.git/" not in path[len(inside) :]
        ):
            places.files[path] = facts
        else:
            _keep(places, secrets, path, facts, spilled)


def odd_modes(found: Look, places: Places, umask: int) -> list[list[Any]]:
    """[path, mode] of what git would make with another mode under ``umask``: it knows but one bit of a file's."""
    rows: list[list[Any]] = []
    for path in places.commit:
        mode = found.files[path].st_mode
        if stat.S_ISREG(mode) and stat.S_IMODE(mode) != (0o777 if mode & 0o100 else 0o666) & ~umask:
            rows.append([path, f"{stat.S_IMODE(mode):o}"])
    for path, facts in found.folders.items():
        if stat.S_IMODE(facts.st_mode) != 0o777 & ~umask:
            rows.append([path, f"{stat.S_IMODE(facts.st_mode):o}"])
    return rows
