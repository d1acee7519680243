"""Whether a kill for want of memory takes the terminal along: constructed after cgroup-v2.rst and systemd-oomd(8)."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.capacity import blast, health
from k1ctl.capacity.blast import Blast
from k1ctl.config import Config
from k1ctl.workspace import Workspace
from tests.capacity.recorded_hosts import lay
from tests.capacity.test_health import host, statuses

TMUX = "/sys/fs/cgroup/user.slice/tmux.scope"
TREE = {
    "/proc/self/cgroup": ["0::/user.slice/tmux.scope"],
    "/sys/fs/cgroup/cgroup.controllers": ["memory pids"],
    f"{TMUX}/cgroup.procs": ["70", "71", "72"],
    f"{TMUX}/memory.oom.group": ["0"],
    "/proc/70/comm": ["tmux: server"],
    "/proc/71/comm": ["node"],
}


def found(root: str) -> tuple[str, int, list[str]]:
    blast_radius = blast.radius(root)
    assert blast_radius is not None
    return blast_radius.killer, blast_radius.processes, blast_radius.shelters


def test_who_kills_a_group_as_a_whole_is_named(tmp_path: Path) -> None:
    """Nobody; systemd-oomd where its socket is; memory.oom.group of the group or of one around it."""
    root = lay(tmp_path, TREE)
    assert found(root) == ("", 3, ["tmux: server"])
    lay(tmp_path, {"/run/systemd/oom/io.systemd.ManagedOOM": []})
    assert found(root) == ("systemd-oomd", 3, ["tmux: server"])
    lay(tmp_path, {"/sys/fs/cgroup/user.slice/memory.oom.group": ["1"]})
    assert found(root)[0] == "memory.oom.group"


def test_an_agent_with_a_group_of_its_own_shelters_nobody(tmp_path: Path) -> None:
    """And without cgroup v2 nothing is told."""
    root = lay(tmp_path, {**TREE, f"{TMUX}/cgroup.procs": ["71"]})
    assert found(root) == ("", 1, [])
    assert blast.radius(str(tmp_path / "none")) is None


@pytest.mark.parametrize(
    ("told", "status"),
    [
        (None, "skip"),
        (Blast("systemd-oomd", 3, []), "skip"),
        (Blast("", 3, ["kitty"]), "ok"),
        (Blast("systemd-oomd", 56, ["kitty"]), "warn"),
    ],
)
def test_it_is_a_check_of_the_hosts_health(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: Blast | None, status: str
) -> None:
    """Only who would be killed together with a terminal is warned."""
    monkeypatch.setattr(blast, "radius", lambda: told)
    place = Workspace(str(tmp_path), str(tmp_path), "repo")
    assert statuses(health.checks(host(origin="linux"), Config("", {}, {}), place))["blast_radius"] == status
