"""A flash job and the worker that does it, without a queue around them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.device.fakes import big_image

IMAGE = big_image(200_000)
OTA = {
    "attempts": 3,
    "attempt_timeout": 20.0,
    "retry_delay": 0.1,
    "idle_timeout": 1.0,
    "invitations": 10,
    "invitation_interval": 0.05,
    "connect_timeout": 0.3,
}


class Job:
    """A run folder with a flash job, and the worker that does it."""

    def __init__(self, folder: Path, device: dict[str, Any], image: bytes = IMAGE, **changes: Any) -> None:
        self.folder = folder
        folder.mkdir()
        snapshot = folder / "image.bin"
        snapshot.write_bytes(image)
        job = {
            "device": device,
            "image": str(snapshot),
            "sha256": hashlib.sha256(image).hexdigest(),
            "md5": hashlib.md5(image).hexdigest(),
            "size": len(image),
            "chip": "esp32s3",
            "partition_size": 0,
            "ota": OTA,
            "run": "run1",
            "workspace": "oslo",
            "evidence_seconds": 2.0,
            **changes,
        }
        (folder / "flash.json").write_text(json.dumps(job))

    def start(self, **kwargs: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "k1ctl.device.flash", str(self.folder)],
            start_new_session=True,
            text=True,
            **{"stdout": subprocess.PIPE, **kwargs},
        )

    def run(self) -> tuple[int, list[str]]:
        process = self.start()
        out, _ = process.communicate(timeout=60)
        return process.returncode, out.splitlines()

    @property
    def outcome(self) -> dict[str, Any]:
        path = self.folder / "flash-outcome.json"
        return json.loads(path.read_text()) if path.exists() else {}
