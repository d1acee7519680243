"""`k1ctl.archive.lock`: one call at a time, and who waits knows for whom."""

from __future__ import annotations

import subprocess
import sys

from k1ctl.archive.lock import ArchiveLock
from tests.kit import Project, finish

WAITS = """
import sys
from k1ctl.archive.lock import ArchiveLock
from k1ctl.workspace import resolve
with ArchiveLock(resolve()):
    print("taken")
"""


def test_who_waits_is_told_for_whom(workspace: Project) -> None:
    """Nothing is said at first; then the holder's process and command, once; the lock comes when it is free."""
    with ArchiveLock(workspace.facts()) as fd, ArchiveLock(workspace.facts()) as again:
        assert fd == again
        other = subprocess.Popen(
            [sys.executable, "-c", WAITS], cwd=workspace.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert other.stderr is not None and other.stdout is not None
        told = other.stderr.readline()
    assert "in use by process" in told and "waiting" in told
    assert other.stdout.read() == "taken\n"
    assert finish(other) == 0


def test_a_free_lock_is_taken_without_a_word(workspace: Project) -> None:
    """Also when the file still names a holder that is gone."""
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", WAITS], cwd=workspace.root, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "taken\n", "")
