"""`capacity run`: the promise, the limits, the verdict, and who dies on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from k1ctl import groups
from k1ctl.capacity import histogram, leash, watched
from tests.kit import Outcome, Project, finish, wait_until

MIB = 1 << 20
# takes 80 MiB and what an interpreter takes, until it is ended; called again, for long enough to be seen
HOG = """
import os, time
first = not os.path.exists("tried")
open("tried", "w").close()
x = bytearray(80 << 20)
time.sleep(60 if first else 0.2)
"""
TO_160 = """
import mmap, os, time
while not os.path.exists("go"): time.sleep(0.005)
keep = []
for _ in range(20):
    keep.append(mmap.mmap(-1, 8 << 20))
    for at in range(0, 8 << 20, 4096): keep[-1][at] = 1
    time.sleep(0.005)
while os.path.exists("go"): time.sleep(0.02)
"""


@pytest.fixture(autouse=True)
def watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same means on every machine."""
    monkeypatch.setenv("K1CTL_CAPACITY_LIMIT_BY", "watchdog")


def run(workspace: Project, *words: str, code: str = "", **options: Any) -> Outcome:
    command = (sys.executable, "-S", "-c", code) if code else ()
    return workspace.run("capacity", "run", *words, *(("--", *command) if code else ()), **options)


def last_record(workspace: Project) -> dict[str, Any]:
    [*_, newest] = sorted((workspace.ops / "runs").iterdir())
    found: dict[str, Any] = json.loads((newest / "run.json").read_text())
    return found


def facts(path: Path, used_percent: int) -> None:
    memory = 64 << 30
    path.with_suffix(".new").write_text(
        json.dumps({"cores": 16, "memory_bytes": memory, "available_bytes": memory * (100 - used_percent) // 100})
    )
    path.with_suffix(".new").replace(path)


def test_status_output_and_environment_pass_through(workspace: Project) -> None:
    """The status is the command's, output is its own, inner parallelism is told its cores, the promise is in its
    environment and gone afterwards."""
    code = "import os, sys; print(os.environ['GOMAXPROCS'], 'K1CTL_PROMISE' in os.environ); sys.exit(3)"
    told = run(workspace, "--need", "mem=64M,cpu=2", "--mem-limit", "64M", "--label", "mine", code=code)
    assert (told.exit_code, told.stdout, told.stderr) == (3, "2 True\n", "")
    record = last_record(workspace)
    assert (record["kind"], record["need"], record["label"]) == (
        "capacity-run",
        {"mem_bytes": 64 * MIB, "cpu_cores": 2.0},
        "mine",
    )
    assert record["limits"]["memory_bytes"] == 64 * MIB and record["limits"]["kept_by"] == "watchdog"
    assert record["limits"]["oom"] is None
    assert watched.every() == []


def test_more_memory_only_after_a_lack_of_it(workspace: Project) -> None:
    """A detected OOM is tried again with twice the limit; the result tells limits, attempts and peak; another
    failure is not tried again."""
    told = run(workspace, "--mem-limit", "60M", "--result", "r.json", code=HOG).assert_ok()
    assert "out of memory: used" in told.stderr and "attempt 2 may use 120 MiB" in told.stderr
    result = json.loads((workspace.root / "r.json").read_text())
    limits = result["limits"]
    assert (result["exit_code"], limits["attempts"], limits["memory_bytes"], limits["oom"]) == (0, 2, 120 * MIB, None)
    assert limits["peak_tree_bytes"] >= 80 * MIB
    assert [row["exit_code"] for row in last_record(workspace)["attempts"]] == [137, 0]
    told = run(workspace, "--mem-limit", "60M", code="raise SystemExit(137)")
    assert (told.exit_code, told.stderr) == (137, "")
    assert last_record(workspace)["limits"]["attempts"] == 1


def test_no_retry_no_room(workspace: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without retries the verdict is one line with the limit that fits next, and of its class is learnt that the limit
    was too small: 100 MiB over it, and nothing of its time; a retry that the host cannot promise is not begun, and a
    need that it cannot promise is 75, or 78 when it never can."""
    words = ("--class", "hungry", "--mem-limit", "60M", "--oom-retries", "0", "--result", "r.json")
    told = run(workspace, *words, code=HOG)
    assert told.exit_code == 137
    known = wait_until(lambda: histogram.of("hungry"))
    assert (known.ooms, known.runs, known.p95, known.seconds_p50) == (1, 1, 160 * MIB, 0.0)
    [line] = told.stderr.splitlines()
    assert line.startswith("k1ctl: ended: out of memory: used ") and "next time: --mem-limit " in line
    result = json.loads((workspace.root / "r.json").read_text())
    assert (result["by"], result["code"]) == ("k1ctl", "oom")
    assert result["limits"]["oom"]["guilty"]["name"].startswith("python")

    monkeypatch.setenv("K1CTL_CAPACITY_MEMORY", "100M")
    (workspace.root / "tried").unlink()
    told = run(workspace, "--mem-limit", "60M", code=HOG)
    assert told.exit_code == 137 and "no further attempt with 120 MiB" in told.stderr
    run(workspace, "--need", "mem=200M", code="pass").assert_fails(78, "never fits")
    told = run(workspace, "--need", "mem=200M", "--mem-limit", "200M", "--reduce", code="pass")
    assert (told.exit_code, told.stderr) == (0, "k1ctl: reduced from 200 MiB of memory to 100 MiB of memory\n")
    assert last_record(workspace)["limits"]["memory_bytes"] == 100 * MIB
    monkeypatch.setenv("K1CTL_FACTS", str(tmp_path / "facts"))
    facts(tmp_path / "facts", 85)
    run(workspace, "--need", "mem=50M", code="pass").assert_fails(75, "memory is at 85 %")
    assert run(workspace, "--need", "mem=50M", "--priority", "critical", code="pass").exit_code == 0


def test_dry_run_and_bad_calls(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """--dry-run tells the decision, the means and the environment and starts nothing; bad calls are told in a line."""
    words = ("--mem-limit", "64M", "--cpu-limit", "0.5", "--dry-run")
    told = run(workspace, *words, "--json", code="open('begun', 'w')").assert_ok().json
    assert (told["go"], told["need"], told["need_from"]) == (True, {"mem_bytes": 64 * MIB}, "--mem-limit")
    assert told["limits"]["kept_by"] == "watchdog" and told["limits"]["cpus_kept_by"] == "duty"
    assert told["environment"]["OMP_NUM_THREADS"] == "1"
    assert not (workspace.root / "begun").exists()
    bad = {
        (): "it is not said what the command needs",
        ("--mem-limit", "1k"): "no interpreter runs in less",
        ("--mem-limit", "much"): "'much' is not a size",
        ("--mem-limit", "1G", "--cpu-limit", "0"): "no number of cores",
        ("--class", "new"): "nothing is known of class new",
        ("--mem-limit", "1G", "--json"): "--json is for --dry-run",
        ("--need", "ram=1G"): "ram",
    }
    from click.testing import CliRunner

    from k1ctl.cli import Context
    from k1ctl.errors import UsageError
    from k1ctl.plugins import Plugins
    from k1ctl_plugins.capacity.run import run as command

    monkeypatch.chdir(workspace.root)
    for words, text in bad.items():
        told = CliRunner().invoke(command, [*words, "--", "true"], obj=Context(Plugins(), None))
        assert isinstance(told.exception, UsageError), words
        assert text in told.exception.message
    run(workspace, "--mem-limit", "64M", "--", "no-such-program").assert_fails(127, "no-such-program is not there")


@pytest.mark.parametrize("killed", ["front", "supervisor", "both"])
def test_a_killed_owner_leaves_it_limited_or_dead(workspace: Project, killed: str) -> None:
    """Front end and supervisor killed, alone or both: the command is ended by who is left, or at its limit."""
    with workspace.popen(
        "capacity", "run", "--mem-limit", "60M", "--", sys.executable, "-S", "-c", TO_160, stdout=subprocess.DEVNULL
    ) as front:
        wait_until(lambda: watched.every() and watched.every()[0].guarded(watched.STANDBY))
        [command] = watched.every()
        supervisor = command.spec["session"]
        wait_until(lambda: len(left(supervisor)) > 1)
        if killed != "front":
            os.kill(supervisor, signal.SIGKILL)
        if killed != "supervisor":
            front.kill()
        (workspace.root / "go").touch()
        peak = 0

        def dead() -> bool:
            nonlocal peak
            processes = left(supervisor)
            peak = max([peak, *(resident(p) for p in processes if p.pid != supervisor)])
            return not processes

        wait_until(dead, timeout=30, interval=0.005)
        assert peak < 150 * MIB
        finish(front)
    wait_until(lambda: not command.guarded())
    leash.rearm()
    assert watched.every() == []


def left(session: int) -> list[psutil.Process]:
    """The living processes of a session."""
    from k1ctl.capacity.processes import look

    return [psutil.Process(pid) for pid in look(session=session).pids if psutil.pid_exists(pid)]


def resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def test_a_daemon_that_left_unseen_is_limited(workspace: Project) -> None:
    """Who forks twice and leaves before anybody could see it is known by its environment, and ended at the limit."""
    if not os.path.exists("/proc/self/environ"):
        pytest.skip("the system does not tell the environment of a process")
    daemon = """
import os, time
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
os.close(1); os.close(2)
with open("pid", "w") as f: f.write(str(os.getpid()))
x = bytearray(100 << 20)
time.sleep(60)
"""
    assert run(workspace, "--mem-limit", "60M", code=daemon).exit_code == 0
    pid = int(wait_until(lambda: (p := workspace.root / "pid").exists() and p.read_text()))
    wait_until(lambda: not groups.living(pid))
    wait_until(lambda: not watched.every())


def test_interrupted_while_it_stands_still(workspace: Project) -> None:
    """^C reaches a command that stands still, at once."""
    code = "import time\ntry: open('begun', 'w').close(); time.sleep(60)\nexcept KeyboardInterrupt: raise SystemExit(5)"
    words = ("--mem-limit", "60M", "--", sys.executable, "-S", "-c", code)
    with workspace.popen("capacity", "run", *words, stdout=subprocess.DEVNULL) as front:
        wait_until(lambda: (workspace.root / "begun").exists())
        [command] = watched.every()
        [stopped] = [p for p in left(command.spec["session"]) if p.pid != command.spec["session"]]
        os.kill(stopped.pid, signal.SIGSTOP)
        wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED)
        front.send_signal(signal.SIGINT)
        assert finish(front) == 5


def test_a_retry_is_promised_what_its_limit_takes() -> None:
    """A promise that is larger than the limit covers the next attempt as well; a smaller one grows to its limit."""
    from types import SimpleNamespace

    from k1ctl.capacity.leash import Limits
    from k1ctl.capacity.need import Need
    from k1ctl.process.limiting import Limiting

    for promised, wanted in ((500, 500), (50, 200)):
        asked: list[Need] = []
        supervisor = SimpleNamespace(promise=SimpleNamespace(grow=asked.append), spec=SimpleNamespace())
        supervisor.spec.need = Need(promised * MIB)
        limiting = Limiting(SimpleNamespace(supervisor=supervisor), Limits(100 * MIB))  # type: ignore[arg-type]
        assert limiting._promise_more(100 * MIB) == ""
        assert [need.mem for need in asked] == [wanted * MIB]
