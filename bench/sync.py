"""1 GB of transcripts read and booked: `k1ctl budget sync` against a bare loop of json.loads over the same lines.

The transcripts are made up after those of Claude Code: of two lines one is an answer's, streamed in two records, the
other what a tool gave back, which is longer; one file in eight begins with copies of another's. "answers only" has
nothing that could be passed over. Measured are a first sync, the next one with nothing new, and one where one file in
fifty has grown. What the first booked is compared with what was written. ccusage stands beside it where
.bench/ccusage-*/ has it (tests/budget/test_sync.py brings it). Bars: 0.6 times the loop's speed, and 100 ms with
nothing new.
"""

from __future__ import annotations

import json
import random
import subprocess
import time
from pathlib import Path

import kit
from report import Report, median

SPEED, UNCHANGED_MS = 0.6, 100.0
LOOP = """import json, sys
for path in sys.stdin.read().split():
    with open(path, "rb") as f:
        for line in f:
            json.loads(line)
"""
NUMBER = b"@@@@@@@@@@"  # in the place of a message's number
ANSWERS = 900  # of a file


def usage(output: int, read: int) -> dict[str, object]:
    return {
        "input_tokens": 4,
        "cache_creation_input_tokens": 900,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": 900, "ephemeral_1h_input_tokens": 0},
        "output_tokens": output,
        "service_tier": "standard",
    }


def template(folder: str, seed: int, *, results: bool) -> tuple[list[bytes], int]:
    """(the lines of a file, one answer after the other, tokens that its answers come to)."""
    chance, lines, tokens = random.Random(seed), [], 0
    head = {"parentUuid": "0" * 36, "isSidechain": False, "userType": "external", "cwd": folder, "sessionId": "1" * 36}
    head |= {"version": "2.1.30", "gitBranch": "main"}
    words = ["alpha", "beta\n", "gamma;", "delta()", "  ", "// epsilon", "{", "}", '"zeta"']

    def text(mean: float) -> str:
        return " ".join(chance.choices(words, k=max(1, int(chance.expovariate(1 / mean)))))

    for i in range(ANSWERS):
        at = {"timestamp": f"2026-11-{1 + i * 20 // ANSWERS:02}T10:00:00.{i % 1000:03}Z", "uuid": "2" * 36}
        output, read = 0, chance.randrange(150_000)
        for _ in range(2):
            output += chance.randrange(1, 700)
            message = {"model": "claude-opus-4-5-20251101", "id": f"msg_{NUMBER.decode()}{i:04}", "type": "message"}
            content = [{"type": "text", "text": text(70)}]
            message |= {"role": "assistant", "content": content, "stop_reason": None, "usage": usage(output, read)}
            record = {**head, "message": message, "requestId": f"req_{i}", "type": "assistant", **at}
            lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            if results:
                said = text(300)
                given = {"role": "user", "content": [{"tool_use_id": "t", "type": "tool_result", "content": said}]}
                record = {**head, "type": "user", "message": given, **at, "toolUseResult": {"stdout": said}}
                lines.append(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        tokens += 4 + 900 + read + output
    return lines, tokens


def make(home: Path, folder: str, size: int, *, results: bool) -> tuple[list[Path], int, int]:
    """(the files, their bytes, the tokens that they come to)."""
    models = [template(folder, seed, results=results) for seed in range(4)]
    paths, written, tokens = [], 0, 0
    before = b""
    while written < size:
        number = len(paths)
        lines, each = models[number % len(models)]
        mark = b"%010d" % number
        body = b"".join(lines).replace(NUMBER, mark)
        path = home / "projects" / f"p{number % 40}" / f"{number}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((before if number % 8 == 7 else b"") + body)
        before = b"".join(lines[:40]).replace(NUMBER, mark)
        written, tokens = written + path.stat().st_size, tokens + each
        paths.append(path)
    return paths, written, tokens


def timed(argv: list[str], repository: kit.Repository, home: Path, given: str = "") -> tuple[float, str]:
    """(wall seconds, stdout) of one call."""
    env = repository.env | {"CLAUDE_CONFIG_DIR": str(home), "CODEX_HOME": str(home / "none"), "TZ": "UTC"}
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=repository.worktree, env=env, input=given, capture_output=True, text=True)
    wall = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"bench: {argv[:3]} ended with {done.returncode}: {done.stderr[-500:]}")
    return wall, done.stdout


def forget(repository: kit.Repository) -> None:
    for suffix in ("", "-wal", "-shm"):
        (repository.ops / f"state.db{suffix}").unlink(missing_ok=True)


def measure(report: Report, megabytes: int, *, results: bool) -> None:
    """The rounds over one set of transcripts."""
    what = f"{megabytes} MB, {'answers and what tools gave back' if results else 'answers only'}"
    sync = [kit.K1CTL, "budget", "sync", "--json"]
    found = sorted(kit.PLACE.glob("ccusage-*/node_modules/.bin/ccusage"))
    theirs = [str(found[-1]), "claude", "daily", "--json", "--offline"] if found else []
    walls: dict[str, list[float]] = {}
    with kit.Repository() as repository:
        home = Path(repository.folder) / "claude"
        paths, size, tokens = make(home, str(repository.worktree), megabytes << 20, results=results)
        names = "\n".join(map(str, paths))
        for _ in range(report.rounds(3)):
            forget(repository)
            kit.quiet()
            walls.setdefault("loop of json.loads", []).append(
                timed([kit.PYTHON, "-c", LOOP], repository, home, names)[0]
            )
            kit.quiet()
            wall, said = timed(sync, repository, home)
            walls.setdefault("k1ctl budget sync, first", []).append(wall)
            use = json.loads(said)["usage"]
            booked = sum(u[k] for u in use for k in ("input", "output", "cache_write", "cache_read"))
            if booked != tokens:
                raise SystemExit(f"bench: {booked} tokens booked, {tokens} written")
            for _ in range(5):
                walls.setdefault("nothing new", []).append(timed(sync, repository, home)[0])
            for path in paths[::50]:
                with path.open("ab") as f:
                    f.write(b'{"type":"summary","summary":"grown"}\n' * 3)
            walls.setdefault("one file in fifty has grown", []).append(timed(sync, repository, home)[0])
            if theirs:
                walls.setdefault("ccusage claude daily", []).append(timed(theirs, repository, home)[0])
    loop = median(walls["loop of json.loads"]) or 1.0
    for name, values in walls.items():
        middle = median(values) or 1.0
        report.put(
            what,
            tool=name,
            rounds=len(values),
            seconds=round(middle, 3),
            mb_s=round(size / 2**20 / middle),
            of_loop=round(loop / middle, 2),
        )
    if results:
        ratio = round(loop / (median(walls["k1ctl budget sync, first"]) or 1.0), 2)
        report.bar(f"speed of the first sync over the loop's, {what}", ratio, SPEED, "times", least=True)
        unchanged = round(sorted(walls["nothing new"])[len(walls["nothing new"]) // 2] * 1e3, 1)
        report.bar(f"nothing new, {what}, {len(paths)} files", unchanged, UNCHANGED_MS, "ms")


def main() -> int:
    report = Report(__doc__ or "", size={"type": int, "help": "MB of transcripts (default: 1024; 100 with --quick)"})
    kit.prepare()
    size = report.options.size or (100 if report.quick else 1024)
    measure(report, size, results=True)
    measure(report, max(50, size // 4), results=False)
    return report.finish()


if __name__ == "__main__":
    raise SystemExit(main())
