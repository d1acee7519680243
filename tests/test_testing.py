"""`k1ctl.testing`: what authors of plugins test with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl.testing import Outcome, Project, add_distribution

TOUCH = """
import click, os
from k1ctl.hookspecs import hookimpl

@click.command()
@click.argument("path")
def touch(path):
    open(path, "w").close()
    os.remove("README")

@hookimpl
def k1ctl_command(): return touch
"""


def test_an_outcome_names_the_files_that_changed(workspace: Project, tmp_path: Path) -> None:
    """New, changed and removed files, of the root and its worktrees, in order; git's own are left out."""
    oslo = workspace.add_worktree("oslo")
    outcome = workspace.run("init").assert_ok()
    assert "ops/k1ctl.toml" in outcome.changed and not [f for f in outcome.changed if ".git/" in f]
    changed = workspace.run("config", "set", "queue.park", "5m", cwd=oslo).assert_ok().changed
    assert "ops/k1ctl.toml" in changed and list(changed) == sorted(changed)
    assert workspace.run("config", "path").changed == ()
    site = add_distribution(tmp_path / "site", "touch", {"touch": "p_touch"}, {"p_touch": TOUCH})
    env: dict[str, str | None] = {"PYTHONPATH": str(site)}
    assert workspace.run("touch", "made", cwd=oslo, env=env).assert_ok().changed == (
        "../repo.worktrees/oslo/README",
        "../repo.worktrees/oslo/made",
    )


def test_a_failed_expectation_shows_what_was_said() -> None:
    """The message of a failed assertion has the call, the exit code and both streams."""
    outcome = Outcome(("k1ctl", "x"), 3, "out", "err")
    for expect in (outcome.assert_ok, lambda: outcome.assert_fails(4), lambda: outcome.assert_fails(3, "no")):
        with pytest.raises(AssertionError) as caught:
            expect()
        assert all(text in str(caught.value) for text in ("$ k1ctl x", "exit 3", "out", "err"))
    outcome.assert_fails(3, "err", "out")
    with pytest.raises(AssertionError, match="not one JSON document"):
        _ = outcome.json


def test_isolation_ends_as_it_began(tmp_path: Path) -> None:
    """Inside, HOME is another one, the cache has nothing of the user's but tools, and outer settings are gone; outside,
    all variables are what they were."""
    code = (
        "import os, sys\nfrom k1ctl.testing import isolated\nbefore = dict(os.environ)\n"
        "with isolated(sys.argv[1]) as env:\n"
        "    assert os.environ['HOME'] == env['HOME'] == sys.argv[1] and 'K1CTL_ROOT' not in os.environ\n"
        "    assert sorted(os.listdir(os.environ['K1CTL_CACHE_DIR'])) == ['platformio', 'tools']\n"
        "    tools = [os.path.realpath(e['K1CTL_CACHE_DIR'] + '/tools') for e in (env, before)]\n"
        "    assert tools[0] == tools[1]\n"
        "    os.environ['MORE'] = '1'\n"
        "    with isolated('/elsewhere') as inner: assert inner['HOME'] == sys.argv[1]\n"
        "    assert os.environ['HOME'] == sys.argv[1]\n"
        "assert dict(os.environ) == before and before['K1CTL_ROOT'] == '/x'\n"
    )
    env = {**os.environ, "K1CTL_ROOT": "/x"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=env, check=True)


def test_a_process_that_is_left_behind_fails_the_test(tmp_path: Path) -> None:
    """What outlives the block is named with its command line, also in a session of its own, and is gone then."""
    code = (
        "import subprocess, sys\nfrom k1ctl.testing import isolated\n"
        "with isolated(sys.argv[1], patience=0.1):\n"
        "    p = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE, start_new_session=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "AssertionError: processes were left behind" in done.stderr and "-c input()" in done.stderr


def test_without_pytest_the_fixtures_say_what_is_missing(tmp_path: Path) -> None:
    """Everything but the fixtures works; these name the extra that brings pytest."""
    code = (
        "import sys\nsys.modules['pytest'] = None\n"
        "from k1ctl.testing import Project, SimulatedDevice, isolated\n"
        "try:\n    from k1ctl.testing import workspace\n"
        "except ImportError as exc:\n    print(exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert "pip install 'k1ctl[testing]'" in done.stdout, done
