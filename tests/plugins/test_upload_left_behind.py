"""What a run folder tells, as a crash may have left it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from k1ctl.errors import K1ctlError
from k1ctl.process.record import Run
from k1ctl_plugins.upload import outcome


def folder_with(tmp_path: Path, left: Any, record: dict[str, Any] | None = None, job: bool = True) -> Run:
    """A run's folder as a crash may have left it."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "log").touch()
    if job:
        (folder / "flash.json").write_text("{}")
    if left is not None:
        (folder / "flash-outcome.json").write_text(left if isinstance(left, str) else json.dumps(left))
    return Run(str(folder), {"run": "r1", "pid": 7, **(record or {})})


def word(outcome: str, exit_code: int = 1, pid: int = 7, **more: Any) -> dict[str, Any]:
    return {"outcome": outcome, "code": "c", "message": "m", "exit_code": exit_code, "pid": pid, "stage": "x", **more}


def row(exit_code: int, code: str = "command-failed") -> dict[str, Any]:
    return {"attempt": 1, "exit_code": exit_code, "code": code}


@pytest.mark.parametrize(
    ("left", "rows", "expected"),
    [
        (word("installed", 0), [row(0)], ("installed", 0)),
        (word("installed"), [row(137, "killed-by-signal")], ("installed", 0)),  # killed while the device restarted
        (word("sending"), None, ("unknown", 76)),
        (word("sending"), [row(137, "killed-by-signal")], ("unknown", 76)),
        (word("sending"), [row(0)], ("installed", 0)),  # a full disk kept the worker from writing its last word
        (word("sending"), [row(69)], ("interrupted", 69)),
        (word("sending", pid=6), [row(137), row(69)], ("unknown", 76)),  # that is the attempt before the last
        (word("sending", pid=6), [row(137), row(0)], ("installed", 0)),
        (word("refused", 1), [row(1)], ("refused", 1)),
        (word("unknown", 76), [row(76)], ("unknown", 76)),
        (word("unreachable", 69, earlier=[word("unknown", 76)]), [row(76), row(69)], ("unknown", 76)),
        (word("unreachable", 69, earlier=[word("sending")]), [row(137), row(69)], ("unknown", 76)),
        (word("unreachable", 69, earlier=[word("failed")]), [row(137), row(69)], ("unreachable", 69)),
        (word("wrong", 65), [row(76), row(65)], ("unknown", 76)),  # what stood before was cleaned away
        (word("installed", 0, earlier=[word("unknown", 76)]), [row(76), row(0)], ("installed", 0)),
        (None, [row(137, "killed-by-signal")], ("failed", 1)),
        (None, [row(0)], ("installed", 0)),
        ("{torn", [row(137, "killed-by-signal")], ("unknown", 76)),
    ],
)
def test_what_is_left_behind_is_read_right(
    tmp_path: Path, left: Any, rows: list[dict[str, Any]] | None, expected: tuple[str, int]
) -> None:
    """Each combination of the worker's last word and the attempts' exit codes has one honest meaning."""
    run = folder_with(tmp_path, left, None if rows is None else {"attempts": rows})
    done = outcome.read(run)
    assert (done["outcome"], done["exit_code"]) == expected
    if expected[1]:
        with pytest.raises(K1ctlError) as caught:
            outcome.raise_unless_installed(done)
        assert caught.value.exit_code == expected[1]
        assert caught.value.hint
    else:
        outcome.raise_unless_installed(done)


def test_a_folder_that_was_cleaned_away_tells_nothing(tmp_path: Path) -> None:
    """Neither job nor word: nobody knows, which is exit 76, not `never began`."""
    done = outcome.read(folder_with(tmp_path, None, {"state": "running"}, job=False))
    assert (done["outcome"], done["exit_code"]) == ("unknown", 76)
