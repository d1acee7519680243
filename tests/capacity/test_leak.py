"""The verdict on leaks: right on traces with warm-up, sawtooth, noise and build spikes; silent on short ones."""

from __future__ import annotations

import math
import random
import subprocess
import sys
import time

import pytest

from k1ctl.capacity import leak
from k1ctl.capacity.sampler import Sampler

MB = 1 << 20


def trace(seed: int, minutes: int, per_minute: float) -> list[tuple[float, float]]:
    """5 s samples: 600 MB reached with a time constant of a minute, 150 MB of garbage collected every 25 to 60 s, 10 MB
    of noise, a build of 900 MB now and then, and a leak of so many MB a minute."""
    rnd = random.Random(seed)
    n, found, saw, period, hot = minutes * 12, [], 0.0, 30.0, 0
    spikes = {rnd.randrange(n) for _ in range(minutes // 3)}
    for i in range(n + 1):
        t = i * 5.0
        saw += 5 / period
        if saw >= 1:
            saw, period = 0.0, rnd.uniform(25, 60)
        hot = rnd.randrange(4, 14) if i in spikes else max(0, hot - 1)
        size = 600 * (1 - math.exp(-t / 60)) + 150 * saw + rnd.gauss(0, 10) + (900 if hot else 0) + per_minute * t / 60
        found.append((t, size * MB))
    return found


def test_leaks_are_found_and_none_is_invented() -> None:
    """Of 40 traces of half an hour, half of them leaking 5 MB a minute, each is judged rightly."""
    for seed in range(20):
        calm, leaking = (leak.verdict(trace(seed, 30, rate)) for rate in (0.0, 5.0))
        assert calm.code == "none" and leaking.code == "leak"
        assert leaking.slope is not None and 3.5 < leaking.slope * 60 / MB < 6.5
        assert "grows by" in leaking.text


def test_a_short_trace_is_not_judged() -> None:
    """Under 30 minutes there is no slope, however steep the trace; the text says how much there is of how much."""
    for samples in (trace(1, 29, 50.0), trace(1, 1, 50.0), [(0.0, 5.0)], []):
        found = leak.verdict(samples)
        assert found.code == "not-enough-data" and found.slope is None and found.document()["bytes_per_minute"] is None
    assert leak.verdict(trace(1, 12, 50.0)).text == "not enough data: 12 m of 30 m"
    few = leak.verdict([(0.0, 1.0), (3600.0, 9e9)])
    assert (few.code, few.text) == ("not-enough-data", "not enough data: 2 looks in 1 h")
    assert leak.verdict([], seconds=3600.0).code == "not-enough-data"


def test_half_an_hour_of_watching_is_judged() -> None:
    """The first and the last look lie within it: what counts is how long was watched."""
    samples = [(at, size) for at, size in trace(1, 30, 50.0) if 3 < at < 1796]
    assert leak.verdict(samples).code == "not-enough-data" and leak.verdict(samples, seconds=1800.0).code == "leak"


def test_gaps_and_long_traces() -> None:
    """Samples at uneven times are judged by time, not by number; a day's trace by windows that are wider."""
    day = [(float(t), (500.0 + t / 60 * 5) * MB) for t in range(0, 86_400, 20) if not 30_000 < t < 40_000]
    found = leak.verdict(day)
    assert found.code == "leak" and found.slope == pytest.approx(5 * MB / 60) and found.windows <= 360


def test_a_program_that_leaks_is_found() -> None:
    """One that keeps 20 MB a second under a sawtooth of 12 MB, watched for real; times are scaled, not the verdict."""
    program = (
        "import time\nkept = []\nwhile True:\n"
        "    kept.append(bytearray(b'x') * (1 << 20)); garbage = [bytearray(b'x') * (3 << 20) for _ in range(4)]\n"
        "    time.sleep(.03); del garbage; time.sleep(.02)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    try:
        sampler, until = Sampler(session=child.pid, interval=0.01, floor=0.02), time.monotonic() + 30
        while time.monotonic() < until:
            time.sleep(sampler.look() or 0)
            found = leak.verdict(sampler.least(), window=0.1, minimum=0.5, threshold=2 * MB)
            if found.code == "leak":  # a host that is busy slows it down, for a while to none at all
                break
    finally:
        child.kill()
        child.wait()
    assert found.code == "leak"
