"""A lease that a process of ours holds itself: it waits in line like all others, and ends with the process."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from k1ctl.config import load
from k1ctl.errors import K1ctlError
from k1ctl.process import nested
from k1ctl.process.hold import hold
from k1ctl.process.view import View
from k1ctl.queue.folder import queue_folder
from k1ctl.queue.view import entries
from k1ctl.workspace import resolve
from tests.kit import Project, finish, wait_until

HOLDER = """
import sys, time
from k1ctl.config import load
from k1ctl.process.hold import hold
from k1ctl.process.view import View
from k1ctl.workspace import resolve
workspace = resolve()
kept = hold(workspace, load(workspace), {"console:k1": 1}, what="a test", wait=30, view=View(quiet=True))
print("held", flush=True)
time.sleep(60)
"""


def holder(workspace: Project) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", HOLDER], cwd=workspace.root, stdout=subprocess.PIPE, text=True)


def test_it_ends_with_the_process(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue names the holder; a second one waits, in vain with its own limit, and gets it at once on kill -9."""
    monkeypatch.chdir(workspace.root)
    here = resolve()
    config = load(here)
    first = holder(workspace)
    assert first.stdout is not None and first.stdout.readline() == "held\n"
    (entry,) = entries(queue_folder(here, config))
    assert (entry["state"], entry["command"], entry["owner"]) == ("running", f"a test (pid {first.pid})", first.pid)
    with pytest.raises(K1ctlError) as caught:
        hold(here, config, {"console:k1": 1}, what="another", wait=0.05, view=View(quiet=True))
    assert caught.value.code == "queue-timeout" and caught.value.exit_code == 75
    assert f"(pid {first.pid})" in caught.value.message
    second = holder(workspace)
    wait_until(lambda: any(e["state"] == "waiting" for e in entries(queue_folder(here, config))))
    first.kill()
    finish(first)
    assert second.stdout is not None and second.stdout.readline() == "held\n"
    second.kill()
    finish(second)


def test_what_a_run_around_us_holds(workspace: Project) -> None:
    """Under a run that holds the resource already nobody waits for himself."""
    words = [sys.executable, "-c", HOLDER.replace("time.sleep(60)", "")]
    done = workspace.run("queue", "run", "console:k1", "--wait", "5s", "--", *words)
    assert "held" in done.assert_ok().stdout


def test_what_a_script_around_us_holds(workspace: Project) -> None:
    """Nor under a script that holds it by a descriptor, which it leaves open for us."""
    here = workspace.run("queue", "ticket", "console:k1").assert_ok().stdout.strip()
    code = HOLDER.replace("time.sleep(60)", "")
    words = (
        'exec 9<>"$1"; $0 -m k1ctl queue acquire --fd 9 --wait 5s || exit; '
        '"$0" -c "$2" || exit; exec 9>&-; exec "$0" -m k1ctl queue run console:k1 --wait 5s -- echo free'
    )
    argv = ["bash", "-c", words, sys.executable, here, code]
    done = subprocess.run(argv, cwd=workspace.root, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (0, "held\nfree\n"), done.stderr


def test_released(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Given back, it is nobody's."""
    monkeypatch.chdir(workspace.root)
    here = resolve()
    config = load(here)
    assert nested.LEASES not in os.environ
    kept = hold(here, config, {"console:k1": 1}, what="a test", wait=1, view=View(quiet=True))
    kept.release()
    assert [e for e in entries(queue_folder(here, config)) if e["state"] == "running"] == []
