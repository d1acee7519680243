"""Transcripts are read once, whole lines only, whatever happens to the file, and what is strange is counted by kind."""

from __future__ import annotations

import json
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl.budget import transcripts
from k1ctl.budget.sync_places import Place
from k1ctl.budget.sync_store import Batch
from k1ctl.budget.transcripts import Position, UsageReader
from k1ctl.budget.transcripts_claude import ClaudeCode
from k1ctl.budget.transcripts_codex import Codex
from tests.budget.transcripts import BEGIN, answer, lines, rollout, token_count, when


def read(
    reader: UsageReader, path: Path, position: Position | None = None, batch: Batch | None = None
) -> tuple[Batch, Counter[str], transcripts.Look]:
    unknown: Counter[str] = Counter()
    look = transcripts.look(reader, str(path), position, unknown)
    batch = batch or Batch(lambda folder: Place(folder, folder), lambda at: "today")
    batch.add(reader.name, look.messages)
    return batch, unknown, look


def kept(batch: Batch) -> dict[tuple[str, str], tuple[int, int, int, int]]:
    """What a batch came to: {(id, request): classes}."""
    return {(row.id, row.request): row.classes for rows in batch.rows.values() for row in rows}


def put(path: Path, records: list[Any]) -> Path:
    path.write_text(lines(records))
    return path


GROWN = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(1, 90), st.integers(0, 90), st.booleans()), max_size=24
)


@settings(max_examples=60)
@given(GROWN, st.lists(st.integers(1, 4000), max_size=6), st.randoms(use_true_random=False))
def test_streams_that_are_torn_doubled_and_disordered_come_to_the_largest_of_each_message(
    said: list[tuple[int, int, int, int, bool]], cuts: list[int], chance: random.Random
) -> None:
    """However its records are ordered and repeated, wherever a look falls between two bytes of the file: each message
    counts once, of each class the largest number it ever had."""
    records = [answer(n, request=f"r{r}", output=o, write=w) for n, r, o, w, again in said for _ in range(1 + again)]
    chance.shuffle(records)
    whole = lines(records).encode()
    model: dict[tuple[str, str], tuple[int, int, int, int]] = {}
    for n, r, o, w, _ in said:
        key = (f"claude:msg_{n:06}", f"r{r}")
        had = model.get(key, (0, 0, 0, 0))
        model[key] = (10, max(had[1], o), max(had[2], w), 0)
    with tempfile.TemporaryDirectory() as folder:
        path, position = Path(folder) / "s.jsonl", None
        batch = Batch(lambda folder: Place(folder, folder), lambda at: "today")
        for end in [*sorted(cut % (len(whole) + 1) for cut in cuts), len(whole)]:
            path.write_bytes(whole[:end])
            batch, unknown, look = read(ClaudeCode(), path, position, batch)
            assert not unknown and not look.anew
            position = look.position
    assert kept(batch) == model


def test_what_is_beside_the_conversation_counts_where_nothing_else_does(tmp_path: Path) -> None:
    """A side conversation repeats its parent's messages under other requests: those count once, its own count too."""
    parent, own = answer(1, output=70), answer(2, output=5, isSidechain=True, request="aside2")
    copy = answer(1, output=70, isSidechain=True, request="aside")
    progress = {"type": "progress", "timestamp": when(BEGIN), "data": {"type": "agent_progress", "message": own}}
    want = {("claude:msg_000001", "req_000001"): (10, 70, 0, 0), ("claude:msg_000002", "aside2"): (10, 5, 0, 0)}
    for order in ([parent, copy, own, progress], [progress, copy, own, parent], [copy, parent, progress]):
        batch, unknown, _ = read(ClaudeCode(), put(tmp_path / "s.jsonl", order))
        assert kept(batch) == want and not unknown


def test_a_file_that_was_replaced_cut_or_rewritten_is_read_anew(tmp_path: Path) -> None:
    """Shrunk, replaced by another, or rewritten in place with the same inode and more bytes: read from its begin."""
    path = put(tmp_path / "s.jsonl", [answer(n) for n in range(9)])
    _, _, first = read(ClaudeCode(), path)
    assert transcripts.unchanged(path.stat(), first.position) and first.lines == 9
    with path.open("a") as f:
        f.write(lines([answer(9)]))
    batch, _, look = read(ClaudeCode(), path, first.position)
    assert not look.anew and look.lines == 1 and len(kept(batch)) == 1
    put(path, [answer(3)])
    assert read(ClaudeCode(), path, look.position)[2].anew
    put(path, [answer(n, output=51) for n in range(40)])
    batch, _, look = read(ClaudeCode(), path, look.position)
    assert look.anew and len(kept(batch)) == 40
    put(tmp_path / "other", [answer(n, output=52) for n in range(50)]).rename(path)
    assert read(ClaudeCode(), path, look.position)[2].anew


@pytest.mark.parametrize(
    ("broken", "kind"),
    [
        ("{ not json", "a line that is no JSON object"),
        ("[1]", "a line that is no JSON object"),
        (json.dumps({"type": "sparkle", "x": 1}), "record sparkle"),
        (json.dumps({"x": 1}), "record without a type"),
        (json.dumps({**answer(1), "timestamp": "yesterday"}), "assistant without a time"),
        (json.dumps({**answer(1), "timestamp": "2026-01-01T00:00:00"}), "assistant without a time"),
        (json.dumps({**answer(1), "message": {"id": "m"}}), "assistant without usage"),
        (json.dumps(answer(1)).replace('"msg_000001"', "null"), "assistant without message id"),
        (json.dumps(answer(1)).replace('"output_tokens": 50', '"output_tokens": "50"'), "assistant with a usage"),
        (json.dumps(answer(1)).replace('"output_tokens": 50', '"exit_tokens": 50'), "assistant with a usage"),
        (json.dumps(answer(1, model="<synthetic>")), "synthetic with usage"),
    ],
)
def test_what_is_not_understood_is_counted_by_kind_and_not_guessed(tmp_path: Path, broken: str, kind: str) -> None:
    """A line that is not as it should be adds one to its kind and no tokens; those around it count as ever."""
    path = tmp_path / "s.jsonl"
    path.write_text(lines([answer(7)]) + broken + "\n" + lines([answer(8), {"type": "user", "message": {"usage": 1}}]))
    batch, unknown, _ = read(ClaudeCode(), path)
    assert [(k.startswith(kind), n) for k, n in unknown.items()] == [(True, 1)]
    assert [key[0] for key in kept(batch)] == ["claude:msg_000007", "claude:msg_000008"]


def test_a_line_without_an_end_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One longer than any record is counted as what is none; the lines around it count, wherever a block ends."""
    monkeypatch.setattr(transcripts, "_LONGEST", 40)
    monkeypatch.setattr(transcripts, "_CHUNK", 7)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"one\n" + b"x" * 500 + b"\nthree\n" + b"y" * 80 + b"\nfour\nto")
    with path.open("rb") as f:
        source = transcripts._Lines(f.fileno(), 0, path.stat().st_size)
        found = list(source)
    assert [line for line in found if b"\0" not in line] == [b"one", b"three", b"four"]
    assert len(found) == source.count == 5 and max(map(len, found)) < 50 and source.offset == path.stat().st_size - 2


def test_writes_for_an_hour_are_told_apart(tmp_path: Path) -> None:
    """The cache's writes of both times to live are one class; the part for an hour is kept beside it."""
    path = put(tmp_path / "s.jsonl", [answer(1, write=900, hour=600, read=7), answer(1, write=900, hour=600, read=7)])
    _, _, look = read(ClaudeCode(), path)
    assert [m[6:11] for m in look.messages] == [(10, 50, 900, 7, 600)] * 2


def test_codex_counts_are_differences(tmp_path: Path) -> None:
    """Totals that are told again add nothing; cached input is no fresh input; a session goes on where it was left."""
    records = rollout("a", [(100, 40, 5), (50, 50, 1)])
    records.insert(3, records[2])
    records.append({"timestamp": when(BEGIN), "type": "event_msg", "payload": {"type": "token_count", "info": None}})
    path = put(tmp_path / "rollout.jsonl", records)
    batch, unknown, look = read(Codex(), path)
    assert sorted(kept(batch).values()) == [(0, 1, 0, 50), (60, 5, 0, 40)] and not unknown
    with path.open("a") as f:
        f.write(lines([token_count((170, 90, 9), (20, 0, 3), BEGIN + 60)]))
    batch, _, look = read(Codex(), path, look.position)
    assert list(kept(batch).values()) == [(20, 3, 0, 0)] and look.messages[0].model == "gpt-5.2-codex"


def test_codex_copies_of_a_parents_counts_are_not_the_childs(tmp_path: Path) -> None:
    """A forked session begins with its parent's records, and one that goes on in a new file with its total: neither
    counts again."""
    parent = rollout("parent", [(100, 0, 5), (50, 0, 1)])
    copied = [{**record, "timestamp": when(BEGIN + 500)} for record in parent]
    head = rollout("child", [], at=BEGIN + 500, forked_from_id="parent")[0]
    grown = token_count((180, 0, 10), (30, 0, 4), BEGIN + 520)
    batch, unknown, _ = read(Codex(), put(tmp_path / "child.jsonl", [head, *copied, grown]))
    assert list(kept(batch).values()) == [(30, 4, 0, 0)] and not unknown
    batch, _, _ = read(Codex(), put(tmp_path / "on.jsonl", [*rollout("on", []), grown]))
    assert list(kept(batch).values()) == [(30, 4, 0, 0)]


def test_codex_drift_is_counted(tmp_path: Path) -> None:
    """Records and fields of another shape are counted; a total that falls begins anew with the last answer's own."""
    records = rollout("a", [(100, 0, 5)])
    fallen = token_count((20, 0, 2), (20, 0, 2), BEGIN + 50)
    strange = token_count((20, 0, 2), (20, 0, 2), BEGIN + 60)
    strange["payload"]["info"]["total_token_usage"]["audio_tokens"] = 4
    lost = token_count((5, 0, 0), (0, 0, 0), BEGIN + 70)
    del lost["payload"]["info"]["last_token_usage"]
    odd = {"timestamp": when(BEGIN), "type": "dream", "payload": {}}
    batch, unknown, _ = read(Codex(), put(tmp_path / "r.jsonl", [*records, fallen, strange, odd, lost]))
    assert sorted(kept(batch).values()) == [(20, 2, 0, 0), (100, 5, 0, 0)]
    assert unknown == {"field audio_tokens of token_count": 1, "record dream": 1, "token_count whose total fell": 1}


def test_where_agents_keep_them(tmp_path: Path) -> None:
    """CLAUDE_CONFIG_DIR may name several, CODEX_HOME one; a folder of another layout has no transcripts."""
    for name in ("a/projects/x", "b/projects/x/session/subagents", "c/sessions/2026/01/02", "c/archived_sessions"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "f.jsonl").touch()
        (tmp_path / name / "f.json").touch()
    env = {"CLAUDE_CONFIG_DIR": f"{tmp_path}/a, {tmp_path}/b,{tmp_path}/c", "CODEX_HOME": f"{tmp_path}/c"}
    assert ClaudeCode().folders(env) == [f"{tmp_path}/a", f"{tmp_path}/b"]
    assert Codex().folders(env) == [f"{tmp_path}/c"] and Codex().folders({"CODEX_HOME": f"{tmp_path}/a"}) == []
    assert [*ClaudeCode().files(f"{tmp_path}/b")] == [f"{tmp_path}/b/projects/x/session/subagents/f.jsonl"]
    assert len([*Codex().files(f"{tmp_path}/c")]) == 2 and [*Codex().files(f"{tmp_path}/a")] == []
    assert len([*ClaudeCode().files(f"{tmp_path}/a/projects")]) == 1
