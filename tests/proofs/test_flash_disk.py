"""A disk that is full or read-only: ops/ on a small file system of its own, which only the children see."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit import wait_until
from tests.proofs.flashcell import Cell

NAMESPACE = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
MOUNT = 'set -e; mount -t tmpfs -o size=1m tmpfs "$1"; cp -a "$2"/. "$1"; cd "$3"; eval "$4"; shift 4; exec "$@"'
FILL = 'dd if=/dev/zero of="$1/fill" bs=4k 2>/dev/null || true'


@functools.cache
def namespaces() -> bool:
    """Whether this machine lets us mount something for our children only."""
    try:
        done = subprocess.run([*NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0


needs_namespaces = pytest.mark.skipif(
    not sys.platform.startswith("linux") or not namespaces(), reason="needs mount namespaces (unshare -m)"
)


def upload_on_small_disk(cell: Cell, prepare: str) -> subprocess.Popen[str]:
    """An upload that sees a copy of ops/ on 1 MB, after the shell command ``prepare``."""
    saved = cell.project.root.parent / "saved"
    cell.project.ops.rename(saved)
    cell.project.ops.mkdir()
    script = ["sh", "-c", MOUNT, "sh", cell.project.ops, saved, cell.tree, prepare]
    argv = [*NAMESPACE, *map(str, script), sys.executable, "-m", "k1ctl", "upload", "--json"]
    pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    cell.started.append(subprocess.Popen(argv, env=cell.project.environment(), text=True, **pipes))
    return cell.started[-1]


@needs_namespaces
@pytest.mark.parametrize(
    ("prepare", "code", "wanted"),
    [(FILL, "disk-full", 75), ('mount -o remount,ro "$1"', "read-only", 78)],
    ids=["full", "read-only"],
)
def test_a_disk_that_takes_nothing(tmp_path: Path, prepare: str, code: str, wanted: int) -> None:
    """Exit 75 (full) or 78 (read-only) and why, before anything is sent."""
    with Cell(tmp_path, 0, "sent").open() as cell:
        exit_code, document = cell.answer(upload_on_small_disk(cell, prepare))
        assert (exit_code, document["error"]["code"]) == (wanted, code)
        assert cell.device.flashes() == []


@needs_namespaces
def test_a_disk_that_fills_up_during_a_flash(tmp_path: Path) -> None:
    """The flash completes, and its outcome is told although it cannot be recorded."""
    with Cell(tmp_path, 0, "transfer").open() as cell:
        ops = cell.project.ops
        front = upload_on_small_disk(cell, ":")
        inside = Path(f"/proc/{front.pid}/root{ops}")
        wait_until(lambda: any(b"progress" in log.read_bytes() for log in inside.glob("runs/*/log")))
        with contextlib.suppress(OSError), open(inside / "fill", "wb", buffering=0) as fill:
            while fill.write(bytes(4096)):
                pass
        cell.gate.set()
        out, err = front.communicate(timeout=60)
        assert front.returncode == 0 and "Traceback" not in err, err
        assert json.loads(out)["outcome"] == "installed"
        assert "could not be written" in err
        assert cell.device.image() == cell.image
