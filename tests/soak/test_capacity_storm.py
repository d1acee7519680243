"""Hundreds of calls for room on a small host, and hundreds of kills of whoever takes part (STORM_KILLS, STORM_SEED)."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit import Project, wait_until
from tests.proofs.capacitycell import Eye, Host, Storm

KILLS = int(os.environ.get("STORM_KILLS", "300"))
SEED = int(os.environ.get("STORM_SEED", "0")) or os.getpid()


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("limit", [128, 320])
def test_a_long_storm(make_workspace: Callable[..., Project], tmp_path: Path, limit: int) -> None:
    """Never more is promised, or runs, than the limit; nobody has more than he may; nothing stays promised; who was not
    struck is served."""
    host = Host(tmp_path, [make_workspace("one"), make_workspace("two")], limit)
    storm = Storm(host, calls=KILLS * 2, kills=KILLS, seed=SEED, at_once=16)
    with Eye(host) as eye:
        storm.rage()
        wait_until(lambda: not host.running() and not host.left(), timeout=60)
    print(
        f"{len(storm.codes)} calls, {storm.blows} kills, {eye.looks} looks, at most {eye.most} of {limit} MiB promised"
    )
    assert (eye.over, storm.wrong()) == ([], [])
    assert storm.blows >= KILLS * 0.6 and eye.most > limit * 0.7


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_long_storm_of_reservations(make_workspace: Callable[..., Project], tmp_path: Path) -> None:
    """Many reserve at once and are killed at any moment: never more is promised than the limit, and nothing is left."""
    host = Host(tmp_path, [make_workspace("one"), make_workspace("two")], 320)
    dice, kills, number = random.Random(SEED), 0, 0
    live: list[subprocess.Popen[str]] = []
    with Eye(host) as eye:
        while kills < KILLS or live:
            while len(live) < 6 and kills < KILLS:
                live.append(host.reserve(number % 12, 12, 100))
                number += 1
            time.sleep(dice.uniform(0, 0.3))
            if live and kills < KILLS:
                dice.choice(live).kill()
                kills += 1
            for reserver in [reserver for reserver in live if reserver.poll() is not None]:
                live.remove(reserver)
                reserver.communicate()
                assert reserver.returncode in (0, -signal.SIGKILL), SEED
        wait_until(lambda: not host.left(), timeout=60)
    print(f"{number} processes, {kills} kills, {eye.looks} looks, at most {eye.most} of {host.limit} MiB")
    assert eye.over == [] and eye.most > host.limit * 0.8, SEED
