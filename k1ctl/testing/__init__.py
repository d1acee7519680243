"""For tests of plugins (and of k1ctl): a repository to work in, the real command line, a device without hardware.

The fixtures need pytest, which ``pip install 'k1ctl[testing]'`` brings; nothing else here does. Example::

    from k1ctl.testing import Project, SimulatedDevice, workspace

    def test_upload(workspace: Project, tmp_path: Path) -> None:
        with SimulatedDevice(tmp_path / "device", "lost-ok:1") as device:
            workspace.configure(device.toml("k1"))
            workspace.run("config", "get", "devices.k1.host").assert_ok()

``workspace`` is a repository with one commit and an empty ``ops/``; ``make_workspace`` makes further ones. Both give
the test, and all that it starts, an environment of its own, and fail it when a process outlives it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.simulator import SimulatedDevice
from k1ctl.testing.distributions import add_distribution
from k1ctl.testing.environment import TEST_ID, base_environment, isolated, left_behind
from k1ctl.testing.project import Outcome, Project, finish, wait_until

if TYPE_CHECKING:
    from k1ctl.testing.fixtures import make_workspace, workspace

__all__ = [
    "TEST_ID",
    "Outcome",
    "Project",
    "SimulatedDevice",
    "add_distribution",
    "base_environment",
    "finish",
    "isolated",
    "left_behind",
    "make_workspace",
    "wait_until",
    "workspace",
]


def __getattr__(name: str) -> Any:
    if name not in ("make_workspace", "workspace"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        from k1ctl.testing import fixtures
    except ModuleNotFoundError as exc:
        if exc.name != "pytest":
            raise
        raise ImportError(f"{__name__}.{name} needs pytest: pip install 'k1ctl[testing]'") from exc
    return getattr(fixtures, name)
