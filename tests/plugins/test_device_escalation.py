"""`k1ctl device escalation`, from a device that does not answer to one that is back, and as people call it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from k1ctl.config import load
from k1ctl.escalation import keeper
from k1ctl.testing import SimulatedDevice
from tests import desk
from tests.kit import Project, wait_until

QUICK = '[device]\nwindow = "0s"\n[escalation]\noffline_human = "2ms"\noffline_incident = "4ms"\n'


def shown(project: Project, *args: str) -> dict[str, Any]:
    """The first device that ``device escalation ARGS --json`` tells of."""
    row: dict[str, Any] = project.run("device", "escalation", *args, "--json").assert_ok().json["devices"][0]
    return row


def test_a_device_that_is_away_and_back(workspace: Project, tmp_path: Path) -> None:
    """Whoever asks goes on with the ladder, cron too: a person is told, the queue is paused and says why to who waits.
    He has it asked again himself; when the device answers the queue goes on, and people hear of it, once."""
    got = tmp_path / "got"
    command = json.dumps(["sh", "-c", f'cat >> "{got}"'])
    notify = f"[notify]\ncommand = {command}\n"
    workspace.configure(f'[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n{QUICK}{notify}')
    workspace.run("device", "health").assert_fails(69)
    workspace.run("device", "escalation", "--check").assert_ok()
    quiet = workspace.run("device", "escalation", "k1", "--check").assert_ok()
    assert (quiet.stdout, quiet.stderr) == ("", "")
    row = shown(workspace, "k1")
    assert row["state"] == "incident" and row["next"] == [] and row["offline_seconds"] >= 0.004
    assert [(s["rung"], s["pending"]) for s in row["steps"]] == [
        ("retry", False),
        ("human", False),
        ("incident", False),
    ]
    waits = workspace.run("queue", "run", "device:k1", "--wait", "50ms", "--", "true").assert_fails(75)
    assert "incident: offline since" in waits.stderr
    told = [json.loads(line) for line in got.read_text().splitlines()]
    assert [(t["level"], t["key"]) for t in told] == [
        ("warning", row["steps"][1]["key"]),
        ("critical", row["steps"][2]["key"]),
    ]
    text = workspace.run("device", "escalation").assert_ok().stdout
    assert text.startswith("k1: incident since ") and "device:k1 is paused: incident: offline since" in text
    assert "(command sent)" in text
    with SimulatedDevice(tmp_path / "sim") as device:
        workspace.configure(f"{device.toml('k1')}{QUICK}{notify}")
        os.utime(workspace.ops / "device" / "k1.json", (0, 0))  # long ago
        workspace.run("queue", "run", "device:k1", "--wait", "30s", "--", "true").assert_ok()
        wait_until(lambda: len(got.read_text().splitlines()) > 2)
        row = shown(workspace, "--check")
    assert (row["state"], row["paused"], row["steps"][-1]["rung"]) == ("none", None, "closed")
    last = [json.loads(line) for line in got.read_text().splitlines()][2:]
    assert [(t["recovered"], t["reason"]) for t in last] == [(True, "it answers again")]
    assert [e["by"] for e in workspace.events() if e["event"] in ("queue.paused", "queue.resumed")] == ["incident"] * 2


def test_a_person_ends_it(workspace: Project) -> None:
    """--close says what it would do, does it, needs device and reason; nobody to notify is said and no failure."""
    workspace.configure(f'[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n{QUICK}')
    facts, state = workspace.facts(), "none"
    while state != "incident":
        keeper.observe(facts, load(facts), "k1", "offline", message="no route")
        state = keeper.load(facts, "k1")["rung"]
    assert "nobody to notify" in workspace.run("device", "escalation", "k1").assert_ok().stdout
    workspace.run("device", "escalation", "--close", "--reason", "x").assert_fails(2, "NAME")
    close = ("device", "escalation", "k1", "--close")
    workspace.run(*close).assert_fails(2, "--reason")
    dry = workspace.run(*close, "--reason", "new cable", "--dry-run").assert_ok()
    assert "would be closed; its queue goes on" in dry.stderr and dry.changed == ()
    done = workspace.run(*close, "--reason", "new cable", "--json").assert_ok().json
    assert (done["was"], done["changed"], done["resumes"]) == ("incident", True, True)
    row = shown(workspace)
    assert row["paused"] is None and row["steps"][-1]["reason"].endswith(": new cable")
    assert "k1 has no open escalation" in workspace.run(*close, "--reason", "x").assert_ok().stderr


def test_one_device_that_cannot_be_checked_hides_no_other(workspace: Project) -> None:
    """Its trouble is told when all were checked."""
    workspace.configure(
        '[devices.k1]\nhost = "127.0.0.1"\nhttp_port = 9\n[devices.k2]\nhost = "127.0.0.1"\nhttp_port = 9\n'
    )
    (workspace.ops / "device" / "k1.lock").mkdir(parents=True)
    workspace.run("device", "escalation", "--check").assert_fails(78, "k1.lock")
    rows = workspace.run("device", "escalation", "--json").assert_ok().json["devices"]
    assert [(row["device"], row["state"]) for row in rows] == [("k1", "none"), ("k2", "retry")]


def test_wrong_calls(workspace: Project) -> None:
    """One line and a hint each; without a device there is nothing to show, and a list is a list."""
    assert workspace.run("device", "escalation", "--json").assert_ok().json == {"ok": True, "devices": []}
    workspace.configure('[devices.k1]\nhost = ""\n')
    workspace.run("device", "escalation", "k9").assert_fails(78, "no device 'k9'")
    workspace.run("device", "escalation", "k1", "--check", "--close").assert_fails(2, "exclude each other")
    workspace.run("device", "escalation", "k1", "--reason", "x").assert_fails(2, "--close")
    workspace.run("device", "escalation", "--check").assert_ok()  # one without an address is no trouble
    assert not (workspace.ops / "device").exists()


def test_a_failed_upload_has_a_prompt(workspace: Project, tmp_path: Path) -> None:
    """The error names prompt.md, which holds the lines that the worker really wrote; an image that is taken ends it."""
    with SimulatedDevice(tmp_path / "sim", "refuse:1") as device:
        desk.configure(workspace, device)
        desk.keep(workspace, desk.firmware("base"))
        done = workspace.run("upload", "--json").assert_fails(1, "prompt.md has what to try")
        failed = done.json["error"]
        run = workspace.ops / "runs" / failed["run"]
        assert (failed["code"], failed["prompt"]) == ("image-refused", str(run / "prompt.md"))
        text = (run / "prompt.md").read_text()
        refused = [line for line in (run / "log").read_text().splitlines() if line.startswith("refused")]
        assert refused and refused[0] in text
        assert text.startswith("# Upload of fw to k1 failed: image-refused (exit 1)")
        row = shown(workspace)
        assert row["state"] == "agent" and row["failures"][0]["prompt"] == failed["prompt"]
        assert row["next"][0]["when"] == "with one more failed upload of repo"
        workspace.run("upload").assert_ok()
    row = shown(workspace)
    assert row["state"] == "none" and row["steps"][-1]["reason"] == "repo installed an image"
