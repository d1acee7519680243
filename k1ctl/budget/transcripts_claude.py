"""Claude Code's transcripts: ``projects/<folder>/<session>.jsonl`` and ``subagents/`` below it, in its configuration.

Claude Code writes an answer as several records, one a block of content, each with the usage so far under the same
``message.id`` and ``requestId``; a resumed session begins with copies of the records of the one before. Folders and
fields as its documentation has them (code.claude.com/docs, "CLAUDE_CONFIG_DIR") and as ccusage 20 reads them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from k1ctl.budget.transcripts import Message, UsageReader, below, count, identity, named, seconds

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterable, Iterator, Mapping
    from typing import Any

_KNOWN = (  # records that tell of no use: it is in the assistant's, or, of a sub-agent's work, in its own transcript
    *("user", "system", "summary", "attachment", "file-history-snapshot", "queue-operation", "progress"),
    *("custom-title", "ai-title", "agent-name", "agent-color", "agent-setting", "last-prompt", "tag", "mode"),
    *("permission-mode", "pr-link", "worktree-state", "saved_hook_context", "content-replacement"),
    *("attribution-snapshot", "speculation-accept", "task-summary", "file-history-delta", "continued-in"),
    *("marble-origami-commit", "marble-origami-snapshot", "marble-origami-reset", "fork-context-ref", "frame-link"),
    *("artifact-comment-monitor", "ended-by-model", "relocated", "atis-latch", "cost-state", "bridge-session"),
    *("started", "result"),
)
_WITHOUT_USE = rb'"type":"(?:' + "|".join(_KNOWN).encode() + rb')"'
_NO_MODEL = "<synthetic>"  # what Claude Code itself wrote into the conversation, as an error of the API


class ClaudeCode(UsageReader):
    name = "claude"
    about = "Claude Code's transcripts, in ~/.claude or CLAUDE_CONFIG_DIR"

    def folders(self, environ: Mapping[str, str]) -> list[str]:
        given = [os.path.expanduser(part.strip()) for part in environ.get("CLAUDE_CONFIG_DIR", "").split(",")]
        base = environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        homes = [home for home in given if home] or [os.path.join(base, "claude"), os.path.expanduser("~/.claude")]
        return [home for home in homes if _projects(home)]

    def files(self, folder: str) -> Iterator[str]:
        top = _projects(folder)
        if top:
            yield from below(top, ".jsonl")

    def read(self, lines: Iterable[bytes], memory: dict[str, Any], unknown: Counter[str]) -> Iterator[Message]:
        import re
        from json import loads

        without_use = re.compile(_WITHOUT_USE).search
        for line in lines:
            if b'"type":"assistant"' not in line and without_use(line):
                continue
            if not line.strip():
                continue
            try:
                record = loads(line)
                kind = record.get("type")
            except (ValueError, AttributeError, RecursionError):
                unknown["a line that is no JSON object"] += 1
                continue
            folder = record.get("cwd")
            if isinstance(folder, str) and folder:
                memory["folder"] = folder
            if kind == "assistant":
                message = _message(record, memory, unknown)
            elif kind == "progress":
                message = _of_agent(record, memory, unknown)
            else:
                if kind not in _KNOWN:
                    unknown[f"record {named(kind)}" if named(kind) else "record without a type"] += 1
                continue
            if message is not None:
                yield message


def _projects(folder: str) -> str:
    """Where the transcripts of the configuration in ``folder`` are, which may also be that folder; "" nowhere."""
    top = folder if os.path.basename(os.path.normpath(folder)) == "projects" else os.path.join(folder, "projects")
    return top if os.path.isdir(top) else ""


def _of_agent(record: dict[str, Any], memory: dict[str, Any], unknown: Counter[str]) -> Message | None:
    """The copy of a sub-agent's answer that its caller's transcript keeps: it counts where there is no other."""
    data = record.get("data")
    inner = data.get("message") if isinstance(data, dict) and data.get("type") == "agent_progress" else None
    if not isinstance(inner, dict) or inner.get("type") != "assistant":
        return None
    return _message({"timestamp": record.get("timestamp"), **inner, "isSidechain": True}, memory, unknown)


def _message(record: dict[str, Any], memory: dict[str, Any], unknown: Counter[str]) -> Message | None:
    inner = record.get("message")
    usage = inner.get("usage") if isinstance(inner, dict) else None
    if not isinstance(inner, dict) or not isinstance(usage, dict):
        unknown["assistant without usage"] += 1
        return None
    name, model = identity(inner.get("id")), named(inner.get("model"))
    try:
        classes = _classes(usage)
    except (ValueError, AttributeError):
        unknown["assistant with a usage that is not understood"] += 1
        return None
    if not any(classes):
        return None
    if model == _NO_MODEL:
        unknown["synthetic with usage"] += 1
        return None
    if not name:
        unknown["assistant without message id"] += 1
        return None
    try:
        at = seconds(record.get("timestamp"))
    except ValueError:
        unknown["assistant without a time"] += 1
        return None
    if not model:
        unknown["assistant without a model"] += 1
    request = record.get("requestId")
    if isinstance(request, str) and identity(request) != request:
        unknown["assistant with a request id that is none"] += 1
        return None
    return Message(
        name,
        identity(request),
        record.get("isSidechain") is True,
        at,
        model,
        memory.get("folder", ""),
        *classes,
        usage.get("speed") == "fast",
    )


def _classes(usage: dict[str, Any]) -> tuple[int, int, int, int, int]:
    """(input, output, cache write, cache read, of the writes those for an hour), as the Messages API defines them.

    docs: platform.claude.com/docs/en/build-with-claude/prompt-caching, "Tracking cache performance". Raises ValueError.
    """
    get, hour = usage.get, 0
    fed, output = get("input_tokens"), get("output_tokens")
    if fed is None or output is None:
        raise ValueError("input_tokens and output_tokens are always there")
    write, parts = count(get("cache_creation_input_tokens")), get("cache_creation")
    if parts:
        hour = count(parts.get("ephemeral_1h_input_tokens"))
        both = count(parts.get("ephemeral_5m_input_tokens")) + hour
        write = both if both > write else write
    return count(fed), count(output), write, count(get("cache_read_input_tokens")), hour
