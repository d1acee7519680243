"""An incident's pause is known by its mark: it takes no person's place, and only it is lifted again."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.errors import UsageError
from k1ctl.queue import incident, view

MARK, OTHER = "[incident k1/7]", "[incident k1/8]"


def test_hold_and_lift(tmp_path: Path) -> None:
    """Held twice it is one pause, its reason is told to who looks, and it is lifted once."""
    folder = str(tmp_path)
    assert incident.hold(folder, "device:k1", "incident: offline", MARK)
    assert incident.hold(folder, "device:k1", "incident: offline", MARK)
    assert view.paused(folder) == {"device:k1": f"incident: offline {MARK}"}
    assert incident.mark_of(view.paused(folder)["device:k1"]) == MARK
    assert not incident.lift(folder, "device:k1", OTHER)
    assert incident.lift(folder, "device:k1", MARK) and view.paused(folder) == {}
    assert not incident.lift(folder, "device:k1", MARK)


def test_a_persons_pause_is_left_alone(tmp_path: Path) -> None:
    """What was paused by hand keeps its reason, is not the incident's, and is not lifted."""
    folder = str(tmp_path)
    view.pause(folder, "device:k1", "cable is out")
    assert not incident.hold(folder, "device:k1", "incident: offline", MARK)
    assert not incident.lift(folder, "device:k1", MARK)
    assert view.paused(folder) == {"device:k1": "cable is out"}


@pytest.mark.parametrize("reason", ["", "cable is out", "[incident k1/7] or so", "see [incident] ", "incident k1/7]"])
def test_what_is_no_mark(reason: str) -> None:
    """Only the end of a reason, in its form."""
    assert incident.mark_of(reason) == ""


def test_a_resource_has_a_name(tmp_path: Path) -> None:
    """A path is none."""
    with pytest.raises(UsageError):
        incident.hold(str(tmp_path), "device:../x", "r", MARK)
