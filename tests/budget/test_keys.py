"""Which key is used now: accounts stay below their limits whoever asks, and no key is ever told."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from k1ctl.budget import ends, keys
from k1ctl.budget.breaker import LIMIT
from k1ctl.budget.keys import Bucket, Key, Want
from k1ctl.budget.keys_kept import Keys
from k1ctl.config import Config, load
from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.events import read
from k1ctl.workspace import Workspace
from tests.kit import REPOSITORY, Project, finish

NOON = 1_700_000_000.0
SECRET = "sk-test-3141592653589793"


class Machine(RuleBasedStateMachine):
    """Callers take and settle while time passes and the clock is set back; a record of every use is the oracle."""

    def __init__(self) -> None:
        super().__init__()
        self.buckets = {"a": Bucket("a", requests=7, tokens=1000), "b": Bucket("b", tokens=400, window=10.0)}
        self.keys = [Key("a1", "a"), Key("a2", "a"), Key("b1", "b")]
        self.state: dict[str, Any] = {"turn": {}, "buckets": {}, "keys": {}, "open": {}}
        self.now = NOON
        self.uses: list[list[Any]] = []  # [time, bucket, tokens, id]

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 9.9, 10.0, 31.0, 61.5]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(seconds=st.sampled_from([0.7, 45.0, 10**5]))
    def the_clock_is_set_back(self, seconds: float) -> None:
        self.now -= seconds
        keys.shift(self.state, seconds)
        for use in self.uses:
            use[0] -= seconds

    @rule(tokens=st.sampled_from([0, 1, 150, 320, 800, 801]))
    def somebody_takes(self, tokens: int) -> None:
        tried = []
        for key in keys.candidates(self.state, self.buckets, self.keys, ["a1", "a2", "b1"]):
            bucket = self.buckets[key.bucket]
            stop = keys.blocked(self.state, bucket, tokens, self.now)
            if stop is None:
                identity = keys.take(self.state, bucket, key, tokens, self.now)
                self.uses.append([self.now, bucket.name, tokens, identity])
                return
            tried.append(bucket.name)
            assert stop["until"] is None or stop["until"] > self.now
            if stop["until"] is None:
                assert not bucket.fits(1, tokens)
            else:
                later = keys.blocked(self.state, bucket, tokens, stop["until"])
                assert later is None, "at the time that was told there is room"
        assert tried == [] or set(tried) == {"a", "b"}

    @rule(less=st.integers(0, 800), data=st.data())
    def somebody_settles(self, less: int, data: st.DataObject) -> None:
        opened = [use for use in self.uses if use[3] in self.state["open"]]
        if not opened:
            return
        use = data.draw(st.sampled_from(opened))
        name, bucket, reserved, _ = self.state["open"][use[3]]
        spent = min(less, reserved)
        key = next(k for k in self.keys if k.name == name)
        assert keys.settle(self.state, self.buckets[bucket], key, spent, use[3], self.now)
        assert not keys.settle(self.state, self.buckets[bucket], key, spent, use[3], self.now), "once"
        use[2] = spent

    @invariant()
    def no_account_above_its_limit(self) -> None:
        for bucket in self.buckets.values():
            now = [u for u in self.uses if u[1] == bucket.name and self.now - bucket.window < u[0] <= self.now]
            assert bucket.fits(len(now), sum(u[2] for u in now)) or not now
            record = self.state["buckets"].get(bucket.name)
            if record:
                requests, tokens = keys.used(record, bucket, self.now)
                assert requests >= len(now) and tokens >= sum(u[2] for u in now)
                assert len(record["use"]) <= 2 * 61 + 2


Machine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestMachine = Machine.TestCase

TOML = """
[budget.buckets.a]
provider = "p"
requests = 20
window = "1h"
[budget.buckets.b]
provider = "p"
requests = 20
window = "1h"
[budget.keys.a1]
bucket = "a"
env = "A_ONE"
[budget.keys.a2]
bucket = "a"
env = "A_TWO"
[budget.keys.b1]
bucket = "b"
env = "B_ONE"
"""
THERE = {"A_ONE": SECRET + "-a1", "A_TWO": SECRET + "-a2", "B_ONE": SECRET + "-b1"}


def desk(root: Path, toml: str = TOML, environ: dict[str, str] | None = None) -> Keys:
    (root / "ops").mkdir(exist_ok=True)
    (root / "ops" / "k1ctl.toml").write_text(toml)
    here = Workspace(str(root), str(root), "oslo")
    return Keys(here, load(here, {}), THERE if environ is None else environ)


def test_many_at_once_stay_below_the_limit(tmp_path: Path) -> None:
    """Six processes that take what they get: 80 % of each account's 20 requests, and not one more."""
    desk(tmp_path)
    code = (
        "import sys\n"
        "from k1ctl.budget.keys import Want\nfrom k1ctl.budget.keys_kept import Keys\nfrom k1ctl.config import load\n"
        "from k1ctl.errors import BusyError\nfrom k1ctl.workspace import Workspace\n"
        "here = Workspace(sys.argv[1], sys.argv[1], 'oslo')\n"
        "keys = Keys(here, load(here, {}), {'A_ONE': 'x', 'A_TWO': 'y', 'B_ONE': 'z'})\n"
        "try:\n"
        "    while True: print(keys.next(Want()).key.name, flush=True)\n"
        "except BusyError as exc: assert exc.details['until'], exc\n"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    each = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY) for _ in range(6)]
    names = []
    for process in each:
        assert process.stdout is not None
        names += process.stdout.read().split()
        process.stdout.close()
        assert finish(process) == 0
    assert sorted(names) == ["a1"] * 8 + ["a2"] * 8 + ["b1"] * 16


def test_accounts_take_turns_and_then_their_keys(tmp_path: Path) -> None:
    """Round robin over buckets first: a bucket with two keys has no two turns."""
    one = desk(tmp_path)
    assert [one.next(Want(), now=NOON).key.name for _ in range(6)] == ["a1", "b1", "a2", "b1", "a1", "b1"]
    assert one.next(Want(), dry_run=True, now=NOON).key.name == "a2" == one.next(Want(), now=NOON).key.name


def test_what_a_status_means(tmp_path: Path) -> None:
    """429 rests the account until Retry-After; 403 changes nothing; 401 and 402 take out until a 200; 5xx is the
    provider's. Each is an event with its reason."""
    one = desk(tmp_path)
    assert one.report("a1", 429, retry_after="30", now=NOON)["until"] == "2023-11-14T22:13:50.000Z"
    assert {one.next(Want(), now=NOON + 1).key.name for _ in range(4)} == {"b1"}
    assert one.report("b1", 403, now=NOON + 1)["action"] == "kept"
    assert one.next(Want(), now=NOON + 2).key.name == "b1"
    assert one.report("b1", 401, now=NOON + 2)["action"] == "out"
    with pytest.raises(BusyError) as refused:
        one.next(Want(), now=NOON + 3)
    assert refused.value.details["expected_seconds"] == pytest.approx(27) and "--status 200" in refused.value.hint
    assert "b1 is out (status 401" in refused.value.message
    (said,) = [text for text in one.document(NOON + 3)["warnings"] if "out for everybody" in text]
    assert said.startswith("b1 is out") and said.endswith("k1ctl budget keys report b1 --status 200")
    assert one.next(Want(), now=NOON + 30).key.bucket == "a"
    assert one.report("a2", 402, now=NOON + 31)["action"] == "out"
    with pytest.raises(BusyError) as refused:
        one.next(Want(), now=NOON + 32)
    assert refused.value.details["until"] is None and "not by itself" in refused.value.message
    assert any(text.startswith("a is out for everybody (status 402") for text in one.document(NOON + 32)["warnings"])
    assert one.report("a1", 200, now=NOON + 33)["action"] == one.report("b1", 200, now=NOON + 33)["action"] == "back"
    assert {one.next(Want(), now=NOON + 34).key.bucket for _ in range(2)} == {"a", "b"}
    for _ in range(3):
        one.report("a1", 503, retry_after="60", now=NOON + 35)
    with pytest.raises(BusyError, match=r"p: .*503"):
        one.next(Want(), now=NOON + 36)
    events = [e["event"] for e in read(str(tmp_path / "ops" / "events"))]
    assert [e.partition(".")[2] for e in events] == [
        "key_cooled", "key_out", "key_out", "key_back", "key_back", "breaker_opened",
    ]  # fmt: skip


def test_without_retry_after_the_rest_grows(tmp_path: Path) -> None:
    """A backoff for each 429 in a row; a shorter rest does not end a longer one."""
    one = desk(tmp_path)
    assert one.report("a1", 429, retry_after="1h", now=NOON)["until"] == "2023-11-14T23:13:20.000Z"
    for _ in range(3):
        assert one.report("a2", 429, now=NOON + 1)["until"] == "2023-11-14T23:13:20.000Z"
    assert one.kept.read(NOON + 1)[0]["buckets"]["a"]["limits"] == 4


def test_the_time_that_is_told_is_the_last_of_all(tmp_path: Path) -> None:
    """A bucket that cools down and is used up as well: the first moment at which there really is a key."""
    one = desk(tmp_path, TOML.replace("1h", "60s"))
    for _ in range(16):
        one.next(Want(bucket="a"), now=NOON)
    one.report("a1", 429, retry_after="5", now=NOON)
    with pytest.raises(BusyError) as refused:
        one.next(Want(bucket="a"), now=NOON)
    moment = NOON + refused.value.details["expected_seconds"]
    assert 60 <= moment - NOON <= 61
    with pytest.raises(BusyError):
        one.next(Want(bucket="a"), now=moment - 0.01)
    assert one.next(Want(bucket="a"), now=moment).key.bucket == "a"


def test_a_loss_of_power_leaves_no_half_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a document is replaced by is on the disk before it gets the name."""
    one, replace = desk(tmp_path), os.replace
    written: list[int] = []

    def named(fresh: str, path: str) -> None:
        assert written == [os.stat(fresh).st_ino]
        replace(fresh, path)

    monkeypatch.setattr(os, "fsync", lambda fd: written.append(os.fstat(fd).st_ino))
    monkeypatch.setattr(os, "replace", named)
    assert one.next(Want()).id and written


def test_a_wait_for_a_lock_is_no_clock_set_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit that somebody tells while another caller is inside the keys' lock ends when it was said to."""
    one = desk(tmp_path)
    told: list[float] = []

    def meanwhile(*_: object) -> None:
        time.sleep(0.002)
        end = ends.after(1000.0, time.time(), "told")
        told.append(one.breakers.report("p", LIMIT, end=end)["end"]["until"])

    real_take, real_settle = keys.take, keys.settle
    monkeypatch.setattr(keys, "take", lambda *a: meanwhile() or real_take(*a))
    monkeypatch.setattr(keys, "settle", lambda *a: meanwhile() or real_settle(*a))
    one.next(Want())
    one.report("a1", 200)
    with pytest.raises(BusyError):
        one.next(Want())
    assert len(told) == 2 and one.breakers.look("p").until == max(told)


def test_what_was_used_replaces_what_was_reserved(tmp_path: Path) -> None:
    """Less gives room back, more takes it, a second report on an id does nothing."""
    one = desk(tmp_path, TOML.replace("requests = 20", 'tokens = "1k"'))
    want = Want(700, bucket="a")
    first = one.next(want, now=NOON)
    with pytest.raises(BusyError):
        one.next(want, now=NOON)
    assert one.report("a1", 200, tokens=50, identity=first.id, now=NOON)["booked"]
    assert not one.report("a1", 200, tokens=50, identity=first.id, now=NOON)["booked"]
    second = one.next(want, now=NOON)
    one.report(second.key.name, 200, tokens=900, now=NOON)
    assert one.document(NOON)["buckets"][0]["tokens"] == 950
    with pytest.raises(ConfigError, match="never fit"):
        one.next(Want(801), now=NOON)


def test_names_of_one_key_are_one_key(tmp_path: Path) -> None:
    """A value under two names is used under the first only, so that no account's limit counts twice; it is told."""
    providers = '[budget.providers.q]\nmodels = ["m"]\n'
    one = desk(tmp_path, TOML + providers, environ={"A_ONE": "x", "B_ONE": " x\n"})
    assert {one.next(Want(), now=NOON).key.name for _ in range(4)} == {"a1"}
    warnings = one.document(NOON)["warnings"]
    assert "a1, a2 share the bucket a" in warnings[0] and "b1 and a1 hold the same key" in warnings[1]
    assert warnings[2:] == [f"{name}: no [budget.providers.p] is there; it has q" for name in "ab"]


def test_a_key_file_is_ours_and_closed(tmp_path: Path) -> None:
    """0600 or it is not read; what is wrong with it is told in the list."""
    file = tmp_path / "key"
    toml = TOML.replace('env = "B_ONE"', f'file = "{file}"')
    states = []
    for text, mode in ((None, 0), (SECRET, 0o640), ("\n" + SECRET, 0o600), (SECRET + "\nmore", 0o600)):
        if text is not None:
            file.write_text(text)
            file.chmod(mode)
        one = desk(tmp_path, toml, environ={})
        states.append(next(k["state"] for k in one.document(NOON)["keys"] if k["key"] == "b1"))
    assert states == ["no such file", "open to others (mode 640); chmod 600 it", "has an empty first line", "set"]
    assert one.next(Want(), now=NOON).place.name == str(file)


@pytest.mark.parametrize(
    ("lines", "text"),
    [
        (f'bucket = "a"\nvalue = "{SECRET}"', "does not belong here: set env"),
        (f'bucket = "a"\nenv = "{SECRET}"', "must be the name of an environment variable"),
        ('bucket = "a"\nenv = "AKIAIOSFODNN7EXAMPLE"', "must be the name of an environment variable"),
        (f'bucket = "a"\nfile = "{SECRET}"', "must be an absolute path"),
        ('bucket = "c"\nenv = "X"', "there is no bucket 'c'"),
        ('env = "X"', "belongs to no bucket"),
        ('bucket = "a"', "not said where the key is"),
    ],
)
def test_what_is_configured_wrong_is_refused_unseen(tmp_path: Path, lines: str, text: str) -> None:
    """A value in the file is refused with what to do instead, and is not repeated in the message."""
    with pytest.raises(ConfigError) as refused:
        desk(tmp_path, f"{TOML}\n[budget.keys.new]\n{lines}\n")
    told = f"{refused.value.message} {refused.value.hint} {refused.value.details}"
    assert text in told and SECRET not in told and "AKIA" not in told


def test_providers_are_not_mixed(tmp_path: Path) -> None:
    """A key of one provider is of no use with another: which is meant has to be said."""
    one = desk(tmp_path, TOML.replace('provider = "p"', 'provider = "q"', 1))
    with pytest.raises(UsageError, match="several providers"):
        one.next(Want())
    assert one.next(Want(provider="p"), now=NOON).key.name == "b1"
    with pytest.raises(ConfigError, match="no key of provider r"):
        one.next(Want(provider="r"))
    with pytest.raises(ConfigError, match="no key 'x'"):
        one.report("x", 200)
    with pytest.raises(ConfigError, match="no key of any account"):
        Keys(one.workspace, Config("", {}, {})).next(Want())


def test_no_secret_is_told_or_kept(workspace: Project) -> None:
    """Through the whole command line, errors included: the value is in no output, no event and no file."""
    home = workspace.root.parent
    file = home / "key"
    file.write_text(SECRET + "-file\n")
    file.chmod(0o600)
    workspace.configure(TOML + f'[budget.keys.b2]\nbucket = "b"\nfile = "{file}"\n')
    said = []
    for words, code in (
        (("next", "--tokens", "2k"), 0),
        (("report", "a1", "--status", "429", "--retry-after", "1h", "--json"), 0),
        (("list", "--json"), 0),
        (("list",), 0),
        (("next", "--bucket", "a", "--json"), 75),
    ):
        done = workspace.run("budget", "keys", *words, env=dict(THERE))
        assert done.exit_code == code, done
        said.append(done.stdout + done.stderr)
    assert said[0] == "A_ONE\n" and "cools" not in said[1] and "a1, a2 share the bucket a" in said[3]
    assert all(SECRET not in text for text in said)
    written = [p for p in workspace.ops.rglob("*") if p.is_file()]
    assert {p.name for p in written} >= {"keys.json", "k1ctl.toml"} and workspace.events("budget.key_cooled")
    assert all(SECRET.encode() not in p.read_bytes() for p in written)
