"""`device rollback`: which image a device goes back to, and what is refused in a sentence."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import images
from tests import desk
from tests.kit import Project

SECTION = '[devices.k1]\nhost = "127.0.0.1"\n'


def booked(project: Project, marker: str, state: str = "ok", soak: float = 20.0, outcome: str = "installed") -> str:
    """Write an upload of an image into the ledger as its supervisor does; the artifact's id."""
    kept = desk.keep(project, desk.firmware(marker))
    entry = {"artifact": kept.id, "target": "fw", "sha256": kept.sha256, "run": f"run-{marker}", "workspace": "oslo"}
    seen = {"state": state, "soak": {"seconds": soak, "fps_min": 148.2} if soak else None}
    images.begin(project.facts(), "k1", entry)
    images.settle(project.facts(), "k1", entry, {"outcome": outcome, "transport": "ota", "verification": seen})
    return kept.id


def refused(project: Project, exit_code: int, *args: str) -> dict[str, Any]:
    error: dict[str, Any] = project.run("device", "rollback", *args, "--json").assert_fails(exit_code).json["error"]
    assert error["hint"] and len(error["message"].splitlines()) == 1
    return error


def chosen(project: Project, *args: str) -> str:
    return str(project.run("device", "rollback", "--dry-run", "--json", *args).assert_ok().json["image"]["artifact"])


def test_which_image(workspace: Project) -> None:
    """The last that passed its soak, whatever was put on since; not one that failed since; another one by its id."""
    desk.configure(workspace, SECTION)
    assert refused(workspace, 65)["code"] == "no-good-image"
    booked(workspace, "unwatched", soak=0)
    assert refused(workspace, 65)["code"] == "no-good-image"
    only = booked(workspace, "only")
    booked(workspace, "only", "soak-failed")
    error = refused(workspace, 65)
    assert "has failed since" in error["message"] and chosen(workspace, "--to", only) == only
    older, newer = booked(workspace, "older"), booked(workspace, "newer")
    assert refused(workspace, 1)["code"] == "runs-already"
    assert chosen(workspace, "--force") == newer and chosen(workspace, "--to", older[:6]) == older
    booked(workspace, "bad", "soak-failed")
    assert chosen(workspace) == newer
    booked(workspace, "newer", "needs-usb")  # the same bytes, and now they crash
    assert chosen(workspace) == older
    booked(workspace, "never", outcome="refused")
    assert chosen(workspace) == older
    booked(workspace, "doubt", outcome="unknown")
    assert chosen(workspace) == newer  # what runs is not known, so nothing is held against an image
    assert refused(workspace, 65, "--to", "ffff")["code"] == "no-good-image"


def test_what_is_gone(workspace: Project) -> None:
    """An artifact that is damaged or not kept any more is refused by name, and the list says so."""
    desk.configure(workspace, SECTION)
    good = booked(workspace, "good")
    booked(workspace, "bad", "soak-failed")
    folder = workspace.ops / "artifacts" / "fw" / good
    os.chmod(folder / "firmware.bin", 0o644)
    (folder / "firmware.bin").write_bytes(b"x")
    assert refused(workspace, 65)["code"] == "artifact-damaged"
    shutil.rmtree(folder)
    error = refused(workspace, 65)
    assert error["code"] == "no-artifact" and good in error["message"]
    said = workspace.run("device", "rollback", "--list").assert_ok().stdout
    assert "gone or damaged" in said and "soak-failed" in said
    found = workspace.run("device", "rollback", "--list", "--json").assert_ok().json
    assert [entry["kept"] for entry in found["soaked"]] == [False] and found["rolls_back_to"] == good


def test_a_ledger_that_nobody_wrote(workspace: Project) -> None:
    """Without one, or with one that is damaged, nothing is known, and nothing fails."""
    desk.configure(workspace, SECTION)
    for text in (None, "{torn", '{"soaked": 3}'):
        if text is not None:
            path = Path(images.path_of(workspace.facts(), "k1"))
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        found = workspace.run("device", "rollback", "--list", "--json").assert_ok().json
        assert (found["current"], found["soaked"]) == (None, [])
    assert "no image has passed" in workspace.run("device", "rollback", "k1", "--list").assert_ok().stdout


@pytest.mark.parametrize(
    ("word", "outcome"), [("installed", "installed"), ("sending", "unknown"), ("refused", None), ("", None)]
)
def test_a_flash_whose_end_nobody_recorded(workspace: Project, word: str, outcome: str | None) -> None:
    """What became of it is read in its run; what was refused, or never began, leaves the image before."""
    desk.configure(workspace, SECTION)
    before = booked(workspace, "before")
    entry = {"artifact": "0123456789abcdef", "target": "fw", "sha256": "01", "run": "run-lost", "workspace": "oslo"}
    images.begin(workspace.facts(), "k1", entry)
    if word:
        workspace.write("ops/runs/run-lost/flash-outcome.json", f'{{"outcome": "{word}"}}')
    current = images.read(workspace.facts(), "k1")["current"]
    assert (current["artifact"], current["outcome"]) == (
        ("0123456789abcdef", outcome) if outcome else (before, "installed")
    )
    booked(workspace, "after", soak=0)
    ledger = images.read(workspace.facts(), "k1")
    assert ledger["current"]["run"] == "run-after" and [e["artifact"] for e in ledger["soaked"]] == [before]
