"""`k1ctl archive run`: idle worktrees are saved and taken away, the others are told with the reason."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.errors import ConfigError
from k1ctl.workspace import Workspace
from k1ctl.worktrees import entries, own_git_dir
from k1ctl_plugins.archive import idle
from k1ctl_plugins.archive.idle import Outcome
from tests.archive.aging import DAY, age
from tests.kit import Outcome as Call
from tests.kit import Project

NAMES = ("kyoto", "lima", "oslo", "rome")


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    """A repository with idle worktrees, each with a file that is nowhere else."""
    made = make_workspace(files={".gitignore": "node_modules/\n"}, worktrees=NAMES)
    for name in NAMES:
        made.write("work", f"of {name}\n", within=made.worktree(name))
        made.write("node_modules/a/b.js", "x" * 9000, within=made.worktree(name))
        age(made.worktree(name))
    return made


def results(outcome: Call) -> dict[str, str]:
    """{worktree: what became of it}."""
    return {row["workspace"]: row["result"] for row in outcome.json}


def planned(project: Project, *names: str, **asked: Any) -> dict[str, Outcome]:
    """What a dry run says of each worktree, without a call of the command line."""
    facts = project.facts()
    config = load(facts)
    wanted = {"older_than": 7 * DAY, "include": (), "exclude": (), "branch_policy": "keep", **asked}
    report = idle.run(facts, config, idle.Request(names, dry_run=True, **wanted), lambda text: None)
    return {outcome.name: outcome for outcome in report.outcomes}


def there(project: Project) -> list[str]:
    return sorted(os.path.basename(e.path) for e in entries(str(project.root)) if not e.main)


def refusals(row: dict[str, Any]) -> list[str]:
    return [finding["code"] for finding in row["findings"] if finding["level"] == "refuse"]


def test_each_worktree_has_its_outcome(project: Project) -> None:
    """Idle: archived. Used of late: kept. Locked: refused. Conductor's: saved, and still there. A dry run says so first
    and changes nothing; cron hears of no failure."""
    project.write("work", "newer\n", within=project.worktree("rome"))
    project.git("worktree", "lock", "--reason", "ada needs it", str(project.worktree("lima")))
    conductors = project.root / ".conductor" / "kyoto"
    conductors.parent.mkdir()
    project.git("worktree", "move", str(project.worktree("kyoto")), str(conductors))
    age(conductors)

    dry = project.run("archive", "run", "--dry-run", "--json").assert_ok()
    told = {"kyoto": "would-save", "lima": "refused", "oslo": "would-archive", "rome": "kept"}
    assert results(dry) == told and dry.changed == () and project.events() == []
    assert there(project) == sorted(NAMES) and not (project.root / ".git" / "k1ctl" / "archive").exists()

    done = project.run("archive", "run").assert_ok()
    for line in done.stdout.splitlines()[1:]:
        name, result = line.split()[:2]
        assert (name, result) in {("kyoto", "saved"), ("lima", "refused"), ("oslo", "archived"), ("rome", "kept")}
    for text in ("it is locked: ada needs it", "1 untracked", "work was changed", "Conductor removes it"):
        assert text in done.stdout, str(done)
    assert "archived 1 worktree:" in done.stderr and "freed, the rest stays in the trash for 7 d" in done.stderr
    assert there(project) == ["kyoto", "lima", "rome"] and (conductors / "work").exists()
    assert [e["of"] for e in project.events("archive.removed")] == ["oslo"]
    assert [(e["of"], e["codes"]) for e in project.events("archive.refused")] == [("lima", ["worktree-locked"])]

    again = project.run("archive", "run", "--json").assert_ok().json
    kyoto = next(row for row in again if row["workspace"] == "kyoto")
    assert kyoto["result"] == "saved", kyoto["activity"]
    assert (kyoto["result"], kyoto["reused"], len(project.events("archive.saved"))) == ("saved", True, 2)


def test_who_is_named_goes_whatever_its_age(project: Project) -> None:
    """By name or path; a name that is not there stops the call before anything is done; one that is refused is 1."""
    project.write("work", "newer\n", within=project.worktree("rome"))
    project.git("worktree", "lock", str(project.worktree("lima")))
    project.run("archive", "run", "rome", "nix").assert_fails(1, "has no worktree nix")
    project.run("archive", "run", str(project.root)).assert_fails(1, "main checkout")
    project.run("archive", "run", "", cwd=project.worktree("oslo")).assert_fails(2, "is empty")
    assert there(project) == sorted(NAMES)
    done = project.run("archive", "run", "rome", "../repo.worktrees/oslo/", "lima", "--json")
    assert results(done) == {"rome": "archived", "oslo": "archived", "lima": "refused"} and done.exit_code == 1
    assert there(project) == ["kyoto", "lima"]


def test_only_those_that_are_included(project: Project) -> None:
    """Options and settings: names or paths; what is excluded is not even archived when it is named."""
    project.configure(f'[archive]\ninclude = ["*o"]\nexclude = ["{project.worktree("kyoto")}"]\n')
    wanted = {name: outcome.result for name, outcome in planned(project).items()}
    assert wanted == {"oslo": "would-archive"}
    assert list(planned(project, include=("l*", "rome"))) == ["lima", "rome"]
    assert planned(project, exclude=("oslo",)) == {}
    assert planned(project, older_than=31 * DAY)["oslo"].result == "kept"
    assert refusals(planned(project, "kyoto")["kyoto"].document()) == ["excluded"]
    outcome = project.run("archive", "run", "--include", "nobody", "--older-than", "1h").assert_ok()
    assert outcome.stdout == "" and "there is no worktree to archive" in outcome.stderr
    with pytest.raises(ConfigError, match="not a git checkout"):
        idle.run(Workspace("/", "/", "root"), load(project.facts()), idle.Request((), 0, (), (), "keep", True), print)


def test_one_that_cannot_be_looked_at_stops_no_other(project: Project) -> None:
    """It is refused, and the call fails, for it will not pass by itself; the others are archived."""
    index = Path(own_git_dir(str(project.worktree("kyoto")))) / "index"
    index.write_bytes(b"broken")
    age(project.worktree("kyoto"))
    project.configure('[archive]\nlimit = "1k"\n')
    project.write("large", os.urandom(9000), within=project.worktree("lima"))
    age(project.worktree("lima"))
    done = project.run("archive", "run", "--json", cwd=project.worktree("rome"))
    assert (done.exit_code, len(done.json)) == (1, 4)
    found = {row["workspace"]: row for row in done.json}
    assert refusals(found["kyoto"]) == ["status-unreadable"] and refusals(found["rome"])[0] == "current-worktree"
    assert (found["lima"]["result"], found["lima"]["error"]["code"]) == ("failed", "over-limit")
    assert there(project) == ["kyoto", "lima", "rome"]


def test_a_merged_branch_goes_where_that_is_wanted(project: Project) -> None:
    """delete-if-merged: a squash merge counts; what is not merged is kept, and both say why."""
    for name in ("oslo", "rome"):
        project.commit(f"work of {name}", cwd=project.worktree(name))
    project.git("merge", "-q", "--squash", "oslo")
    project.commit("oslo, in one")
    call = ("archive", "run", "oslo", "rome", "--branch-policy", "delete-if-merged", "--json")
    told = planned(project, "oslo", "rome", branch_policy="delete-if-merged")
    judged = told["oslo"].branch
    assert judged is not None and (judged.step, judged.deleted) == ("equal-trees", False)
    assert "branch would be deleted: merged" in told["oslo"].detail() and "branch kept" in told["rome"].detail()
    done = {row["workspace"]: row["branch_policy"] for row in project.run(*call).assert_ok().json}
    assert (done["oslo"]["step"], done["oslo"]["deleted"]) == ("equal-trees", True)
    assert done["rome"]["step"] is None and "not merged into main" in done["rome"]["why"]
    assert project.git("branch", "--list", "oslo", "rome") == "rome"
    assert [e["branch"]["deleted"] for e in project.events("archive.removed")] == [True, False]


def test_the_trash_goes_with_a_later_call(project: Project) -> None:
    """Once its time is over, and after the archive was verified; the archive stays."""
    project.run("archive", "run", "oslo", "rome").assert_ok()
    project.configure('[archive]\nkeep_trash = "0s"\n')
    told = project.run("archive", "run", "--exclude", "*").assert_ok().stderr
    assert "the trash of 2 archives: deleted" in told and "archived 0" not in told and "freed, the disk is" in told
    for event in project.events("archive.swept"):
        folder = project.root / ".git" / "k1ctl" / "archive" / event["archive"]
        assert (folder / "manifest.json").exists() and not (folder / "trash").exists()
    assert len(project.events("archive.swept")) == 2


def test_two_calls_at_once_archive_each_worktree_once(project: Project) -> None:
    """Who comes second finds it gone, and that is no failure."""
    calls = [project.popen("archive", "run", "--json") for _ in range(2)]
    told = [json.loads(call.communicate()[0]) for call in calls]
    assert [call.returncode for call in calls] == [0, 0]
    archived = [row["workspace"] for rows in told for row in rows if row["result"] == "archived"]
    assert sorted(archived) == sorted(NAMES) and there(project) == []
    assert sorted(e["of"] for e in project.events("archive.removed")) == sorted(NAMES)
