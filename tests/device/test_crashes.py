"""What is told, and kept, of a console whose device says anything at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from k1ctl.device import console, crashes
from k1ctl.device.console import KEPT, Heard
from k1ctl.device.stop import StopRequest


@pytest.fixture
def stop() -> Any:
    request = StopRequest()
    yield request
    request.close()


def heard(monkeypatch: pytest.MonkeyPatch, *pieces: bytes) -> None:
    """Let a console say this."""

    def listen(*_: Any, **__: Any) -> Heard:
        found = Heard()
        for piece in pieces:
            found.take(piece)
        found.reader.close()
        return found

    monkeypatch.setattr(console, "listen", listen)


def test_hostile_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: StopRequest) -> None:
    """A panic is told in one line that moves no cursor and has an end; the boot log keeps the last megabyte, 0600."""
    reason = b"assert failed: \x1b[2J\x07\x00\xff\x9b" + b"x" * 5000
    heard(monkeypatch, b"\0" * (2 * KEPT) + b"\n", reason + b"\r\n", b"Rebooting...\r\n")
    found = crashes.look({}, str(tmp_path), stop, {})
    assert found.crashes and found.what.startswith("assert: ") and found.what.isprintable() and len(found.what) <= 200
    log = Path(found.path)
    assert log.stat().st_size == KEPT and log.stat().st_mode & 0o777 == 0o600 and reason in log.read_bytes()


def test_no_folder_to_keep_it_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stop: StopRequest) -> None:
    """Where the log cannot be kept, the verdict is the same."""
    heard(monkeypatch, b"abort() was called at PC 0x4200a1b2 on core 0\r\nRebooting...\r\n")
    (tmp_path / "file").write_text("")
    found = crashes.look({}, str(tmp_path / "file"), stop, {})
    assert found.crashes and found.path == ""
