"""A store in memory, what is sent to it and fetched from it, and another clone that fetches."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from k1ctl.archive.folder import Archive
from k1ctl.archive.pull import pull
from k1ctl.archive.push import push
from k1ctl.config import load
from k1ctl.stores import Store
from k1ctl.workspace import Workspace, resolve
from tests.archive.saving import facts
from tests.kit import Project

SECRET = b"hunter2"


class Shelf(Store):
    """A store in memory that notes what is put."""

    name = "shelf"

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.puts: list[str] = []

    def put(self, key: str, path: str) -> None:
        self.puts.append(key)
        self.files[key] = Path(path).read_bytes()

    def get(self, key: str, path: str) -> None:
        data = self.files[key]
        with open(path, "xb") as f:
            f.write(data)

    def list(self, prefix: str) -> list[tuple[str, int]]:
        return sorted((k, len(v)) for k, v in self.files.items() if k.startswith(prefix))

    def delete(self, key: str) -> None:
        self.files.pop(key, None)


def send(project: Project, shelf: Store, archive: Archive, **options: Any) -> dict[str, Any]:
    return push(*facts(project), shelf, "repo", archive, **options)


def clone(project: Project, name: str = "clone") -> Workspace:
    """Another clone of the repository; its workspace."""
    path = project.root.parent / name
    subprocess.run(["git", "clone", "-q", str(project.root), str(path)], check=True)
    (path / "ops").mkdir()
    return resolve(cwd=str(path))


def fetch(workspace: Workspace, shelf: Store, reference: str, **options: Any) -> dict[str, Any]:
    return pull(workspace, load(workspace), shelf, "repo", reference, **options)
