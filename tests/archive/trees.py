"""Trees of files: made at random, put on a disk, and described so that two can be compared."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

Node = tuple[bytes, int] | bytes | None  # a file with its mode, a link, an empty folder
_ODD = [
    b"-rf",
    b"--",
    b" ",
    b"a\nb",
    b"\xff\xfe",
    b"caf\xc3\xa9",
    b"cafe\xcc\x81",
    b"dot.",
    b"CASE",
    b"case",
    b'"q"',
    b"*",
]


def _names() -> st.SearchStrategy[bytes]:
    free = st.binary(min_size=1, max_size=12).filter(
        lambda name: (
            b"/" not in name and b"\0" not in name and name not in (b".", b"..") and name.lower()[:4] != b".git"
        )
    )
    return st.one_of(st.sampled_from(_ODD), free)


@st.composite
def trees(draw: st.DrawFn) -> dict[bytes, Node]:
    """{path: what is there}; no path is also a folder of another."""
    nodes = st.one_of(
        st.tuples(st.binary(max_size=700), st.sampled_from([0o644, 0o755, 0o600, 0o640, 0o700, 0o400])),
        st.binary(min_size=1, max_size=20).filter(lambda target: b"\0" not in target),
        st.none(),
    )
    paths = st.lists(_names(), min_size=1, max_size=3).map(b"/".join)
    found: dict[bytes, Node] = draw(st.dictionaries(paths, nodes, min_size=1, max_size=8))
    return {p: node for p, node in found.items() if not any(other.startswith(p + b"/") for other in found)}


def plant(top: Path, tree: Mapping[bytes, Any]) -> None:
    """Put the tree into the folder ``top``."""
    for path, node in tree.items():
        full = os.path.join(os.fsencode(top), path)
        os.makedirs(os.path.dirname(full), exist_ok=True)
        if node is None:
            os.makedirs(full)
        elif isinstance(node, bytes):
            os.symlink(node, full)
        else:
            with open(full, "wb") as f:
                f.write(node[0])
            os.chmod(full, node[1])


def described(top: Path, *, times: bool = False) -> dict[bytes, tuple[Any, ...]]:
    """{path: kind, mode, content, and with ``times`` the time} of all below, but the ``.git`` of ``top`` itself."""
    found: dict[bytes, tuple[Any, ...]] = {}
    base = os.fsencode(top)
    for folder, folders, files in os.walk(base):
        for name in (*folders, *files):
            path = os.path.join(folder, name)
            facts = os.lstat(path)
            content: Any = b""
            if stat.S_ISLNK(facts.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(facts.st_mode):
                with open(path, "rb") as f:
                    content = f.read()
            row = (stat.S_IFMT(facts.st_mode), stat.S_IMODE(facts.st_mode), content)
            found[os.path.relpath(path, base)] = (*row, facts.st_mtime_ns) if times else row
    found.pop(b".git", None)
    return found
