"""The fixtures for pytest. Import them from `k1ctl.testing`, or name this module in ``pytest_plugins``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from k1ctl.testing.environment import isolated
from k1ctl.testing.project import Project


@pytest.fixture
def make_workspace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Project]]:
    """A maker of repositories: ``make_workspace("other", files={...}, worktrees=["a", "b"])``."""

    def make(name: str = "repo", **options: object) -> Project:
        return Project(tmp_path.resolve() / name, **options)  # type: ignore[arg-type]

    with isolated(tmp_path_factory.mktemp("home")):
        yield make


@pytest.fixture
def workspace(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A repository with one commit and an empty ``ops/``; see `Project` for what it can do."""
    with isolated(tmp_path_factory.mktemp("home")):
        yield Project(tmp_path.resolve() / "repo")
