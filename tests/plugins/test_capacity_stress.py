"""`capacity stress` as it is called: a small real matrix, what ends it, and how it goes on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from k1ctl.capacity import executor, promises
from tests.kit import Project, finish, wait_until

ALLOCATE = (
    "import sys, time; held = bytearray(int(sys.argv[1]) << 20); held[::4096] = bytes(len(held[::4096])); "
    "time.sleep(0.12)"
)
HOLD = 'echo "copy {i}"; if [ -e hold ]; then [ {i} = 1 ] || { echo held; exec sleep 60; }; sleep 0.1; fi'
STRESS = ("capacity", "stress", "--jobs", "1", "--agents", "1,2")


def folders(workspace: Project) -> list[Path]:
    return sorted((workspace.ops / "benchmarks").glob("*-stress"))


def test_a_real_matrix(workspace: Project) -> None:
    """Copies of 48 MB run out of 32 MB and fit into 112: the figures, the logs, the plot and the file say so."""
    before = '# ours\n[capacity]\nreserve = "9G"  # a comment\n'
    workspace.configure(before)
    command = (sys.executable, "-c", ALLOCATE, "48", "{i}")
    done = workspace.run(*STRESS, "--mem", "32M,112M", "--apply", "--json", "--", *command).assert_ok()
    document = done.json
    cells = {cell["cell"]: cell for cell in document["cells"]}
    assert {name: cell["status"] for name, cell in cells.items()} == {
        "1x32M": "stopped",
        "1x112M": "finished",
        "2x32M": "pruned",
        "2x112M": "finished",
    }
    assert cells["1x32M"]["stop"]["rule"] == "oom" and cells["1x32M"]["oom"] == 1
    assert 48 << 20 <= cells["2x112M"]["peak_bytes"] <= 112 << 20
    assert (cells["2x112M"]["completed"], cells["2x112M"]["started"]) == (4, 4)
    assert document["recommendation"]["per_agent_bytes"] == 112 << 20
    folder = Path(document["folder"])
    assert (folder / "report.svg").read_text().startswith("<svg")
    assert sorted(p.name for p in (folder / "logs" / "2x112M").iterdir()) == ["1.log", "2.log"]
    bound = "agents = 1\n" if document["recommendation"]["bounded"] else ""  # two were too slow on a busy host
    assert workspace.config_file.read_text() == before + 'per_agent = "112M"\n' + bound
    assert ("agents of 112M; measured were 2 at once" in str(document["applied"]["notes"])) == (not bound)
    assert document["applied"]["written"] is True and '+per_agent = "112M"' in document["applied"]["diff"]


def test_ended_and_killed_it_goes_on_where_it_was(workspace: Project) -> None:
    """^C ends the copies and exits with 130; kill -9 leaves copies, which the same call ends; no cell runs twice."""
    (workspace.root / "hold").touch()
    argv = [sys.executable, "-m", "k1ctl", *STRESS, "--mem", "64M", "--", "sh", "-c", HOLD]

    promised = []

    def interrupted(number: int) -> int:
        started = subprocess.Popen(argv, cwd=workspace.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: any("held" in f.read_text() for f in workspace.ops.glob("benchmarks/*/logs/2x64M/2.log")))
        wait_until(lambda: any(p.seen_bytes > 0 for p in promises.held()))  # what a cell runs is told to its promise
        promised.append([(p.kind, p.need.mem, p.need.cpu) for p in promises.held()])
        started.send_signal(number)
        return finish(started)

    assert interrupted(signal.SIGINT) == 130
    (folder,) = folders(workspace)
    assert executor._left_behind(str(folder)) == [] and promises.held(seen=False) == []
    (folder / "logs" / "2x64M" / "2.log").unlink()
    assert interrupted(signal.SIGKILL) == -9
    assert len(executor._left_behind(str(folder))) > 0
    assert promised == [[("stress", 128 << 20, 16.0)]] * 2  # what a cell may use, all cores where unlimited
    (workspace.root / "hold").unlink()
    other = workspace.run(*STRESS, "--mem", "96M", "--", "sh", "-c", HOLD)
    other.assert_fails(78, "is unfinished, and was asked otherwise: its memory_bytes is [67108864]", "--fresh")
    done = workspace.run(*STRESS, "--mem", "64M", "--", "sh", "-c", HOLD).assert_ok()
    assert "cells that are finished: 1" in done.stderr and "left behind" in done.stderr
    lines = [json.loads(line) for line in (folder / "cells.jsonl").read_text().splitlines()]
    assert [line["cell"] for line in lines] == ["1x64M", "2x64M"]
    assert folders(workspace) == [folder] and (folder / "report.json").exists()
    assert (folder / "logs" / "1x64M" / "1.log").read_text() == "copy 1\n" * 2


def test_a_recommendation_that_cannot_be_written_is_told(workspace: Project) -> None:
    """The file was fine before and is broken when the figures are there: they are kept, and the call fails with why."""
    workspace.configure("[capacity]\n")
    breaks = ["sh", "-c", 'sleep 0.12; echo "[capacity" >"$0"', str(workspace.config_file)]
    one = ("capacity", "stress", "--jobs", "1", "--agents", "1", "--mem", "64M", "--apply", "--json", "--")
    done = workspace.run(*one, *breaks)
    assert done.exit_code == 78 and done.json["ok"] is False and done.json["applied"] is None
    assert done.json["recommendation"]["agents"] == 1 and str(workspace.config_file) in done.json["error"]["message"]
    assert (folders(workspace)[0] / "report.json").exists()


def test_bad_calls_are_told_before_anything_runs(workspace: Project) -> None:
    """What cannot end well is refused in a line and a hint, and nothing is made."""
    workspace.run(*STRESS, "--", "no-such-program").assert_fails(127, "no-such-program is not there")
    workspace.run(*STRESS, "--apply", "--", "true").assert_fails(78, "k1ctl init")
    assert folders(workspace) == []


def test_a_dry_run_shows_the_cells_and_runs_nothing(workspace: Project) -> None:
    """The order, the runs of each cell, and the most it can take; nothing is made."""
    done = workspace.run(*STRESS, "--mem", "1G,64G", "--timeout", "1m", "--dry-run", "--json", "--", "true").assert_ok()
    plan = done.json
    assert [(c["cell"], c["jobs"], c["status"].partition(":")[0]) for c in plan["cells"]] == [
        ("1x1G", 2, "to run"),
        ("1x64G", 2, "pruned"),
        ("2x1G", 4, "to run"),
        ("2x64G", 4, "pruned"),
    ]
    assert (plan["estimated_seconds"], plan["at_most_seconds"]) == (None, 240.0)
    assert folders(workspace) == []
