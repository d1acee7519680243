"""esptool for tests, of both versions, each installed once into the cache that all of them share; a flash over USB."""

from __future__ import annotations

import functools
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from k1ctl.device.esptool_install import esptool_folder
from tests.device.fakes import make_image
from tests.device.job import Job

MAJORS = (4, 5)
USB = {"baud": 921600, "stub": True, "connect_timeout": 20.0, "chip": "esp32s3", "esptool": ""}


def app(marker: str, size: int = 60_000) -> bytes:
    """A valid image of about ``size`` bytes that does not compress, so that esptool sends it in several frames."""
    return make_image([marker.encode() + random.Random(marker).randbytes(size)])


@functools.cache
def _esptool(major: int, folder: str) -> tuple[str, str]:
    from k1ctl.device.esptool_install import install
    from k1ctl.errors import K1ctlError

    try:
        return str(install(lambda *_: None, major)[0]["esptool"]), ""
    except K1ctlError as exc:
        return "", exc.message


def need_esptool(major: int = 5) -> str:
    """The path of an esptool of this version; skips the test where it cannot be installed."""
    path, why = _esptool(major, esptool_folder(major))
    if not path:
        pytest.skip(f"needs esptool {major}: {why}")
    return path


class UsbJob(Job):
    """A run folder with a flash over USB, and the worker that does it."""

    def __init__(self, folder: Path, device: dict[str, Any], image: bytes, major: int = 5, **changes: Any) -> None:
        given = changes.pop("usb", {})
        usb = {**USB, **({} if "esptool" in given else {"esptool": need_esptool(major)}), **given}
        super().__init__(folder, device, image, usb=usb, **changes)

    def start(self, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "k1ctl.device.usbflash", str(self.folder)],
            start_new_session=True,
            text=True,
            **{"stdout": subprocess.PIPE, **kwargs},
        )
