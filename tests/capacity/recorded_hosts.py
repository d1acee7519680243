"""Hosts that were recorded, or constructed from documentation and labelled so (tests/capacity/recorded)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent / "recorded"


def document(name: str) -> Any:
    """The recorded file of that name without its ending."""
    return json.loads((RECORDED / f"{name}.json").read_text())


def lay(root: Path, files: dict[str, list[str]]) -> str:
    """Lay the files of a Linux host below ``root``."""
    for path, lines in files.items():
        there = root / path.lstrip("/")
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_text("".join(f"{line}\n" for line in lines))
    return str(root)


def linux(root: Path, name: str, **changed: list[str]) -> str:
    """Lay a recorded Linux host below ``root``; ``changed`` {name of a file in /proc: its lines} are put over it."""
    files = document(name)["files"]
    return lay(root, {**files, **{f"/proc/{key}": lines for key, lines in changed.items()}})


def macs() -> list[str]:
    """The names of all recorded Macs."""
    return sorted(path.stem for path in RECORDED.glob("macos-*.json"))
