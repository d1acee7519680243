"""What people and programs are told of archives."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from k1ctl.archive import copies
from k1ctl.units import format_duration, format_size, parse_rfc3339

if TYPE_CHECKING:
    from k1ctl.archive.folder import Archive

_COUNTED = ("changed", "untracked", "ignored_kept", "secrets", "nested")


def row(archive: Archive, now: float | None = None) -> dict[str, Any]:
    """An archive in one row."""
    manifest, state = archive.manifest, archive.state
    given = manifest.get("counts")
    counts: dict[str, Any] = {name: (given if isinstance(given, dict) else {}).get(name, 0) for name in _COUNTED}
    return {
        "archive": archive.id,
        "at": manifest["at"],
        "age_seconds": age(str(manifest["at"]), now),
        "workspace": manifest.get("workspace"),
        "path": manifest.get("path"),
        "branch": manifest.get("branch"),
        "head": manifest.get("head"),
        "state": state["state"],
        "state_at": state["at"],
        "reason": manifest.get("reason"),
        "bytes": int(manifest.get("bytes", 0)),
        "counts": counts,
        "operation": manifest.get("operation"),
        "stash_count": len(manifest.get("stashes") or ()),
        "unpushed_count": manifest.get("unpushed_count"),
        "secrets_missing_count": secrets_missing(archive),
        "trash": state.get("trash") or None,
        "copies": copies.of(archive),
        "folder": archive.folder,
        "ref": archive.ref,
    }


def age(at: str, now: float | None = None) -> float | None:
    """Seconds since the time ``at``; None when it is no time."""
    try:
        return round(max((time.time() if now is None else now) - parse_rfc3339(at), 0.0), 3)
    except ValueError:
        return None


def ago(seconds: float | None) -> str:
    return "?" if seconds is None else f"{format_duration(seconds)} ago"


def secrets_missing(archive: Archive) -> int:
    """How many secrets stayed on the host that an archive was pulled from."""
    pulled = archive.manifest.get("pulled")
    return int(pulled.get("secrets_count", 0)) if isinstance(pulled, dict) else 0


def holds(facts: dict[str, Any]) -> str:
    """What is in an archive, in a few words: ``3 changed, 1 ignored, 1 secret among them, rebase``."""
    counts = facts["counts"]
    words = [
        f"{counts[key]} {word}" for key, word in (("changed", "changed"), ("untracked", "untracked")) if counts[key]
    ]
    words[:0] = ["changes not counted"] if counts["changed"] is None else []  # git lacked a filter
    words += [f"{counts['ignored_kept']} ignored"] if counts["ignored_kept"] else []
    missing = facts["secrets_missing_count"]
    secrets = counts["secrets"] - missing
    words += [f"{plural(secrets, 'secret')} among them"] if secrets > 0 else []
    words += [f"{plural(missing, 'secret')} of them elsewhere"] if missing else []
    words += [f"{counts['nested']} nested"] if counts["nested"] else []
    words += [facts["operation"]] if facts["operation"] else []
    words += [plural(facts["stash_count"], "stash", "stashes")] if facts["stash_count"] else []
    words += [f"{facts['unpushed_count']} unpushed"] if facts["unpushed_count"] else []
    return ", ".join(words) or "clean"


def plural(count: int, one: str, many: str = "") -> str:
    return f"{count} {one if count == 1 else many or one + 's'}"


def cells(facts: dict[str, Any]) -> tuple[str, ...]:
    """A row for the table."""
    seconds = facts["age_seconds"]
    return (
        facts["archive"],
        "?" if seconds is None else format_duration(seconds),
        str(facts["workspace"] or "-"),
        str(facts["branch"] or f"({str(facts['head'] or 'unborn')[:9]})"),
        facts["state"],
        format_size(facts["bytes"]),
        holds(facts),
        ",".join(facts["copies"]) or "-",
    )


HEADERS = ("ID", "AGE", "WORKSPACE", "BRANCH", "STATE", "SIZE", "HOLDS", "COPIES")


def remote_rows(found: list[copies.Copy], known: set[str]) -> list[dict[str, Any]]:
    """The rows of copies in a store; ``here`` tells whether the archive is on this host."""
    return [
        {"archive": c.id, "whole": c.whole, "here": c.id in known, "bytes": c.bytes, "files": c.files} for c in found
    ]


def remote_cells(facts: dict[str, Any]) -> tuple[str, ...]:
    state = "whole" if facts["whole"] else "not over"
    return facts["archive"], state, format_size(facts["bytes"]), "yes" if facts["here"] else "no"


REMOTE_HEADERS = ("ID", "COPY", "SIZE", "HERE")


def trash_bytes(facts: dict[str, Any]) -> int | None:
    """What the trash takes of the disk; None when there is none."""
    from k1ctl.disk import measure

    return measure(facts["trash"]) if facts["trash"] and os.path.isdir(facts["trash"]) else None
