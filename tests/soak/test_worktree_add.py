"""Forty `worktree add` at once, and the same with some of them killed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable

import pytest

from tests.kit import Project, finish

pytestmark = pytest.mark.soak


@pytest.fixture
def project(make_workspace: Callable[..., Project]) -> Project:
    return make_workspace(files={f"src/{i}.c": f"int f{i};\n" for i in range(400)})


def branches(project: Project) -> set[str]:
    return set(project.git("for-each-ref", "--format=%(refname:short)", "refs/heads").split())


def test_forty_at_once(project: Project) -> None:
    """None fails, each has its worktree, whole, on its branch, with who made it; no branch or record is stray."""
    names = {f"w{i}" for i in range(40)}
    started = [project.popen("worktree", "add", name, "--no-setup") for name in sorted(names)]
    assert [finish(process, 120) for process in started] == [0] * 40
    assert branches(project) == {"main", *names}
    rows = {row["name"]: row for row in project.run("worktree", "list", "--json", "--refresh").json if not row["main"]}
    assert set(rows) == names == set(os.listdir(project.root / ".git" / "worktrees"))
    for name, row in rows.items():
        assert row["branch"] == name and row["dirty"] is False and row["locked"] is None and row["creator"]
        assert len(list((project.worktree(name) / "src").iterdir())) == 400
    assert os.listdir(project.root / ".git" / "k1ctl" / "add") == []


def test_forty_at_once_of_which_some_are_killed(project: Project) -> None:
    """Ten are killed with their git at random: after one more call each is whole or can be made, nothing stray."""
    chance = random.Random(5)
    names = [f"w{i}" for i in range(40)]
    started = {name: project.popen("worktree", "add", name, "--no-setup", start_new_session=True) for name in names}
    for name in chance.sample(names, 10):
        time.sleep(chance.uniform(0.05, 0.3))  # the moment is what varies, nothing is waited for
        try:
            os.killpg(started[name].pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    ended = {name: finish(process, 120) for name, process in started.items()}
    failed = [process.stderr.read() for name, process in started.items() if ended[name] > 0 and process.stderr]
    assert failed == []
    project.run("worktree", "repair").assert_ok()
    rows = {row["name"] for row in project.run("worktree", "list", "--json").json if not row["main"]}
    assert rows >= {name for name, code in ended.items() if code == 0}
    assert branches(project) == {"main", *rows} and set(os.listdir(project.root / ".git" / "worktrees")) == rows
    for name in sorted(set(names) - rows):
        project.run("worktree", "add", name, "--no-setup").assert_ok()
    for name in names:
        assert project.git("status", "--porcelain", cwd=project.worktree(name)) == ""
