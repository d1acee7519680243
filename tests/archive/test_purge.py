"""k1ctl.archive.purge: what may go, what goes, and what a kill in the middle leaves."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from k1ctl.archive import purge as purging
from k1ctl.archive.folder import Archive, archives_folder, list_archives
from k1ctl.errors import BusyError
from k1ctl.events import read
from tests.archive.saving import archived, archived_alike, backdate, begin, facts, killed_at
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


def plan_of(project: Project, **options: Any) -> purging.Plan:
    workspace, config = facts(project)
    return purging.plan(config, list_archives(workspace), **options)


def purge(project: Project, plan: purging.Plan, **options: Any) -> list[dict[str, Any]]:
    return purging.purge(*facts(project), plan, **options)


def beside(archive: Archive) -> Path:
    """Where trash lies when the worktree is on another filesystem."""
    return Path(archive.manifest["path"]).parent / ".k1ctl-trash" / archive.id


def left_of(project: Project, archive: Archive) -> list[str]:
    """What is still there of an archive."""
    places = [Path(archive.folder), beside(archive), project.ops / "archive" / archive.id]
    folders = [str(p) for p in places if p.exists()]
    return folders + project.git("for-each-ref", archive.ref).splitlines()


def test_what_may_go(project: Project) -> None:
    """Only what did not change for archive.keep: the time of saving counts, and that of the last state. --older-than
    is longer. A removal, a restore or a push that is under way keeps an archive."""
    archive = archived_alike(project)
    [row] = plan_of(project).rows
    assert row.why_not.startswith("it is kept for 30 d, ") and not plan_of(project).goes
    backdate(archive, 31)
    assert [r.archive.id for r in plan_of(project).goes] == [archive.id]
    assert plan_of(project, older_than=32 * 86400.0).rows[0].why_not.startswith("it is kept for 32 d")
    archive.set_state("restored")
    assert plan_of(project).rows[0].why_not.startswith("it is kept")
    archive.set_state("removing", at="2020-01-01T00:00:00.000Z")
    assert "removal" in plan_of(project).rows[0].why_not
    archive.set_state("archived", at="2020-01-01T00:00:00.000Z", untidy=True)
    assert "removal" in plan_of(project).rows[0].why_not
    archive.set_state("archived", at="not a time")
    assert "kept" in plan_of(project).rows[0].why_not
    archive.set_state("archived", at="2020-01-01T00:00:00.000Z")

    intent = Path(project.facts().git_dir) / "k1ctl" / "restore" / f"{archive.id}.json"
    intent.parent.mkdir(parents=True)
    intent.write_text("{}")
    assert plan_of(project).rows[0].why_not == "a restore of it is not over"
    intent.unlink()
    from k1ctl.files import Locked

    with Locked(os.path.join(archive.folder, ".push", "lock")):
        assert plan_of(project).rows[0].why_not == "it is being pushed"
    assert plan_of(project).goes


def test_trash_that_holds_more_than_the_archive(project: Project) -> None:
    """What was written while a worktree was taken is in no archive: such a one goes only when it is named, and the
    plan's word is another."""
    archive = archived_alike(project)
    backdate(archive, 40)
    before = plan_of(project, named=True).word
    archive.set_state(**{**archive.state, "state": "archived", "hold": True})
    assert "only when it is named" in plan_of(project).rows[0].why_not
    named = plan_of(project, named=True)
    assert named.goes and named.goes[0].held and named.word != before


def test_all_of_it_goes_and_nothing_else(project: Project, tmp_path: Path) -> None:
    """Trash in both places, tars, the copy of the manifest, the ref: gone; the other archive, its ref, what links in
    the trash lead to, and the worktree itself: as they were. It is an event."""
    archive, other = archived_alike(project), archived(project, "tokyo")
    backdate(archive, 31)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("theirs")
    for trash in (Path(archive.folder) / "trash", beside(archive)):
        (trash / "tree" / "closed").mkdir(parents=True)
        (trash / "tree" / "closed" / "file").write_text("x")
        (trash / "tree" / "link").symlink_to(precious)
        (trash / "tree" / "closed").chmod(0o500)
    kept = left_of(project, other)
    [row] = plan_of(project).goes
    assert len(row.trash) == 2 and row.bytes > 0

    assert purge(project, plan_of(project)) == [{"archive": archive.id, "outcome": "purged", "message": ""}]

    assert left_of(project, archive) == [] and not beside(archive).parent.exists()
    assert os.listdir(archives_folder(project.facts())) == [other.id]
    assert left_of(project, other) == kept and len(kept) == 3
    assert (precious / "file").read_text() == "theirs"
    assert (project.worktree("oslo") / "new").exists()
    events = [e for e in read(str(project.ops / "events")) if e["event"] == "archive.purged"]
    assert [(e["archive"], e["of"]) for e in events] == [(archive.id, "oslo")]


def test_a_plan_that_changed_is_not_carried_out(project: Project) -> None:
    """What was confirmed is what is done: one that was restored, or pushed over, in between stops all of it."""
    archives = [archived(project, name) for name in ("oslo", "tokyo")]
    for archive in archives:
        backdate(archive, 31)
    confirmed = plan_of(project)
    archives[0].set_state("restored")
    with pytest.raises(BusyError) as refused:
        purge(project, confirmed)
    assert refused.value.code == "plan-changed"
    assert all(len(left_of(project, archive)) == 3 for archive in archives)


def test_a_ref_that_somebody_moved_stays(project: Project) -> None:
    """It is not the archive's any more: the purge of this one fails and stays to be finished, the other is done."""
    moved, other = archived_alike(project), archived(project, "tokyo")
    for archive in (moved, other):
        backdate(archive, 31)
    project.git("update-ref", moved.ref, "HEAD")
    rows = {row["archive"]: row for row in purge(project, plan_of(project))}
    assert rows[moved.id]["outcome"] == "failed" and "it stays" in rows[moved.id]["message"]
    assert rows[other.id]["outcome"] == "purged"
    assert project.git("rev-parse", moved.ref) == project.git("rev-parse", "HEAD")
    project.git("update-ref", moved.ref, moved.manifest["commit"])
    assert [row["outcome"] for row in purge(project, plan_of(project))] == ["purged"]
    assert left_of(project, moved) == []


def test_a_purge_that_is_killed_at_any_step(project: Project, tmp_path: Path) -> None:
    """Before each change on disk in turn: the archive is whole still, or shown as `purging`, or gone; the next purge
    finishes it, and nothing is left."""
    archive = archived_alike(project)
    backdate(archive, 31)
    (Path(archive.folder) / "trash" / "tree").mkdir(parents=True)
    (Path(archive.folder) / "trash" / "tree" / "file").write_text("x")
    whole, copy = tmp_path / "whole", project.ops / "archive" / archive.id / "manifest.json"
    shutil.copytree(archive.folder, whole)
    seen: list[str] = []
    while killed_at(len(seen), lambda: purge(project, plan_of(project)), purging):
        states = [a.state["state"] for a in list_archives(project.facts())]
        assert states in (["saved"], ["purging"], [])
        seen += states or ["gone"]
        assert len(plan_of(project).goes) == len(states)
        assert [row["outcome"] for row in purge(project, plan_of(project))] == ["purged"] * len(states)
        assert left_of(project, archive) == []
        assert os.listdir(archives_folder(project.facts())) == []
        shutil.copytree(whole, archive.folder)
        project.git("update-ref", archive.ref, archive.manifest["commit"])
        project.write(str(copy.relative_to(project.root)), "{}")
    assert set(seen) == {"saved", "purging", "gone"} and len(seen) > 8
