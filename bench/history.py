"""A record of events such as years of work leave: turns of 100 workspaces, written as `k1ctl.events` writes them."""

from __future__ import annotations

import random
from pathlib import Path

from k1ctl.jsontext import dumps
from k1ctl.units import rfc3339

EVENTS_A_TURN = 9


def write(folder: Path, events: int, *, end: float, days: int = 30, workspaces: int = 100, seed: int = 1) -> int:
    """Write about ``events`` events of the ``days`` before ``end`` (seconds since 1970); returns how many there are."""
    dice = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    turns = events // EVENTS_A_TURN
    begin, step = end - days * 86400, days * 86400 / max(1, turns)
    open_files: dict[str, list[str]] = {}
    written = 0
    for number in range(turns):
        for at, event, fields in _turn(dice, begin + number * step, number):
            stamp = rfc3339(min(at, end))
            line = dumps({"at": stamp, "event": event, "workspace": f"agent-{number % workspaces}", **fields})
            open_files.setdefault(stamp[:10], []).append(line)
            written += 1
        if len(open_files) > 2:
            _flush(folder, open_files, min(open_files))
    for day in sorted(open_files):
        _flush(folder, open_files, day)
    return written


def _flush(folder: Path, lines: dict[str, list[str]], day: str) -> None:
    with open(folder / f"{day}.jsonl", "a") as f:
        f.write("\n".join(sorted(lines.pop(day), key=lambda line: line[:31])) + "\n")


def _turn(dice: random.Random, at: float, number: int) -> list[tuple[float, str, dict[str, object]]]:
    build, upload = f"20260101-000000.000-b{number:07x}", f"20260101-000000.000-u{number:07x}"
    target = "fw" if number % 3 else "web"
    wait, took, flash = dice.expovariate(1 / 5), dice.lognormvariate(3.5, 0.6), dice.lognormvariate(2.5, 0.4)
    broken, refused = dice.random() < 0.04, dice.random() < 0.02
    began, built = at + wait, at + wait + took
    code = "build-failed" if broken else "done"
    ended = {"kind": "build", "exit_code": int(broken), "by": "command", "code": code, "message": code}
    facts = {"target": target, "environment": "esp32-s3", "seconds": round(took, 3), "cache_hits": dice.randrange(300)}
    rows: list[tuple[float, str, dict[str, object]]] = [
        (at, "queue.enqueued", {"run": build, "ticket": number * 2, "resources": {f"build:{target}": 1}}),
        (
            began,
            "queue.granted",
            {
                "run": build,
                "ticket": number * 2,
                "resources": {f"build:{target}": 1},
                "wait_seconds": round(wait, 6),
            },
        ),
        (
            built,
            "build.finished",
            {"run": build, "exit_code": int(broken), "code": code, **facts, "expected_seconds": 40.0},
        ),
        (built, "run.ended", {"run": build, **ended, "wait_seconds": round(wait, 6)}),
        (built, "artifact.pushed", {"target": target, "artifact": f"{number:016x}", "bytes": 1_200_000}),
    ]
    word, code = ("refused", "image-refused") if refused else ("installed", "installed")
    device = {"name": f"k{number % 2 + 1}", "host": "k1.local", "mac": "02:4B:31:00:00:01", "ota_port": 3232}
    done = built + wait / 2 + flash
    about = {"target": target, "image_kind": "app", "device": device, "transport": "ota", "outcome": word, "code": code}
    end = {"kind": "upload", "exit_code": int(refused), "by": "k1ctl" if refused else "command", "code": code}
    lease = {"run": upload, "ticket": number * 2 + 1, "resources": {f"device:{device['name']}": 1}}
    return [
        *rows,
        (built, "queue.enqueued", lease),
        (built + wait / 2, "queue.granted", {**lease, "wait_seconds": round(wait / 2, 6)}),
        (done, "upload.finished", {"run": upload, **about, "transfer_seconds": round(flash, 3), "verification": "ok"}),
        (done, "run.ended", {"run": upload, **end, "message": code, "wait_seconds": round(wait / 2, 6)}),
    ]
