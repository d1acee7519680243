"""Fixtures of every test: an isolated environment, a repository to work in, and no process left behind."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from k1ctl.testing import isolated

pytest_plugins = ["k1ctl.testing.fixtures"]
collect_ignore = ["example_plugin"]  # a distribution with tests of its own; test_example_plugin.py runs them

# Where Python is told to write no bytecode, as in many images for containers, each of a run's thousands of processes
# compiles anew what has changed, and each worker what pytest makes of the tests (6 s instead of 1.5).
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no finding: no property here is about time. CI repeats the same examples each time.
_SLACK = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
settings.register_profile("k1ctl", deadline=None, suppress_health_check=_SLACK, derandomize=bool(os.environ.get("CI")))
settings.load_profile("k1ctl")

# To make a file in memory costs a fiftieth of what it costs on a disk, and a test makes hundreds. TMPDIR goes first.
_MEMORY, _ROOM = "/dev/shm", 2 << 30  # bytes; a run of the suite takes less than half of it


def _in_memory() -> bool:
    if "TMPDIR" in os.environ or not os.access(_MEMORY, os.W_OK | os.X_OK):
        return False
    there = os.statvfs(_MEMORY)
    return there.f_bavail * there.f_frsize >= _ROOM and not there.f_flag & getattr(os, "ST_NOEXEC", 0)


if _in_memory():
    os.environ["TMPDIR"] = tempfile.tempdir = _MEMORY

# It is noon at the tests' place: a day's end, which limits and schedules know, comes only where a test asks for it.
os.environ["TZ"] = f"NOON{time.gmtime().tm_hour - 12:+d}"
time.tzset()

# Run by nohup or in the background these are ignored, and that is inherited by every process a test starts.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE)


@pytest.fixture(autouse=True)
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Give the test and its children an environment of their own, and fail it when a child outlives it, or when it
    leaves a signal handled otherwise than it found it: the children of the next tests would inherit that."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    with isolated(tmp_path_factory.mktemp("home")) as env:
        yield env
    changed = [number.name for number, handler in before.items() if signal.getsignal(number) is not handler]
    for number, handler in before.items():
        signal.signal(number, handler)
    assert not changed, f"signals are handled otherwise than before the test: {changed}"
