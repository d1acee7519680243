"""`k1ctl worktree list`: what it looks at, and what it keeps."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl import files, worktrees
from k1ctl.config import load
from k1ctl.errors import K1ctlError
from k1ctl.worktrees import entries
from k1ctl_plugins.worktree import adding, du_report, listing, repair_steps
from k1ctl_plugins.worktree.doctor_rounds import examine
from k1ctl_plugins.worktree.show_facts import facts
from tests.kit import Project


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with worktrees `oslo` and `lima`."""
    return make_workspace(files={"src/a.c": "int a;\n"}, worktrees=["oslo", "lima"])


def rows(project: Project, **options: bool) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in listing.documents(project.facts(), **options)}


def test_every_kind_of_change_is_seen(project: Project) -> None:
    """Written in place, staged, deleted, a new file, a new folder: each is a change; an ignored file is none."""
    tree = project.worktree("oslo")
    source = tree / "src" / "a.c"
    project.write(".git/info/exclude", "*.log\n")
    (tree / "x.log").write_text("x")
    assert rows(project)["oslo"]["dirty"] is False
    for change in (
        lambda: source.write_text("int b;\n"),
        lambda: project.git("rm", "-q", "--cached", "README", cwd=tree),
        lambda: source.unlink(),
        lambda: project.write("new", "x", within=tree),
        lambda: project.write("deep/er/new", "x", within=tree),
    ):
        change()
        assert rows(project)["oslo"]["dirty"] is True
        project.git("reset", "-q", "--hard", cwd=tree)
        project.git("clean", "-fdq", cwd=tree)
    assert rows(project)["oslo"]["dirty"] is False
    assert rows(project)["lima"]["dirty"] is False


def test_who_made_it_and_how_long_it_is_idle(project: Project) -> None:
    """The creator is the one who called `add`; a change makes the time since the last activity small."""
    project.run("worktree", "add", "kyoto", "--no-setup", "--lock", "an agent\nworks here").assert_ok()
    found = rows(project)
    assert found["kyoto"]["creator"].endswith("in repo") and found["oslo"]["creator"] is None
    assert found["kyoto"]["base"] == project.git("rev-parse", "HEAD")
    assert found["kyoto"]["locked"] == "an agent works here"
    tree = project.worktree("oslo")
    own = project.root / ".git" / "worktrees" / "oslo"
    for path in (own / "index", own / "logs" / "HEAD"):
        os.utime(path, (1_000_000, 1_000_000))
    assert rows(project)["oslo"]["active_at"] == "1970-01-12T13:46:40.000Z"
    os.utime(project.write("new", "x", within=tree), (2_000_000, 2_000_000))
    assert rows(project)["oslo"]["active_at"] == "1970-01-24T03:33:20.000Z"
    table = project.run("worktree", "list").assert_ok().stdout
    assert "locked (an agent works here)" in table and "IDLE" in table


def test_an_answer_is_kept_only_where_looking_takes_too_long(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without time to look, a recent answer stays while HEAD and index do; a new one, an old one and --refresh look."""
    tree = project.worktree("oslo")
    monkeypatch.setattr(listing, "BUDGET", 0.0)
    assert rows(project)["oslo"]["dirty"] is False  # nothing was known: it was looked at
    (tree / "src" / "a.c").write_text("int b;\n")
    kept = rows(project)["oslo"]
    assert kept["dirty"] is False and kept["dirty_age_seconds"] > 0
    assert rows(project, refresh=True)["oslo"]["dirty"] is True
    project.git("checkout", "-q", "--", ".", cwd=tree)  # the index is another one
    assert rows(project)["oslo"]["dirty"] is False
    (tree / "src" / "a.c").write_text("int b;\n")
    monkeypatch.setattr(listing, "KEEP", 0.0)
    assert rows(project)["oslo"]["dirty"] is True


def test_with_time_every_answer_is_new(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the budget nothing is taken from the last call, whatever it found."""
    monkeypatch.setattr(listing, "BUDGET", 60.0)
    assert rows(project)["oslo"]["dirty"] is False
    (project.worktree("oslo") / "src" / "a.c").write_text("int b;\n")
    assert rows(project)["oslo"]["dirty"] is True


def test_what_git_cannot_tell_is_unknown(project: Project) -> None:
    """A worktree whose index is damaged is neither clean nor changed; one whose folder is gone is missing."""
    (project.root / ".git" / "worktrees" / "oslo" / "index").write_bytes(b"damaged")
    shutil.rmtree(project.worktree("lima"))
    found = rows(project)
    assert found["oslo"]["dirty"] is None and not found["oslo"]["missing"]
    assert found["lima"]["missing"] and found["lima"]["prunable"] and found["lima"]["dirty_age_seconds"] is None
    assert "prunable" in project.run("worktree", "list").assert_ok().stdout


def test_a_damaged_record_of_looks_is_no_error(project: Project) -> None:
    """Whatever stands there, all are looked at again and the record is replaced."""
    file = project.ops / "cache" / "worktrees.json"
    for content in ("{", "[]", '{"x": 1}', '{"x": {"y": 1}}'):
        project.write("ops/cache/worktrees.json", content)
        assert rows(project)["oslo"]["dirty"] is False
        assert str(project.worktree("oslo")) in file.read_text()


def test_a_git_that_hangs_is_given_up(project: Project, tmp_path: Path) -> None:
    """After the limit its answer is None and the process is gone; what was not begun is unknown too."""
    slow = [("a", ["-c", "alias.hang=!sleep 60", "hang"])] * 20
    found = list(listing.answers(iter(slow), 0.2))
    assert found == [("a", None, b"")] * 20


def test_outside_a_repository_it_says_so(tmp_path: Path, project: Project) -> None:
    """git's refusal is one line with what to do."""
    workspace = project.facts()
    workspace.path = str(tmp_path / "none")
    with pytest.raises(K1ctlError, match="git worktree list failed"):
        listing.documents(workspace)


def test_a_bare_repository_has_worktrees_too(project: Project, tmp_path: Path) -> None:
    """The repository itself is told as bare, and every command works in a worktree of it."""
    bare, tree = tmp_path / "bare" / "code.git", tmp_path / "bare" / "oslo"
    project.git("clone", "-q", "--bare", str(project.root), str(bare))
    project.git("worktree", "add", "-q", str(tree), "-b", "first", cwd=bare)
    workspace = project.facts(tree)
    main, linked = listing.documents(workspace)
    assert main["bare"] and main["dirty"] is None and main["idle_seconds"] is None
    assert not linked["bare"] and linked["dirty"] is False and linked["current"]
    assert "bare" in project.run("worktree", "list", cwd=tree).assert_ok().stdout
    found = entries(workspace.path)
    report = du_report.worktrees(workspace, load(workspace), found, found, refresh=True, sort="idle")
    (row,) = [row for row in report if row["main"]]
    assert row["sources_bytes"] == 0 and row["git_bytes"] == row["bytes"] and row["idle_seconds"] is None
    assert examine(workspace, load(workspace), found, found[:1]) == []
    assert list(repair_steps.mend(workspace, load(workspace), found, found, dry_run=False)) == []
    told = facts(workspace, load(workspace), found[1], found)
    assert told["unpushed_count"] == 1 and told["root"] is None and told["stashes"] == []
    plan = adding.make_plan(workspace, "kyoto")
    assert plan.base == linked["head"]


def test_the_main_checkout_is_where_its_files_are(project: Project, tmp_path: Path) -> None:
    """Of a submodule, and where the git folder is kept apart, git names the git folder instead."""
    outer, apart = tmp_path / "outer", tmp_path / "apart"
    project.git("init", "-q", str(outer))
    project.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(project.root), "sub", cwd=outer)
    project.git("worktree", "add", "-q", str(tmp_path / "below"), "-b", "first", cwd=outer / "sub")
    for where in (outer / "sub", tmp_path / "below"):
        (main, _) = listing.documents(project.facts(where))
        assert (main["path"], main["dirty"]) == (str(outer / "sub"), False) and main["idle_seconds"] is not None
    project.git("clone", "-q", "--separate-git-dir", str(tmp_path / "git"), str(project.root), str(apart))
    (main,) = listing.documents(project.facts(apart))
    assert main["path"] == str(apart) and main["current"]


def test_a_worktree_that_cannot_be_read_spoils_no_list(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its .git file, its record or the folder around it may belong to somebody else."""
    oslo = str(project.worktree("oslo"))
    real = files.read_bytes

    def denied(path: str) -> bytes | None:
        if "oslo" in path:
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(worktrees, "read_bytes", denied)
    monkeypatch.setattr(files, "read_bytes", denied)
    assert worktrees.own_git_dir(oslo) == "" and worktrees.origin(oslo, oslo) == {}
    found = rows(project)
    assert found["oslo"]["creator"] is None and found["lima"]["dirty"] is False


def test_what_git_cannot_tell_is_said(project: Project) -> None:
    """The table names the command that knows more; nothing is said of a worktree that is in order."""
    (project.worktree("oslo") / ".git").write_text("gitdir: /nowhere\n")
    lines = project.run("worktree", "list").assert_ok().stdout.splitlines()
    assert ["cannot tell" in line for line in lines if "lima" in line or "oslo" in line] == [False, True]
    done = project.run("worktree", "list", cwd=project.worktree("oslo")).assert_fails(1, "/nowhere, which is gone")
    assert "worktree repair" in done.stderr


def test_a_path_that_is_not_utf_8(project: Project, tmp_path: Path) -> None:
    """Called in it, and from elsewhere."""
    tree = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")
    try:
        os.mkdir(tree)
    except OSError:
        pytest.skip("this filesystem takes UTF-8 only")
    project.git("worktree", "add", "-q", tree, "-b", "odd")
    assert project.facts(Path(tree)).root == str(project.root)
    assert rows(project)[os.path.basename(tree)]["dirty"] is False
