"""PlatformIO: finding it, installing it, the environment it gets, its projects and what it prints."""

from __future__ import annotations

import os

HOST_PLATFORM = os.path.join(os.path.realpath(os.path.dirname(__file__)), "host_platform")
"""Folder of the platform that builds with this host's own gcc; ``platform = symlink://<this>`` in platformio.ini."""
HOST_BOARD = "k1sim"
