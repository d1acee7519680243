"""Codex's sessions: ``sessions/YYYY/MM/DD/rollout-*.jsonl`` and ``archived_sessions/`` in its home.

Every record is {timestamp, type, payload}. After each answer an ``event_msg`` of type ``token_count`` tells the total
of the session so far, often more than once, so that the differences are what was used (codex-rs/protocol, TokenUsage:
``input_tokens`` holds the cached and the cache's writes, ``output_tokens`` the reasoning). A forked session, or that of
a sub-agent, begins with a copy of its parent's records, written when it began.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.budget.transcripts import Message, UsageReader, below, count, identity, named, seconds

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_HEAD = rb'\{"timestamp":"[^"]*","(?:ordinal":\d+,")?type":"(\w+)"'
_KNOWN = (
    *("response_item", "compacted", "event_msg", "ghost_snapshot", "world_state", "security_risk_score"),
    *("inter_agent_communication", "inter_agent_communication_metadata"),
    "token_usage_record",  # of one answer, beside the totals that count
)
_SKIPPED = frozenset(kind.encode() for kind in _KNOWN)
_FIELDS = ("input_tokens", "cached_input_tokens", "cache_write_input_tokens", "output_tokens")
_OTHERS = ("reasoning_output_tokens", "total_tokens")
_COPIED = 1.0  # seconds after its begin within which a forked session's counts are its parent's


class Codex(UsageReader):
    name = "codex"
    about = "Codex's sessions, in ~/.codex or CODEX_HOME"

    def folders(self, environ: Mapping[str, str]) -> list[str]:
        home = environ.get("CODEX_HOME") or os.path.expanduser("~/.codex")
        return [home] if _tops(home) else []

    def files(self, folder: str) -> Iterator[str]:
        for top in _tops(folder):
            yield from below(top, ".jsonl")

    def read(self, lines: Iterable[bytes], memory: dict[str, Any], unknown: Counter[str]) -> Iterator[Message]:
        import re
        from json import loads

        match = re.compile(_HEAD).match
        for line in lines:
            head = match(line)
            if head is not None and head[1] in _SKIPPED and b'"token_count"' not in line:
                continue
            if not line.strip():
                continue
            try:
                record = loads(line)
                kind, payload = record.get("type"), record.get("payload")
            except (ValueError, AttributeError, RecursionError):
                unknown["a line that is no JSON object"] += 1
                continue
            if not isinstance(payload, dict):
                unknown[f"record {named(kind)} without a payload" if named(kind) else "record without a type"] += 1
            elif kind == "session_meta":
                _begin(record, payload, memory, unknown)
            elif kind == "turn_context":
                _turn(payload, memory, unknown)
            elif kind == "event_msg" and payload.get("type") == "token_count":
                message = _counted(record, payload, memory, unknown)
                if message is not None:
                    yield message
            elif kind not in _KNOWN:
                unknown[f"record {named(kind)}" if named(kind) else "record without a type"] += 1


def _tops(folder: str) -> list[str]:
    names = ("sessions", "archived_sessions")
    here = os.path.basename(os.path.normpath(folder)) in names
    return [top for top in ([folder] if here else [os.path.join(folder, n) for n in names]) if os.path.isdir(top)]


def _begin(record: dict[str, Any], payload: dict[str, Any], memory: dict[str, Any], unknown: Counter[str]) -> None:
    """The first one is the file's own; those behind it are its parents', copied."""
    if "session" in memory:
        return
    session, folder, source = identity(payload.get("id")), payload.get("cwd"), payload.get("source")
    if not session:
        unknown["session_meta without an id"] += 1
        return
    memory["session"] = session
    if isinstance(folder, str):
        memory["folder"] = folder
    agent = source.get("subagent") if isinstance(source, dict) else None
    if payload.get("forked_from_id") or (isinstance(agent, dict) and "thread_spawn" in agent):
        try:
            memory["copied"] = seconds(record.get("timestamp")) + _COPIED
        except ValueError:
            unknown["session_meta without a time"] += 1


def _turn(payload: dict[str, Any], memory: dict[str, Any], unknown: Counter[str]) -> None:
    model, folder = named(payload.get("model")), payload.get("cwd")
    if model:
        memory["model"] = model
    else:
        unknown["turn_context without a model"] += 1
    if isinstance(folder, str) and folder:
        memory["folder"] = folder


def _counted(
    record: dict[str, Any], payload: dict[str, Any], memory: dict[str, Any], unknown: Counter[str]
) -> Message | None:
    """The message that a ``token_count`` tells of; None for one that tells of limits only, or the same once more."""
    info = payload.get("info")
    if info is None:
        return None
    try:
        total = _classes(info["total_token_usage"], unknown)
        last = _classes(info["last_token_usage"], unknown) if info.get("last_token_usage") else None
    except (ValueError, KeyError, TypeError, AttributeError):
        unknown["token_count that is not understood"] += 1
        return None
    try:
        at = seconds(record.get("timestamp"))
    except ValueError:
        unknown["token_count without a time"] += 1
        return None
    before = memory.get("total")
    if total == before:
        return None
    memory["total"] = total
    if at <= memory.get("copied", 0.0):
        return None
    used = _difference(total, before, last, memory, unknown)
    if used is None or not any(used):
        return None
    if "session" not in memory:
        unknown["token_count before session_meta"] += 1
        return None
    if "model" not in memory:
        unknown["token_count before a model"] += 1
    fed, cached, written, output = used
    name = f"{memory['session']}/{memory.get('resets', 0)}/{'.'.join(map(str, total))}"
    fresh = max(0, fed - cached - written)
    return Message(
        name, "", False, at, memory.get("model", ""), memory.get("folder", ""), fresh, output, written, cached
    )


def _difference(
    total: list[int], before: list[int] | None, last: list[int] | None, memory: dict[str, Any], unknown: Counter[str]
) -> list[int] | None:
    """What was used since ``before``. A session that goes on in a new file begins with a total that is not its own, and
    one whose total fell began anew: then the last answer's own count is what is known."""
    if before is not None and all(a >= b for a, b in zip(total, before, strict=True)):
        return [a - b for a, b in zip(total, before, strict=True)]
    if before is not None:
        memory["resets"] = memory.get("resets", 0) + 1
    if last is not None:
        return last
    if before is None:
        return total
    unknown["token_count whose total fell"] += 1
    return None


def _classes(usage: dict[str, Any], unknown: Counter[str]) -> list[int]:
    """[input, of it cached, of it written to the cache, output]. Raises ValueError."""
    if "input_tokens" not in usage or "output_tokens" not in usage:
        raise ValueError("input_tokens and output_tokens are always there")
    for name in usage:
        if name not in _FIELDS and name not in _OTHERS:
            unknown[f"field {named(name)} of token_count"] += 1
    return [count(usage.get(name)) for name in _FIELDS]
