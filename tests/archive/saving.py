"""A repository with an archive in it, made by the real save."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from k1ctl.archive.folder import Archive, find
from k1ctl.archive.save import save
from k1ctl.config import Config, load
from k1ctl.workspace import Workspace
from k1ctl.worktrees import entries
from tests.kit import Project

IGNORED = ".env\nlogs/\n"
WORK = {"tracked": "changed\n", "new": "new\n", ".env": "KEY=hunter2\n", "logs/run.log": "a line\n"}


def begin(project: Project) -> None:
    """A first commit with ignore rules and a tracked file."""
    project.write(".gitignore", IGNORED)
    project.write("tracked", "as it was\n")
    project.commit("begin")


def worked_in(project: Project, name: str, work: Mapping[str, str | bytes] = WORK) -> Path:
    """A worktree in which somebody worked: changed, untracked, ignored and secret files."""
    path = project.add_worktree(name)
    for file, content in work.items():
        project.write(file, content, within=path)
    return path


def archived(project: Project, name: str = "oslo", work: Mapping[str, str | bytes] = WORK) -> Archive:
    """An archive of a new worktree ``name``, which stays."""
    path = worked_in(project, name, work)
    entry = next(entry for entry in entries(str(project.root)) if entry.path == str(path))
    return save(*facts(project), entry, reason="archive save").archive


_first: dict[str, Any] = {}


def archived_alike(project: Project) -> Archive:
    """As `archived`, in a project that has only begun: git works once in a process, later ones get what it wrote."""
    above = os.fsencode(project.root.parent)
    places = (project.root / ".git", project.root / "ops" / "archive", project.worktree("oslo"))
    if not _first:
        archive = archived(project)
        _first["id"], _first["above"] = archive.id, above
        _first["kept"] = [{p.relative_to(place): _kept(p) for p in [place, *place.rglob("*")]} for place in places]
        return archive
    for place, kept in zip(places, _first["kept"], strict=True):
        shutil.rmtree(place, ignore_errors=True)
        for name, (mode, content) in kept.items():  # a folder comes before what is in it
            path = place / name
            if content is None:
                path.mkdir(parents=True)
            elif path.name in ("manifest.json", "gitdir", ".git"):
                path.write_bytes(content.replace(_first["above"], above))
            else:
                path.write_bytes(content)
            path.chmod(mode)
    return find(project.facts(), _first["id"])


def _kept(path: Path) -> tuple[int, bytes | None]:
    return path.stat().st_mode & 0o7777, None if path.is_dir() else path.read_bytes()


def facts(project: Project) -> tuple[Workspace, Config]:
    workspace = project.facts()
    return workspace, load(workspace)


def backdate(archive: Archive, days: float) -> None:
    """As if its last change were so long ago."""
    import time

    from k1ctl.files import write_json
    from k1ctl.units import rfc3339

    at = rfc3339(time.time() - days * 86400)
    archive.manifest["at"] = at
    write_json(f"{archive.folder}/manifest.json", archive.manifest)
    write_json(f"{archive.folder}/state.json", {**archive.state, "at": at})


def killed_at(
    number: int,
    work: Callable[[], object],
    module: Any,
    calls: tuple[str, ...] = ("unlink", "rmdir", "rename", "replace"),
) -> bool:
    """Run ``work`` in a child that is killed before the ``number``-th of these ``calls`` of the system, or of git by
    ``module``; whether it came that far."""
    child = os.fork()
    if child == 0:
        left = [number]

        def counted(function: Callable[..., Any]) -> Callable[..., Any]:
            def step(*args: Any, **kwargs: Any) -> Any:
                left[0] -= 1
                if left[0] < 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return function(*args, **kwargs)

            return step

        for name in calls:
            setattr(os, name, counted(getattr(os, name)))
        module.output = counted(module.output)
        work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)
