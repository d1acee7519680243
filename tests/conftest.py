"""Fixtures of every test: an isolated environment, a repository to work in, and no process left behind."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import kit

# A busy machine is no finding: no property here is about time. CI repeats the same examples each time.
_SLACK = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("k1ctl", deadline=None, suppress_health_check=_SLACK, derandomize=bool(os.environ.get("CI")))
settings.load_profile("k1ctl")


@pytest.fixture(autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, str]]:
    """Give the test and its children an environment of their own, and fail it when a child outlives it."""
    mark = uuid.uuid4().hex
    env = {**kit.base_environment(tmp_path_factory.mktemp("home")), kit.TEST_ID: mark}
    for name in set(os.environ) - set(env):
        if name != "PYTEST_CURRENT_TEST":
            monkeypatch.delenv(name)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    yield env
    try:
        kit.wait_until(lambda: not kit.left_behind(mark), timeout=5, interval=0.05)
    except AssertionError:
        left = kit.left_behind(mark)
        named = [f"{p.pid}: {' '.join(p.cmdline())}" for p in left]
        for process in left:
            process.kill()
        if left:
            pytest.fail("processes were left behind:\n" + "\n".join(named))


@pytest.fixture
def make_workspace(tmp_path: Path) -> Callable[..., kit.Project]:
    """A maker of repositories: ``make_workspace("other", files={...}, worktrees=["a", "b"])``."""

    def make(name: str = "repo", **options: object) -> kit.Project:
        return kit.Project(tmp_path.resolve() / name, **options)  # type: ignore[arg-type]

    return make


@pytest.fixture
def workspace(make_workspace: Callable[..., kit.Project]) -> kit.Project:
    """A repository with one commit and an empty ``ops/``; see `kit.Project` for what it can do."""
    return make_workspace()
