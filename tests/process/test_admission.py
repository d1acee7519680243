"""A run's promise: taken behind its place in line, held with the lease, kept by the command, waited for in the open."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from k1ctl import events
from k1ctl.capacity import gate, histogram, promises
from k1ctl.capacity.need import parse
from k1ctl.config import Config
from k1ctl.process.spec import RunSpec
from k1ctl.process.view import describe_holder
from k1ctl.queue import view
from k1ctl.workspace import Workspace
from k1ctl_plugins.queue.inspect import state_text
from tests.kit import Project, finish, wait_until

HOLD = "touch began; while ! test -e go; do sleep 0.02; done; touch ended"
PRESSED = '{"cores": 4, "memory_bytes": 100, "available_bytes": 15}'


def kept(project: Project) -> dict[str, object]:
    """The newest run's record."""
    paths = sorted((project.ops / "runs").glob("*/run.json"))
    found: dict[str, object] = json.loads(paths[-1].read_text()) if paths else {}
    return found


def hold(project: Project, need: str) -> promises.Held:
    """A promise that this process holds."""
    here = Workspace(str(project.root), str(project.root), "here", str(project.root / ".git"))
    return gate.promise(here, Config("", {}, {}), parse(need), what="ours", kind="capacity-run")


def test_a_run_has_its_promise_while_its_lease(workspace: Project) -> None:
    """The command sees whose promise it runs under, has its descriptor, and calls within it wait for nothing."""
    inner = "k1ctl queue run b --need mem=40G,cpu=2 -- sh -c 'ls \"$K1CTL_HOST_DIR/capacity/tickets\"'"
    done = workspace.run("queue", "run", "a", "--need", "mem=40G,cpu=2", "--wait", "0", "--", "sh", "-c", inner)
    (ticket,) = done.assert_ok().stdout.split()
    assert ticket.endswith(".cpu=200,mem=40960")
    assert promises.held(waiting=True) == []
    workspace.run("queue", "run", "a", "--need", "mem=54G", "--wait", "0", "--", "true").assert_ok()


def test_what_runs_within_use_counts_to_the_promise_around(workspace: Project) -> None:
    """An inner run has a session of its own; its memory is no use by others beside the promise that covers it."""
    allocate = (
        "import os, time\nx = bytearray(64 << 20)\nopen('began', 'w')\nwhile not os.path.exists('go'): time.sleep(.02)"
    )
    inner = (
        sys.executable,
        "-m",
        "k1ctl",
        "queue",
        "run",
        "b",
        "--need",
        "mem=1G",
        "--",
        sys.executable,
        "-c",
        allocate,
    )
    call = workspace.popen("queue", "run", "a", "--need", "mem=2G", "--", *inner)
    wait_until((workspace.root / "began").exists)
    (promise,) = promises.held()
    assert promise.units == {"mem": 2048} and 64 << 20 < promise.seen_bytes < 512 << 20
    (workspace.root / "go").touch()
    assert finish(call) == 0 and os.listdir(os.path.join(promises.folder(), "nested")) == []


def test_the_promise_outlives_a_killed_supervisor(workspace: Project) -> None:
    """kill -9 of the supervisor: the command keeps the promise until it ends; then it is free at once."""
    front = workspace.popen(
        "queue", "run", "a", "--need", "mem=40G", "--on-caller-exit", "keep", "--", "sh", "-c", HOLD
    )
    wait_until((workspace.root / "began").exists)
    (promise,) = wait_until(lambda: [p for p in promises.held() if p.group])
    assert promise.session == promise.pid == kept(workspace)["supervisor"]

    os.kill(promise.pid, signal.SIGKILL)
    front.kill()
    finish(front)
    assert [p.id for p in promises.held()] == [promise.id]
    workspace.run("queue", "run", "b", "--need", "mem=40G", "--wait", "0", "--", "true").assert_fails(75)

    (workspace.root / "go").touch()
    wait_until((workspace.root / "ended").exists)
    workspace.run("queue", "run", "b", "--need", "mem=40G", "--wait", "20s", "--", "true").assert_ok()


def listens(pid: int) -> bool:
    """Whether a call passes TERM on by now, where the system tells: its supervisor may be ahead of it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return True
    (caught,) = (line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


def test_a_wait_for_room_ends_as_a_wait_in_line_does(workspace: Project) -> None:
    """^C, TERM, `queue cancel` and the caller's death end it; the queue's place is free, nothing is left in line."""
    held = hold(workspace, "mem=40G")
    ends = {130: signal.SIGINT, 143: signal.SIGTERM, -9: signal.SIGKILL, 0: None}
    for code, number in ends.items():
        call = workspace.popen("queue", "run", "a", "--need", "mem=40G", "--", "touch", "ran")
        run = wait_until(lambda: (r := kept(workspace)).get("waits_for") and r["state"] == "waiting" and r)
        assert "40.0 GiB promised to 1" in str(run["waits_for"])
        (entry,) = view.entries(str(workspace.ops / "queue"))
        assert (entry["waits_for"], state_text(entry)) == (run["waits_for"], "waits for room")
        assert "waits for room on this host" in describe_holder(entry)
        wait_until(lambda pid=call.pid: listens(pid))
        if number is None:
            workspace.run("queue", "cancel", str(run["run"])).assert_ok()
            code = 143
        else:
            call.send_signal(number)
        assert finish(call) == code
        ended = wait_until(lambda: (r := kept(workspace)).get("state") == "ended" and r)
        assert ended["run"] == run["run"]
        (workspace.ops / "runs" / str(run["run"]) / "run.json").unlink()
        assert [p for p in promises.held(waiting=True) if p.waiting] == []
    held.release()
    assert not (workspace.root / "ran").exists()
    workspace.run("queue", "run", "a", "--wait", "5s", "--", "true").assert_ok()


def test_a_supervisor_killed_while_it_waits_for_room_is_replaced(workspace: Project) -> None:
    """The front end starts another one, which has the same place; the command runs once."""
    held = hold(workspace, "mem=40G")
    call = workspace.popen("queue", "run", "a", "--need", "mem=40G", "--", "sh", "-c", "echo x >> ran")
    first = wait_until(lambda: (r := kept(workspace)).get("waits_for") and r)
    os.kill(int(str(first["supervisor"])), signal.SIGKILL)
    wait_until(lambda: (r := kept(workspace)).get("waits_for") and r["run"] != first["run"])
    held.release()
    assert finish(call) == 0 and (workspace.root / "ran").read_text() == "x\n"
    assert promises.held(waiting=True) == []


def test_a_folder_that_cannot_be_used_stops_no_build(workspace: Project, tmp_path: Path) -> None:
    """A need that was named is an error then; what is only work, or a build's own figure, goes on with a warning."""
    (tmp_path / "file").touch()
    nowhere = {"K1CTL_HOST_DIR": str(tmp_path / "file")}
    workspace.run("queue", "run", "a", "--need", "mem=1G", "--", "true", env=nowhere).assert_fails(78)
    code = """if True:
        from k1ctl.capacity.need import parse
        from k1ctl.config import load
        from k1ctl.process.launch import launch
        from k1ctl.process.spec import RunSpec
        from k1ctl.workspace import resolve
        spec = RunSpec("build", ["true"], {"build:x": 1}, need=parse("mem=1G"), soft=True)
        raise SystemExit(launch(resolve(), load(resolve()), spec).ending.exit_code)
    """
    env = {**os.environ, **nowhere}
    done = subprocess.run([sys.executable, "-c", code], cwd=workspace.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0 and "could not be promised" in done.stderr


def test_no_room_is_said_with_numbers(workspace: Project) -> None:
    """75 with who and how much, when the wait is over; a need that never fits is 78, before anything starts."""
    held = hold(workspace, "mem=40G")
    refused = workspace.run(
        "queue", "run", "a", "--need", "mem=20G", "--wait", "0", "--result", "r", "--", "touch", "ran"
    )
    assert "20.0 GiB needed, 14.4 GiB free; 40.0 GiB promised to 1" in refused.assert_fails(75).stderr
    assert json.loads((workspace.root / "r").read_text())["code"] == "no-capacity"
    assert (
        "never fits"
        in workspace.run("queue", "run", "a", "--need", "mem=60G", "--", "touch", "ran").assert_fails(78).stderr
    )
    critical = ("queue", "run", "a", "--need", "mem=20G", "--priority", "critical", "--", "true")
    workspace.run(*critical).assert_ok()
    held.release()
    assert not (workspace.root / "ran").exists()


def test_a_submitted_run_that_waits_for_room_says_so(workspace: Project) -> None:
    """`queue wait` tells why it does not start, then its end; its promise is no part of one around the call."""
    held = hold(workspace, "mem=40G")
    marks = {promises.PROMISE: held.environment()}
    run = workspace.run("queue", "submit", "a", "--need", "mem=40G", "--", "true", env=marks).assert_ok().stdout.strip()
    wait_until(lambda: kept(workspace).get("waits_for"))
    waits = workspace.run("queue", "wait", run, "--timeout", "0", "--json").assert_fails(75)
    assert waits.json["error"]["code"] == "no-capacity" and "40.0 GiB promised to 1" in waits.json["error"]["message"]
    held.release()
    workspace.run("queue", "wait", run, "--timeout", "20s").assert_ok()
    assert "waits_for" not in kept(workspace) and kept(workspace)["need"] == {"mem_bytes": 40 << 30}


def test_the_watermark_holds_work_and_nothing_else(workspace: Project, tmp_path: Path) -> None:
    """Above build_percent work waits; what goes to a device, and what is critical, does not."""
    facts = tmp_path / "facts.json"
    facts.write_text(PRESSED)
    pressed = {"K1CTL_FACTS": str(facts)}
    held = workspace.run("queue", "run", "test:web", "--wait", "0", "--", "true", env=pressed).assert_fails(75)
    assert "memory is at 85 %" in held.stderr and "capacity.build_percent" in held.stderr
    for words in (["device:x"], ["console:x", "tree:1"], ["test:web", "--priority", "critical"]):
        workspace.run("queue", "run", *words, "--wait", "0", "--", "true", env=pressed).assert_ok()
    off = {**pressed, "K1CTL_CAPACITY_BUILD_PERCENT": "0"}
    workspace.run("queue", "run", "test:web", "--wait", "0", "--", "true", env=off).assert_ok()


def test_what_runs_took_is_learnt(workspace: Project) -> None:
    """The peak of a run that succeeded goes to its class; one that failed, or has no peak, tells nothing. A history
    that was damaged is an event."""
    quick = {"K1CTL_PROCESS_SAMPLE": "20ms"}
    file = Path(histogram._file("run:tests"))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{")
    for code in ("0", "1"):
        words = ("queue", "run", "a", "--label", "tests", "--", "sh", "-c", f"sleep 0.1; exit {code}")
        workspace.run(*words, env=quick)
    known = wait_until(lambda: histogram.of("run:tests"))
    assert known is not None and known.runs == 1 and 0 < known.largest < 1 << 30 and known.seconds_p50 >= 0.1
    said = [e for e in events.read(str(workspace.ops / "events")) if e["event"] == "history.failed"]
    assert [e["class"] for e in said] == ["run:tests"] and "set aside" in said[0]["message"]


@pytest.mark.parametrize(
    ("command", "class_"),
    [
        ("/usr/bin/pytest -n auto tests/a.py", "run:pytest"),
        ("python3.12 tools/train.py --epochs 3", "run:train.py"),
        ("python3 -m pytest -q", "run:pytest"),
        ("npm run build", "run:npm run build"),
        ("npm --silent test", "run:npm"),
        ("cargo test secret", "run:cargo test"),
        ("curl -H token https://x", "run:curl"),
        ("python3 -c print(1)", ""),
        ("bash -lc make", ""),
        ("sh", ""),
        ("env TOKEN=1 make", ""),
    ],
)
def test_work_of_different_kinds_is_not_of_one_class(command: str, class_: str) -> None:
    """Not all that python3 runs is the same; what has no name is of no class, a label or --class names all."""
    assert RunSpec("queue-run", command.split(), {}).class_ == class_
    assert RunSpec("queue-run", command.split(), {}, label="x").class_ == "run:x"
    assert RunSpec("build", command.split(), {}, details={"target": "fw"}).class_ == "build:fw"
    assert RunSpec("capacity-run", command.split(), {}, label="x", details={"class": "large"}).class_ == "large"


def test_which_runs_are_gated() -> None:
    """Work is; devices, consoles and the locks of trees and ports alone are not; a need always is."""
    gated = {
        (kind, resource, priority): RunSpec(kind, ["x"], {resource: 1}, priority=priority).gated
        for kind in ("queue-run", "queue-submit", "hook-run", "build", "upload", "device-test")
        for resource in ("build:fw", "device:k1", "usb:1", "tree:1")
        for priority in ("low", "critical")
    }
    assert {key for key, value in gated.items() if value} == {
        (kind, "build:fw", "low") for kind in ("queue-run", "queue-submit", "hook-run", "build")
    }
    assert RunSpec("upload", ["x"], {"device:k1": 1}, need=parse("mem=1G"), priority="critical").gated
    assert RunSpec("queue-run", ["x"], {"device:k1": 1, "build:fw": 1}).gated


def test_a_daemon_keeps_no_promise(workspace: Project) -> None:
    """What a command leaves behind in a session of its own has the descriptor; the promise ends all the same."""
    daemon = "setsid sh -c 'echo $$ > pid; exec sleep 60' & while ! test -s pid; do sleep 0.01; done"
    try:
        workspace.run("queue", "run", "a", "--need", "mem=40G", "--", "sh", "-c", daemon).assert_ok()
        assert promises.held(waiting=True) == []
        subprocess.run(["kill", "-0", (workspace.root / "pid").read_text().strip()], check=True)
    finally:
        os.kill(int((workspace.root / "pid").read_text()), signal.SIGKILL)
