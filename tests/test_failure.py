"""Every failure is one line, a hint and an exit code."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import click
import pytest

from k1ctl import errors
from k1ctl.failure import report


def test_an_expected_failure_is_one_line_and_a_hint(capsys: pytest.CaptureFixture[str]) -> None:
    """Message and hint on stderr, nothing on stdout, the class's exit code."""
    assert report(errors.BusyError("not now", hint="later"), []) == 75
    out, err = capsys.readouterr()
    assert (out, err) == ("", "error: not now\nhint: later\n")


def test_under_json_it_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """The one shape of errors, with further facts inside; a --json behind -- belongs to somebody else."""
    exc = errors.UnreachableError("gone", code="device-offline", device="k1")
    assert report(exc, ["upload", "--json"]) == 69
    error = {"code": "device-offline", "message": "gone", "hint": "", "exit_code": 69, "device": "k1"}
    assert json.loads(capsys.readouterr().out) == {"ok": False, "error": error}
    report(exc, ["queue", "run", "x", "--", "tool", "--json"])
    assert capsys.readouterr().out == ""


def test_a_bug_leaves_a_report_and_no_traceback(
    capsys: pytest.CaptureFixture[str], environment: dict[str, str]
) -> None:
    """Exit 70, the report (0600) is named, and what stood behind -- is not in it."""
    try:
        raise ZeroDivisionError("odd")
    except ZeroDivisionError as exc:
        assert report(exc, ["queue", "run", "--", "tool", "--token=hunter2"]) == 70
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (path,) = Path(environment["K1CTL_HOST_DIR"], "reports").iterdir()
    assert str(path) in err
    assert path.stat().st_mode & 0o777 == 0o600
    assert "ZeroDivisionError" in path.read_text()
    assert "hunter2" not in path.read_text()


@pytest.mark.parametrize(
    ("number", "code"), [(errno.ENOSPC, "disk-full"), (errno.EROFS, "read-only"), (errno.EACCES, "no-permission")]
)
def test_what_the_disk_refuses_is_no_bug(number: int, code: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A full or read-only disk is named with the path, exit 78."""
    assert report(OSError(number, "x", "/some/file"), ["init", "--json"]) == 78
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == code
    assert "/some/file" in err


@pytest.mark.parametrize(
    ("exc", "code"),
    [
        (KeyboardInterrupt(), 130),
        (click.Abort(), 130),
        (click.exceptions.Exit(5), 5),
        (click.UsageError("bad"), 2),
        (click.ClickException("bad"), 1),
        (SystemExit(3), 3),
        (SystemExit(), 0),
        (SystemExit("text"), 1),
    ],
)
def test_other_ways_out_keep_their_code(exc: BaseException, code: int) -> None:
    """Interrupts, click's exits and sys.exit end with the code they stand for."""
    assert report(exc, []) == code


def test_each_error_class_has_a_documented_exit_code() -> None:
    """The table that --help prints covers every class, and no two classes share a text code."""
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.K1ctlError)]
    assert {c.exit_code for c in classes} <= set(errors.EXIT_CODES)
    assert len({c.code for c in classes}) == len(classes)
