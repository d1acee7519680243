"""`k1ctl archive list`, `show` and `verify`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from k1ctl.archive.folder import Archive
from k1ctl.config import load
from k1ctl_plugins.archive import details, report
from tests.archive.saving import archived, archived_alike, backdate, begin
from tests.kit import Project


@pytest.fixture
def project(workspace: Project) -> Project:
    begin(workspace)
    return workspace


@pytest.fixture
def archive(project: Project) -> Archive:
    return archived_alike(project)


def test_what_there_is(project: Project) -> None:
    """One row an archive, the newest first, with what it holds; without one an empty list and a hint."""
    nothing = project.run("archive", "list").assert_ok()
    assert nothing.stdout == "" and "archive run --dry-run" in nothing.stderr
    assert project.run("archive", "list", "--json").assert_ok().json == {"ok": True, "archives": []}
    first, second = archived_alike(project), archived(project, "tokyo")
    backdate(first, 3)
    Path(first.folder).parent.joinpath(".tmp-leftover").mkdir()

    rows = project.run("archive", "list", "--json").assert_ok().json["archives"]
    assert {row["archive"] for row in rows} == {first.id, second.id}
    row = next(row for row in rows if row["archive"] == first.id)
    assert row["counts"] == {"changed": 1, "untracked": 1, "ignored_kept": 2, "secrets": 1, "nested": 0}
    assert (row["workspace"], row["branch"], row["state"], row["copies"]) == ("oslo", "oslo", "saved", {})
    assert row["head"] == project.git("rev-parse", "oslo") and row["ref"] == first.ref
    assert 3 * 86400 <= row["age_seconds"] < 4 * 86400 and row["bytes"] > 0
    text = project.run("archive", "list").assert_ok().stdout
    assert text.splitlines()[0].split() == ["ID", "AGE", "WORKSPACE", "BRANCH", "STATE", "SIZE", "HOLDS", "COPIES"]
    assert "1 changed, 1 untracked, 2 ignored, 1 secret among them" in text and "hunter2" not in text


def test_what_git_could_not_count(project: Project, archive: Archive) -> None:
    """Where a filter was missing, nobody knows how many files were changed: said, and null in JSON."""
    archive.manifest["counts"]["changed"] = None
    row = report.row(archive)
    assert row["counts"]["changed"] is None
    assert report.holds(row) == "changes not counted, 1 untracked, 2 ignored, 1 secret among them, 2 unpushed"


def test_one_in_words(project: Project, archive: Archive) -> None:
    """Whose, from when, what it holds, how to restore it, what a purge would do; by id, its beginning, or the name."""
    text = project.run("archive", "show", "oslo").assert_ok().stdout
    for part in (
        f"oslo, {project.worktree('oslo')}",
        "by archive save",
        "there as it was",
        f"k1ctl archive restore {archive.id} --to FOLDER (its place is taken)",
        "not now: it is kept for 30 d",
        "none off this host",
    ):
        assert part in text, part
    assert "new" not in text.split()
    project.run("archive", "show", "nobody").assert_fails(1, "there is no archive nobody", "archive list")
    about = project.run("archive", "show", archive.id[:20], "--json").assert_ok().json
    assert about["manifest"] == archive.manifest and about["purge"]["would_purge"] is False
    assert about["branch_now"] == about["head"] and about["path_taken"] is True


def test_what_became_of_the_branch_and_the_place(project: Project, archive: Archive) -> None:
    """A branch that moved on or is gone is said; a free place needs no --to; an old one says what a purge deletes."""
    moved = project.commit("on", cwd=project.worktree("oslo"))
    now = details.facts(project.facts(), load(project.facts()), archive)
    assert f"at {moved[:12]} now" in dict(details.lines(now))["branch"]
    project.git("worktree", "remove", "--force", str(project.worktree("oslo")))
    project.git("branch", "-q", "-D", "oslo")
    backdate(archive, 31)
    text = project.run("archive", "show", "oslo").assert_ok().stdout
    assert "gone since" in text and "--to" not in text
    assert "would delete its files and its ref for good, when a person confirms it; there is no copy of it" in text


def test_names_on_request(project: Project) -> None:
    """--files names what is changed, untracked, kept and secret, odd names too, and shows no content."""
    odd = os.fsdecode(b"b\xe4d\nname")
    work = {"tracked": "x\n", "new": "n\n", ".env": "KEY=hunter2\n", "logs/run.log": "x", odd: "odd"}
    archived(project, "oslo", work)
    outcome = project.run("archive", "show", "oslo", "--files", "--json").assert_ok()
    assert "hunter2" not in outcome.stdout
    names = outcome.json["files"]
    assert set(names["changed"]) == {"M tracked", "A new", f"A {odd}"}
    assert names["kept"] == ["logs/run.log"] and names["secrets"] == [".env"] and names["staged"] == []
    text = project.run("archive", "show", "oslo", "--files").assert_ok().stdout
    assert "  A b?d?name" in text.splitlines()


def test_whole_or_not(project: Project, archive: Archive) -> None:
    """verify ends with 0 and `whole`, or with 65 and the problems; it wants to know which; ops/ is mended."""
    assert project.run("archive", "verify", "oslo").assert_ok().stdout == f"{archive.id}: whole\n"
    shutil.rmtree(project.ops / "archive")
    outcome = project.run("archive", "verify", "--all", "--json").assert_ok()
    assert outcome.json == {"ok": True, "archives": [{"archive": archive.id, "ok": True, "problems": []}]}
    assert outcome.changed == (f"ops/archive/{archive.id}/manifest.json",)
    project.run("archive", "verify", "oslo", "--all").assert_fails(2, "--all")

    tar = Path(archive.folder, "files.tar")
    tar.write_bytes(tar.read_bytes()[:-1] + b"x")
    assert project.run("archive", "verify", "oslo", "--quick").assert_ok()
    rows = project.run("archive", "verify", "--all", "--json").assert_fails(65).json
    assert rows["ok"] is False and rows["archives"][0]["problems"] == [
        "files.tar is damaged: its SHA-256 is not the manifest's"
    ]
    Path(archive.folder, "manifest.json").write_bytes(b"")
    said = project.run("archive", "verify", "--all").assert_fails(65).stdout
    copy = project.ops / "archive" / archive.id / "manifest.json"
    assert said == f"{archive.id}: its manifest.json is gone or damaged, so no command finds it; {copy} is a copy\n"


def test_a_removal_that_was_killed_is_settled_first(project: Project, archive: Archive) -> None:
    """A state `removing` whose rename did not happen is taken back before the list is shown."""
    path = str(project.worktree("oslo"))
    trash = f"{archive.folder}/trash"
    own = f"{project.root}/.git/worktrees/oslo"
    before = {"state": "saved", "at": archive.manifest["at"]}
    move = {"path": path, "tree": f"{trash}/tree", "own": own, "git": f"{trash}/git", "trash": trash, "began": 0.0}
    archive.set_state("removing", **move, before=before)
    outcome = project.run("archive", "list", "--json").assert_ok()
    assert outcome.json["archives"][0]["state"] == "saved" and "had not begun" in outcome.stderr
