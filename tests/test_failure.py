"""Every failure is one line, a hint and an exit code."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import click
import pytest

from k1ctl import errors
from k1ctl.failure import report
from tests.kit import Project


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
    ("number", "code", "exit_code"),
    [
        (errno.ENOSPC, "disk-full", 75),
        (errno.EDQUOT, "disk-full", 75),
        (errno.EROFS, "read-only", 78),
        (errno.EACCES, "no-permission", 78),
    ],
)
def test_what_the_disk_refuses_is_no_bug(
    number: int, code: str, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """A full (75: try again later) or a read-only disk (78) is named with the path."""
    assert report(OSError(number, "x", "/some/file"), ["init", "--json"]) == exit_code
    out, err = capsys.readouterr()
    assert json.loads(out)["error"]["code"] == code
    assert "/some/file" in err


def test_a_host_folder_that_cannot_be_made_is_no_bug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever the system says to it, at whichever part of the path: 78, and K1CTL_HOST_DIR is named. What is missing
    in one that is there, or elsewhere, stays a bug."""
    host = tmp_path / "proc" / "nope"
    monkeypatch.setenv("K1CTL_HOST_DIR", str(host))
    for number in (errno.ENOENT, errno.EINVAL, errno.ENOTDIR, errno.EACCES):
        for path in (host.parent, host, host / "capacity"):
            assert report(OSError(number, os.strerror(number), str(path)), []) == 78
            err = capsys.readouterr().err
            assert f": {path}\n" in err and "hint: set K1CTL_HOST_DIR to a folder" in err
    assert report(OSError(errno.ENOENT, "x", str(tmp_path / "other")), []) == 70
    assert (host / "reports").is_dir()
    assert report(OSError(errno.ENOENT, "x", str(host / "capacity")), []) == 70
    assert report(OSError(errno.EACCES, "x", str(host / "capacity")), []) == 78
    assert "K1CTL_HOST_DIR" in capsys.readouterr().err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", [None, "1"])
@pytest.mark.parametrize(
    "call",
    ["--version", "--help", "queue list --json", "config path", "config get x --json"],
)
def test_a_stdout_that_cannot_be_written(call: str, unbuffered: str | None, workspace: Project) -> None:
    """One sentence on stderr tells it, the exit code is not 0, and nothing is called a bug."""
    with open("/dev/full", "w") as full:
        process = workspace.popen(*call.split(), stdout=full, env={"PYTHONUNBUFFERED": unbuffered})
    said = process.communicate()[1]
    assert process.returncode == (78 if "get" in call else 75), said
    assert len(said.splitlines()) == 2
    assert ("no setting x" if "get" in call else "standard output cannot be written") in said


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
