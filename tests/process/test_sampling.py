"""What a command has resident, as its record tells it."""

from __future__ import annotations

import subprocess
import sys

MB = 1 << 20


def test_who_left_the_group_counts_too() -> None:
    """A supervisor, leader of its session, sees what the command put into a group of its own, and not itself."""
    hold = "import os, sys; os.setpgid(0, 0); x = bytearray(b'x') * (40 << 20); print(flush=True); sys.stdin.read()"
    supervisor = (
        "import os, subprocess, sys\n"
        "os.setsid(); mine = bytearray(b'x') * (90 << 20)\n"
        "from k1ctl.process.sampling import command_memory\n"
        f"child = subprocess.Popen([sys.executable, '-c', {hold!r}], stdin=-1, stdout=-1, process_group=0)\n"
        "child.stdout.readline()\n"
        "print(command_memory(child.pid + 1))\n"
        "child.stdin.close(); child.wait()\n"
    )
    done = subprocess.run([sys.executable, "-c", supervisor], capture_output=True, text=True, check=True)
    assert 40 * MB <= int(done.stdout) < 90 * MB
