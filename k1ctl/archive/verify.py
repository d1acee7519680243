"""Whether an archive is whole: what would stand in the way of restoring it, each in a sentence.

Objects: the ref holds the commit of the manifest, and everything that can be reached from it is there; what only the
archive reaches, and the working tree it holds, is read and its digest compared. Tar files: size, SHA-256, and every
member is one that may be unpacked. The copy of the manifest under ``ops/archive`` is for people and is written anew
when it is gone.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from k1ctl.archive.folder import FORMAT, REF, archives_folder, list_archives
from k1ctl.errors import K1ctlError
from k1ctl.files import read_json, write_json
from k1ctl.git import call

if TYPE_CHECKING:
    from typing import BinaryIO

    from k1ctl.archive.folder import Archive
    from k1ctl.workspace import Workspace

SECRETS = "secrets.tar"
_PARTIAL = r"^(extensions\.partialclone|remote\..*\.promisor)$"
_SHOWN = 5  # problems of one kind that are told one by one
_BLOCK = 1 << 20  # bytes


def verify(workspace: Workspace, archive: Archive, *, deep: bool = True, trash: bool = True) -> list[str]:
    """What is wrong with the archive; [] when it is whole. ``deep``: also the content of objects and tar files;
    ``trash``: also what became of its worktree, which it does not need.

    Puts the copy of its manifest back where it is gone. Raises OSError when the repository cannot be read.
    """
    if archive.manifest.get("format") != FORMAT:
        return [f"its format is {archive.manifest.get('format')!r}; this k1ctl knows {FORMAT}"]
    problems = [*_ref(workspace, archive), *_files(archive, deep), *_state(archive, trash)]
    commit = str(archive.manifest.get("commit", ""))
    if not problems or commit:
        problems += objects(workspace.git_dir, commit, deep=deep)
    if not problems:
        keep_copy(workspace, archive)
    return problems


def nameless(workspace: Workspace) -> dict[str, str]:
    """{id: what is wrong} of folders that stand among the archives and have no manifest that can be read."""
    base = archives_folder(workspace)
    known = {archive.id for archive in list_archives(workspace)}
    found = {}
    for name in sorted(os.listdir(base)) if os.path.isdir(base) else ():
        if name not in known and not name.startswith(".") and ".damaged-" not in name:
            copy = workspace.ops_path("archive", name, "manifest.json")
            about = read_json(copy)
            good = isinstance(about, dict) and about.get("id") == name
            found[name] = "its manifest.json is gone or damaged, so no command finds it" + (
                f"; {copy} is a copy" if good else ""
            )
    return found


def keep_copy(workspace: Workspace, archive: Archive) -> bool:
    """Write the copy of the manifest under ``ops/archive`` where it is gone or another; whether it was written.

    That it cannot be written is no error: it is for people.
    """
    path = workspace.ops_path("archive", archive.id, "manifest.json")
    try:
        if read_json(path) == archive.manifest:
            return False
        write_json(path, archive.manifest, mode=0o600)
    except OSError:
        return False
    return True


def objects(git_dir: str, commit: str, *, deep: bool = True) -> list[str]:
    """What is missing or damaged of all that can be reached from ``commit``.

    git-rev-list(1) reads what it walks through and names the first object that is missing; with ``--verify-objects``
    it also compares digests, and tells a wrong one on stderr only. A commit graph would hide a missing commit. In a
    partial clone, what the remote promised is not looked at (git-clone(1), --filter).
    """
    base = ["-c", "core.commitGraph=false", "rev-list", "--objects", "--quiet"]
    if call(["config", "--get-regexp", _PARTIAL], git_dir).stdout:  # else each one that is missing is fetched
        base.append("--exclude-promisor-objects")
    walks = [[*base, commit]]
    if deep:
        walks.append([*base, "--verify-objects", "--no-walk", commit])
        walks.append([*base, "--verify-objects", commit, "--not", f"--exclude={REF}*", "--all"])
    found: dict[str, None] = {}
    for walk in walks:
        done = call(walk, git_dir)
        told = [line for line in done.stderr.splitlines() if line.startswith(("fatal: ", "error: "))]
        if done.returncode and not told:
            told = [f"git rev-list: exit {done.returncode}"]
        found |= dict.fromkeys(f"objects: {line.removeprefix('fatal: ').removeprefix('error: ')}" for line in told)
        if done.returncode:
            break
    return _few(list(found))


def _ref(workspace: Workspace, archive: Archive) -> list[str]:
    done = call(["rev-parse", "--verify", "--quiet", archive.ref], workspace.git_dir)
    there, wanted = done.stdout.strip(), archive.manifest.get("commit")
    if done.returncode:
        return [f"{archive.ref} is gone: git gc may prune what it held (git update-ref {archive.ref} {wanted})"]
    return [] if there == wanted else [f"{archive.ref} is {there}, the manifest says {wanted}"]


def _state(archive: Archive, trash: bool) -> list[str]:
    state = archive.state
    if state["state"] == "purging":
        return ["its purge was interrupted: it is no archive any more (k1ctl archive purge finishes it)"]
    if trash and state["state"] == "removing":
        return ["the removal of its worktree was interrupted (k1ctl archive run finishes it)"]
    tree = str(state.get("tree") or "")
    if trash and state["state"] == "archived" and tree and not os.path.lexists(tree):
        return [f"its worktree in the trash, {tree}, is gone; what was saved is not touched by that"]
    return []


def _files(archive: Archive, deep: bool) -> list[str]:
    problems: list[str] = []
    if stat.S_IMODE(os.lstat(archive.folder).st_mode) & 0o077:
        problems.append(f"{archive.folder} is open to others (chmod 700)")
    for name, about in sorted(files(archive).items()):
        path = os.path.join(archive.folder, name)
        try:
            there = os.lstat(path)
        except FileNotFoundError:
            problems.append(f"{name} is gone")
            continue
        if not stat.S_ISREG(there.st_mode):
            problems.append(f"{name} is no file")
        elif there.st_size != about.get("bytes"):
            problems.append(f"{name} has {there.st_size} bytes, the manifest says {about.get('bytes')}")
        elif name == SECRETS and there.st_mode & 0o077:
            problems.append(f"{name} is open to others (chmod 600)")
        elif deep and digest(path) != about.get("sha256"):
            problems.append(f"{name} is damaged: its SHA-256 is not the manifest's")
        elif deep and name.endswith(".tar"):
            problems += [f"{name}: {problem}" for problem in tar_problems(path)]
    return problems


def files(archive: Archive) -> dict[str, dict[str, Any]]:
    """{name: {bytes, sha256}} of the archive's files."""
    found = archive.manifest.get("files")
    return {str(k): v for k, v in found.items()} if isinstance(found, dict) else {}


def digest(path: str) -> str:
    """The SHA-256 of a file, in hex. Raises OSError."""
    from hashlib import sha256

    value = sha256()
    with open(path, "rb") as f:
        while block := f.read(_BLOCK):
            value.update(block)
    return value.hexdigest()


def tar_problems(path: str) -> list[str]:
    """What keeps a tar file of an archive from being unpacked whole and within one folder; [] when nothing does.

    Links may lead anywhere, they are somebody's files; but nothing is below one. A further name of a file comes after
    the file.
    """
    from k1ctl.archive.tar import members

    problems: list[str] = []
    links: set[str] = set()
    names: set[str] = set()
    at = 0
    try:
        with open(path, "rb", buffering=_BLOCK) as file:
            _check_headers(file)
            for member in members(file):
                if member.offset <= at or member.size < 0:
                    raise ValueError("its members are not one behind the other")
                if "\0" in member.name + member.target or abs(member.mtime_ns) >= 1 << 63:
                    raise ValueError("a member has a name or a time that no file has")
                at = member.offset
                parts = member.name.split("/")
                above = ("/".join(parts[:i]) for i in range(1, len(parts)))
                if any(part in ("", ".", "..") for part in parts) or any(name in links for name in above):
                    problems.append(f"member {member.name!r} leads elsewhere")
                elif member.kind == "same" and member.target not in names:
                    problems.append(f"member {member.name!r} is a name of {member.target!r}, which is not before it")
                elif member.kind in ("file", "same"):
                    names.add(member.name)
                elif member.kind == "link":
                    links.add(member.name)
    except (K1ctlError, OSError, ValueError) as exc:
        problems.append(f"cannot be read: {exc}")
    return _few(problems)


def _check_headers(file: BinaryIO) -> None:
    """Raises ValueError for extended headers (pax(1)) that are read for ever, or into more memory than any needs."""
    size: int | None = None
    while (block := file.read(512)).strip(b"\0") and len(block) == 512:
        plain = int(block[124:136].strip(b" \0") or b"0", 8)
        if min(plain, size or 0) < 0:
            raise ValueError("a member has a negative size")
        if block[156:157] != b"x":
            plain, size = plain if size is None else size, None
            file.seek(plain + -plain % 512, os.SEEK_CUR)
            continue
        if plain > _BLOCK:
            raise ValueError(f"an extended header has {plain} bytes")
        data, at, size = file.read(plain + -plain % 512)[:plain], 0, None
        while at < len(data):
            length = int(data[at : data.index(b" ", at)])
            if length < 5:
                raise ValueError("an extended header does not end")
            key, _, value = data[at : at + length].partition(b" ")[2].partition(b"=")
            size = int(value) if key == b"size" else size
            at += length
    file.seek(0)


def _few(problems: list[str]) -> list[str]:
    more = len(problems) - _SHOWN
    return problems if more <= 0 else [*problems[:_SHOWN], f"and {more} more"]
