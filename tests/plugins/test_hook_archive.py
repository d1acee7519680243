"""`k1ctl hook archive`: lets go of what the workspace holds, tells what would be lost, and deletes nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.archive.folder import list_archives
from k1ctl.config import load
from k1ctl.queue.view import entries
from k1ctl_plugins.hook import archiving, gitwork
from tests.kit import Outcome, Project, finish, wait_until

# A run of any kind, as `k1ctl build` and `k1ctl upload` start theirs.
RUN = """
import sys
from k1ctl.config import load
from k1ctl.process.launch import launch
from k1ctl.process.spec import RunSpec
from k1ctl.queue.names import stable_key
from k1ctl.workspace import resolve
kind, resource, rule = sys.argv[1:]
where = resolve()
argv = [sys.executable, "-c", "import os, time\\nwhile not os.path.exists('end'): time.sleep(0.01)"]
rules = {"cwd": where.root, "key": stable_key(kind, where.path), "label": f"{kind} of it", "on_caller_exit": rule}
spec = RunSpec(kind, argv, {resource: 1}, **rules)
sys.exit(launch(where, load(where), spec).ending.exit_code)
"""


class Desk:
    """A repository with the worktrees ``oslo`` and ``kyoto``, in which runs are under way."""

    def __init__(self, project: Project) -> None:
        self.project, self.root = project, project.root
        self.oslo, self.kyoto = project.add_worktree("oslo"), project.add_worktree("kyoto")
        self.started: list[subprocess.Popen[Any]] = []

    def start(
        self, kind: str, resource: str, tree: Path, rule: str = "stop", *, state: str = "running"
    ) -> subprocess.Popen[Any]:
        """A run in a worktree, brought to this state."""
        argv = [sys.executable, "-c", RUN, kind, resource, rule]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        reached = (tree.name, kind, state)
        assert reached not in self.states()
        process = subprocess.Popen(argv, cwd=tree, env=self.project.environment(), **quiet)
        self.started.append(process)
        wait_until(lambda: reached in self.states())
        return process

    def states(self) -> list[tuple[str, str, str]]:
        """(workspace, kind, state) of every ticket whose command has begun or that waits."""
        rows = entries(str(self.project.ops / "queue"))
        return sorted(
            (e["workspace"], e["kind"], e["state"])
            for e in rows
            if e["state"] != "dead" and (e["state"] != "running" or e.get("group"))
        )

    def archive(self, *args: str, **kwargs: Any) -> Outcome:
        return self.project.run("hook", "archive", *args, cwd=kwargs.pop("cwd", self.oslo), **kwargs)


@pytest.fixture
def desk(workspace: Project) -> Iterator[Desk]:
    made = Desk(workspace)
    yield made
    (made.root / "end").touch()
    for process in made.started:
        finish(process)


def files(folder: Path) -> list[str]:
    """Every path below a folder, links not followed."""
    return sorted(os.path.join(base, name) for base, folders, names in os.walk(folder) for name in folders + names)


def test_what_waits_and_what_runs(desk: Desk) -> None:
    """Places are given up, builds stopped; a flash and unknown commands go on; other workspaces are not touched."""
    build = desk.start("build", "build:fw", desk.oslo)
    flash = desk.start("upload", "device:k1", desk.oslo, "keep")
    desk.start("queue-run", "desk", desk.oslo)
    waiting = desk.start("build", "device:k1", desk.oslo, state="waiting")
    other = desk.start("build", "build:fw", desk.kyoto)
    before = desk.states()
    assert len(before) == 5

    planned = desk.archive("--dry-run", "--json").assert_ok().json
    assert desk.states() == before and planned["dry_run"]
    done = desk.archive("--json").assert_ok().json

    assert [(r["kind"], r["resources"]) for r in done["given_up"]] == [("build", {"device:k1": 1})]
    assert [(r["kind"], r["ended"]) for r in done["stopped"]] == [("build", True)]
    assert sorted(r["kind"] for r in done["left"]) == ["queue-run", "upload"]
    for name in ("given_up", "stopped", "left"):
        assert [r["ticket"] for r in planned[name]] == [r["ticket"] for r in done[name]]
    assert finish(build) == 143
    assert finish(waiting) == 75
    assert flash.poll() is None and other.poll() is None
    left = {("kyoto", "build"), ("oslo", "queue-run"), ("oslo", "upload")}
    assert desk.states() == sorted((*each, "running") for each in left)

    again = desk.archive("--json").assert_ok().json
    assert again["given_up"] == again["stopped"] == [] and len(again["left"]) == 2
    assert [len(e["stopped"]) for e in desk.project.events("hook.archived")] == [1, 0]


def test_a_parked_place_is_given_up_too(desk: Desk) -> None:
    """What a killed call of this workspace left in line does not wait for it for another quarter of an hour."""
    desk.start("queue-run", "desk", desk.kyoto)
    waiter = desk.start("build", "desk", desk.oslo, state="waiting")
    waiter.kill()
    wait_until(lambda: ("oslo", "build", "parked") in desk.states())
    told = desk.archive().assert_ok().stderr
    assert "given up: place" in told
    assert desk.states() == [("kyoto", "queue-run", "running")]


def test_a_name_alone_is_not_the_workspace(desk: Desk) -> None:
    """Two worktrees with one name: only what was started in this very folder is this workspace's."""
    env = {"CONDUCTOR_WORKSPACE_NAME": "oslo"}
    with_name = {**desk.project.environment(), **env}
    argv = [sys.executable, "-c", RUN, "build", "build:fw", "stop"]
    desk.started.append(subprocess.Popen(argv, cwd=desk.kyoto, env=with_name))
    wait_until(lambda: desk.states() == [("oslo", "build", "running")])
    done = desk.archive("--json").assert_ok().json
    assert done["stopped"] == done["left"] == [] and len(desk.states()) == 1


def test_it_deletes_nothing(desk: Desk) -> None:
    """Also not behind links: every file of workspace, root and git folder is there afterwards; new are the archive and
    what git needs for it."""
    outside = desk.root.parent / "outside"
    (outside / "build").mkdir(parents=True)
    (outside / "build" / "kept").touch()
    (desk.oslo / ".pio").symlink_to(outside)
    (desk.oslo / "new").write_text("work")
    places = [desk.oslo, outside, desk.root / ".git"]
    before = [files(place) for place in places]
    desk.archive().assert_ok()
    desk.archive().assert_ok()
    after = [files(place) for place in places]
    assert after[:2] == before[:2] and set(after[2]) > set(before[2])
    new = {Path(path).relative_to(desk.root / ".git").parts[0] for path in set(after[2]) - set(before[2])}
    assert new <= {"k1ctl", "objects", "refs"}
    assert desk.project.git("status", "--porcelain", cwd=desk.oslo) == "?? .pio\n?? new"


def test_where_there_is_nothing_to_archive(desk: Desk) -> None:
    """The main checkout, and a workspace that is gone already: exit 0 and why, so that Conductor goes on."""
    assert "main checkout" in desk.archive(cwd=desk.root).assert_ok().stderr
    env = {"CONDUCTOR_WORKSPACE_PATH": str(desk.root / "nowhere"), "CONDUCTOR_ROOT_PATH": str(desk.root)}
    told = desk.archive("--json", cwd=Path("/"), env=env).assert_ok().json
    assert told["ok"] and "gone already" in told["nothing"]
    desk.archive(cwd=Path("/"), env={"CONDUCTOR_ROOT_PATH": str(desk.root)}).assert_fails(78)
    assert desk.project.events("hook.archived") == []


# What git has nowhere else, and what is saved


def test_a_workspace_comes_back_as_it_was(desk: Desk) -> None:
    """Saved with Conductor's own .context and a secret, removed as Conductor does it, and restored by what was told."""
    project, tree = desk.project, desk.oslo
    (project.root / ".git" / "info" / "exclude").write_text(".context/\n.env*\n.pio/\n")
    for name in (".context/notes.md", ".env.local", "new", ".pio/build/firmware.elf"):
        project.write(name, f"of {name}\n", within=tree)
    project.write("README", "changed\n", within=tree)
    project.git("add", "README", cwd=tree)
    done = desk.archive("--json").assert_ok().json["saved"]
    assert done["why"] == ["1 changed file", "1 untracked file", "2 files that git ignores"]
    again = desk.archive()
    assert f"is saved already as {done['archive']}; {done['restore']} brings it back" in again.assert_ok().stderr
    assert [archive.id for archive in list_archives(project.facts())] == [done["archive"]]
    assert (os.stat(Path(done["folder"]) / "secrets.tar").st_mode & 0o777) == 0o600
    shutil.rmtree(tree)
    project.git("worktree", "prune")
    project.git("branch", "-D", "oslo")
    project.run(*done["restore"].split()[1:]).assert_ok()
    assert (tree / ".context" / "notes.md").read_text() == "of .context/notes.md\n"
    assert (tree / ".env.local").exists() and (tree / "new").exists() and not (tree / ".pio").exists()
    assert project.git("status", "--porcelain", cwd=tree) == "M  README\n?? new"
    (first, second) = project.events("hook.archived")
    assert first["saved"] == second["saved"] == done["archive"]


def test_what_cannot_be_saved_keeps_the_workspace(desk: Desk) -> None:
    """Exit 1 and why, so that Conductor does not remove it; told as an event, and places are given up all the same."""
    desk.project.configure("[archive]\nlimit = 10\n")
    desk.project.write("new", "more than ten bytes", within=desk.oslo)
    done = desk.archive("--json")
    done.assert_fails(1, "oslo is not saved", "archive.limit")
    assert done.json["error"]["code"] == "over-limit"
    (event,) = desk.project.events("hook.archived")
    assert event["saved"] is None and event["refused"]["code"] == "over-limit"
    assert list_archives(desk.project.facts()) == []


def test_what_need_not_be_saved_needs_no_room(desk: Desk) -> None:
    """Neither the limit nor a full disk keeps Conductor from removing a workspace that holds nothing of its own."""
    for tree in (desk.root, desk.oslo):
        desk.project.write(".env.local", "x" * 100, within=tree)
    (desk.root / ".git" / "info" / "exclude").write_text(".env*\n/ops/\n")
    small, full = {"K1CTL_ARCHIVE_LIMIT": "50"}, {"K1CTL_DISK_STOP_PERCENT": "1"}
    for env in (small, full):
        assert desk.archive("--json", env=env).assert_ok().json["saved"] is None
    desk.project.write("new", "mine", within=desk.oslo)
    for words in ((), ("--dry-run",)):
        desk.archive(*words, env=small).assert_fails(1, "archive.limit")


def test_a_workspace_that_goes_while_it_is_looked_at(desk: Desk) -> None:
    """Told as what it is, with exit 1: nobody knows what was in it."""
    facts = desk.project.facts(desk.oslo)
    shutil.rmtree(desk.oslo)
    assert "No such file" in gitwork.look(str(desk.oslo)).problem
    done = archiving.archive(facts, load(facts))
    assert done.refused is not None
    assert (done.refused.code, done.refused.exit_code) == ("workspace-gone", 1) and "removed" in done.refused.message


def test_what_set_up_copied_is_no_work(desk: Desk) -> None:
    """Files that git ignores and the root has just so are not worth an archive; one that was edited is."""
    project, tree = desk.project, desk.oslo
    (project.root / ".git" / "info" / "exclude").write_text(".env\n")
    for folder in (project.root, tree):
        project.write(".env", "KEY=1\n", within=folder)
    assert desk.archive("--json").assert_ok().json["saved"] is None
    project.write(".env", "KEY=2\n", within=tree)
    assert desk.archive("--dry-run", "--json").assert_ok().json["saved"]["why"] == ["1 file that git ignores"]


def test_what_set_up_filled_in_is_no_work(desk: Desk) -> None:
    """A file that a template made and nobody edited leaves no archive behind."""
    project = desk.project
    (project.root / ".git" / "info" / "exclude").write_text(".env*\n/ops/\n")
    project.write("ops/templates/.env.local", "PORT={port}\n")
    project.run("worktree", "setup", cwd=desk.oslo).assert_ok()
    assert (desk.oslo / ".env.local").exists()
    assert desk.archive("--json").assert_ok().json["saved"] is None
    project.write(".env.local", "PORT=1\n", within=desk.oslo)
    assert desk.archive("--dry-run", "--json").assert_ok().json["saved"]["why"] == ["1 file that git ignores"]


def test_work_that_status_does_not_show(desk: Desk) -> None:
    """A commit that was amended away, a file that git was told to take for unchanged, a merge under way."""
    project, tree = desk.project, desk.oslo
    project.write("README", "first try\n", within=tree)
    project.git("commit", "-aqm", "first try", cwd=tree)
    project.git("reset", "-q", "--hard", "main", cwd=tree)
    work = gitwork.look(str(tree))
    assert (work.changed, work.untracked, work.only_here, work.left) == ([], [], 0, 1)
    assert work.sentences() == ["would be lost with it: 1 commit that only its own reflog or refs reach"]
    own = project.git("rev-parse", "HEAD@{1}", cwd=tree).strip()
    project.git("update-ref", "refs/worktree/mine", own, cwd=tree)
    project.git("reflog", "expire", "--expire=now", "--expire-unreachable=now", "HEAD", cwd=tree)
    assert gitwork.look(str(tree)).left == 1
    project.git("update-index", "--assume-unchanged", "README", cwd=tree)
    told = desk.archive("--dry-run", "--json").assert_ok().json["saved"]
    assert told["why"] == ["1 commit that only its own reflog or refs reach", "files that git was told not to look at"]


def test_work_that_would_be_lost_is_told(desk: Desk) -> None:
    """Changes, new files, commits that were not pushed, on stderr and in the event."""
    project, tree = desk.project, desk.oslo
    add_remote(project, "main")
    project.write("a b", "1\n", within=tree)
    project.commit("one", cwd=tree)
    project.commit("two", cwd=tree)
    project.write("README", "changed\n", within=tree)
    project.git("mv", "a b", "c", cwd=tree)
    project.write("new/one", "x", within=tree)
    project.write("new/two", "x", within=tree)
    told = desk.archive().assert_ok().stderr
    for text in (
        ": 2 changed files, 2 untracked files, 2 commits on no other branch\n",
        "2 commits of branch oslo, kept",
    ):
        assert text in told, told
    (event,) = project.events("hook.archived")
    assert sorted(event["changed"]) == ["README", "c"] and event["untracked"] == ["new/"]
    assert event["git"]["unpushed_commit_count"] == 2


def test_many_long_names_cost_the_event_no_count(desk: Desk) -> None:
    """An event is one short line: of the names it keeps what fits, of the numbers all."""
    for number in range(30):
        desk.project.write(f"{number:02}{'x' * 230}", "", within=desk.oslo)
    desk.archive().assert_ok()
    (event,) = desk.project.events("hook.archived")
    assert event["cut"] and event["git"]["untracked_count"] == 30 and event["git"]["changed_count"] == 0
    assert "00xxx" in event["untracked"]


def add_remote(project: Project, *branches: str) -> None:
    """A remote that has these branches."""
    remote = project.root.parent / "remote"
    project.git("init", "-q", "--bare", str(remote))
    project.git("remote", "add", "origin", str(remote))
    project.git("push", "-q", "origin", *branches)


def test_pushed_and_clean_nothing_is_told(desk: Desk) -> None:
    """A remote that has everything: no sentence, no archive. A commit on no branch at all is the worst loss."""
    project, tree = desk.project, desk.oslo
    assert desk.archive().assert_ok().stderr == ""
    project.commit("one", cwd=tree)
    assert gitwork.look(str(tree)).unpushed is None  # no remote, no news
    assert desk.archive("--dry-run").assert_ok().stderr == "would be saved: 1 commit on no other branch\n"
    add_remote(project, "oslo")
    assert desk.archive().assert_ok().stderr == "" and list_archives(project.facts()) == []
    project.git("checkout", "-q", "--detach", cwd=tree)
    project.write("x", "x", within=tree)
    project.commit("loose", cwd=tree)
    work = gitwork.look(str(tree))
    assert (work.branch, work.unpushed, work.unreachable) == ("", 1, 1)
    assert work.sentences() == ["would be lost with it: 1 commit on no branch, tag or remote"]


def test_where_git_cannot_tell(tmp_path: Path) -> None:
    """Outside git, without a commit, without git: a reason instead of a number, and no failure."""
    assert "not a git repository" in gitwork.look(str(tmp_path)).sentences()[0]
    subprocess.run(["git", "init", "-q", tmp_path / "new"], check=True)
    empty = gitwork.look(str(tmp_path / "new"))
    assert (empty.changed, empty.untracked, empty.unpushed, empty.problem) == ([], [], None, "")


def test_gits_own_variables_do_not_lead_elsewhere(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from a hook of git in another worktree, it still looks at this one."""
    (desk.oslo / "new").touch()
    monkeypatch.setenv("GIT_DIR", str(desk.root / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(desk.kyoto))
    assert gitwork.look(str(desk.oslo)).untracked == ["new"]
