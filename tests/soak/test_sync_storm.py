"""A thousand random kills of `budget sync` while transcripts grow: every message is booked once, none is lost."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

import pytest

from k1ctl.testing import Project
from tests.budget.transcripts import home

KILLS = int(os.environ.get("STORM_KILLS", "1000"))


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_a_long_storm(workspace: Project, tmp_path: Path) -> None:
    """What the ledger has in the end is what one undisturbed sync of the same transcripts books."""
    chance, kills = random.Random(os.getpid()), 0
    full, live = home(tmp_path / "full", sessions=6, answers=40), tmp_path / "live"
    whole = {path.relative_to(full): path.read_bytes() for path in sorted(full.rglob("*.jsonl"))}
    given = dict.fromkeys(whole, 0)
    (live / "claude" / "projects").mkdir(parents=True)
    (live / "codex" / "sessions").mkdir(parents=True)
    words = ("budget", "sync", "--json", "--from", str(live / "claude"), "--from", str(live / "codex"))
    while kills < KILLS:
        for name, data in whole.items():
            end = min(len(data), given[name] + chance.randrange(1, max(2, 20 * len(data) // KILLS)))
            path = live / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as f:
                f.write(data[given[name] : end])
            given[name] = end
        process = workspace.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(chance.uniform(0.05, 0.5))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    for name, data in whole.items():
        with (live / name).open("ab") as f:
            f.write(data[given[name] :])
    booked = workspace.run(*words).assert_ok().json["usage"]
    workspace.run("budget", "verify").assert_ok()
    for suffix in ("", "-wal", "-shm"):
        (workspace.ops / f"state.db{suffix}").unlink(missing_ok=True)
    assert workspace.run(*words).assert_ok().json["usage"] == booked and booked
