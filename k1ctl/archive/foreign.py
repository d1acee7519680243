"""The manifest of a copy in a store: it came from outside, and what it names becomes paths, refs and settings here."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies
from k1ctl.archive.copies import BUNDLE
from k1ctl.archive.folder import FORMAT
from k1ctl.archive.gitruns import FILES, GIT
from k1ctl.units import parse_rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

_HEX = frozenset("0123456789abcdef")
_PATHS = ("empty_folders", "special", "regenerable", "nested", "submodules")
_BAD, _NO_COMMITS = "its manifest cannot be read", "its manifest names no commits"
_NOT_IN_REFS = frozenset(" ~^:?*[\\")


class _WrongError(ValueError):
    """What the manifest says that it may not."""


def problem(manifest: Any, archive_id: str, sizes: Mapping[str, int]) -> str:
    """Why the manifest of the copy ``archive_id``, whose files have these ``sizes`` (bytes), cannot be used; ""."""
    try:
        _check(manifest, archive_id, sizes)
    except _WrongError as exc:
        return str(exc)
    except (TypeError, KeyError, AttributeError, ValueError, OverflowError):
        return _BAD
    return ""


def _check(manifest: Any, archive_id: str, sizes: Mapping[str, int]) -> None:
    copy, files = manifest["copy"], manifest["files"]
    _need(manifest["format"] == FORMAT and copy["format"] == copies.FORMAT, "its format is not known to this k1ctl")
    _need(manifest["id"] == archive_id, f"its manifest is of {manifest['id']!r}")
    _need(_is_id(archive_id), "it has no archive's id")
    _need(manifest.get("kind", "worktree") == "worktree", "it is no archive of a worktree")
    _need(BUNDLE in files and {BUNDLE, GIT, FILES}.issuperset(files), "its manifest names files that no copy has")
    for name, about in files.items():
        _need(_is_digest(about["sha256"], 64), "its manifest has no digests")
        _need(about["bytes"] == sizes.get(name), f"its {name} has not the size that its manifest says")
    _need(all(_is_commit(c) for c in (manifest["commit"], manifest["tree"], *copy["prerequisites"])), _NO_COMMITS)
    paths = [path for key in _PATHS for path in manifest.get(key) or ()]
    paths += [path for path, mode in manifest.get("modes") or () if int(mode, 8) >= 0]
    _need(all(_is_inside(path) for path in paths), "its manifest names paths that lead elsewhere")
    for key in ("path", "root", "git_dir"):
        if key in manifest or key == "path":
            _need(_is_place(manifest[key]), f"its {key} is none")
    _need(_is_plain(manifest["entry"]) and _is_plain(manifest["workspace"]), "it names no worktree")
    _check_heads(manifest)
    _check_facts(manifest)


def _check_heads(manifest: dict[str, Any]) -> None:
    for key in ("head", "index_commit"):
        _need(manifest.get(key) is None or _is_commit(manifest[key]), _NO_COMMITS)
    named: list[Any] = [manifest.get("branch")]
    if manifest.get("rebasing"):
        branch, commit = manifest["rebasing"]
        named.append(branch)
        _need(not commit or _is_commit(commit), _NO_COMMITS)
    _need(all(name is None or _is_branch(name) for name in named), "it names no branch")
    upstream = manifest.get("upstream") or ()
    _need(len(upstream) in (0, 2) and all(_is_line(w) and not w.startswith("-") for w in upstream), "it follows none")
    _need(all(_is_commit(row["commit"]) and _is_text(row["subject"]) for row in manifest.get("stashes") or ()), _BAD)
    _need(all(_is_text(tag) for tag in manifest.get("tags") or ()), _BAD)


def _check_facts(manifest: dict[str, Any]) -> None:
    parse_rfc3339(manifest["at"]), parse_rfc3339(manifest["copy"]["at"])
    for key in ("umask", "mode"):
        if key in manifest:
            int(manifest[key], 8)
    counts = [manifest["copy"]["secrets_count"], *(manifest.get("counts") or {}).values()]
    _need(all(isinstance(n, int) and n >= 0 for n in counts if n is not None), _BAD)
    _need(_is_text(manifest["copy"]["repository"]) and _is_text(manifest["copy"]["host"]), _BAD)
    texts = [manifest.get(key) for key in ("reason", "creator", "base", "operation")]
    _need(all(text is None or _is_text(text) for text in texts), _BAD)


def _need(so: bool, why: str) -> None:
    if not so:
        raise _WrongError(why)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _is_line(value: Any) -> bool:
    return _is_text(value) and not any(c < " " or c == "\x7f" for c in value)


def _is_digest(value: Any, length: int) -> bool:
    return isinstance(value, str) and len(value) == length and _HEX.issuperset(value)


def _is_commit(value: Any) -> bool:
    return _is_digest(value, 40) or _is_digest(value, 64)


def _is_id(value: str) -> bool:
    return not value.startswith((".", "-")) and ".." not in value and not value.endswith((".lock", "."))


def _is_plain(value: Any) -> bool:
    return _is_text(value) and "/" not in value and value not in ("", ".", "..")


def _is_inside(path: Any) -> bool:
    return _is_text(path) and all(part not in ("", ".", "..") for part in path.rstrip("/").split("/"))


def _is_place(path: Any) -> bool:
    return _is_text(path) and os.path.isabs(path) and os.path.normpath(path) == path and path != "/"


def _is_branch(name: Any) -> bool:
    return _is_line(name) and not name.startswith("-") and ".." not in name and not _NOT_IN_REFS.intersection(name)
