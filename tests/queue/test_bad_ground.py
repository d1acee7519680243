"""`queue run` where the ground gives way: a read-only ops/, a full disk, no flock: one line each, nothing lost."""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import Outcome, Project, needs

K1CTL = f"{sys.executable} -m k1ctl"


@functools.cache
def _may_mount() -> bool:
    tool = shutil.which("unshare")
    script = "mount -t tmpfs -o size=64k none /mnt"
    return tool is not None and subprocess.run([tool, "-m", "sh", "-c", script], capture_output=True).returncode == 0


@pytest.fixture
def mounts() -> None:
    """Skips the test where this process may not mount in a namespace of its own."""
    if not _may_mount():
        pytest.skip("needs mount(8) in a namespace of its own: root on Linux, outside most containers")


mounting = pytest.mark.usefixtures("mounts")


def apart(workspace: Project, script: str) -> Outcome:
    """Run a shell script in the root in a mount namespace of its own; what it mounts is seen by nobody else."""
    env = {**workspace.environment(), "K1CTL": K1CTL, "OPS": str(workspace.ops)}
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script], cwd=workspace.root, env=env, capture_output=True, text=True, timeout=60
    )
    return Outcome(("sh", "-c", script), done.returncode, done.stdout, done.stderr)


def one_line(outcome: Outcome, code: int, *texts: str) -> None:
    """This exit code; one line of what is wrong and one of what to do; no bug."""
    outcome.assert_fails(code, *texts)
    assert len(outcome.stderr.splitlines()) <= 2, str(outcome)
    assert "bug" not in outcome.stderr


@mounting
def test_a_read_only_ops_folder(workspace: Project) -> None:
    """Running is refused with 78 and the cause, and the command is not run; looking still works."""
    workspace.run("queue", "run", "r", "--", "true").assert_ok()
    frozen = 'mount --bind "$OPS" "$OPS" && mount -o remount,ro,bind "$OPS"; '
    one_line(apart(workspace, frozen + "$K1CTL queue run r -- touch ran"), 78, "read-only", "[queue] dir")
    assert not (workspace.root / "ran").exists()
    listed = apart(workspace, frozen + "$K1CTL queue list --json").assert_ok()
    assert listed.json["tickets"] == []
    one_line(apart(workspace, frozen + "$K1CTL queue pause r"), 78, "read-only")
    workspace.run("queue", "run", "r", "--", "true").assert_ok()


@mounting
def test_ops_becomes_read_only_while_a_command_runs(workspace: Project) -> None:
    """The command ends as it does, its status is passed on, and its lease is free."""
    workspace.run("queue", "run", "r", "--", "true").assert_ok()
    os.mkfifo(workspace.root / "pipe")
    script = (
        "$K1CTL queue run r -- sh -c 'echo up; read x; exit 3' <pipe >said 2>err & exec 9>pipe; "
        "until grep -q up said; do sleep 0.02; done; "
        'mount -t tmpfs -o ro none "$OPS"; echo go >&9; wait $!; echo "status $?"; cat err'
    )
    told = apart(workspace, script)
    assert "status 3" in told.stdout, str(told)
    assert "bug" not in told.stdout + told.stderr
    workspace.run("queue", "run", "r", "--wait", "10s", "--", "true").assert_ok()


@mounting
@pytest.mark.parametrize("free", [0, 1, 2, 3, 4, 6, 8, 12])
def test_a_full_disk(workspace: Project, free: int) -> None:
    """With ``free`` pages left: the run works, or is refused with 75 and the cause; afterwards, with room, it works."""
    script = (
        'mount -t tmpfs -o size=256k none "$OPS"; mkdir "$OPS/queue"; '
        f"dd if=/dev/zero of=$OPS/fill bs=4k count={64 - 1 - free} 2>/dev/null; "
        "$K1CTL queue run r -- sh -c 'echo ran > ../ran; exit 5' >out 2>err; echo $? > status; rm $OPS/fill; "
        "$K1CTL queue run r --wait 5s -- true && $K1CTL queue list --json; find $OPS -name '*.tmp'"
    )
    (workspace.root / "sub").mkdir()
    script = script.replace("../ran", str(workspace.root / "ran"))
    told = apart(workspace, script).assert_ok()
    assert json.loads(told.stdout)["tickets"] == []
    status, err = int((workspace.root / "status").read_text()), (workspace.root / "err").read_text()
    ran = (workspace.root / "ran").exists()
    assert "Traceback" not in err and "bug" not in err
    if ran:
        assert status == 5, err
    else:
        assert (status, "disk is full" in err) == (75, True), err


@mounting
def test_a_command_that_fills_the_disk(workspace: Project) -> None:
    """Its own output fills ops/: it sees the error, its status is passed on, and the queue goes on."""
    script = (
        'mount -t tmpfs -o size=256k none "$OPS"; '
        "$K1CTL queue run r -- dd if=/dev/zero bs=4k count=200 2>err | wc -c; "
        "$K1CTL queue run r --wait 5s -- true; echo $?; $K1CTL queue list --json"
    )
    told = apart(workspace, script)
    assert "bug" not in (workspace.root / "err").read_text()
    size, _, listed = told.stdout.splitlines()
    assert 0 < int(size) < 256 * 1024
    assert json.loads(listed)["tickets"] == []


@needs("gcc")
@pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD is Linux's")
def test_without_flock(workspace: Project) -> None:
    """A filesystem without flock is refused with 78 and what to do; the command is not run."""
    workspace.write(
        "no.c", "#include <errno.h>\nint flock(int a, int b) { (void)a; (void)b; errno = ENOLCK; return -1; }\n"
    )
    library = workspace.root / "no.so"
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", library, workspace.root / "no.c"], check=True)
    env = {"LD_PRELOAD": str(library)}
    one_line(workspace.run("queue", "run", "r", "--", "touch", "ran", env=env), 78, "no flock", "[queue] dir")
    assert not (workspace.root / "ran").exists()
    workspace.run("queue", "run", "r", "--", "true").assert_ok()
    (workspace.ops / "queue" / "tickets" / "w50.0000000009.99.-.r=1").write_text("{}")
    for words in (["list"], ["pause", "r"], ["cancel", "9"], ["show", "9"]):
        one_line(workspace.run("queue", *words, env=env), 78, "no flock")


@pytest.mark.parametrize("way", ["queue", "queue/mutex", "runs", "events"])
def test_something_else_is_in_the_way(workspace: Project, way: str) -> None:
    """A file where a folder belongs, or the other way round, is an error that names it, or loses only the events."""
    path = workspace.ops / way
    if way == "queue/mutex":
        path.mkdir(parents=True)
    else:
        path.write_text("mine")
    outcome = workspace.run("queue", "run", "r", "--", "touch", "ran")
    if way == "events":
        outcome.assert_ok()
    else:
        one_line(outcome, 78, str(path))
        assert not (workspace.root / "ran").exists()


def test_the_queue_folder_goes_and_nobody_is_stuck(workspace: Project, tmp_path: Path) -> None:
    """`git clean -fdx` between any two calls costs nothing but what was configured."""
    workspace.configure("[queue.slots]\nr = 2\n")
    workspace.run("queue", "run", "r=2", "--", "true").assert_ok()
    workspace.git("clean", "-fdxq")
    assert not workspace.ops.exists()
    workspace.run("queue", "list", "--json").assert_ok()
    workspace.run("queue", "run", "r", "--", "true").assert_ok()
    workspace.run("queue", "run", "r=2", "--", "true").assert_fails(2, "1 slot")
