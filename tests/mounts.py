"""Filesystems for tests: in a sparse image on a loop device, taken down again whatever happens."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

# kind: (least size it takes, words of mkfs)
CLONING = {"btrfs": ("120M", ["mkfs.btrfs", "-q"]), "xfs": ("320M", ["mkfs.xfs", "-q", "-m", "reflink=1"])}


@contextmanager
def cloning(kind: str, folder: Path) -> Iterator[Path]:
    """A filesystem that clones files, mounted below ``folder``; skips the test where that may not be."""
    size, mkfs = CLONING[kind]
    if os.geteuid() != 0 or not shutil.which(mkfs[0]):
        pytest.skip(f"needs root and {mkfs[0]}")
    image, place = folder / "image", folder / "mounted"
    place.mkdir()
    subprocess.run(["truncate", "-s", size, str(image)], check=True)
    subprocess.run([*mkfs, str(image)], check=True, capture_output=True)
    done = subprocess.run(["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounting {kind} is not allowed here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()
