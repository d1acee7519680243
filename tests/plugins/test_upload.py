"""What an upload does: what was built is on the device, once, under one lease, or it is said why not."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from k1ctl.artifacts import find, list_artifacts
from k1ctl.device import guard
from k1ctl.tally import current
from k1ctl.testing import SimulatedDevice
from k1ctl.units import parse_duration
from k1ctl_plugins.upload import flow
from tests import desk, firmware
from tests.desk import error_of
from tests.kit import Project, finish, wait_until

IMAGE = desk.firmware("base")


@pytest.fixture
def device(tmp_path: Path) -> Iterator[SimulatedDevice]:
    with SimulatedDevice(tmp_path / "device") as simulated:
        yield simulated


@pytest.fixture
def project(workspace: Project, device: SimulatedDevice) -> Project:
    """A repository that is configured for the device and has an artifact."""
    desk.configure(workspace, device)
    desk.keep(workspace, IMAGE)
    return workspace


def test_what_was_built_is_on_the_device(project: Project, device: SimulatedDevice) -> None:
    """Exit 0: the device holds the artifact's bytes; answer, record and events tell the same story."""
    kept = find(project.facts(), "fw")
    done = project.run("upload", "--json").assert_ok().json
    assert device.image() == kept.read() == IMAGE
    assert (done["outcome"], done["code"], done["exit_code"], done["attempts"]) == ("installed", "installed", 0, 1)
    assert (done["sha256"], done["bytes"], done["device"], done["earlier"]) == (kept.sha256, len(IMAGE), "k1", [])
    (run,) = desk.runs(project)
    assert (run["run"], run["state"], run["exit_code"], run["result"]) == (
        done["run"],
        "ended",
        0,
        {k: v for k, v in done.items() if k != "ok"},
    )
    assert done["ok"] is True and done["workspace"] == "repo"
    assert run["details"]["artifact"] == kept.id and run["ticket"] == 1
    (event,) = project.events("upload.finished")
    tally = current(project.facts())
    assert tally.outcomes == {("upload", "fw", "done"): 1} and event["installed_at"] <= event["at"]
    assert (event["run"], event["outcome"], event["artifact"]) == (done["run"], "installed", kept.id)
    assert [e["event"] for e in project.events()] == ["queue.granted", "upload.finished", "run.ended"]


def test_a_person_reads_what_went_where(project: Project) -> None:
    """Without --json one line of data says what is installed on which device; stages are talk."""
    done = project.run("upload").assert_ok()
    kept = find(project.facts(), "fw")
    assert done.stdout.startswith(f"installed: {kept.id} on k1") and done.stdout.count("\n") == 1
    assert "k1: sending" in done.stderr and "warning" not in done.stderr
    (run,) = desk.runs(project)
    assert done.stderr.splitlines()[0] == f"run {run['run']}"


def test_an_artifact_by_id_or_its_beginning(project: Project, device: SimulatedDevice) -> None:
    """Any artifact of the target can be named, whichever workspace built it and whatever is newest."""
    older = desk.firmware("older")
    old = desk.keep(project, older, project.add_worktree("other"))
    desk.keep(project, desk.firmware("newest"))
    for name in (old.id, old.id[:6]):
        project.run("upload", "--artifact", name).assert_ok()
        assert device.image() == older


def test_a_file_is_kept_as_an_artifact_first(project: Project, device: SimulatedDevice, tmp_path: Path) -> None:
    """A path is sent as it is now, kept, and does not become what this workspace built last."""
    file = tmp_path / "hand made.bin"
    file.write_bytes(desk.firmware("by hand"))
    done = project.run("upload", "--artifact", file, "--json").assert_ok().json
    assert device.image() == file.read_bytes()
    kept = next(a for a in list_artifacts(project.facts(), "fw") if a.sha256 == done["sha256"])
    assert kept.read() == file.read_bytes() and kept.manifest["from"] == str(file)
    project.run("upload").assert_ok()
    assert device.image() == IMAGE


def test_a_relative_path(project: Project, device: SimulatedDevice) -> None:
    """A file in the current folder is found by its name."""
    (project.root / "mine.bin").write_bytes(desk.firmware("mine"))
    project.run("upload", "--artifact", "mine.bin").assert_ok()
    assert device.image() == desk.firmware("mine")
    error_of(project, 65, "--artifact", "./none.bin")


def test_build_and_upload(workspace: Project, device: SimulatedDevice) -> None:
    """--build sends what the worktree's sources give, and a broken build sends nothing."""
    firmware.need_pio()
    for name, content in firmware.files("fresh").items():
        workspace.write(name, content)
    desk.configure(workspace, device)
    done = workspace.run("upload", "--build", "--json", timeout=110).assert_ok().json
    assert b"MARKER-fresh" in (device.image() or b"")
    assert find(workspace.facts(), "fw").sha256 == done["sha256"] == hashlib.sha256(device.image() or b"").hexdigest()
    workspace.write("firmware/src/main.c", "int main(void) { return nothing; }\n")
    error = error_of(workspace, 1, "--build", timeout=110)
    assert error["code"] == "build-failed" and "nothing was sent" in error["message"]
    assert len(device.flashes()) == 1


def test_a_build_waits_as_long_as_the_upload(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """--wait-limit arrives at the build whole, also when it is long."""
    seen: list[list[str]] = []

    def run(argv: list[str], **kwargs: Any) -> subprocess.CompletedProcess[str]:
        seen.append(argv)
        return subprocess.CompletedProcess(argv, 0, '{"artifact": {"id": "abc"}}')

    monkeypatch.setattr(subprocess, "run", run)
    for seconds in (0.25, 1_036_801.0):
        assert flow._build(workspace.facts(), "fw", seconds) == "abc"
        assert parse_duration(seen[-1][seen[-1].index("--wait") + 1]) == seconds


COMMAND = """
kind = "command"
path = "firmware"
command = ["sh", "-c", "grep -q MARKER source && { printf '\\\\351'; cat source; } > app.bin"]
outputs = ["app.bin"]
chip = "none"
"""


def test_an_older_build_is_not_sent_unnoticed(workspace: Project, device: SimulatedDevice) -> None:
    """Other sources than those that were built: said; a build that failed since: refused, until it is asked for."""
    workspace.write(".gitignore", "app.bin\n")
    workspace.write("firmware/source", "MARKER-first\n")
    workspace.commit()
    desk.configure(workspace, device, target=COMMAND)
    built = workspace.run("build", "--json").assert_ok().json["artifact"]["id"]
    assert "warning" not in workspace.run("upload", "--dry-run").assert_ok().stderr
    for text in ("MARKER-second\n", "MARKER-third\n"):
        workspace.write("firmware/source", text)
        said = workspace.run("upload", "--dry-run", "--json").assert_ok().json["warnings"]
        assert len(said) == 1 and built in said[0] and "uncommitted changes" in said[0]
    workspace.run("build").assert_ok()
    assert workspace.run("upload", "--dry-run", "--json").assert_ok().json["warnings"] == []
    commit = workspace.commit()
    assert commit[:12] in workspace.run("upload", "--dry-run").assert_ok().stderr
    workspace.write("firmware/source", "nothing\n")
    workspace.run("build").assert_fails(1)
    assert error_of(workspace, 65)["code"] == "build-failed-since"
    assert device.flashes() == [] and device.image() is None
    workspace.run("upload", "--artifact", built).assert_ok()
    assert device.image() == b"\xe9MARKER-first\n"


def test_the_device_is_the_calls_the_targets_or_the_default(
    workspace: Project, device: SimulatedDevice, tmp_path: Path
) -> None:
    """--device goes before the target's device, and that before [defaults] device."""
    with SimulatedDevice(tmp_path / "second", mac="02:4B:31:00:00:02") as second:
        desk.configure(workspace, device, second)
        desk.keep(workspace, IMAGE)
        assert workspace.run("upload", "--device", "k2", "--json").assert_ok().json["device"] == "k2"
        assert second.image() == IMAGE and device.image() is None
        desk.configure(workspace, device, second, target='device = "k2"')
        assert workspace.run("upload", "--json").assert_ok().json["device"] == "k2"
        assert workspace.run("upload", "--json", "--device", "k1").assert_ok().json["device"] == "k1"
        assert (len(device.flashes()), len(second.flashes())) == (1, 2)


def test_offline(workspace: Project, tmp_path: Path) -> None:
    """A device that does not answer: every attempt that is configured, then exit 69 and the way over USB."""
    with SimulatedDevice(tmp_path / "device", "offline=inf") as device:
        desk.configure(workspace, device, attempts=2)
        desk.keep(workspace, IMAGE)
        error = error_of(workspace, 69)
        assert (error["code"], error["attempts"], error["outcome"]) == ("device-offline", 2, "unreachable")
        assert error["hint"].endswith("(with a USB cable to this host: k1ctl upload --via usb)")
        assert error["message"].startswith("k1 (127.0.0.1:") and error["run"]
        assert [e["attempt"] for e in workspace.events("run.retry")] == [1]
        (run,) = desk.runs(workspace)
        assert (run["exit_code"], run["state"]) == (69, "ended")
    assert workspace.run("queue", "list", "--json").assert_ok().json["tickets"] == []


def test_why_it_is_tried_again(workspace: Project, tmp_path: Path) -> None:
    """Before word of a further attempt stands how the one before it ended; of the last one the error tells."""
    with SimulatedDevice(tmp_path / "device", "drop=9", partition_size=1000) as device:
        desk.configure(workspace, device, attempts=2, invitations=1, invitation_interval=0.05)
        desk.keep(workspace, IMAGE)
        lines = workspace.run("upload").assert_fails(69).stderr.splitlines()
    again = next(n for n, line in enumerate(lines) if "attempt 2 starts" in line)
    assert lines[again - 1].startswith("k1: unreachable: ") and lines[again - 1].endswith("no answer to 1 invitations")
    assert sum("no answer" in line for line in lines) == 2 and lines[-3].startswith("error: k1 (")


def test_nothing_listens(workspace: Project, device: SimulatedDevice) -> None:
    """A wrong port is as unreachable as a device without power."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        settings = device.toml().replace(str(device.http_port), str(unused.getsockname()[1]))
    desk.configure(workspace, settings, attempts=1)
    desk.keep(workspace, IMAGE)
    assert error_of(workspace, 69)["attempts"] == 1


def test_refused(workspace: Project, tmp_path: Path) -> None:
    """What the device refuses is exit 1 with the device's own words, and not tried again."""
    with SimulatedDevice(tmp_path / "device", "refuse") as device:
        desk.configure(workspace, device)
        desk.keep(workspace, IMAGE)
        error = error_of(workspace, 1)
        assert (error["code"], error["attempts"], error["outcome"]) == ("image-refused", 1, "refused")
        assert error["message"] == "k1 refused the image: MD5 Check Failed (ERROR[7])" and error["hint"]
        assert device.image() is None and len(device.flashes()) == 1


@pytest.mark.parametrize(
    ("fault", "size", "first"),
    [("lost-ok:1", 40_000, "unknown"), ("no-install:1", 40_000, "unknown"), ("cut=0.1:1", 1_900_000, "interrupted")],
)
def test_a_doubtful_attempt_is_settled_under_the_same_lease(
    workspace: Project, tmp_path: Path, fault: str, size: int, first: str
) -> None:
    """A lost final word, a restart without the image, a cut link: the second attempt installs with the same ticket."""
    image = desk.firmware("doubt", size)
    with SimulatedDevice(tmp_path / "device", fault, "pace=20000000") as device:
        desk.configure(workspace, device)
        desk.keep(workspace, image)
        done = workspace.run("upload", "--json").assert_ok().json
        assert device.image() == image
        assert [f["outcome"] == "installed" for f in device.flashes()] == [fault == "lost-ok:1", True]
    assert (done["outcome"], done["attempts"]) == ("installed", 2)
    assert [e["ticket"] for e in workspace.events("queue.granted")] == [1]
    assert [e["outcome"] for e in done["earlier"]] == [first]


def test_no_word_at_all_is_unknown(workspace: Project, tmp_path: Path) -> None:
    """When every final word is lost, the answer is exit 76 and what to do; never `installed`."""
    with SimulatedDevice(tmp_path / "device", "lost-ok") as device:
        desk.configure(workspace, device, attempts=2)
        desk.keep(workspace, IMAGE)
        error = error_of(workspace, 76)
        assert (error["code"], error["outcome"], error["attempts"]) == ("outcome-unknown", "unknown", 2)
        assert "upload again" in error["hint"]
        assert [e["outcome"] for e in error["earlier"]] == ["unknown"]
        (run,) = desk.runs(workspace)
        repeated = error_of(workspace, 76, "--wait", run["run"])
        assert (repeated["code"], repeated["run"]) == ("outcome-unknown", run["run"])
    assert workspace.events("upload.finished")[0]["outcome"] == "unknown"


def test_a_repository_cannot_put_its_own_modules_in_the_way(project: Project, device: SimulatedDevice) -> None:
    """Files in the worktree that are named like modules are not imported by what flashes."""
    for name in ("socket.py", "select.py", "hashlib.py", "k1ctl/__init__.py"):
        project.write(name, "raise SystemExit('imported')\n")
    code = "from k1ctl.__main__ import main; import sys; sys.exit(main())"
    argv = [sys.executable, "-P", "-c", code, "upload", "--json"]
    done = subprocess.run(argv, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == 0, done
    assert device.image() == IMAGE


def test_upload_within_a_lease_of_the_device(project: Project, device: SimulatedDevice) -> None:
    """A command that holds the device may upload: it does not wait for itself."""
    inner = [sys.executable, "-m", "k1ctl", "upload", "--json"]
    done = project.run("queue", "run", "device:k1", "--", *inner).assert_ok()
    assert json.loads(done.stdout)["outcome"] == "installed"


def test_a_device_that_another_repository_holds(project: Project, device: SimulatedDevice) -> None:
    """The host's guard is waited for; when the wait is limited: exit 75, who has it, and nothing is sent."""
    path = guard.guard_path(guard.guard_key(device.settings()))
    held = guard.acquire(path, 0, workspace="lima", run="r7")
    try:
        error = error_of(project, 75, "--wait-limit", "0.2s")
        assert error["code"] == "device-guarded" and "lima" in error["message"]
        (run,) = desk.runs(project)
        assert error_of(project, 75, "--wait", run["run"])["code"] == "never-began"
        assert error_of(project, 75, "--wait", run["run"])["run"] == run["run"]
        assert device.flashes() == []
        waiting = project.popen("upload", "--json")
        wait_until(lambda: len(project.events("device.guarded")) == 2)
    finally:
        held.release()
    out, _ = waiting.communicate(timeout=60)
    assert json.loads(out)["outcome"] == "installed"
    guard.acquire(path, 0, workspace="turin").release()
    assert guard.holder(path)["workspace"] == "turin"  # his name stands there still, but a name holds nothing
    project.run("upload").assert_ok()


def test_a_limit_on_the_wait_in_line(project: Project, device: SimulatedDevice) -> None:
    """--wait-limit: exit 75, the place is kept, the next call has the old ticket."""
    holder = project.popen("queue", "run", "device:k1", "--", "cat", stdin=subprocess.PIPE)
    wait_until(lambda: [e for e in project.run("queue", "list", "--json").json["tickets"] if e["state"] == "running"])
    error = error_of(project, 75, "--wait-limit", "0.2s")
    assert error["code"] == "queue-timeout" and "device:k1" in error["message"]
    assert error["run"] == desk.runs(project)[0]["run"]
    assert holder.stdin is not None
    holder.stdin.close()
    holder.stdin = None
    assert finish(holder) == 0
    project.run("upload").assert_ok()
    assert [r.get("ticket") for r in desk.runs(project)] == [2, 2]


def test_take_up_tells_the_same_again(project: Project, device: SimulatedDevice) -> None:
    """--wait on an upload that is over gives its outcome, as often as one asks."""
    done = project.run("upload", "--json").assert_ok().json
    assert project.run("upload", "--wait", done["run"], "--json").assert_ok().json == done
    assert project.run("upload", "--wait", done["run"]).assert_ok().stdout.startswith("installed")
    other = project.run("queue", "run", "x:y", "--result", "r.json", "--", "true").assert_ok()
    assert other.exit_code == 0
    run = json.loads((project.root / "r.json").read_text())["run"]
    assert error_of(project, 2, "--wait", run)["code"] == "usage"
    assert len(project.events("upload.finished")) == 1


@pytest.mark.parametrize("module", ["k1ctl_plugins.upload", "k1ctl_plugins.demo"])
def test_loading_the_plugin_imports_nothing_heavy(module: str) -> None:
    """Finding the command costs what importing click costs."""
    heavy = ["subprocess", "socket", "requests", "psutil", "json", "hashlib", "logging", "asyncio", "tomllib"]
    code = f"import sys; import click; before = set(sys.modules); import {module}; " + (
        f"print(sorted(set({heavy!r}) & (set(sys.modules) - before)))"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.strip() == "[]"
