"""The test kit keeps what it promises."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kit import Project, base_environment, left_behind, wait_until


def test_the_command_line_runs_isolated(workspace: Project, tmp_path: Path) -> None:
    """A child gets the test's environment: no variable of an outer k1ctl or Conductor, a HOME of its own."""
    outcome = workspace.run("--version").assert_ok()
    assert outcome.stdout.startswith("k1ctl ")
    assert workspace.facts().root == str(workspace.root)
    leaked = [n for n in os.environ if n.startswith("CONDUCTOR_") or (n.startswith("K1CTL_") and "TEST" not in n)]
    assert set(leaked) <= {"K1CTL_HOST_DIR", "K1CTL_CACHE_DIR", "K1CTL_FACTS", "K1CTL_MDNS_INTERFACE"}
    assert base_environment(tmp_path)["HOME"] == str(tmp_path)


def test_worktrees_share_the_root(workspace: Project) -> None:
    """A worktree made by the kit belongs to the repository's root."""
    path = workspace.add_worktree("agent-1")
    assert workspace.facts(path).root == str(workspace.root)
    assert workspace.facts(path).name == "agent-1"


def test_a_process_of_this_test_is_found(environment: dict[str, str]) -> None:
    """A child that still runs is seen by its mark, also when it left for a session of its own."""
    mark = environment["TEST_OF_K1CTL"]
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True)
    try:
        assert wait_until(lambda: [p.pid for p in left_behind(mark)]) == [child.pid]
    finally:
        child.communicate()
    assert left_behind(mark) == []
