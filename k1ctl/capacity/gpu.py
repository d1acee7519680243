"""The memory of Nvidia's GPUs by ``nvidia-smi --query-gpu``; one more bound where agents run models of their own.

nvidia-smi loads a driver that sleeps, which takes a second or two, and hangs when a GPU fell off its bus. So it is
asked only by commands that print GPUs, with a deadline; `capacity.gpu_memory` stands in for it.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config

QUERY = ("--query-gpu=name,memory.total,memory.used", "--format=csv,noheader,nounits")  # sizes in MiB
DEADLINE = 5.0  # seconds
_GRACE = 0.2  # seconds for one that was killed; in the kernel's hands it does not end, and nobody waits for it


def read(program: str = "", *, timeout: float = DEADLINE) -> list[dict[str, Any]]:
    """[{name, memory_bytes, used_bytes}] of this host, [] without nvidia-smi. ``program`` is its path (default: found).

    Where it fails or says nothing within ``timeout`` seconds, one entry without memory that has the reason as
    ``error``. Never raises.
    """
    from k1ctl.programs import which

    program = program or which("nvidia-smi")
    if not program:
        return []
    try:
        found = parse(_said(program, timeout))
    except OSError as exc:
        return [{"name": "nvidia-smi", "memory_bytes": 0, "used_bytes": None, "error": exc.strerror or str(exc)}]
    return found


def parse(text: str) -> list[dict[str, Any]]:
    """The GPUs of nvidia-smi's CSV, a line each; what it does not know ([N/A], [Not Supported]) is 0 or None."""
    found = []
    for line in text.splitlines():
        words = [word.strip() for word in line.rsplit(",", 2)]
        if len(words) != 3 or not words[0]:
            continue
        total, used = (int(w) << 20 if w.isascii() and w.isdigit() and len(w) < 10 else None for w in words[1:])
        found.append({"name": words[0], "memory_bytes": total or 0, "used_bytes": used})
    return found


def memory(facts: Facts, config: Config) -> tuple[int, int | None]:
    """(bytes of GPU memory, bytes of it that are used): capacity.gpu_memory before what the facts tell; (0, None)
    without a GPU."""
    told = [gpu["used_bytes"] for gpu in facts.gpus if gpu.get("used_bytes") is not None]
    total = sum(int(gpu.get("memory_bytes") or 0) for gpu in facts.gpus)
    return int(config.get("capacity", "gpu_memory")) or total, sum(told) if told else None


def _said(program: str, timeout: float) -> str:
    """What nvidia-smi prints. Raises OSError when it cannot be run, fails, or is late."""
    import subprocess

    process = subprocess.Popen(
        [program, *QUERY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    try:
        out = process.communicate(timeout=timeout)[0].decode(errors="replace")
    except subprocess.TimeoutExpired:
        _abandon(process)
        raise OSError(None, f"nvidia-smi did not answer within {timeout:g} s") from None
    if process.returncode:
        first = next((line.strip() for line in out.splitlines() if line.strip()), "")
        raise OSError(None, f"nvidia-smi failed with {process.returncode}: {first}"[:200])
    return out


def _abandon(process: Any) -> None:
    import subprocess

    process.kill()
    process.stdout.close()
    try:
        process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        process.returncode = -9  # else its end is waited for, or warned of, when this object goes
