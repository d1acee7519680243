"""kill -9 at every step of archive and restore: worktree or archive is whole, the next command takes over, nothing is
left behind. A few decisive steps in every run of the suite, all of them under soak."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import wait_until
from tests.proofs.killstand import Stand, decisive
from tests.proofs.stage import Stage
from tests.proofs.worktreecell import Repository


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    with Stage(tmp_path_factory.mktemp("stage")) as stage:
        yield Stand(tmp_path_factory.mktemp("kills"), stage)


def test_archive_is_killed_at_decisive_steps(stand: Stand) -> None:
    """Around each rename: of a file that says how far it is, of the worktree, of its entry."""
    for at in decisive(stand.archive_steps, 5):
        stand.archive(at)


def test_restore_is_killed_at_decisive_steps(stand: Stand) -> None:
    """Around each rename of what was built."""
    for at in decisive(stand.restore_steps, 4):
        stand.restore(at)


def test_the_whole_group_is_killed_while_git_changes_a_ref(tmp_path: Path) -> None:
    """git, killed with a ref's lock in its hands, would leave it to everybody in the repository: it is let finish."""
    there = Repository(tmp_path)
    reached, git = tmp_path / "reached", there.root / ".git"
    hook = git / "hooks" / "reference-transaction"  # githooks(5): "prepared" comes with the locks held
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f'#!/bin/sh\n[ "$1" != prepared ] || {{ touch {reached}; sleep 0.3; }}\n')
    hook.chmod(0o755)
    code = "from k1ctl.git import call; call(['update-ref', 'refs/k1ctl/archive/x', 'main'], '.')"
    with subprocess.Popen([sys.executable, "-c", code], cwd=there.root, start_new_session=True) as process:
        wait_until(reached.exists)
        assert list((git / "refs").rglob("*.lock"))
        os.killpg(process.pid, signal.SIGKILL)
    wait_until(lambda: not list(git.rglob("*.lock")))
    assert there.git("rev-parse", "refs/k1ctl/archive/x") == there.git("rev-parse", "main")


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_archive_is_killed_at_every_step(stand: Stand) -> None:
    """Before each of its steps, and past the last one."""
    for at in range(1, len(stand.archive_steps) + 2):
        stand.archive(at)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_restore_is_killed_at_every_step(stand: Stand) -> None:
    """Before each of its steps, and past the last one."""
    for at in range(1, len(stand.restore_steps) + 2):
        stand.restore(at)
