"""`k1ctl device list`: all devices with what is known of each, and never a failure because of one."""

from __future__ import annotations

import json
import os
from pathlib import Path

from k1ctl.device import occupancy
from k1ctl.testing import SimulatedDevice
from tests.kit import Project, finish, wait_until

NOBODY = '[devices.gone]\nhost = "127.0.0.1"\nhttp_port = 9\ngroups = ["bench"]\n'


def rows(workspace: Project, *words: str) -> dict[str, dict[str, object]]:
    listed = workspace.run("device", "list", "--json", *words).assert_ok().json["devices"]
    return {row["device"]: row for row in listed}


def test_all_that_is_known(workspace: Project, tmp_path: Path) -> None:
    """State, address, MAC, port, groups, holder and waiters, out of service, and the last upload, also of a device that
    is not there; the same as a table."""
    with SimulatedDevice(tmp_path / "sim", usb=True) as device:
        workspace.configure(device.toml() + NOBODY + "[device]\nwindow = '1h'\n")
        workspace.run("device", "disable", "gone", "--reason", "new cable").assert_ok()
        (workspace.ops / "events").mkdir(exist_ok=True)
        facts = {"workspace": "tokyo", "run": "r1", "artifact": "fw-1", "device": {"name": "k1"}}
        lines = [
            {"at": "2026-01-01T10:00:00.000Z", "event": "upload.finished", "outcome": "installed", **facts},
            {"at": "2026-01-01T11:00:00.000Z", "event": "upload.finished", "outcome": "refused", **facts},
            {"at": "2026-01-01T12:00:00.000Z", "event": "queue.granted", "note": "upload.finished"},
        ]
        text = "".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines)
        (workspace.ops / "events" / "2026-01-01.jsonl").write_text(text + '{"event":"upload.finished"\n')
        holder = workspace.popen("queue", "run", "device:k1", "--label", "soak", "--", "sleep", "60")
        processes = [holder]
        try:
            wait_until(lambda: rows(workspace)["k1"]["holder"])
            processes.append(workspace.popen("queue", "run", "device:k1", "--", "true"))
            wait_until(lambda: rows(workspace)["k1"]["waiting"] == 1)
            found = rows(workspace)
            told = workspace.run("device", "list").assert_ok().stdout
        finally:
            for process in reversed(processes):
                process.terminate()
                process.communicate()
                finish(process)
    k1, gone = found["k1"], found["gone"]
    assert (k1["state"], k1["fps"], k1["mac"], k1["usb_port"]) == (
        "online",
        150.2,
        device.device.mac.lower(),
        device.usb_port,
    )
    assert (k1["default"], k1["out_of_service"], gone["holder"], gone["last_upload"]) == (True, None, None, None)
    assert isinstance(k1["holder"], dict) and (k1["holder"]["label"], k1["holder"]["workspace"]) == ("soak", "repo")
    assert isinstance(k1["last_upload"], dict)
    assert (k1["last_upload"]["outcome"], k1["last_upload"]["at"]) == ("refused", "2026-01-01T11:00:00.000Z")
    assert (gone["state"], gone["groups"], gone["usb_port"]) == ("offline", ["bench"], "")
    assert isinstance(gone["out_of_service"], dict) and gone["out_of_service"]["reason"] == "new cable"
    assert gone["paused"] is None, "out of service is no pause of the queue's"
    head, first, second, why = told.splitlines()
    assert head.split()[:3] == ["DEVICE", "STATE", "HOST"]
    assert "repo: soak, 1 waiting" in first and "refused" in first
    assert "out of service: new cable" in second and why.startswith("gone: 127.0.0.1:9: ")


def test_a_slow_device_keeps_nobody_waiting(workspace: Project, tmp_path: Path) -> None:
    """Three devices that take requests and never answer cost one limit, not three: all are asked at the same time."""
    with SimulatedDevice(tmp_path / "sim", "hang") as device:
        section = device.toml("{}") + "probe_timeout = 0.3\n"
        workspace.configure("".join(section.replace('"{}"', f"d{n}") for n in range(3)))
        found = rows(workspace)
        probes = [json.loads((workspace.ops / "device" / f"d{n}.json").read_text()) for n in range(3)]
    assert [row["state"] for row in found.values()] == ["offline"] * 3
    begun = [probe["monotonic"] - probe["seconds"] for probe in probes]
    assert max(begun) < min(probe["monotonic"] for probe in probes)


def test_a_device_that_nobody_can_ask_is_a_row(workspace: Project) -> None:
    """A state folder that cannot be written is told in the device's line; nothing configured is an empty list."""
    assert workspace.run("device", "list", "--json").assert_ok().json == {"ok": True, "devices": []}
    assert "device discover" in workspace.run("device", "list").assert_ok().stderr
    workspace.configure(NOBODY)
    os.makedirs(workspace.ops / "device" / "gone.lock")
    told = workspace.run("device", "list").assert_ok().stdout
    assert "gone    unknown  127.0.0.1:9" in told and "gone: Is a directory" in told


def test_a_device_that_did_not_say_who_it_is(workspace: Project, tmp_path: Path) -> None:
    """One that answers 429 to that is online, and its line says that nobody knows which board it is."""
    with SimulatedDevice(tmp_path / "sim", "busy") as device:
        workspace.configure(device.toml())
        row = rows(workspace)["k1"]
    assert (row["state"], row["message"]) == ("online", "it was too often asked to say who it is")


def test_a_choice_of_devices_waits_for_each() -> None:
    """A ticket that leaves the device open counts for all it may take; other resources name no device."""
    assert occupancy.taken("device:k1~k2") == ["k1", "k2"]
    assert occupancy.taken("device:k1") == ["k1"]
    assert occupancy.taken("build:fw") == []
