"""kill -9 at every step of archive and restore: worktree or archive is whole, the next command takes over, nothing is
left behind. A few decisive steps in every run of the suite, all of them under soak."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.proofs.killstand import Stand, decisive
from tests.proofs.stage import Stage


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
