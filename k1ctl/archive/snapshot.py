"""The snapshot: a commit whose tree is the working tree byte for byte, and which holds on to all that only it reaches.

git's own code reads and writes the files, under a git folder made for the purpose in which no filter, no line ending
and no encoding applies to any path; the objects go to the real repository.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from k1ctl.archive.gitstate import GitState
from k1ctl.files import read_bytes
from k1ctl.git import GitError, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from k1ctl.archive.calls import Calls, Running
    from k1ctl.archive.files import Look, Places

# gitattributes(5): $GIT_DIR/info/attributes has the last word. An encoding cannot be switched off by `-`, only unset.
_RAW = "* -text -ident -filter !eol !crlf !working-tree-encoding\n"
_MANY = 500  # new files above which they go to one pack
_CHANGERS = (b"filter", b"encoding")  # attributes that may change a file and leave its size
_OWN_REFS = ("bisect", "worktree", "rewritten")  # gitglossary(7), per-worktree ref
_OWN_HEADS = ("ORIG_HEAD", "CHERRY_PICK_HEAD", "REVERT_HEAD", "REBASE_HEAD", "BISECT_HEAD", "AUTO_MERGE")
_ARGUMENTS = 50_000  # bytes of names that are handed over as arguments: any system takes twice as many
_WHO = {
    **dict.fromkeys(("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME"), "k1ctl"),
    **dict.fromkeys(("GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL"), "k1ctl@localhost"),
}


class Scratch:
    """A git folder in which files are their raw bytes. ``env`` makes a git use it with the worktree ``top``."""

    def __init__(self, folder: str, common: str, top: str, *, sha256: bool) -> None:
        self.folder, self.index = os.path.join(folder, "raw"), os.path.join(folder, "raw", "index")
        os.makedirs(os.path.join(self.folder, "info"))
        os.mkdir(os.path.join(self.folder, "refs"))
        lines = ["[core]", "repositoryformatversion = 1", "bare = false", "fileMode = true", "autocrlf = false"]
        lines += ["symlinks = true", "protectNTFS = true", "protectHFS = true", "trustctime = true"]
        lines += ["checkStat = default", "safecrlf = false", "logAllRefUpdates = false", "sparseCheckout = false"]
        lines += ["splitIndex = false", "[extensions]"] + ["objectFormat = sha256"] * sha256
        lines += ["[index]", "sparse = false", "[feature]", "manyFiles = false"]
        for name, text in (
            ("config", "\n".join(lines) + "\n"),
            ("HEAD", "ref: refs/heads/none\n"),
            (os.path.join("info", "attributes"), _RAW),
        ):
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.env = {
            "GIT_DIR": self.folder,
            "GIT_WORK_TREE": top,
            "GIT_INDEX_FILE": self.index,
            "GIT_OBJECT_DIRECTORY": os.path.join(common, "objects"),
        }


def index_tree(calls: Calls, state: GitState, found: Look, scratch: Scratch, instead: Mapping[str, str]) -> Running:
    """Start writing the index as a tree; the entries of a conflict go to folders named by their stages.

    ``instead``: {path: MODE OID, or "" for none} of entries that are not as in the index.
    """
    copy = os.path.join(scratch.folder, "real-index")
    conflict = [(path, row) for path, rows in found.tracked.items() for row in rows if row.stage != "0"]
    if not conflict and state.index:
        shutil.copyfile(os.path.join(state.own, "index"), copy)
        env = {"GIT_INDEX_FILE": copy}
        listed = [f"{facts or '0 ' + '0' * len(_some_oid(found))}\t{path}" for path, facts in instead.items()]
    else:
        rows = [(path, row) for path, rows in found.tracked.items() for row in rows if row.stage == "0"]
        env = scratch.env | {"GIT_INDEX_FILE": copy}
        listed = [f"{row.mode} {row.oid}\t{path}" for path, row in rows if path not in instead]
        listed += [f"{facts}\t{path}" for path, facts in instead.items() if facts]
        listed += [f"{row.mode} {row.oid}\t.k1ctl-stage-{row.stage}/{path}" for path, row in conflict]
    if listed or conflict:
        calls.start("update-index", "-z", "--index-info", stdin=_joined(listed), env=env).data()
    return calls.start("write-tree", "--missing-ok", env=env)


def plain(state: GitState, found: Look) -> bool:
    """Whether the index hides nothing: no flag, no conflict, not split, no object shown as another; so that its stat
    data can be built on."""
    rows = found.tracked.values()
    if state.shared_indexes() or state.replaces():
        return False
    return bool(state.index) and all(r[0][0] == "H" and r[0][-1] == "0" for r in rows)


def rebuildable(state: GitState, found: Look) -> bool:
    """Whether the index is no more than its tree: `plain`, version 2 (3 has intent-to-add), no extension with facts
    of its own (gitformat-index(5))."""
    own = (b"REUC", b"link", b"sdir", b"UNTR", b"FSMN")
    return plain(state, found) and state.index[4:8] == b"\0\0\0\2" and not any(mark in state.index for mark in own)


def stored_sizes(calls: Calls, state: GitState, found: Look) -> Running | None:
    """Start looking up the sizes of the blobs of all that is tracked, in the order of ``found.tracked``; None where
    `raw_tree` does not need them."""
    if not plain(state, found):
        return None
    stdin = os.fsencode("".join(f"{rows[0].oid}\n" for rows in found.tracked.values()))
    return calls.start("cat-file", "--batch-check=%(objectsize)", stdin=stdin)


def raw_tree(
    calls: Calls,
    state: GitState,
    found: Look,
    places: Places,
    scratch: Scratch,
    attributes: list[str],
    sizes: Running | None,
) -> Running:
    """Write the files of ``places.commit`` as they are, and start writing their tree; ``attributes`` are files
    that may name a filter, ``sizes`` what `stored_sizes` started.

    Where the index hides nothing, its stat data save reading what did not change; not for a file whose size is not
    that of its blob, or that a filter or an encoding has changed on its way.
    """
    wanted = set(places.commit)
    dropped: list[str] = []
    if sizes is not None:
        original = os.path.join(state.own, "index")
        shutil.copyfile(original, scratch.index)
        facts = os.stat(original)
        os.utime(scratch.index, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # by it git tells which entries are racy
        dropped = _not_as_stored(calls, found, wanted, attributes, sizes)
        dropped += [p for p, rows in found.tracked.items() if p not in wanted and not _gitlink_there(p, rows, found)]
    if sum(map(len, dropped)) > _ARGUMENTS:
        lines = [f"0 {'0' * len(_some_oid(found))}\t{path}" for path in dropped]
        calls.start("update-index", "-z", "--index-info", stdin=_joined(lines), env=scratch.env).data()
        dropped = []
    first = ["--force-remove", *(f"./{path}" for path in dropped), "--no-force-remove"] if dropped else []
    args = ("update-index", *first, "-z", "--add", "--replace", "--stdin")
    options = _into_one_pack(calls) if len(wanted.difference(found.tracked)) > _MANY else ()
    adding = calls.start(*options, *args, stdin=_joined(places.commit), env=scratch.env)
    adding.data()
    if adding.told():  # names that git may not hold it passes over, with a word and exit 0
        there = calls.start("ls-files", "-z", "--cached", env=scratch.env).text().split("\0")
        for path in wanted.difference(there):
            places.commit.remove(path)
            places.files[path] = found.files[path]
    return calls.start("write-tree", "--missing-ok", env=scratch.env)


def _into_one_pack(calls: Calls) -> tuple[str, ...]:
    """Options with which git writes all new blobs as one pack, where it can: a file for each, made to last, takes ten
    times as long. `git update-index` gathers what is above the threshold since git 2.37 (bulk-checkin.c); before, it
    would make as many packs."""
    words = calls.start("version").line().split()
    numbers = [int(n) for n in words[2].split(".")[:2] if n.isdigit()] if len(words) > 2 else []
    return ("-c", "core.bigFileThreshold=1") if tuple(numbers) >= (2, 38) else ()


def _gitlink_there(path: str, rows: Sequence[object], found: Look) -> bool:
    return path in found.folders and getattr(rows[0], "mode", "") == "160000"


def _some_oid(found: Look) -> str:
    return next(iter(found.tracked.values()))[0].oid


def _not_as_stored(calls: Calls, found: Look, wanted: set[str], attributes: list[str], sizes: Running) -> list[str]:
    """The tracked files that may differ from their blobs although git says they are clean."""
    paths = [path for path in found.tracked if path in wanted]
    filtered = _filtered(calls, paths) if paths and _name_filters(attributes) else []
    told = dict(zip(found.tracked, sizes.text().splitlines(), strict=True))
    odd = [path for path in paths if told[path] != str(found.files[path].st_size)]
    return list(dict.fromkeys([*odd, *filtered]))


def _filtered(calls: Calls, paths: list[str]) -> list[str]:
    """The tracked files that a filter or an encoding applies to."""
    args = ("check-attr", "-z", "--stdin", "filter", "working-tree-encoding")
    words = calls.start(*args, stdin=_joined(paths)).text().split("\0")
    rows = zip(words[::3], words[2::3], strict=False)
    return [path for path, value in rows if value not in ("unspecified", "unset", "")]


def attribute_files(common: str, found: Look, configured: str) -> list[str]:
    """The files that git takes attributes of the worktree from (gitattributes(5), FILES), there or not."""
    within = [path for path in {*found.files, *found.tracked} if path.rpartition("/")[2] == ".gitattributes"]
    own = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    prefix = os.path.dirname(os.path.dirname(os.path.realpath(program())))
    system = {"/etc/gitattributes", os.path.join(prefix, "etc", "gitattributes")}
    user = os.path.expanduser(configured) if configured else os.path.join(own, "git", "attributes")
    paths = [os.path.join(found.top, path) for path in within]
    return [*paths, os.path.join(common, "info", "attributes"), os.path.join(found.top, user), *system]


def converts(attributes: list[str], settings: Mapping[str, str]) -> bool:
    """Whether files in the worktree may be other bytes than their blobs: by an attribute, or core.autocrlf."""
    if settings.get("core.autocrlf", "false").lower() not in ("false", "no", "off", "0", ""):
        return True
    texts = [read_bytes(path) for path in attributes]
    return any(word in text for text in texts if text for word in (b"text", b"crlf", b"eol", b"ident", *_CHANGERS))


def _name_filters(attributes: list[str]) -> bool:
    """Whether one of these files may name a filter or an encoding; one that is only in the index may."""
    texts = [(path, read_bytes(path)) for path in attributes]
    return any(
        path.endswith("/.gitattributes") if text is None else any(word in text for word in _CHANGERS)
        for path, text in texts
    )


def commit(calls: Calls, tree: str, parents: Iterable[str], message: str) -> Running:
    """Start writing a commit."""
    args = [word for parent in parents for word in ("-p", parent)]
    return calls.start("commit-tree", *args, "-m", message, tree, env=_WHO)


def known_objects(calls: Calls, names: Iterable[str]) -> Running:
    """Start looking up which names are objects; `objects_told` reads the answer."""
    stdin = os.fsencode("\n".join(sorted(names)) + "\n")
    return calls.start("cat-file", "--batch-check", stdin=stdin, env={"GIT_NO_LAZY_FETCH": "1"})


def objects_told(running: Running) -> dict[str, str]:
    """{id: type} of those that are there."""
    rows = (line.split(" ") for line in running.text().splitlines())
    return {row[0]: row[1] for row in rows if len(row) == 3}


def tags(calls: Calls, objects: dict[str, str]) -> list[str]:
    """The texts of the annotated tags among ``objects``, and of those that they are of; what they are of in the end
    is added to ``objects``. No commit can hold a tag."""
    texts: list[str] = []
    pending = [oid for oid, kind in objects.items() if kind == "tag"]
    while pending:
        text = calls.start("cat-file", "tag", pending.pop()).text()
        texts.append(text)
        facts = dict(line.partition(" ")[::2] for line in text.split("\n\n", 1)[0].splitlines())
        if facts["object"] not in objects:
            objects[facts["object"]] = facts["type"]
            if facts["type"] == "tag":
                pending.append(facts["object"])
    return texts


def names_in_tables(calls: Calls) -> set[str]:
    """What the worktree's own refs and its reflog name, told by git."""
    refs = calls.start("for-each-ref", "--format=%(objectname)", *(f"refs/{name}" for name in _OWN_REFS))
    log = calls.start("rev-list", "--walk-reflogs", "HEAD", "--")
    found = {*_OWN_HEADS, *refs.text().split()}
    try:
        found |= set(log.text().split())
    except GitError:  # a branch without a commit has none
        pass
    return found


def pins(calls: Calls, head: str, objects: dict[str, str], partial: bool) -> tuple[list[str], list[str]]:
    """The commits to hold on to: those that ``head`` does not reach, the ones that others of them reach left out; and
    those that cannot be held, for gc has taken a part of their history."""
    commits = [oid for oid, kind in objects.items() if kind == "commit" and oid != head]
    if not commits:
        return [], []
    try:
        return _tips(calls, head, commits, partial), []
    except GitError:  # a ref to one that has lost a part of its history would make every later gc fail
        found: list[str] = []
        lost: list[str] = []
        for oid in commits:
            try:
                found += _tips(calls, head, [oid], partial)
            except GitError:
                lost.append(oid)
        return list(dict.fromkeys(found)), lost


def _tips(calls: Calls, head: str, commits: list[str], partial: bool) -> list[str]:
    """Those of ``commits`` that none of the others nor ``head`` reaches. Raises GitError when an object is missing."""
    negative = [f"^{head}"] if head else []
    listed = calls.start("rev-list", "--parents", "--stdin", stdin=os.fsencode("\n".join([*commits, *negative]) + "\n"))
    rows = [line.split(" ") for line in listed.text().splitlines()]
    there, parents = {row[0] for row in rows}, {parent for row in rows for parent in row[1:]}
    tips = [oid for oid in commits if oid in there and oid not in parents]
    if tips:
        options = ["--exclude-promisor-objects"] if partial else []
        stdin = os.fsencode("\n".join(tips) + "\n")
        calls.start("rev-list", "--objects", "--quiet", *options, "--stdin", "--not", "--all", stdin=stdin).data()
    return tips


def extra_tree(calls: Calls, objects: Iterable[tuple[str, str]], blobs: Iterable[str]) -> str:
    """A tree that holds on to trees and blobs that no commit has; "" when there is none."""
    rows = {oid: "040000 tree" for oid, kind in objects if kind == "tree"}
    rows |= {oid: "100644 blob" for oid, kind in objects if kind == "blob"}
    rows |= dict.fromkeys(blobs, "100644 blob")
    if not rows:
        return ""
    return calls.start("mktree", "-z", "--missing", stdin=_joined([f"{w} {o}\t{o}" for o, w in rows.items()])).line()


def _joined(names: Iterable[str]) -> bytes:
    return os.fsencode("".join(name + "\0" for name in names))
