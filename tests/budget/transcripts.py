"""Transcripts as Claude Code and Codex write them, made up: small ones for tests, a home full of them for figures."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

MODELS = ("claude-opus-4-5-20251101", "claude-sonnet-4-5-20250929", "claude-haiku-4-5-20251001")
BEGIN = 1_762_300_000.0  # 2025-11-04T23:46:40Z


def when(seconds: float) -> str:
    from k1ctl.units import rfc3339

    return rfc3339(seconds)


def answer(
    number: int,
    *,
    output: int = 50,
    input: int = 10,
    write: int = 0,
    read: int = 0,
    hour: int = 0,
    at: float = BEGIN,
    cwd: str = "/nowhere",
    model: str = MODELS[1],
    request: str | None = None,
    **more: Any,
) -> dict[str, Any]:
    """One record of an assistant's message; those of one ``number`` are of the same message."""
    usage: dict[str, Any] = {
        "input_tokens": input,
        "cache_creation_input_tokens": write,
        "cache_read_input_tokens": read,
        "cache_creation": {"ephemeral_5m_input_tokens": write - hour, "ephemeral_1h_input_tokens": hour},
        "output_tokens": output,
        "service_tier": "standard",
    }
    message = {
        "model": model,
        "id": f"msg_{number:06}",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": 'so "usage" it is'}],
        "stop_reason": None,
        "usage": usage,
    }
    return {
        "parentUuid": f"{number:032x}",
        "isSidechain": False,
        "userType": "external",
        "cwd": cwd,
        "sessionId": "9d2f8a50-0000-4000-8000-000000000000",
        "version": "2.1.30",
        "gitBranch": "main",
        "message": message,
        "requestId": request if request is not None else f"req_{number:06}",
        "type": "assistant",
        "uuid": f"{number:032x}",
        "timestamp": when(at),
        **more,
    }


def lines(records: list[Any]) -> str:
    """The records as lines, as JavaScript and serde write them."""
    return "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)


def rollout(
    session: str, counts: list[tuple[int, int, int]], *, cwd: str = "/nowhere", at: float = BEGIN, **meta: Any
) -> list[dict[str, Any]]:
    """A session of Codex whose answers used these (input, of it cached, output)."""
    head = {"id": session, "timestamp": when(at), "cwd": cwd, "originator": "codex_cli_rs", "cli_version": "0.99.0"}
    records: list[dict[str, Any]] = [
        {"timestamp": when(at), "type": "session_meta", "payload": {**head, **meta}},
        {"timestamp": when(at), "type": "turn_context", "payload": {"cwd": cwd, "model": "gpt-5.2-codex"}},
    ]
    total = [0, 0, 0]
    for i, used in enumerate(counts):
        total = [a + b for a, b in zip(total, used, strict=True)]
        records.append(token_count(total, used, at + 10 + i))
    return records


def token_count(total: Any, last: Any, at: float) -> dict[str, Any]:
    def usage(counts: Any) -> dict[str, int]:
        names = ("input_tokens", "cached_input_tokens", "output_tokens")
        found = dict(zip(names, counts, strict=True))
        return {**found, "reasoning_output_tokens": 0, "total_tokens": found["input_tokens"] + found["output_tokens"]}

    info = {"total_token_usage": usage(total), "last_token_usage": usage(last), "model_context_window": 272000}
    payload = {"type": "token_count", "info": info, "rate_limits": None}
    return {"timestamp": when(at), "type": "event_msg", "payload": payload}


def session(chance: random.Random, first: int, answers: int, cwd: str, begin: float) -> list[dict[str, Any]]:
    """A session of Claude Code: prompts, results of tools, and answers streamed in one to four records each."""
    records: list[dict[str, Any]] = []
    at = begin
    for number in range(first, first + answers):
        at += chance.uniform(5, 90)
        text = "x" * int(chance.paretovariate(1.2) * 400 % 20_000)
        said = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": text}]}
        head = {"parentUuid": "p", "isSidechain": False, "cwd": cwd, "sessionId": "s", "version": "2.1.30"}
        records.append({**head, "type": "user", "message": said, "uuid": "u", "timestamp": when(at)})
        write, read = chance.randrange(0, 4000), chance.randrange(0, 150_000)
        output, model = 0, chance.choice(MODELS)
        fed = chance.randrange(1, 30)
        hour = chance.choice((0, write))
        for _ in range(chance.randint(1, 4)):
            output += chance.randrange(1, 900)
            at += 0.5
            record = answer(
                number, input=fed, output=output, write=write, read=read, hour=hour, at=at, cwd=cwd, model=model
            )
            record["message"]["content"][0]["text"] = "y" * int(chance.paretovariate(1.2) * 300 % 8_000)
            records.append(record)
    return records


def home(folder: Path, *, seed: int = 1, sessions: int = 4, answers: int = 30, cwd: str = "/nowhere") -> Path:
    """A home with transcripts of both agents: copies of resumed sessions and of side conversations among them."""
    chance, number = random.Random(seed), 0
    for i in range(sessions):
        begin = BEGIN + i * 40_000
        records = session(chance, number, answers, cwd, begin)
        number += answers
        project = folder / "claude" / "projects" / f"-work-{i % 3}"
        (project / f"session-{i}" / "subagents").mkdir(parents=True, exist_ok=True)
        (project / f"session-{i}.jsonl").write_text(lines(records))
        copied = [r for r in records if r["type"] == "assistant"][-5:]
        resumed = copied + session(chance, number, 3, cwd, begin + 20_000)
        number += 3
        (project / f"resumed-{i}.jsonl").write_text(lines(resumed))
        aside = [{**r, "isSidechain": True, "requestId": "req_aside"} for r in copied[-2:]]
        own = [{**r, "isSidechain": True} for r in session(chance, number, 2, cwd, begin + 30_000)]
        number += 2
        (project / f"session-{i}" / "subagents" / "agent-1.jsonl").write_text(lines(aside + own))
        day = folder / "codex" / "sessions" / "2025" / "11" / f"{5 + i:02}"
        day.mkdir(parents=True, exist_ok=True)
        used = [(chance.randrange(2000, 9000), chance.randrange(0, 2000), chance.randrange(1, 900)) for _ in range(20)]
        (day / f"rollout-{i}.jsonl").write_text(lines(rollout(f"codex-{i}", used, cwd=cwd, at=begin)))
    return folder
