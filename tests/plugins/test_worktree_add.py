"""`k1ctl worktree add` and `k1ctl worktree list`."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from k1ctl.errors import BusyError, K1ctlError, UsageError
from k1ctl.files import open_locked
from k1ctl.git import GitError
from k1ctl.worktrees import RepositoryLock, entries, origin, parse
from k1ctl_plugins.worktree import adding
from tests.kit import Project, finish

SECRET = "TOKEN=hunter2\n"


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with a worktree `oslo` and an ignored .env in its root."""
    made = make_workspace(files={".gitignore": ".env\n"}, worktrees=["oslo"])
    made.write(".env", SECRET)
    return made


def admin_folders(project: Project) -> set[str]:
    folder = project.root / ".git" / "worktrees"
    return set(os.listdir(folder)) if folder.exists() else set()


def test_add_makes_branch_worktree_and_set_up(project: Project) -> None:
    """A new branch at the base, without an upstream, beside the root, set up, and told on stdout."""
    outcome = project.run("worktree", "add", "kyoto", "--json").assert_ok().json
    tree = project.worktree("kyoto")
    assert outcome["path"] == str(tree)
    assert outcome["base"] == project.git("rev-parse", "HEAD") == project.git("rev-parse", "kyoto")
    assert (tree / ".env").read_text() == SECRET
    assert outcome["setup"]["ok"]
    assert [e["event"] for e in project.events()] == ["worktree.added", "worktree.setup"]
    assert project.run("worktree", "add", "lima", "--no-setup").assert_ok().stdout == f"{project.worktree('lima')}\n"


def test_add_takes_branch_base_and_path(project: Project, tmp_path: Path) -> None:
    """All three can be chosen; a remote's branch as base sets no upstream."""
    first = project.git("rev-parse", "HEAD")
    project.commit("second")
    args = ["--branch", "agent/x", "--base", first, "--path", "../deep/er/x", "--no-setup"]
    project.run("worktree", "add", "x", *args).assert_ok()
    assert project.git("rev-parse", "HEAD", cwd=tmp_path / "deep" / "er" / "x") == first
    assert project.git("branch", "--show-current", cwd=tmp_path / "deep" / "er" / "x") == "agent/x"
    config = (project.root / ".git" / "config").read_text()
    assert "agent/x" not in config


def test_names_that_are_none_are_refused(project: Project) -> None:
    """Exit 2 before anything is made."""
    for name in ("../x", "", "-x", ".x", "a b", "a/b", "x.lock", "x.", "a..b", "x" * 101, "ü"):
        with pytest.raises(UsageError, match="is not a worktree name"):
            adding.make_plan(project.facts(), name)
    project.run("worktree", "add", "--", "-x").assert_fails(2, "name")
    assert admin_folders(project) == {"oslo"}


def test_what_exists_is_refused(project: Project) -> None:
    """A worktree, a branch, a path, a base that is none: each its own sentence, and nothing is made or taken away."""
    project.git("branch", "taken")
    project.write("file-in/the-way", "x", within=project.worktree("oslo").parent)
    workspace = project.facts()
    project.run("worktree", "add", "oslo").assert_fails(1, "is a worktree already")
    for name, message in (("taken", "there is a branch taken already"), ("file-in", "exists already")):
        with pytest.raises(K1ctlError, match=message):
            adding.add(workspace, adding.make_plan(workspace, name))
    with pytest.raises(GitError, match="no commit nowhere"):
        adding.make_plan(workspace, "new", base="nowhere")
    with pytest.raises(UsageError, match="not a branch name"):
        adding.make_plan(workspace, "new", branch="a..b")
    assert admin_folders(project) == {"oslo"}
    assert project.git("branch", "--list", "new") == ""
    assert not list((project.root / ".git" / "k1ctl").glob("add/*"))


def test_a_dry_run_adds_nothing(project: Project) -> None:
    """It refuses what add would refuse, and makes nothing."""
    project.run("worktree", "add", "kyoto", "--dry-run", "--json").assert_ok()
    project.run("worktree", "add", "oslo", "--dry-run").assert_fails(1, "already")
    assert not project.worktree("kyoto").exists()
    assert project.git("branch", "--list", "kyoto") == ""


def test_room_that_went_meanwhile_is_seen_under_the_lock(project: Project) -> None:
    """Asked again when its turn has come: refused then, nothing of it is made, and nobody is kept from adding."""
    workspace = project.facts()
    plan = adding.make_plan(workspace, "kyoto")

    def room() -> None:
        assert open_locked(str(project.root / ".git" / "k1ctl" / "worktrees.lock"), blocking=False) is None
        raise BusyError("no room")

    with pytest.raises(BusyError):
        adding.add(workspace, plan, room)
    assert admin_folders(project) == {"oslo"} and project.git("branch", "--list", "kyoto") == ""
    assert not list((project.root / ".git" / "k1ctl" / "add").glob("*"))
    assert not adding.add(workspace, plan)


def test_who_made_it_and_its_lock_are_written_before_it_is_done(project: Project) -> None:
    """A kill after git and before that: who finds the plan writes both, once; git's own mark is no reason."""
    workspace = project.facts()
    plan = adding.make_plan(workspace, "kyoto", lock="an agent\n works here")
    adding.add(workspace, plan._replace(lock=""))
    tree = project.worktree("kyoto")
    (project.root / ".git" / "worktrees" / "kyoto" / "k1ctl.json").unlink()
    project.write(".git/k1ctl/add/kyoto.json", json.dumps(plan._asdict()))
    assert adding.recover(workspace, dry_run=True) == [str(tree)] and origin(str(tree)) == {}
    assert adding.recover(workspace) == [str(tree)] and adding.recover(workspace) == []
    facts = origin(str(tree))
    assert (facts["creator"], facts["base"], facts["branch"]) == (plan.creator, plan.base, "kyoto")
    (entry,) = [e for e in entries(str(tree)) if e.branch == "kyoto"]
    assert entry.locked == "an agent works here"
    with pytest.raises(UsageError, match="half-made"):
        adding.make_plan(workspace, "lima", lock=" initializing ")


def test_an_index_as_young_as_its_files_is_settled(project: Project) -> None:
    """git writes it anew, so that later looks go by size and time; an index of a later second is left as it is."""
    index = project.root / ".git" / "worktrees" / "oslo" / "index"
    young = (project.worktree("oslo") / "README").stat().st_mtime_ns
    os.utime(index, ns=(young, young))
    adding.settle(str(project.worktree("oslo")))
    assert index.stat().st_mtime_ns != young
    later = (young // 1_000_000_000 + 60) * 1_000_000_000
    os.utime(index, ns=(later, later))
    adding.settle(str(project.worktree("oslo")))
    assert index.stat().st_mtime_ns == later


def test_a_failed_add_leaves_nothing(project: Project) -> None:
    """git fails in the middle (a hook refuses): worktree, branch, folders and record are gone, the rest stays."""
    hook = project.write(".git/hooks/post-checkout", "#!/bin/sh\nexit 3\n")
    hook.chmod(0o755)
    project.run("worktree", "add", "kyoto", "--path", "../new/kyoto").assert_fails(1, "git worktree")
    assert not (project.root.parent / "new").exists()
    assert project.git("branch", "--list", "kyoto") == ""
    assert admin_folders(project) == {"oslo"}
    hook.write_text("#!/bin/sh\necho 'fatal: a: No space left on device' >&2\nexit 3\n")
    with pytest.raises(BusyError, match="no room for the worktree kyoto") as full:
        adding.add(project.facts(), adding.make_plan(project.facts(), "kyoto"))
    assert full.value.code == "disk-full" and admin_folders(project) == {"oslo"}
    hook.unlink()
    project.run("worktree", "add", "kyoto", "--path", "../new/kyoto").assert_ok()


def test_many_at_once(project: Project) -> None:
    """Different names all succeed; of several calls for one name exactly one does. (40 at once: tests/soak.)"""
    different = [project.popen("worktree", "add", f"n{i}", "--no-setup") for i in range(5)]
    same = [project.popen("worktree", "add", "same", "--no-setup") for _ in range(3)]
    assert [finish(p) for p in different] == [0] * 5
    assert sorted(finish(p) for p in same) == [0, 1, 1]
    assert admin_folders(project) == {"oslo", "same", *(f"n{i}" for i in range(5))}


def test_a_call_from_a_git_hook_works_on_its_own_repository(project: Project) -> None:
    """GIT_DIR and its kin, which hooks export, do not lead the call astray."""
    env = {"GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere/index", "GIT_WORK_TREE": "/nowhere"}
    project.run("worktree", "add", "kyoto", env=env).assert_ok()


def test_a_killed_add_is_cleared_up_by_the_next(make_workspace: Callable[..., Project]) -> None:
    """SIGKILL of the call and of git at any moment: after the next add it is whole, and nothing else is left."""
    project = make_workspace(files={f"src/{i}.c": f"int f{i};\n" for i in range(150)})
    chance = random.Random(11)
    for round_ in range(4):
        name = f"w{round_}"
        victim = project.popen("worktree", "add", name, "--no-setup", start_new_session=True)
        time.sleep(chance.uniform(0.05, 0.2))  # the moment is what varies, nothing is waited for
        try:
            os.killpg(victim.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        killed = finish(victim) != 0
        outcome = project.run("worktree", "add", name, "--no-setup")
        if not killed or outcome.exit_code:  # it had come to its end, and at most did not get to say so
            outcome.assert_fails(1, "is a worktree already")
        tree = project.worktree(name)
        assert project.git("status", "--porcelain", cwd=tree) == ""
        assert len(list((tree / "src").iterdir())) == 150
        assert project.git("branch", "--show-current", cwd=tree) == name
        assert os.listdir(project.root / ".git" / "k1ctl" / "add") == []
    listed = project.run("worktree", "list", "--json").json
    assert len(listed) == 5
    assert not any(w["locked"] or w["prunable"] for w in listed)


def test_a_plan_that_was_never_whole_is_put_away(project: Project) -> None:
    """SIGKILL while the plan itself is written: what lies there is no plan, and the next add removes it."""
    torn = project.write(".git/k1ctl/add/.kyoto.json.1.ab.tmp", "{")
    project.run("worktree", "add", "kyoto", "--no-setup").assert_ok()
    assert os.listdir(torn.parent) == []


def test_a_half_made_worktree_is_made_anew(project: Project, tmp_path: Path) -> None:
    """SIGKILL of k1ctl and git while files are written: the next add takes the half away and makes the whole."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    project.write(".gitattributes", "slow filter=slow\n")
    project.write("slow", "content\n")
    project.commit("with a filter")
    project.git("config", "filter.slow.smudge", f"sh -c 'read x < {gate}; cat'")
    victim = project.popen("worktree", "add", "kyoto", "--no-setup", start_new_session=True)
    with gate.open("w"):  # opens once the filter reads
        os.killpg(victim.pid, signal.SIGKILL)
        finish(victim)
    (half,) = [w for w in project.run("worktree", "list", "--json").json if w["name"] == "kyoto"]
    assert half["locked"] == "initializing"
    project.git("config", "filter.slow.smudge", "cat")
    outcome = project.run("worktree", "add", "kyoto", "--no-setup", "--json").assert_ok().json
    assert not outcome["resumed"]
    assert (project.worktree("kyoto") / "slow").read_text() == "content\n"
    assert admin_folders(project) == {"oslo", "kyoto"}


def test_git_keeps_the_lock_when_its_caller_is_killed(project: Project, tmp_path: Path) -> None:
    """Only k1ctl is killed and git works on: the next call waits for git and takes its finished worktree over."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    hook = project.write(".git/hooks/post-checkout", f"#!/bin/sh\nread x < {gate}\n")
    hook.chmod(0o755)
    victim = project.popen("worktree", "add", "kyoto", "--no-setup", stderr=subprocess.DEVNULL)
    with gate.open("w") as opened:  # opens once the hook reads: git is in the middle
        victim.kill()
        finish(victim)
        following = project.popen("worktree", "add", "kyoto", "--no-setup", "--json")
        opened.write("go\n")
    assert following.stdout is not None
    assert json.loads(following.stdout.read())["resumed"]
    assert finish(following) == 0


def test_work_in_a_finished_worktree_is_never_undone(project: Project) -> None:
    """A leftover intent of a finished worktree with work in it: a call for it takes it over, files untouched."""
    project.run("worktree", "add", "kyoto", "--no-setup").assert_ok()
    facts = project.facts()
    tree = project.worktree("kyoto")
    (tree / "work").write_text("mine")
    plan = adding.Plan("kyoto", str(tree), "kyoto", project.git("rev-parse", "kyoto"), False)
    project.write(".git/k1ctl/add/kyoto.json", json.dumps(plan._asdict()))
    assert adding.add(facts, plan)
    assert (tree / "work").read_text() == "mine"


def test_a_branch_that_moved_on_is_kept(project: Project) -> None:
    """Clearing up deletes a branch only while it stands at the commit it was made at."""
    project.git("branch", "kyoto")
    base = project.git("rev-parse", "kyoto")
    project.commit("second")
    project.git("branch", "-f", "kyoto", "HEAD")
    plan = adding.Plan("kyoto", str(project.worktree("kyoto")), "kyoto", base, False)
    with RepositoryLock(project.facts()) as lock:
        adding.undo(project.facts(), plan, lock)
        assert project.git("branch", "--list", "kyoto")
        adding.undo(project.facts(), plan._replace(base=project.git("rev-parse", "HEAD")), lock)
    assert project.git("branch", "--list", "kyoto") == ""


def test_without_a_commit_it_says_so(tmp_path: Path, project: Project) -> None:
    """An empty repository, and none at all: a clear refusal each."""
    subprocess.run(["git", "init", "-q", str(tmp_path / "empty")], check=True)
    done = project.run("worktree", "add", "x", cwd=tmp_path / "empty").assert_fails(1, "has no commit yet")
    assert "--base" in done.stderr
    (tmp_path / "plain").mkdir()
    project.run("--root", tmp_path / "plain", "worktree", "add", "x", cwd=tmp_path / "plain").assert_fails(78, "git")


# -- list ------------------------------------------------------------------------------------------------------------


def test_list_tells_what_git_tells(project: Project) -> None:
    """Main, current, changed, locked and vanished worktrees, whatever git is set to display."""
    project.git("config", "status.showUntrackedFiles", "no")
    tree = project.worktree("oslo")
    project.write("new", "x", within=tree)
    project.git("worktree", "lock", "--reason", "an agent works here", str(tree))
    gone = project.add_worktree("gone")
    subprocess.run(["rm", "-r", str(gone)], check=True)
    rows = {row["name"]: row for row in project.run("worktree", "list", "--json", cwd=tree).assert_ok().json}
    assert rows["repo"]["main"]
    assert not rows["repo"]["current"]
    assert rows["oslo"]["current"]
    assert rows["oslo"]["dirty"] is True
    assert rows["oslo"]["locked"] == "an agent works here"
    assert rows["oslo"]["branch"] == "oslo"
    assert rows["gone"]["prunable"]
    assert rows["gone"]["dirty"] is None
    lines = project.run("worktree", "list").assert_ok().stdout.splitlines()
    assert len(lines) == 4


def test_porcelain_is_parsed_with_odd_paths() -> None:
    """NUL-separated blocks; paths with newlines, detached heads, locks without a reason."""
    text = "worktree /a\nb\0HEAD 1\0branch refs/heads/x/y\0\0worktree /c d\0HEAD 2\0detached\0locked\0\0"
    first, second = parse(text)
    assert (first.path, first.branch, first.main, first.locked) == ("/a\nb", "x/y", True, None)
    assert (second.path, second.branch, second.main, second.locked) == ("/c d", "", False, "")
    assert parse("") == []


def test_a_name_that_another_worktree_has_is_refused(project: Project, tmp_path: Path) -> None:
    """The root's name, or that of a worktree elsewhere: two in the queue could not be told apart."""
    for name, args in (project.root.name, []), ("oslo", ["--path", str(tmp_path / "elsewhere" / "x"), "--branch", "n"]):
        done = project.run("worktree", "add", name, *args, "--dry-run", "--json")
        assert done.assert_fails(1).json["error"]["code"] == "name-taken"


def test_locks_of_a_killed_git_are_removed(workspace: Project) -> None:
    """A git that was killed while it wrote the branch leaves its lock file; the next add of that name succeeds."""
    git = workspace.root / ".git"
    plan = {
        "name": "oslo",
        "path": str(workspace.worktree("oslo")),
        "branch": "oslo",
        "base": workspace.git("rev-parse", "HEAD"),
        "made_parent": False,
    }
    workspace.write(".git/k1ctl/add/oslo.json", json.dumps(plan))
    (git / "refs" / "heads" / "oslo.lock").touch()
    link = os.path.relpath(plan["path"], git / "worktrees" / "oslo")  # as worktree.useRelativePaths writes it
    workspace.write(".git/worktrees/oslo/gitdir", f"{link}/.git\n")
    workspace.write(".git/worktrees/oslo/locked", "initializing\n")
    workspace.write(".git/worktrees/oslo/commondir", "../..\n")

    workspace.run("worktree", "add", "oslo", "--no-setup").assert_ok()
    assert os.listdir(git / "worktrees") == ["oslo"]


def test_a_git_that_was_killed_between_any_two_of_its_first_files(workspace: Project) -> None:
    """Its record and the .git file come piece by piece, each made and then written: git refuses to remove such a
    worktree, or even to list any; the next add takes away what is there and makes the whole."""
    git, tree = workspace.root / ".git", workspace.worktree("oslo")
    plan = adding.make_plan(workspace.facts(), "oslo")
    pieces = [
        (".git/worktrees/oslo/locked", "initializing\n"),
        (".git/worktrees/oslo/gitdir", f"{tree}/.git\n"),
        (str(tree / ".git"), f"gitdir: {git}/worktrees/oslo\n"),
        (".git/worktrees/oslo/HEAD", f"{40 * '0'}\n"),
        (".git/worktrees/oslo/commondir", "../..\n"),
    ]
    for killed_at in range(2 * len(pieces) + 1):
        workspace.git("branch", "oslo")
        tree.mkdir(parents=True)
        workspace.write(".git/k1ctl/add/oslo.json", json.dumps(plan._asdict()))
        for path, text in pieces[: killed_at // 2]:
            workspace.write(path, text)
        if killed_at % 2:
            workspace.write(pieces[killed_at // 2][0], "")
        assert adding.recover(workspace.facts()) == [str(tree)]
        assert admin_folders(workspace) <= {"oslo"} and not tree.exists(), killed_at
        assert len(entries(str(workspace.root))) == 1 and workspace.git("branch", "--list", "oslo") == "", killed_at
        subprocess.run(["rm", "-rf", str(git / "worktrees")], check=True)
    assert not adding.add(workspace.facts(), plan)
    assert workspace.git("status", "--porcelain", cwd=tree) == ""
