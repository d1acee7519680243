"""The rotation of keys as all callers of a root share it, in ``ops/budget/keys.json``: names and counts, no value."""

from __future__ import annotations

import random

from k1ctl.budget import ends, keys, keys_places
from k1ctl.budget.breaker import ERROR, OK, OPEN, Breakers
from k1ctl.budget.kept import Kept
from k1ctl.budget.keys import Want, configured, fresh_bucket, fresh_key
from k1ctl.errors import BusyError, ConfigError, UsageError
from k1ctl.events import emit
from k1ctl.units import format_duration, parse_rfc3339, rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from k1ctl.budget.ends import End
    from k1ctl.budget.keys import Bucket, Key
    from k1ctl.budget.keys_places import Place
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

    State = dict[str, Any]


class Taken:
    """A key to use now: its names, where it is, and the ``id`` of what was reserved ("" when nothing was)."""

    __slots__ = ("id", "key", "place", "tokens")

    def __init__(self, key: Key, place: Place, tokens: int, identity: str) -> None:
        self.key, self.place, self.tokens, self.id = key, place, tokens, identity

    def document(self) -> dict[str, Any]:
        names = {"key": self.key.name, "bucket": self.key.bucket, "kind": self.place.kind, "name": self.place.name}
        return {"ok": True, **names, "tokens": self.tokens, "id": self.id or None}


class Keys:
    """Keys and buckets of a root. ``now`` is a time in seconds since 1970, None the present; ``environ`` is where
    variables are looked for (default: this process's)."""

    def __init__(self, workspace: Workspace, config: Config, environ: Mapping[str, str] | None = None) -> None:
        self.workspace = workspace
        self.buckets, self.keys = configured(config)
        self.places = keys_places.look(self.keys, environ)
        self.twins = keys_places.twins(self.keys, self.places)
        self.breakers = Breakers(workspace, config)
        self.kept = Kept(workspace, "keys", keys.tables(), keys.shift)

    def key(self, name: str) -> Key:
        """The key of that name. Raises ConfigError (unknown-key)."""
        found = next((key for key in self.keys if key.name == name), None)
        if found is None:
            there = f"configured: {', '.join(k.name for k in self.keys)}" if self.keys else "see docs/budget-keys.md"
            raise ConfigError(f"no key {name!r} is configured", hint=there, code="unknown-key")
        return found

    def next(self, want: Want, *, dry_run: bool = False, now: float | None = None) -> Taken:
        """The key to use now, its request and tokens reserved in the same step (with ``dry_run``: not).

        Raises BusyError (no-key, with ``reasons`` and ``expected_seconds``), ConfigError (no-keys, never-fits),
        UsageError where keys of several providers are meant, OSError.
        """
        self._check(want)
        closed = self._closed([bucket for bucket in self.buckets.values() if want.means(bucket)], now)
        if dry_run:
            state, now = self.kept.read(now)
            return self._next(state, want, closed, now, reserve=False)
        with self.kept.change(now) as (state, now):
            return self._next(state, want, closed, now, reserve=True)

    def waits(self, provider: str, now: float | None = None) -> tuple[bool, End | None]:
        """(Whether keys of a provider are configured, why none of them can be used now). Nothing is reserved."""
        if not any(self.buckets[key.bucket].provider == provider for key in self.keys):
            return False, None
        try:
            self.next(Want(provider=provider), dry_run=True, now=now)
        except BusyError as exc:
            until = exc.details["until"]
            why = "; ".join(f"{reason['bucket']}: {reason['why']}" for reason in exc.details["reasons"])
            return True, {"until": parse_rfc3339(until) if until else None, "fixed": False, "why": why}
        except ConfigError as exc:
            return True, {"until": None, "fixed": True, "why": exc.message}
        return True, None

    def _check(self, want: Want) -> None:
        meant = [b for b in self.buckets.values() if want.means(b) and any(k.bucket == b.name for k in self.keys)]
        asked = (
            f"bucket {want.bucket}" if want.bucket else f"provider {want.provider}" if want.provider else "any account"
        )
        if not meant:
            raise ConfigError(
                f"no key of {asked} is configured",
                hint="add [budget.buckets.NAME] and [budget.keys.NAME]",
                code="no-keys",
            )
        providers = sorted({bucket.provider for bucket in meant})
        if len(providers) > 1:
            named = ", ".join(p or "(none)" for p in providers)
            raise UsageError(
                "keys of several providers are configured",
                hint=f"name one by --provider ({named}), or an account by --bucket",
            )
        if not any(bucket.fits(1, want.tokens) for bucket in meant):
            most = max(bucket.most[1] for bucket in meant)
            raise ConfigError(
                f"{want.tokens} tokens never fit: {most} at once are the most that is given away of {asked}",
                hint="ask for less, or raise [budget.buckets.NAME] tokens or percent",
                code="never-fits",
            )

    def _next(self, state: State, want: Want, closed: Mapping[str, End], now: float, *, reserve: bool) -> Taken:
        here = [k.name for k in self.keys if self.places[k.name].usable and k.name not in self.twins]
        meant = {name: bucket for name, bucket in self.buckets.items() if want.means(bucket)}
        ready = keys.candidates(state, meant, self.keys, here)
        stops: dict[str, End] = {}
        for key in ready:
            bucket = meant[key.bucket]
            if bucket.name not in stops:
                stop = ends.later(closed.get(bucket.provider), keys.blocked(state, bucket, want.tokens, now))
                if stop is None:
                    identity = keys.take(state, bucket, key, want.tokens, now) if reserve else ""
                    return Taken(key, self.places[key.name], want.tokens, identity)
                stops[bucket.name] = stop
        raise self._refusal(state, meant, stops, now)

    def _closed(self, buckets: Iterable[Bucket], now: float | None) -> dict[str, End]:
        """Which providers of these buckets are not asked at all, and why: their breaker is open. In HALF_OPEN they are:
        who was chosen to try one needs a key.

        Breakers have a lock and a time of their own: ``now`` is the caller's, never the one of the keys' lock, which
        would be earlier than their last change and look like a clock set back.
        """
        found = {}
        for name in {bucket.provider for bucket in buckets} - {""}:
            answer = self.breakers.look(name, now)
            if answer.state == OPEN:
                found[name] = {"until": answer.until, "fixed": False, "why": f"{name}: {answer.why}"}
        return found

    def _refusal(self, state: State, meant: Mapping[str, Bucket], stops: Mapping[str, End], now: float) -> BusyError:
        """Why there is no key, bucket by bucket, and the first moment at which there is one."""
        reasons = []
        for name in meant:
            stop = stops.get(name)
            if stop is None:
                named = [f"{k.name} {self._useless(state, k)}" for k in self.keys if k.bucket == name]
                stop = {"until": None, "why": "; ".join(named) or "no key belongs to it"}
            until = stop["until"]
            reasons.append({"bucket": name, "why": stop["why"], "until": rfc3339(until) if until else None})
        first = min((stop["until"] for stop in stops.values() if stop["until"]), default=None)
        texts = "; ".join(f"{reason['bucket']}: {reason['why']}" for reason in reasons)
        when = f"again at {rfc3339(first)} (in {format_duration(first - now)})" if first else "not by itself"
        return BusyError(
            f"no key may be used now ({when}): {texts}",
            hint="k1ctl budget keys list shows what each waits for; one that is out and was mended is back after"
            " k1ctl budget keys report NAME --status 200",
            code="no-key",
            reasons=reasons,
            until=rfc3339(first) if first else None,
            expected_seconds=first - now if first else None,
        )

    def _useless(self, state: State, key: Key) -> str:
        if key.name in self.twins:
            return f"holds the same key as {self.twins[key.name]}"
        place, out = self.places[key.name], (state["keys"].get(key.name) or fresh_key())["out"]
        return f"is out ({out})" if out else f"is not there ({place.kind} {place.name}: {place.state})"

    def report(
        self,
        name: str,
        status: int,
        *,
        retry_after: str = "",
        tokens: int | None = None,
        identity: str = "",
        lift: bool = False,
        now: float | None = None,
    ) -> dict[str, Any]:
        """Record what a call with a key came to, by its HTTP status, and return what follows from it (``action``,
        ``until``, ``why``); with ``lift`` its account cools down no more, as what was told of it was wrong.

        Raises ConfigError (unknown-key), UsageError for a bad ``retry_after``, OSError.
        """
        key = self.key(name)
        bucket = self.buckets[key.bucket]
        with self.kept.change(now) as (state, moment):
            end = ends.given(retry_after, moment, f"status {status}, Retry-After") if retry_after else None
            booked = keys.settle(state, bucket, key, tokens, identity, moment)
            if lift:
                state["buckets"][bucket.name].update(cool=None, limits=0)
            result = _judge(state, bucket, key, status, end, moment)
        result = {"key": name, "bucket": bucket.name, "status": status, "booked": booked, **result}
        if result["action"] == "cooled":
            facts = {k: result[k] for k in ("key", "bucket", "status", "until", "why")}
            emit(self.workspace, "budget.key_cooled", **facts)
        elif result["action"] in ("out", "back"):
            emit(self.workspace, f"budget.key_{result['action']}", key=name, bucket=bucket.name, why=result["why"])
        if bucket.provider:
            trouble = status >= 500  # whoever says no has answered
            self.breakers.report(bucket.provider, ERROR if trouble else OK, end=end if trouble else None, now=now)
        return result

    def document(self, now: float | None = None) -> dict[str, Any]:
        """All keys and buckets for programs and people, with their warnings; no value of a key."""
        closed = self._closed(self.buckets.values(), now)
        state, now = self.kept.read(now)
        providers = self.breakers.config.names("budget", "providers")
        strange = [b for b in self.buckets.values() if providers and b.provider and b.provider not in providers]
        said = [
            f"{b.name}: no [budget.providers.{b.provider}] is there; it has {', '.join(providers)}" for b in strange
        ]
        return {
            "keys": [self._key_row(state, key) for key in self.keys],
            "buckets": [_bucket_row(state, bucket, closed, now) for bucket in self.buckets.values()],
            "warnings": keys_places.warnings(self.keys, self.places) + said + self._out(state),
        }

    def _out(self, state: State) -> list[str]:
        """What is out for everybody, and how it comes back; a bucket by any key of it."""
        found = []
        for key in self.keys:
            if out := (state["keys"].get(key.name) or fresh_key())["out"]:
                found.append((key.name, out, key.name))
        for name in self.buckets:
            own = [key.name for key in self.keys if key.bucket == name]
            if own and (out := (state["buckets"].get(name) or fresh_bucket())["out"]):
                found.append((name, out, own[0]))
        back = "once that is mended: k1ctl budget keys report"
        return [f"{name} is out for everybody ({out}); {back} {key} --status 200" for name, out, key in found]

    def _key_row(self, state: State, key: Key) -> dict[str, Any]:
        record, place = state["keys"].get(key.name) or fresh_key(), self.places[key.name]
        return {
            "key": key.name,
            "bucket": key.bucket,
            "provider": self.buckets[key.bucket].provider,
            "kind": place.kind,
            "name": place.name,
            "state": "out" if record["out"] else place.state,
            "why": record["out"],
            "same_as": self.twins.get(key.name),
            "forbidden": record["forbidden"],
        }


def _bucket_row(state: State, bucket: Bucket, closed: Mapping[str, End], now: float) -> dict[str, Any]:
    record = state["buckets"].get(bucket.name) or fresh_bucket()
    requests, tokens = keys.used(record, bucket, now)
    stop = ends.later(closed.get(bucket.provider), keys.blocked(state, bucket, 0, now))
    until = stop["until"] if stop else None
    return {
        "bucket": bucket.name,
        "provider": bucket.provider,
        "window_seconds": bucket.window,
        "percent": bucket.percent,
        "requests": requests,
        "requests_limit": bucket.requests,
        "tokens": tokens,
        "tokens_limit": bucket.tokens,
        "ready": stop is None,
        "until": rfc3339(until) if until else None,
        "why": stop["why"] if stop else "",
    }


def _judge(state: State, bucket: Bucket, key: Key, status: int, end: End | None, now: float) -> dict[str, Any]:
    """What a status means for the key and its bucket. 429: the account's limit, it cools down. 401: this key is of no
    use any more. 402: the account has no credit. 403: a permission or a rule, not a limit, unless it comes with
    Retry-After; no other key is to be tried for it. 5xx: the provider's trouble, which is its breaker's."""
    account = state["buckets"].setdefault(bucket.name, fresh_bucket())
    own = state["keys"].setdefault(key.name, fresh_key())
    if status == 429 or (status == 403 and end is not None):
        account["limits"] += 1
        why = f"status {status} without Retry-After"
        end = end or ends.after(ends.backoff(account["limits"], random.random()), now, why)
        current = account["cool"] if account["cool"] and now < account["cool"]["until"] else None
        account["cool"] = cool = ends.later(current, end)
        assert cool is not None
        return {"action": "cooled", "until": rfc3339(cool["until"]), "why": cool["why"]}
    if status == 401:
        own["out"] = "status 401: the key is not valid"
        return {"action": "out", "until": None, "why": own["out"]}
    if status == 402:
        account["out"] = "status 402: the account has no credit"
        return {"action": "out", "until": None, "why": account["out"]}
    if status == 403:
        own["forbidden"] += 1
        return {"action": "kept", "until": None, "why": "403 is no limit: do not try another key"}
    if 200 <= status < 300:
        back = own["out"] or account["out"]
        own.update(out="", forbidden=0)
        account.update(out="", limits=0)
        return {"action": "back" if back else "kept", "until": None, "why": f"status {status}"}
    return {"action": "kept", "until": None, "why": "nothing that a key can help"}
