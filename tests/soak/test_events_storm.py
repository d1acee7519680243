"""100 writers with 1,000 events a second in all, three followers, and compression of every day that is over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from k1ctl.events import read
from k1ctl.events_compact import compact
from k1ctl.tally.store import look
from k1ctl.units import parse_rfc3339
from tests.kit import Project, finish, wait_until

SECONDS = int(os.environ.get("STORM_SECONDS", "60"))
WRITERS, RATE, FOLLOWERS = 100, 1000, 3
FIRST = parse_rfc3339("2026-01-01T00:00:00.000Z")
WRITER = """
import random, sys, time
from k1ctl.events import append
from k1ctl.jsontext import dumps
from k1ctl.units import rfc3339
folder, name, first, seconds, pause, begin = *sys.argv[1:3], *map(float, sys.argv[3:])
number, dice = 0, random.Random(name)
while (now := time.monotonic() - begin) < seconds:
    if now < 0:
        time.sleep(-now)
        continue
    at = rfc3339(first + now * 86400 / 10)  # a day is over after ten seconds
    facts = {"at": at, "event": "test.written", "workspace": name, "number": number}
    append(f"{folder}/{at[:10]}.jsonl", dumps({**facts, "text": "x" * dice.randrange(3000)}))
    number += 1
    time.sleep(max(0.0, begin + number * pause - time.monotonic()))
print(number)
"""


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_long_storm(workspace: Project, tmp_path: Path) -> None:
    """None lost, none torn, none told twice, each writer's in its order: by every follower, by who reads it all in the
    end, and by the tally, although days were compressed all the time."""
    folder, place = workspace.ops / "events", workspace.facts()
    folder.mkdir(parents=True, exist_ok=True)
    outs = [tmp_path / f"follower-{n}" for n in range(FOLLOWERS)]
    words = ("events", "tail", "-f", "-n", "0", "--event", "test.written", "--jsonl")
    with ExitStack() as files:
        followers = [workspace.popen(*words, stdout=files.enter_context(out.open("w"))) for out in outs]
    time.sleep(2.0)
    begin = time.monotonic() + 15.0
    argv = [sys.executable, "-c", WRITER, str(folder)]
    numbers = [f"{FIRST:f}", str(SECONDS), f"{WRITERS / RATE:g}", f"{begin:f}"]
    writers = [subprocess.Popen([*argv, f"w{n}", *numbers], stdout=subprocess.PIPE, text=True) for n in range(WRITERS)]
    packed = 0
    while any(writer.poll() is None for writer in writers):
        now = FIRST + (time.monotonic() - begin) * 8640
        packed += sum(row.action == "compressed" for row in compact(place, older=0, now=max(now, FIRST)))
        look(place, now=now)
        time.sleep(0.05)
    said = {f"w{n}": int(writer.communicate()[0]) for n, writer in enumerate(writers)}
    total = sum(said.values())
    assert total > RATE * SECONDS * 0.9 and packed >= SECONDS // 10 - 2
    wait_until(lambda: all(out.read_bytes().count(b"\n") >= total for out in outs), 120)
    for follower in followers:
        follower.send_signal(signal.SIGINT)
        finish(follower)
    found = [list(read(str(folder))), *[[json.loads(line) for line in out.read_text().splitlines()] for out in outs]]
    for events in found:
        seen: dict[str, int] = {}
        for event in events:
            assert event["number"] == seen.get(event["workspace"], 0)
            seen[event["workspace"]] = event["number"] + 1
        assert seen == said
    assert (look(place).events, look(place).bad_lines) == (total, 0)
