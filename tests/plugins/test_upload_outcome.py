"""What a run folder tells when record and worker do not name the same attempt."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.ota import FILESYSTEM_LOST
from k1ctl.errors import UnreachableError
from k1ctl.process.record import Run
from k1ctl_plugins.upload import outcome, verification

ROOT = Path(__file__).parents[2]


def word(outcome: str, pid: int, *earlier: dict[str, Any], exit_code: int = 1) -> dict[str, Any]:
    told = {"outcome": outcome, "code": "c", "message": "m", "exit_code": exit_code, "pid": pid}
    return {**told, "earlier": list(earlier)}


def row(attempt: int, exit_code: int) -> dict[str, Any]:
    return {"attempt": attempt, "exit_code": exit_code, "code": "command-failed"}


def meaning(tmp_path: Path, left: dict[str, Any], **record: Any) -> tuple[str, int]:
    (tmp_path / "flash.json").write_text("{}")
    (tmp_path / "flash-outcome.json").write_text(json.dumps(left))
    done = outcome.read(Run(str(tmp_path), {"run": "r1", "pid": 1, **record}))
    return done["outcome"], done["exit_code"]


OLD = {"attempt": 1, "attempts": [row(1, 69)]}
FIRST = word("unreachable", 1, exit_code=69)


@pytest.mark.parametrize(
    ("left", "record", "expected"),
    [
        # The second attempt wrote, but the record still names the first: killed supervisor, full disk.
        (word("installed", 2, FIRST), OLD, ("installed", 0)),
        (word("installed", 2, FIRST), {"attempt": 1}, ("installed", 0)),
        (word("sending", 2, FIRST), OLD, ("unknown", 76)),
        (word("refused", 2, FIRST), OLD, ("refused", 1)),
        (word("refused", 2, word("sending", 1)), {"attempt": 1}, ("unknown", 76)),
        # The record names the second attempt, whose worker wrote nothing.
        (word("installed", 1), {"pid": 2, "attempt": 2, "attempts": [row(1, 137)]}, ("installed", 0)),
        (word("installed", 1), {"pid": 2, "attempt": 2, "attempts": [row(1, 137), row(2, 137)]}, ("installed", 0)),
        (FIRST, {"pid": 2, "attempt": 2, "attempts": [row(1, 69)]}, ("unreachable", 69)),
        (FIRST, {"pid": 2, "attempt": 2, "attempts": [row(1, 69), row(2, 137)]}, ("unreachable", 69)),
        (word("sending", 1), {"pid": 2, "attempt": 2, "attempts": [row(1, 137), row(2, 137)]}, ("unknown", 76)),
        # Both name the second, whose end was never recorded: the first one's exit code is not its own.
        (word("sending", 2, FIRST), {"pid": 2, "attempt": 2, "attempts": [row(1, 69)]}, ("unknown", 76)),
    ],
)
def test_the_last_word_counts_whoever_the_record_names(
    tmp_path: Path, left: dict[str, Any], record: dict[str, Any], expected: tuple[str, int]
) -> None:
    """`installed` in any attempt's word wins; else the last word is judged, and no doubt is forgotten."""
    assert meaning(tmp_path, left, **record) == expected


@pytest.mark.parametrize(("kind", "said"), [("filesystem", True), ("app", False)])
def test_a_filesystem_that_was_cut_is_not_forgotten(tmp_path: Path, kind: str, said: bool) -> None:
    """When the last attempt met nobody, the one before it that was cut has overwritten a filesystem, but no app; USB,
    which takes no filesystem, is not named as the way out."""
    cut = word("interrupted", 1, exit_code=69)
    left = {**word("unreachable", 2, cut, exit_code=69), "image_kind": kind}
    (tmp_path / "flash-outcome.json").write_text(json.dumps(left))
    record = {"run": "r1", "pid": 2, "attempt": 2, "attempts": [row(1, 69), row(2, 69)]}
    with pytest.raises(UnreachableError) as caught:
        outcome.raise_unless_installed(outcome.read(Run(str(tmp_path), record)))
    assert ("overwritten" in caught.value.hint) is said
    assert ("--via usb" in caught.value.hint) is not said
    assert [word["outcome"] for word in caught.value.details["earlier"]] == ["interrupted"]


def test_a_filesystem_that_was_cut_each_time_is_told_once(tmp_path: Path) -> None:
    """The last attempt's own hint says it already."""
    last = word("interrupted", 2, word("interrupted", 1, exit_code=69), exit_code=69)
    left = {**last, "image_kind": "filesystem", "hint": FILESYSTEM_LOST}
    (tmp_path / "flash-outcome.json").write_text(json.dumps(left))
    record = {"run": "r1", "pid": 2, "attempt": 2, "attempts": [row(1, 69), row(2, 69)]}
    with pytest.raises(UnreachableError) as caught:
        outcome.raise_unless_installed(outcome.read(Run(str(tmp_path), record)))
    assert caught.value.hint == FILESYSTEM_LOST


def test_the_page_has_every_code() -> None:
    """What an upload can end with stands in docs/outcomes.md, and what stands there is a code of k1ctl's."""
    page = (ROOT / "docs" / "outcomes.md").read_text()
    told = {code for cell in re.findall(r"^\| [0-9, ]+ \| (.+)$", page, re.MULTILINE) for code in _codes(cell)}
    device = ROOT / "k1ctl" / "device"
    sources = [device / f"{name}.py" for name in ("ota", "invitation", "login", "interface", "image", "probe", "flash")]
    sources.append(device / "buildid.py")
    sources += (ROOT / "plugins" / "k1ctl_plugins" / "upload").glob("[fiob]*.py")
    told_afterwards = {code for _, code in [*verification.FAILURES.values(), verification.NOT_VERIFIED]}
    used = {code for path in sources for code in re.findall(r'code="([a-z-]+)"', path.read_text())}
    inner = {"installed", "outcome-unknown", "bad-job"}  # the first two are rows by their outcome
    assert (used | told_afterwards) - inner - told == set()
    everywhere = "".join(path.read_text() for path in [*ROOT.glob("k1ctl/**/*.py"), *ROOT.glob("plugins/**/*.py")])
    assert [code for code in told if f'"{code}"' not in everywhere] == []


def _codes(cell: str) -> list[str]:
    return re.findall(r"`((?:[a-z]+-)+[a-z]+)`", cell)
