"""Which key to use now: accounts (**buckets**) have limits, keys only belong to them.

A provider counts what an account uses, not what a key does; so use is counted by bucket, in a sliding window, and
reserved before the call, in the same step that chooses the key. Buckets take turns, each up to a share (80 %) of its
limits: the rest is for what others use of the account and for what a call takes beyond its estimate. Of keys nothing
but names is known here, and nothing is kept: `k1ctl.budget.keys_kept` does that.
"""

from __future__ import annotations

import os

from k1ctl.budget import ends
from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from k1ctl.budget.ends import End
    from k1ctl.config import Config

    State = dict[str, Any]

_PARTS = 60  # of a window: use is forgotten a part late, so that never more than the limit is used in any window
LATE, MOST_OPEN = 3600.0, 1000  # s, and number: reservations that nobody reported on are remembered so long


class Bucket:
    """An account: ``requests`` and ``tokens`` it may use in ``window`` seconds (0: not limited), ``percent`` of which
    k1ctl gives away; ``provider`` is who counts."""

    __slots__ = ("name", "percent", "provider", "requests", "tokens", "window")

    def __init__(
        self, name: str, provider: str = "", requests: int = 0, tokens: int = 0, window: float = 60.0, percent: int = 80
    ) -> None:
        self.name, self.provider, self.requests, self.tokens = name, provider, requests, tokens
        self.window, self.percent = window, percent

    @property
    def most(self) -> tuple[int, int]:
        """(Requests, tokens) that are given away in a window; 0 where there is no limit."""
        requests, tokens = (limit * self.percent // 100 for limit in (self.requests, self.tokens))
        return max(requests, 1) if self.requests else 0, max(tokens, 1) if self.tokens else 0

    def fits(self, requests: int, tokens: int) -> bool:
        """Whether so much in one window stays within what is given away."""
        return all(not most or used <= most for used, most in zip((requests, tokens), self.most, strict=True))


class Key:
    """A key by its names: it belongs to ``bucket`` and is in the variable ``env`` or the first line of ``file``."""

    __slots__ = ("bucket", "env", "file", "name")

    def __init__(self, name: str, bucket: str, env: str = "", file: str = "") -> None:
        self.name, self.bucket, self.env = name, bucket, env
        self.file = os.path.expanduser(file)


class Want:
    """What a caller needs: a key of ``provider`` or ``bucket`` ("" any) for one request of about ``tokens``."""

    __slots__ = ("bucket", "provider", "tokens")

    def __init__(self, tokens: int = 0, provider: str = "", bucket: str = "") -> None:
        self.tokens, self.provider, self.bucket = tokens, provider, bucket

    def means(self, bucket: Bucket) -> bool:
        return self.bucket in ("", bucket.name) and self.provider in ("", bucket.provider)


def configured(config: Config) -> tuple[dict[str, Bucket], list[Key]]:
    """[budget.buckets] and [budget.keys]. Raises ConfigError for a key without a bucket or a place."""
    buckets = {}
    for name in config.names("budget", "buckets"):
        buckets[name] = Bucket(name, **config.section("budget", "buckets", name))
        if not 1 <= buckets[name].percent <= 100 or buckets[name].window <= 0:
            raise ConfigError(f"budget.buckets.{name}: percent is from 1 to 100, and window more than 0")
    keys = [Key(name, **config.section("budget", "keys", name)) for name in config.names("budget", "keys")]
    for key in keys:
        where = f"budget.keys.{key.name}"
        if key.bucket not in buckets:
            there = f"configured: {', '.join(buckets)}" if buckets else "add a [budget.buckets.NAME] section"
            what = f"there is no bucket {key.bucket!r}" if key.bucket else "belongs to no bucket"
            raise ConfigError(f"{where}: {what}", hint=f"set {where}.bucket to the account it is of; {there}")
        if not key.env and not key.file:
            raise ConfigError(f"{where}: it is not said where the key is", hint=f"set {where}.env or {where}.file")
    return buckets, keys


def fresh_bucket() -> dict[str, Any]:
    """The record of a bucket of which nothing is known: no use, no end that it cools down until, not out."""
    return {"turn": 0, "use": [], "cool": None, "limits": 0, "out": ""}


def fresh_key() -> dict[str, Any]:
    """The record of a key of which nothing is known."""
    return {"turn": 0, "out": "", "forbidden": 0}


def tables() -> dict[str, Any]:
    """What the parts of the state look like (`k1ctl.budget.kept.Kept`)."""
    bucket = {**fresh_bucket(), "use": [(0.0, 0, 0)]}
    return {"turn": 0, "buckets": bucket, "keys": fresh_key(), "open": _are_open}


def _are_open(part: Any) -> bool:
    """Whether these are reservations by id; there may be a thousand of them, looked at with each call."""
    kinds = ([str, str, int, float], [str, str, int, int])
    return isinstance(part, dict) and all(type(e) is list and [*map(type, e)] in kinds for e in part.values())


def used(record: Mapping[str, Any], bucket: Bucket, now: float) -> tuple[int, int]:
    """(Requests, tokens) of a bucket that count at ``now``."""
    counting = [part for part in record["use"] if part[0] + bucket.window > now]
    return sum(part[1] for part in counting), sum(part[2] for part in counting)


def book(record: dict[str, Any], bucket: Bucket, requests: int, tokens: int, now: float) -> float:
    """Count a use; returns the end of the part of the window that it is counted in."""
    width = bucket.window / _PARTS
    end = (now // width + 1) * width
    record["use"] = [part for part in record["use"] if part[0] + bucket.window > now]
    part = next((part for part in record["use"] if part[0] == end), None)
    if part is None:
        record["use"].append(part := [end, 0, 0])
    part[1] += requests
    part[2] += tokens
    return end


def room_at(record: Mapping[str, Any], bucket: Bucket, tokens: int, now: float) -> float | None:
    """When a request of ``tokens`` fits into what the bucket gives away: now, later, or never (None)."""
    if not bucket.fits(1, tokens):
        return None
    requests, total = used(record, bucket, now)
    for end, fewer, less in sorted(part for part in record["use"] if part[0] + bucket.window > now):
        if bucket.fits(requests + 1, total + tokens):
            return now
        requests, total, now = requests - fewer, total - less, end + bucket.window
    return now


def blocked(state: State, bucket: Bucket, tokens: int, now: float) -> End | None:
    """Why a bucket gives no key now and until when (``until`` None: not by itself); None when it does."""
    record = state["buckets"].get(bucket.name) or fresh_bucket()
    if record["out"]:
        return {"until": None, "fixed": True, "why": record["out"]}
    cool = dict(record["cool"]) if record["cool"] and now < record["cool"]["until"] else None
    at = room_at(record, bucket, tokens, now)
    if at is None:
        return {"until": None, "fixed": True, "why": f"never fits: more than {bucket.percent} % of its limit"}
    full = ends.after(at - now, now, f"{bucket.percent} % of the account's limit is used") if at > now else None
    return ends.later(cool, full)


def candidates(state: State, buckets: Mapping[str, Bucket], keys: Iterable[Key], here: Iterable[str]) -> list[Key]:
    """The keys that may be used, those whose turn is furthest back first: buckets take turns, then a bucket's keys."""
    there = set(here)
    usable = [k for k in keys if k.name in there and not (state["keys"].get(k.name) or fresh_key())["out"]]

    def turn(key: Key) -> tuple[int, int]:
        bucket, own = state["buckets"].get(key.bucket), state["keys"].get(key.name)
        return (bucket or fresh_bucket())["turn"], (own or fresh_key())["turn"]

    return sorted((key for key in usable if key.bucket in buckets), key=turn)


def take(state: State, bucket: Bucket, key: Key, tokens: int, now: float) -> str:
    """Reserve a request of ``tokens`` and the turn; returns the reservation's id."""
    state["turn"]["last"] = turn = state["turn"].get("last", 0) + 1
    record = state["buckets"].setdefault(bucket.name, fresh_bucket())
    record["turn"] = state["keys"].setdefault(key.name, fresh_key())["turn"] = turn
    part = book(record, bucket, 1, tokens, now)
    late = [i for i, (_, _, _, end) in state["open"].items() if end + LATE < now]
    for old in [*late, *list(state["open"])[: max(len(state["open"]) - MOST_OPEN, 0)]]:
        state["open"].pop(old, None)
    identity = f"k{turn:x}-{os.urandom(3).hex()}"
    state["open"][identity] = [key.name, bucket.name, tokens, part]
    return identity


def settle(state: State, bucket: Bucket, key: Key, tokens: int | None, identity: str, now: float) -> bool:
    """Replace what was reserved by what was used; without an id, of the key's oldest open reservation.

    ``tokens`` None: as estimated. Returns whether anything was booked: a second report on an id books nothing. Use that
    nobody reserved is booked in full.
    """
    mine = [i for i, (name, _, _, _) in state["open"].items() if name == key.name]
    found = identity if identity in mine else "" if identity or not mine else mine[0]
    record = state["buckets"].setdefault(bucket.name, fresh_bucket())
    if found:
        _, _, reserved, part_end = state["open"].pop(found)
        more = 0 if tokens is None else tokens - reserved
        part = next((part for part in record["use"] if part[0] == part_end), None)
        if more > 0:
            book(record, bucket, 0, more, now)
        elif part is not None:
            part[2] = max(part[2] + more, 0)
        return True
    if identity:
        return False
    book(record, bucket, 1, tokens or 0, now)
    return True


def shift(state: State, seconds: float) -> None:
    """The clock was set back by ``seconds``: every time that rests on it moves with it."""
    for record in state["buckets"].values():
        ends.shift(record["cool"], seconds)
        for part in record["use"]:
            part[0] -= seconds
    for reservation in state["open"].values():
        reservation[3] -= seconds
