"""A flash inside a limited command is neither ended nor stopped with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from k1ctl import groups
from k1ctl.capacity import executor, limited, scan, spared
from tests.kit import Project, finish, wait_until

# another process tells that it lives, until a file is there
FLASH = "until [ -e done ]; do echo x >> alive; sleep 0.01; done; echo well > flashed"
HOG = """
import os, time
while not os.path.exists("go"):
    print("x", file=open("hog", "a"))
    time.sleep(0.005)
x = bytearray(250 << 20)
time.sleep(60)
"""
MARKS = {"K1CTL_CAPACITY_LIMIT_BY": "watchdog", "K1CTL_PROCESS_GRACE": "200ms"}


def facts(path: Path, used_percent: int) -> None:
    memory = 64 << 30
    host = {"cores": 16, "memory_bytes": memory, "available_bytes": memory * (100 - used_percent) // 100}
    path.with_suffix(".new").write_text(json.dumps(host))
    path.with_suffix(".new").replace(path)


def grows(path: Path) -> None:
    size = path.stat().st_size if path.exists() else 0
    wait_until(lambda: path.exists() and path.stat().st_size > size)


def run_of(workspace: Project, kind: str) -> dict[str, object]:
    found = [json.loads(path.read_text()) for path in (workspace.ops / "runs").glob("*/run.json")]
    [one] = [record for record in found if record["kind"] == kind]
    return dict(one)


def work(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that starts a flash, and becomes the hog beside it."""
    monkeypatch.setenv("FLASH", FLASH)
    flash = "k1ctl queue run device:k1 --on-caller-exit keep -- sh -c 'eval \"$FLASH\"' &"
    (workspace.root / "work.sh").write_text(f"{flash}\nexec {sys.executable} -S -c '{HOG}'\n")


def ends_well(workspace: Project) -> None:
    """The flash goes on until it is done, and its record says so."""
    place = workspace.root
    grows(place / "alive")
    (place / "done").touch()
    wait_until(lambda: run_of(workspace, "queue-run")["state"] == "ended")
    assert run_of(workspace, "queue-run")["exit_code"] == 0 and (place / "flashed").read_text() == "well\n"
    wait_until(lambda: not spared.sessions())


def test_a_flash_at_the_limit(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is beside it stands still for the host's sake, goes on, and is ended at the limit; the flash runs all the
    time and ends well."""
    place = workspace.root
    work(workspace, monkeypatch)
    monkeypatch.setenv("K1CTL_FACTS", str(place / "facts"))
    facts(place / "facts", 20)
    relief = {"suspend": 90, "every": 0.02}
    with (place / "log").open("wb") as log:
        command = limited.start(
            ["sh", "work.sh"], memory=150 << 20, cwd=str(place), log_fd=log.fileno(), means="watchdog", relief=relief
        )
    grows(place / "alive")
    grows(place / "hog")
    facts(place / "facts", 92)
    wait_until(lambda: psutil.Process(command.pid).status() == psutil.STATUS_STOPPED)
    grows(place / "alive")
    facts(place / "facts", 20)
    grows(place / "hog")
    (place / "go").touch()
    ended = command.wait(30)
    assert ended is not None and ended.oom is not None and (ended.signal, ended.oom.by) == (9, "limit")
    ends_well(workspace)


def test_a_flash_in_a_run_that_is_told_to_end(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """TERM of a `capacity run` ends what is beside it; the flash, for which the run holds the device, ends well, and
    only then the device is given back."""
    work(workspace, monkeypatch)
    words = ("--need", "mem=150M,device:k1=1", "--mem-limit", "150M", "--", "sh", "work.sh")
    with workspace.popen("capacity", "run", *words, env=MARKS) as process:
        try:
            grows(workspace.root / "alive")
            grows(workspace.root / "hog")
        finally:
            process.terminate()
        assert "ticket" not in run_of(workspace, "queue-run"), "the run around it has the device"
        group = run_of(workspace, "capacity-run")["group"]
        wait_until(lambda: isinstance(group, int) and not groups.living(group))
        ends_well(workspace)
        assert finish(process) == 143
    assert run_of(workspace, "capacity-run")["code"] == "caller-terminated"


def test_the_next_attempt_waits_for_a_flash(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt begins when the flash of the one before is over, though the caller of that one was killed: the run
    around both has the device."""
    work(workspace, monkeypatch)
    place = workspace.root
    begin = (place / "work.sh").read_text().splitlines()[0]
    script = f"echo x >> begun\n[ -e flashed ] && exit\n{begin}\nuntil [ -e alive ]; do sleep 0.01; done; kill -9 $!"
    words = ("device:k1", "--retries", "1", "--", "sh", "-c", f"{script}; exit 1")
    with workspace.popen("queue", "run", *words) as process:
        assert process.stderr is not None
        try:
            assert any("the next attempt waits for it" in line for line in process.stderr)
            grows(place / "alive")
            assert (place / "begun").read_text() == "x\n"
        finally:
            (place / "done").touch()
        assert finish(process) == 0
    assert (place / "begun").read_text() == "x\nx\n"


def test_who_is_spared() -> None:
    """A session is as long as its mark is held, by whoever inherited it; with it what it started in sessions of its
    own. A mark that was left behind is taken away."""
    code = "import os, sys, time; os.fork() or os.setsid(); os.write(1, b'%d\\n' % os.getpid()); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-S", "-c", code], start_new_session=True, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None
        pids = {int(first.stdout.readline()) for _ in range(2)}
        child = (pids - {first.pid}).pop()
        try:
            look = scan.Scan(first.pid)
            look.look(full=True)
            mark = spared.mark(first.pid)
            other = scan.Scan(os.getsid(0))
            other.sessions |= look.sessions
            copy = os.dup(mark.fd)
            os.close(mark.fd)
            other.spare()
            assert first.pid in spared.sessions() and not pids & set(other.members)
            os.close(copy)
            other.spare()
            assert not spared.sessions() and (first.pid in other.members or not scan._LINUX)
            again = spared.mark(child)
            assert not os.path.exists(mark.path) and spared.sessions() == {child}
            again.end()
            assert not os.path.exists(again.path) and not spared.sessions()
        finally:
            os.kill(child, 9)
            first.kill()


def test_stress_leaves_a_flash_alone(tmp_path: Path) -> None:
    """What a copy of a stress run left behind is found, but a flash."""
    env = {**os.environ, executor.MARK: f"{tmp_path}//"}
    with subprocess.Popen(["sleep", "60"], env=env, start_new_session=True) as flash:
        wait_until(lambda: executor._left_behind(str(tmp_path)) == [flash.pid])
        mark = spared.mark(flash.pid)
        assert executor.end_left_behind(str(tmp_path), 0.05) == 0 and flash.poll() is None
        mark.end()
        assert executor.end_left_behind(str(tmp_path), 2.0) == 1
