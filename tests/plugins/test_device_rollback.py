"""`device rollback`: which image a device goes back to, and what is refused in a sentence."""

from __future__ import annotations

import os
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from k1ctl.config import load
from k1ctl.device import esptool, images, usb
from k1ctl.errors import K1ctlError, NotFoundError
from k1ctl.escalation import keeper
from k1ctl.plugins import Plugins
from k1ctl.queue import service, view
from k1ctl.queue.view import entries
from k1ctl.testing import SimulatedDevice
from k1ctl.transports import Delivery
from k1ctl_plugins.device.rollback import flow, text
from k1ctl_plugins.upload import transports
from tests import desk
from tests.kit import Project, finish, wait_until

CABLE = "with its USB cable on this host: k1ctl device rollback k1 --via usb"
SECTION = '[devices.k1]\nhost = "127.0.0.1"\n'


def booked(project: Project, marker: str, state: str = "ok", soak: float = 20.0, outcome: str = "installed") -> str:
    """Write an upload of an image into the ledger as its supervisor does; the artifact's id."""
    kept = desk.keep(project, desk.firmware(marker))
    entry = {"artifact": kept.id, "target": "fw", "sha256": kept.sha256, "run": f"run-{marker}", "workspace": "oslo"}
    seen = {"state": state, "soak": {"seconds": soak, "fps_min": 148.2} if soak else None}
    images.begin(project.facts(), "k1", entry)
    images.settle(project.facts(), "k1", entry, {"outcome": outcome, "transport": "ota", "verification": seen})
    return kept.id


def planned(project: Project, to: str = "", *, via: str = "auto", force: bool = False) -> flow.Plan:
    facts = project.facts()
    return flow.make_plan(facts, load(facts), "k1", to=to, via=via, force=force)


def refused(project: Project, exit_code: int, to: str = "") -> K1ctlError:
    with pytest.raises(K1ctlError) as caught:
        planned(project, to)
    assert caught.value.exit_code == exit_code and caught.value.hint and len(caught.value.message.splitlines()) == 1
    return caught.value


def chosen(project: Project, to: str = "", *, force: bool = False) -> str:
    return str(planned(project, to, force=force).entry["artifact"])


def test_which_image(workspace: Project) -> None:
    """The last that passed its soak, whatever was put on since; not one that failed since; another one by its id."""
    desk.configure(workspace, SECTION)
    assert refused(workspace, 65).code == "no-good-image"
    booked(workspace, "unwatched", soak=0)
    assert refused(workspace, 65).code == "no-good-image"
    only = booked(workspace, "only")
    booked(workspace, "only", "soak-failed")
    error = refused(workspace, 65)
    assert "has failed since" in error.message and chosen(workspace, only) == only
    older, newer = booked(workspace, "older"), booked(workspace, "newer")
    assert refused(workspace, 1).code == "runs-already"
    assert chosen(workspace, force=True) == newer and chosen(workspace, older[:6]) == older
    booked(workspace, "bad", "soak-failed")
    assert chosen(workspace) == newer
    booked(workspace, "newer", "needs-usb")  # the same bytes, and now they crash
    assert chosen(workspace) == older
    booked(workspace, "never", outcome="refused")
    assert chosen(workspace) == older
    booked(workspace, "doubt", outcome="unknown")
    assert chosen(workspace) == older
    booked(workspace, "other", soak=0)
    assert chosen(workspace) == older  # whatever was put on since, what failed is not taken
    assert "failed since: needs-usb" in text.sheet(flow.listed(workspace.facts(), load(workspace.facts()), "k1"))
    booked(workspace, "older", "not-back")
    assert "all 3 images" in refused(workspace, 65).message and chosen(workspace, newer) == newer
    assert booked(workspace, "newer") == newer and refused(workspace, 1).code == "runs-already"  # it passed again
    assert refused(workspace, 65, "ffff").code == "no-good-image"
    workspace.run("device", "rollback", "--soak", "0").assert_fails(2, "has to pass a soak")


def test_what_is_gone(workspace: Project) -> None:
    """An artifact that is damaged or not kept any more is refused by name, and the list says so."""
    desk.configure(workspace, SECTION)
    good = booked(workspace, "good")
    booked(workspace, "bad", "soak-failed")
    folder = workspace.ops / "artifacts" / "fw" / good
    os.chmod(folder / "firmware.bin", 0o644)
    (folder / "firmware.bin").write_bytes(b"x")
    assert refused(workspace, 65).code == "artifact-damaged"
    shutil.rmtree(folder)
    error = workspace.run("device", "rollback", "--json").assert_fails(65, good).json["error"]
    assert error["code"] == "no-artifact"
    said = workspace.run("device", "rollback", "--list").assert_ok().stdout
    assert "gone or damaged" in said and "soak-failed" in said
    found = workspace.run("device", "rollback", "--list", "--json").assert_ok().json
    assert [entry["kept"] for entry in found["soaked"]] == [False] and found["rolls_back_to"] == good


def test_a_ledger_that_nobody_wrote(workspace: Project) -> None:
    """Without one, or with one that is damaged, nothing is known, and nothing fails."""
    desk.configure(workspace, SECTION)
    for left in (None, "{torn", '{"soaked": 3}', '{"soaked": [3, {}, {"sha256": 1}], "current": {}, "pending": "x"}'):
        if left is not None:
            path = Path(images.path_of(workspace.facts(), "k1"))
            path.parent.mkdir(exist_ok=True)
            path.write_text(left)
        found = images.read(workspace.facts(), "k1")
        assert (found["current"], found["soaked"]) == (None, [])
    assert "no image has passed" in workspace.run("device", "rollback", "k1", "--list").assert_ok().stdout
    path.unlink()
    path.mkdir()
    assert images.read(workspace.facts(), "k1")["current"] is None
    path.rmdir()
    path.write_text('{"soaked": [3], "current": {"outcome": 1}, "pending": {"run": 2}}')
    good = booked(workspace, "good")  # the next upload is written as ever
    assert images.read(workspace.facts(), "k1")["current"]["artifact"] == good


@pytest.mark.parametrize(
    ("left", "outcome"),
    [
        ('{"outcome": "installed"}', "installed"),
        ('{"outcome": "sending"}', "unknown"),
        ('{"outcome": "refused"}', None),
        ("", None),
        ("{torn", "unknown"),
        (None, "unknown"),
    ],
)
def test_a_flash_whose_end_nobody_recorded(workspace: Project, left: str | None, outcome: str | None) -> None:
    """What became of it is read in its run; what was refused, or never began, leaves the image before. Where the run
    was cleaned away, or its word is damaged, nobody knows."""
    desk.configure(workspace, SECTION)
    before = booked(workspace, "before")
    entry = {"artifact": "0123456789abcdef", "target": "fw", "sha256": "01", "run": "run-lost", "workspace": "oslo"}
    images.begin(workspace.facts(), "k1", entry)
    if left is not None:
        workspace.write("ops/runs/run-lost/flash.json", "{}")
    if left:
        workspace.write("ops/runs/run-lost/flash-outcome.json", left)
    current = images.read(workspace.facts(), "k1")["current"]
    assert (current["artifact"], current["outcome"]) == (
        ("0123456789abcdef", outcome) if outcome else (before, "installed")
    )
    booked(workspace, "after", soak=0)
    ledger = images.read(workspace.facts(), "k1")
    assert ledger["current"]["run"] == "run-after" and [e["artifact"] for e in ledger["soaked"]] == [before]


def incident(project: Project) -> None:
    """Let nobody have answered at k1 for too long."""
    facts = project.facts()
    while keeper.load(facts, "k1")["rung"] != "incident":
        keeper.observe(facts, load(facts), "k1", "offline", message="no route")


def test_in_an_incident(workspace: Project, tmp_path: Path) -> None:
    """The remedy does not wait for the incident's end: its pause is lifted for it, and who waited is behind it."""
    with SimulatedDevice(tmp_path / "device") as device:
        quick = '[escalation]\noffline_human = "2ms"\noffline_incident = "4ms"\n'
        desk.configure(workspace, device.toml("k1"), more=quick)
        good = booked(workspace, "good")
        booked(workspace, "bad", "needs-usb")
        incident(workspace)
        # Who waits has the device asked, and its answer ends an incident too: here somebody asked a moment ago.
        workspace.write("ops/device/k1.escalation.asking.lock", "\n")
        why = planned(workspace).lifts
        assert why.startswith("incident: offline since")
        said = workspace.run("device", "rollback", "--dry-run").assert_ok()
        assert f"would end the pause of its queue: {why}" in said.stdout and said.changed == ()
        waiter = workspace.popen("queue", "run", "device:k1", "--", "true")
        wait_until(lambda: entries(str(workspace.ops / "queue")))
        done = workspace.run("device", "rollback", "--soak", "0.25s", "--json").assert_ok()
        assert "goes on for this rollback: it was paused: incident" in done.stderr
        assert (done.json["artifact"], done.json["lifts"]) == (good, why) and len(device.flashes()) == 1
        assert finish(waiter) == 0
    (mine,), (behind,) = desk.runs(workspace), desk.runs(workspace, kind="queue-run")
    assert mine["granted_at"] < behind["granted_at"]
    assert [e["by"] for e in workspace.events("queue.resumed")] == ["incident"]
    closed = [e["reason"] for e in workspace.events("escalation.step") if e["rung"] == "closed"]
    assert closed == [f"k1ctl device rollback of k1 to {good} in repo"]


def test_a_person_holds_it(workspace: Project) -> None:
    """What a person paused or disabled is refused at once, also within an incident, with who, why and what to do, and
    stays so."""
    desk.configure(workspace, SECTION, more='[escalation]\noffline_human = "2ms"\noffline_incident = "4ms"\n')
    booked(workspace, "good")
    booked(workspace, "bad", "soak-failed")
    incident(workspace)
    folder = str(workspace.ops / "queue")
    service.disable(folder, "k1", "new cable", "eva in oslo")
    error = refused(workspace, 75)
    assert error.code == "device-out-of-service" and error.details["by"] == "eva in oslo"
    assert "device:k1 is out of service: new cable (eva in oslo, since 2" in error.message
    assert "k1ctl device enable k1" in error.hint
    service.enable(folder, "k1")
    assert planned(workspace).lifts.startswith("incident")
    view.pause(folder, "device:k1", "new cable")  # takes the incident's place
    for args in ((), ("--dry-run",)):
        told = workspace.run("device", "rollback", *args, "--json").assert_fails(75).json["error"]
        assert (told["code"], told["reason"]) == ("device-out-of-service", "new cable")
        assert "device:k1 was paused by a person: new cable" in told["message"]
        assert "events list" in told["hint"] and "k1ctl queue resume device:k1" in told["hint"]
    assert view.pauses(folder) == {"device:k1": "new cable"} and not (workspace.ops / "runs").exists()
    assert workspace.events("device.rollback") == []


def test_whoever_has_the_device_has_his_turn(workspace: Project) -> None:
    """A rollback within a run that holds the device is not refused for a pause that was made meanwhile."""
    desk.configure(workspace, SECTION)
    booked(workspace, "good")
    booked(workspace, "bad", "soak-failed")
    k1ctl = f"{sys.executable} -m k1ctl"
    script = f"{k1ctl} queue pause device:k1 --reason x && {k1ctl} device rollback --dry-run --json"
    assert '"lifts":""' in workspace.run("queue", "run", "device:k1", "--", "sh", "-c", script).assert_ok().stdout


def test_on_the_cable_at_once(workspace: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that crashes and is alone on USB is not tried over the network first, where it may answer now and then,
    by a rollback and by an upload; with another board there, or no esptool, `auto` decides."""
    desk.configure(workspace, f'{SECTION}mac = "02:4B:31:00:00:01"\n')
    booked(workspace, "good")
    there = [usb.Port("/dev/ttyACM0", "02:4b:31:00:00:01")]
    monkeypatch.setattr(usb, "choose", partial(usb.choose, lister=lambda: there))
    monkeypatch.setattr(esptool, "find_esptool", lambda wanted: None)

    def absent(wanted: str) -> None:
        raise NotFoundError("no esptool")

    def ways(via: str = "auto") -> tuple[str, str]:
        facts = workspace.facts()
        config = load(facts)
        device = {"name": "k1", **config.named("devices", "k1")}
        delivery = Delivery(facts, config, "fw", config.named("targets", "fw"), device)
        return planned(workspace, via=via).via, transports.find(via, delivery, Plugins()).name

    booked(workspace, "bad", "not-back")
    assert ways() == ("auto", "auto")
    booked(workspace, "bad", "needs-usb")
    assert (ways(), ways("ota")) == (("usb", "usb"), ("ota", "ota"))
    there.append(usb.Port("/dev/ttyACM1", "02:4b:31:00:00:02"))
    assert ways() == ("auto", "auto")
    there.pop()
    monkeypatch.setattr(esptool, "find_esptool", absent)
    assert ways() == ("auto", "auto")


@pytest.mark.parametrize(
    ("told", "message", "hint"),
    [
        ({"code": "device-garbage", "message": "no JSON", "hint": "?"}, "not rolled back: no JSON", f"?; {CABLE}"),
        (
            {
                "code": "device-offline",
                "message": "x",
                "hint": "(with a USB cable to this host: k1ctl upload --via usb)",
            },
            "not rolled back: x",
            "(with a USB cable to this host: k1ctl device rollback k1 --via usb)",
        ),
        (
            {"code": "outcome-unknown", "outcome": "unknown", "message": "x", "hint": "upload again: it settles it"},
            "x",
            f"call it again: it settles it; {CABLE}",
        ),
        (
            {"code": "soak-failed", "outcome": "installed", "message": "k1 took the image, but: x", "hint": "h"},
            "k1 took the image, but: x",
            "h",
        ),
        (
            {"code": "caller-left", "message": "run 1 goes on without this call", "hint": "h"},
            "run 1 goes on without this call",
            "h",
        ),
    ],
)
def test_how_it_fails(told: dict[str, Any], message: str, hint: str) -> None:
    """It says that it is not done only where that is so; an update that the device may have cut off by crashing leads
    to the cable, and no hint to another image than the one that is put back."""
    plan = flow.Plan("k1", {}, None, 1.0, "auto", "")
    error = flow._failed(plan, 69, {"transport": "ota", **told})
    assert (error.message, error.hint, error.exit_code) == (message, hint, 69)


def test_an_error_is_told_once(workspace: Project) -> None:
    """What the upload said is not said again: the rollback adds that it is not done, and its own way out."""
    desk.configure(workspace, f"{SECTION}http_port = 9\n", attempts=1)
    good = booked(workspace, "good")
    booked(workspace, "bad", "not-back")
    said = workspace.run("device", "rollback").assert_fails(69).stderr
    assert said.count("Connection refused") == 1 == said.count("prompt.md")
    last = said.splitlines()[-1]
    assert last.startswith("not rolled back; ") and "k1ctl device rollback k1 --via usb" in last
    error = workspace.run("device", "rollback", "--json").assert_fails(69).json["error"]
    assert error["message"].startswith("not rolled back: k1 (127.0.0.1:9)") and error["code"] == "device-offline"
    assert images.read(workspace.facts(), "k1")["soaked"][0]["artifact"] == good
