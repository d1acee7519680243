"""The worker that takes USB where the network cannot reach: what it says where there is no way over USB either."""

from __future__ import annotations

from pathlib import Path

import pytest

from k1ctl.device.autoflash import AutoFlash
from k1ctl.device.flash import Flash
from k1ctl.device.stop import StopRequest
from k1ctl.errors import K1ctlError, NotFoundError, UnreachableError


@pytest.mark.parametrize(
    ("refused", "message", "hint"),
    [
        (NotFoundError("no esptool", hint="k1ctl tools install esptool"), "; USB was not tried: no esptool", "for USB"),
        (UnreachableError("no board", hint="connect it", code="usb-absent"), "", ""),
    ],
)
def test_neither_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: K1ctlError, message: str, hint: str
) -> None:
    """It fails as the network failed, with why USB was not tried and what to do for it, unless no cable is there."""

    def fail(self: AutoFlash) -> None:
        self._stage("probe")
        raise UnreachableError("no answer", hint="is it on?")

    def absent() -> None:
        raise refused

    monkeypatch.setattr(Flash, "_flash", fail)
    stop = StopRequest()
    worker = AutoFlash(str(tmp_path), stop)
    monkeypatch.setattr(worker, "_ready", absent)
    assert worker.run() == 69
    stop.close()
    assert worker.record["message"] == f"no answer{message}" and worker.record["outcome"] == "unreachable"
    assert worker.record["hint"] == ("is it on?; for USB: k1ctl tools install esptool" if hint else "is it on?")
