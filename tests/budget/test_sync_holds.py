"""What was settled by hand or with an estimate explains transcripts: under a hold the larger of both is booked."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from k1ctl import events
from k1ctl.budget import sync_holds, told
from k1ctl.budget.holds import LOST, OPEN, RUN_TTL, SETTLED, Hold
from k1ctl.budget.sync import Report, Sync
from k1ctl.budget.tokens import Usage
from k1ctl.budget.transcripts_claude import ClaudeCode
from k1ctl.budget.verify import verify
from k1ctl.config import load
from tests.budget.ledgers import Clock, ledger
from tests.budget.transcripts import MODELS, answer, lines

OWNER = 4_000_000  # a process that lives as long as a test says


class Desk:
    """A ledger, one agent's transcript, and a clock that both go by; ``dead``: whether owners are gone."""

    def __init__(self, folder: Path, limits: str = "soft = []") -> None:
        self.folder, self.clock, self.dead = folder, Clock(), False
        self.ledger = ledger(folder, limits, clock=self.clock)
        self.agent = folder.name
        self.outputs: list[tuple[int, float]] = []
        self.path = folder / "claude" / "projects" / "p" / "a.jsonl"
        self.path.parent.mkdir(parents=True)
        self.path.touch()

    def gone(self, hold: Hold, clock: tuple[float, float]) -> str:
        return "deadline" if hold.age(clock) >= hold.ttl else "owner" if hold.owner and self.dead else ""

    def hold(self, tokens: int = 50, **words: Any) -> str:
        self.clock.pass_(1)
        return self.ledger.reserve(tokens, agent=self.agent, **{"ttl": 600, **words}).id

    def say(self, output: int, number: int | None = None, **words: Any) -> None:
        """The agent's next message, or more of an earlier one."""
        self.clock.pass_(1)
        if number is None:
            number = len(self.outputs)
            self.outputs.append((0, self.clock.wall))
        had, at = self.outputs[number]
        self.outputs[number] = (had + output, at)
        record = answer(number, input=0, output=had + output, at=at, cwd=str(self.folder), **words)
        with self.path.open("a") as f:
            f.write(lines([record]))

    def sync(self, **words: Any) -> Report:
        self.clock.pass_(1)
        place = self.ledger.workspace
        sync = Sync(place, load(place), [ClaudeCode()], folders=[str(self.folder / "claude")], **words)
        sync.ledger.durable, sync.ledger.clock = False, self.clock
        report = sync.run()
        sync.ledger.state.close()
        json.dumps(report.document())
        return report

    def sums(self, query: str) -> dict[str, int]:
        return dict(self.ledger.state.read(lambda db: db.execute(query).fetchall()))

    def spent(self) -> int:
        """Tokens of the ledger; the books are proved on the way."""
        proof = verify(self.ledger.state)
        assert not proof.wrong, proof.differences
        return proof.tokens

    def models(self) -> dict[str, int]:
        """Tokens that were spent by model."""
        return self.sums("SELECT model, SUM(tokens) FROM spend GROUP BY model")

    def told(self) -> dict[str, int]:
        """Tokens of the messages by the hold they are of."""
        return self.sums("SELECT hold, SUM(output) FROM usage_messages GROUP BY hold")


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path)
    with mock.patch.object(Hold, "gone", lambda hold, clock: found.gone(hold, clock)):
        yield found
    found.ledger.state.close()


def test_what_was_settled_by_hand_is_booked_once(desk: Desk) -> None:
    """Less than was settled adds nothing, and is told; what exceeds it is booked for the hold's task, with an event; a
    second sync, a copy of the transcript and one that was written anew add nothing."""
    id = desk.hold(50, task="t")
    desk.say(10)
    desk.ledger.settle(id, 30)
    report = desk.sync()
    (told,) = report.document()["explained"]
    assert (told["used_tokens"], told["booked_tokens"], told["too_much_tokens"]) == (10, 30, 20)
    assert (desk.spent(), told["explained_tokens"], report.settled) == (30, 10, [])
    desk.say(25, 0)  # streamed, and written down late
    (told,) = desk.sync().document()["explained"]
    assert (told["exceeded_tokens"], told["explained_tokens"], told["booked_tokens"]) == (5, 20, 35)
    assert desk.spent() == 35 and desk.ledger.figures([("task", "t")])["task", "t"].spent[0] == 35
    desk.path.with_name("copy.jsonl").write_bytes(desk.path.read_bytes())
    desk.path.write_text(lines([{"type": "summary"}]) + desk.path.read_text())
    assert (desk.sync().explained, desk.spent()) == ({}, 35)
    found = list(events.read(str(desk.folder / "ops" / "events")))
    assert [e["booked_tokens"] for e in found if e["event"] == "budget.exceeded"] == [35]


def test_a_run_explains_what_came_under_it(desk: Desk) -> None:
    """While it lives by what it holds, the rest is booked at once; then by what it settled."""
    id = desk.hold(50, owner=OWNER, ttl=RUN_TTL)
    desk.say(40)
    (told,) = desk.sync().document()["explained"]
    assert (desk.spent(), told["hold"]["state"], told["explained_tokens"]) == (0, OPEN, 40)
    desk.say(30)
    assert desk.sync().explained[id]["exceeded_tokens"] == 20 and desk.spent() == 20
    assert desk.ledger.settle(id, None).booked == 50  # the estimate: 20 were booked before
    assert desk.spent() == 50
    desk.sync()  # without a new message: what the run was settled with is less than what was told of it
    assert desk.spent() == 70 and not sync_holds._open(desk.ledger.state._db)  # type: ignore[arg-type]
    before = desk.sums("SELECT what, COUNT(*) FROM record GROUP BY what")
    desk.sync()
    assert desk.sums("SELECT what, COUNT(*) FROM record GROUP BY what") == before == {
        "reserve": 1, "exceed": before["exceed"], "settle": 1, "model": 2,
    }  # fmt: skip


def test_a_run_left_to_sync_is_held_until_then(desk: Desk) -> None:
    """Its hold outlives its command, counts until a sync settled it with what was told of it before and since."""
    id = desk.hold(50, owner=OWNER, ttl=RUN_TTL)
    desk.say(10)
    desk.sync()
    desk.say(7)
    desk.dead = True
    desk.ledger.extend(id, 3600, orphan=True)
    assert [hold.id for hold in desk.ledger.holds()] == [id] and not desk.ledger.reclaim()
    assert desk.sync().settled[0]["booked_tokens"] == 17 == desk.spent()
    desk.clock.pass_(10)
    desk.say(5)
    assert (desk.sync().settled, desk.spent()) == ([], 22)
    assert desk.ledger.settle(id, 90).again and desk.spent() == 22
    other = desk.hold(50, owner=OWNER, ttl=RUN_TTL)
    desk.ledger.extend(other, 3600, orphan=True)
    desk.clock.pass_(3601)
    assert [hold.state for hold in desk.ledger.reclaim()] == [LOST]


@pytest.mark.parametrize(("command", "booked"), [(None, 20), (5, 20), (40, 40)])
def test_a_killed_run_is_settled_by_its_transcript(desk: Desk, command: int | None, booked: int) -> None:
    """Nobody settled it: what its command told and what transcripts tell count as any settle and sync do."""
    id = desk.hold(50, owner=OWNER, ttl=RUN_TTL)
    desk.say(20)
    path = Path(told.path_of(desk.ledger.workspace, id))
    path.parent.mkdir(parents=True)
    path.write_text("" if command is None else f'{{"tokens": {command}}}')
    desk.dead = True
    for dry_run in (True, False):
        assert path.exists()
        desk.sync(dry_run=dry_run)
    assert desk.spent() == booked and not path.exists()
    assert desk.ledger.settle(id, None).again


def test_of_holds_side_by_side_the_newest_is_meant(desk: Desk) -> None:
    """Each explains what came while it was the newest of its model; one that was given back explains nothing."""
    first = desk.hold(task="first")
    second = desk.hold(task="second", model="claude-opus-4-5")
    desk.say(10)
    desk.say(20, model="claude-opus-4-5-20251101")
    desk.ledger.settle(second, 5, micro_usd=0)
    desk.say(40)
    desk.ledger.settle(first, 60)
    given = desk.hold(task="given")
    desk.say(3)
    desk.ledger.release(given)
    desk.clock.pass_(5)
    desk.say(2)
    report = desk.sync()
    assert desk.told() == {first: 50, second: 20, given: 3, "": 2}
    assert [settled["hold"]["id"] for settled in report.settled] == [given]
    assert desk.spent() == 60 + 20 + 3 + 2
    assert desk.ledger.hold(given).state == SETTLED and desk.ledger.settle(given, 50).again


def test_what_was_used_stands_under_its_model(desk: Desk) -> None:
    """Held for no model, or for any name of it: settled by a sync or explained by one, tokens, classes and dollars go
    where they were used; what was settled beyond that stays."""
    opus, sonnet = MODELS[:2]
    left = desk.hold(50)
    desk.say(10, model=opus)
    desk.say(20, model=sonnet)
    desk.sync()
    assert desk.ledger.hold(left).booked == 30 and desk.models() == {"": 0, opus: 10, sonnet: 20}
    by_hand = desk.hold(50, model="claude-opus-4-5")
    desk.say(15, model=opus)
    desk.ledger.settle(by_hand, Usage(output=40), micro_usd=1_000_000)
    desk.sync()
    assert desk.models() == {"": 0, "claude-opus-4-5": 25, opus: 25, sonnet: 20}
    assert desk.sums("SELECT model, SUM(output) FROM spend GROUP BY model") == desk.models()
    price = {opus: 25, sonnet: 15}  # of a million tokens
    paid = {model: tokens * price[model] for model, tokens in desk.models().items() if model in price}
    paid |= {"": 0, "claude-opus-4-5": 1_000_000 - 15 * 25}
    assert desk.sums("SELECT model, SUM(micro_usd) FROM spend GROUP BY model") == paid and desk.spent() == 70


def test_a_crash_books_nothing_twice(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Raised behind the booking: neither what was told of the hold nor what exceeds it was kept."""
    id = desk.hold()
    desk.say(60)
    desk.ledger.settle(id, 10)
    with monkeypatch.context() as m:
        m.setattr("k1ctl.budget.sync_store.keep_positions", mock.Mock(side_effect=RuntimeError))
        with pytest.raises(RuntimeError):
            desk.sync()
    assert desk.spent() == 10 and desk.sync(dry_run=True).explained[id]["exceeded_tokens"] == 50
    assert desk.spent() == 10
    desk.sync()
    assert desk.spent() == 60


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE usage_messages SET output = output + 1",
        "UPDATE usage_messages SET hold = ''",
        "UPDATE usage_holds SET micro_usd = micro_usd + 1",
        "UPDATE usage_holds SET tokens = tokens + 1",
        "UPDATE usage_models SET model = 'other'",
        "DELETE FROM usage_holds",
        "UPDATE usage_messages SET hold = ''; DELETE FROM usage_holds; DELETE FROM usage_models",
        "UPDATE usage_days SET input = input + 1",
        "DELETE FROM usage_days",
    ],
)
def test_verify_finds_what_was_told_otherwise(desk: Desk, change: str) -> None:
    """The messages of a hold come to what is kept of it, and that is booked."""
    id = desk.hold()
    desk.say(60)
    desk.ledger.settle(id, 10)
    desk.sync()
    assert desk.spent() == 60
    desk.ledger.state.write(lambda db: [db.execute(statement) for statement in change.split("; ")])
    assert verify(desk.ledger.state).wrong


number = st.integers(0, 5)
ACTS = st.one_of(
    st.tuples(st.just("hold"), st.sampled_from([(0, 600.0), (0, 3.0), (OWNER, 600.0), (OWNER, RUN_TTL)])),
    st.tuples(st.just("settle"), number, st.sampled_from([None, 0, 20, 200])),
    st.tuples(st.just("release"), number),
    st.tuples(st.just("orphan"), number),
    st.tuples(st.just("say"), st.integers(1, 90)),
    st.tuples(st.just("grow"), number, st.integers(1, 40)),
    st.tuples(st.sampled_from(["sync", "sync", "reclaim", "die", "rotate"])),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(ACTS, min_size=4, max_size=16))
def test_whatever_comes_first(acts: list[tuple[Any, ...]]) -> None:
    """Under each hold is booked the larger of what somebody settled (by hand, or a run's estimate) and what its
    messages come to, beside that what came under none: never less than was used, each only once, and all that was used
    under its model."""
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Path(folder))
        with mock.patch.object(Hold, "gone", lambda hold, clock: desk.gone(hold, clock)):
            settled = played(desk, acts)
            desk.sync()
            used = sum(output for output, _ in desk.outputs)
            assert desk.spent() + sum(hold.tokens for hold in desk.ledger.holds()) >= used
            desk.dead = True  # and so ends what lives
            desk.sync()
            told, spent = desk.told(), desk.spent()
            alone = told.pop("", 0)
            assert spent == sum(max(settled.get(id, 0), told.get(id, 0)) for id in {*settled, *told}) + alone
            assert sum(told.values()) + alone == used
            desk.sync()
            assert desk.spent() == spent
            for i, model in enumerate(MODELS):
                assert desk.models().get(model, 0) == sum(output for output, _ in desk.outputs[i :: len(MODELS)])
        desk.ledger.state.close()


def played(desk: Desk, acts: list[tuple[Any, ...]]) -> dict[str, int]:
    """Do ``acts``; what each hold was settled with, by others than a sync."""
    held: list[str] = []
    settled: dict[str, int] = {}
    for act, *words in acts:
        id = held[words[0] % len(held)] if held and act in ("settle", "release", "orphan") else ""
        if act == "hold":
            desk.dead = False
            held.append(desk.hold(50, owner=words[0][0], ttl=words[0][1]))
        elif act == "settle" and id and not (done := desk.ledger.settle(id, words[1])).again:
            settled[id] = 50 if words[1] is None else words[1]
            assert done.booked >= settled[id]
        elif act == "release" and id:
            desk.ledger.release(id)
        elif act == "orphan" and id and desk.ledger.hold(id).state == OPEN:
            desk.ledger.extend(id, 30, orphan=True)
        elif act == "say":
            desk.say(words[0], model=MODELS[len(desk.outputs) % len(MODELS)])
        elif act == "grow" and desk.outputs:
            which = words[0] % len(desk.outputs)
            desk.say(words[1], which, model=MODELS[which % len(MODELS)])
        elif act == "sync":
            desk.sync()
        elif act == "rotate":
            desk.path.rename(desk.path.with_name(f"{len(os.listdir(desk.path.parent))}.jsonl"))
            desk.path.write_bytes(b"")
        elif act == "die":
            desk.dead = True
        elif act == "reclaim":
            settled |= {hold.id: 50 for hold in desk.ledger.reclaim() if hold.state == SETTLED}
    return settled
