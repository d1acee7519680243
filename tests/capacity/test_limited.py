"""A limited command is limited or dead, whoever is killed, and one that is not is left as it is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from itertools import combinations
from pathlib import Path

import psutil
import pytest

from k1ctl.capacity import leash, limited, scan, watchdog, watched
from k1ctl.capacity.limited import Ended, Limited
from tests.kit import finish, wait_until

MIB = 1 << 20
LIMIT = 60 * MIB
# fills 8 MiB at a time to 160 MiB once a file is there, and then waits to be ended
HOG = """
import mmap, os, sys, time
while not os.path.exists(sys.argv[1]): time.sleep(0.005)
keep = []
for _ in range(20):
    keep.append(mmap.mmap(-1, 8 << 20))
    for at in range(0, 8 << 20, 4096): keep[-1][at] = 1
    time.sleep(0.005)
while os.path.exists(sys.argv[1]): time.sleep(0.05)
"""
OWNER = """
import sys
from k1ctl.capacity import limited
hog = [sys.executable, "-S", "-c", *sys.argv[1:]]
command = limited.start(hog, memory=60 << 20, log_fd=2, means="watchdog")
print(command.pid, command.leash.command.folder, flush=True)
command.wait()
"""


def start(*argv: str, log: Path, **options: object) -> Limited:
    with open(log, "ab") as file:
        return limited.start(argv, log_fd=file.fileno(), **{"means": "watchdog", **options})  # type: ignore[arg-type]


def end(command: Limited) -> Ended:
    ended = command.wait(30)
    assert ended is not None
    return ended


def guardians(folder: str) -> list[int]:
    """The guardians of a folder, who watches first."""
    found = []
    for process in psutil.process_iter(["cmdline", "create_time"]):
        if folder in (process.info["cmdline"] or []):
            found.append((process.info["create_time"], process.pid))
    return [pid for _, pid in sorted(found)]


def pipes(pid: int) -> set[str]:
    """The pipes that a process has open, where the system tells."""
    found = set()
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with suppress(FileNotFoundError):
            found.add(os.readlink(path))
    return {target for target in found if target.startswith("pipe:")}


def end_guardians(folder: str) -> None:
    """Kill them all; who sees the other die starts a third."""

    def gone() -> bool:
        found = guardians(folder)
        for pid in found:
            os.kill(pid, signal.SIGKILL)
        return not found

    wait_until(gone)


def fills_up(pid: int) -> int:
    """The most that the process was seen with until it is dead."""
    peak = 0

    def dead() -> bool:
        nonlocal peak
        try:
            process = psutil.Process(pid)
            peak = max(peak, process.memory_info().rss)
            return process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True

    wait_until(dead, timeout=20, interval=0.002)
    return peak


def test_memory_is_limited_with_a_verdict(tmp_path: Path) -> None:
    """Above its limit the tree is ended; the verdict names the guilty process and a limit that fits; nothing stays. Who
    waits for the first guardian to come up does not wait for the second: it has no pipe but the owner's."""
    go = tmp_path / "go"
    command = start(sys.executable, "-S", "-c", HOG, str(go), memory=LIMIT, log=tmp_path / "log")
    first, second = wait_until(lambda: len(pids := guardians(command.leash.command.folder)) == 2 and pids)
    wait_until(lambda: pipes(first) == pipes(second))
    go.touch()
    ended = end(command)
    assert (ended.exit_code, ended.signal, ended.means) == (None, 9, "watchdog")
    assert ended.oom is not None and (ended.oom.by, ended.oom.confidence) == ("limit", "certain")
    assert ended.oom.guilty is not None and ended.oom.guilty["pid"] == command.pid
    assert LIMIT < ended.peak_bytes < 150 * MIB and ended.oom.next_limit > ended.peak_bytes
    assert not os.path.exists(command.leash.command.folder)


def test_what_stays_below_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code, output, folder, environment and input are as without limits; a variable with an odd name stays. What
    lies in the folder that it is started from is not taken for a module of ours."""
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path / "home")
    for name in ("select", "struct", "signal"):
        Path(f"{name}.py").write_text("raise SystemExit(9)")
    log = tmp_path / "log"
    env = {**os.environ, "odd.name": "kept", "LC_ALL": "C"}
    env.pop("LC_CTYPE", None)
    words = ("sh", "-c", "pwd; cat; env; exit 3")
    ended = end(start("env", memory=LIMIT, log=log, cwd=str(tmp_path), env=env))
    assert (ended.exit_code, ended.signal, ended.oom, ended.means) == (0, 0, None, "watchdog")
    assert set(log.read_text().splitlines()) == {f"{k}={v}" for k, v in env.items()}
    log.write_text("")
    env = {"PATH": os.environ["PATH"], "LC_CTYPE": "C"}
    assert end(start(*words, memory=LIMIT, log=log, cwd=str(tmp_path), env=env)).exit_code == 3
    assert log.read_text().startswith(f"{tmp_path}\n") and "\nLC_CTYPE=C\n" in log.read_text()
    free = end(start("sh", "-c", "echo $odd; kill -9 $$", log=log))
    assert (free.exit_code, free.signal, free.oom, free.means) == (None, 9, None, "none")


def test_what_cannot_be_started(tmp_path: Path) -> None:
    """It is told as without limits, before anything is begun or left."""
    with pytest.raises(FileNotFoundError):
        start("no-such-program", memory=LIMIT, log=tmp_path / "log")
    (tmp_path / "plain").write_text("")
    with pytest.raises(PermissionError):
        start(str(tmp_path / "plain"), memory=LIMIT, log=tmp_path / "log")
    assert watched.every() == []


def test_shared_pages_count_once(tmp_path: Path) -> None:
    """Six children that share 30 MiB are 200 MiB by RSS and far below the limit by PSS: they are let live."""
    if not os.path.exists("/proc/self/smaps_rollup"):
        pytest.skip("no PSS here")
    code = """
import os, sys, time
x = bytearray(30 << 20)
pids = []
for _ in range(6):
    pid = os.fork()
    if not pid:
        time.sleep(0.1); os._exit(0)
    pids.append(pid)
for pid in pids: os.waitpid(pid, 0)
"""
    ended = end(start(sys.executable, "-S", "-c", code, memory=100 * MIB, log=tmp_path / "log"))
    assert (ended.exit_code, ended.oom) == (0, None)
    assert ended.peak_bytes < 100 * MIB


@pytest.mark.parametrize("killed", [*combinations(["watch", "standby", "owner"], 2)], ids="-".join)
def test_any_two_may_be_killed(killed: tuple[str, str], tmp_path: Path) -> None:
    """After a kill of any two of guardian, standby and owner the command is ended at its limit as ever."""
    go = tmp_path / "go"
    argv = [sys.executable, "-c", OWNER, HOG, str(go)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        wait_until(lambda: len(guardians(folder)) == 2)
        who = dict(zip(("watch", "standby"), guardians(folder), strict=True)) | {"owner": owner.pid}
        for name in killed:
            os.kill(who[name], signal.SIGKILL)
        go.touch()
        assert fills_up(int(pid)) < 150 * MIB
        finish(owner)


def test_when_all_are_killed_the_next_call_watches_again(tmp_path: Path) -> None:
    """A command without owner and watchdog, stopped on top, goes on and is limited at the next capacity command."""
    go = tmp_path / "go"
    argv = [sys.executable, "-c", OWNER, HOG, str(go)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as owner:
        assert owner.stdout is not None
        pid, folder = owner.stdout.readline().split()
        wait_until(lambda: len(guardians(folder)) == 2)
        owner.kill()
        owner.wait()
        end_guardians(folder)
    seen = watched.Seen(folder)
    seen.put(suspended_at=1.0)
    os.kill(int(pid), signal.SIGSTOP)
    half, begun = (Path(watched.folder_of_all(), name) for name in ("half", "begun"))
    for made in (half, begun):
        made.mkdir()
    os.utime(half, (1, 1))
    assert leash.rearm() == 1
    assert leash.rearm() == 0, "it is watched"
    assert all(psutil.Process(pid).ppid() != os.getpid() for pid in guardians(folder)), "we may be of the tree"
    assert begun.exists() and not half.exists(), "what a start left that was killed half-way is taken away"
    go.touch()
    assert fills_up(int(pid)) < 150 * MIB
    wait_until(lambda: not guardians(folder))
    leash.rearm()
    assert not os.path.exists(folder)


def test_a_folder_that_is_taken_away(tmp_path: Path) -> None:
    """With its folder and its watchdog gone a command is watched again, and its figures and verdict are told."""
    go = tmp_path / "go"
    command = start(sys.executable, "-S", "-c", HOG, str(go), memory=LIMIT, log=tmp_path / "log")
    folder = command.leash.command.folder
    wait_until(lambda: shutil.rmtree(folder, ignore_errors=True) or not os.path.exists(folder))  # they look at locks
    end_guardians(folder)
    wait_until(lambda: "there is another" in command.leash.look())
    go.touch()
    ended = end(command)
    assert ended.oom is not None and ended.oom.by == "limit"
    assert not os.path.exists(folder)


def test_a_fraction_of_a_core(tmp_path: Path) -> None:
    """A busy command gets about its share of a core, and is not left stopped when its watchdog is killed."""
    code = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.16: pass"
    command = start(sys.executable, "-S", "-c", code, cpus=0.5, log=tmp_path / "log")
    assert command.leash.cpu_means == "duty"
    os.kill(command.leash.guardian, signal.SIGKILL)
    ended = end(command)
    assert ended.exit_code == 0
    assert ended.wall_seconds > 0.2


def test_who_leaves_is_followed(tmp_path: Path) -> None:
    """A child in a session of its own counts as long as its parent lives."""
    code = f"setsid {sys.executable} -S -c 'x = bytearray(150 << 20); import time; time.sleep(20)'; true"
    ended = end(start("sh", "-c", code, memory=LIMIT, log=tmp_path / "log"))
    assert ended.oom is not None and ended.oom.by == "limit"


def test_stop(tmp_path: Path) -> None:
    """`stop` ends a command that does not listen to TERM, and one that stands still."""
    log = tmp_path / "log"
    words = ("sh", "-c", "trap '' TERM; echo on; sleep 60 & wait; wait")
    command = start(*words, memory=LIMIT, log=log, cwd=str(tmp_path))  # a shell complains of a folder that is gone
    wait_until(lambda: log.read_text() == "on\n")
    assert command.poll() is None
    os.kill(command.pid, signal.SIGSTOP)
    assert command.stop(grace=0.1).signal == 9


def facts(path: Path, used_percent: int) -> None:
    """A host of which so much memory is in use."""
    memory = 64 << 30
    host = {"cores": 16, "memory_bytes": memory, "available_bytes": memory * (100 - used_percent) // 100}
    path.with_suffix(".new").write_text(json.dumps(host))
    path.with_suffix(".new").replace(path)


def test_relief_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At 92 % of the host's memory the younger of two stands still and tells so, below 85 % it goes on, at 96 % it is
    ended; the older one is left alone."""
    host, log = tmp_path / "facts", tmp_path / "log"
    monkeypatch.setenv("K1CTL_FACTS", str(host))
    facts(host, 20)
    marks = {"suspend": 90, "kill": 95, "every": 0.02}
    older = start("sleep", "60", log=tmp_path / "other", relief=marks)
    code = "import time\nwhile True: print('x', flush=True); time.sleep(0.01)"
    younger = start(sys.executable, "-S", "-c", code, log=log, relief=marks)
    wait_until(lambda: log.stat().st_size > 0)
    facts(host, 92)
    wait_until(lambda: "it stands still: the host is short of memory" in younger.leash.look())
    wait_until(lambda: psutil.Process(younger.pid).status() == psutil.STATUS_STOPPED)
    size = log.stat().st_size
    facts(host, 50)
    wait_until(lambda: "it goes on, after " in younger.leash.look())
    wait_until(lambda: log.stat().st_size > size)
    facts(host, 96)
    wait_until(lambda: younger.poll() is not None)
    facts(host, 20)
    ended = end(younger)
    assert (ended.signal, ended.oom) == (9, None), "we ended it, and not for what it used"
    assert older.poll() is None
    assert older.stop().signal == signal.SIGTERM


def test_what_left_for_a_session_of_its_own_does_not_hold_up_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command that leaves a daemon behind has ended when it has; the daemon stays watched until it ends."""
    monkeypatch.setattr(leash, "_ENDING", 0.05)
    daemon = """
import os, sys, time
if not os.fork(): os.setsid(); print(os.getpid(), flush=True); x = bytearray(30 << 20); time.sleep(60); os._exit(0)
while not os.path.exists(sys.argv[1]): time.sleep(0.005)
"""
    log, go = tmp_path / "log", tmp_path / "go"
    command = start(sys.executable, "-S", "-c", daemon, str(go), log=log, memory=LIMIT)
    wait_until(lambda: command.leash.seen()["now"] > 30 * MIB)
    go.touch()
    assert end(command).exit_code == 0
    folder = command.leash.command.folder
    assert guardians(folder)
    os.kill(int(log.read_text()), signal.SIGKILL)
    wait_until(lambda: not os.path.exists(folder))


def test_naps() -> None:
    """The sleep is the headroom by the fill rate, and never shorter or longer than its bounds."""
    rate = watchdog.fill_rate(2)
    assert rate == 1500 * MIB
    assert [watchdog.nap(h * MIB, rate) for h in (-5, 0, 10, 4000)] == [0.02, 0.02, 0.02, 1.0]
    assert watchdog.nap(750 * MIB, rate) == 0.5
    assert watchdog.fill_rate(64) == 6000 * MIB


def test_a_number_that_was_given_away_again() -> None:
    """A session number whose leader began at another time is somebody else's: nobody is watched, nobody is ended."""
    mine = os.getsid(0)
    assert scan.Scan(mine).look(full=True)
    start = scan.leader_start(mine)
    assert start == 0 or not scan.Scan(mine, leader_start=start + 1).look(full=True)


def test_the_kernels_first_choice() -> None:
    """A limited command is offered to the kernel; one that is offered more already, as in some containers, stays so."""
    if not os.path.exists("/proc/self/oom_score_adj"):
        pytest.skip("no Linux")
    with subprocess.Popen(["sleep", "60"]) as child:
        score = Path(f"/proc/{child.pid}/oom_score_adj")
        before = int(score.read_text())
        leash._offer(child.pid)
        offered = int(score.read_text())
        score.write_text("800")
        leash._offer(child.pid)
        more = int(score.read_text())
        child.kill()
    assert (offered, more) == (max(500, before), 800)
