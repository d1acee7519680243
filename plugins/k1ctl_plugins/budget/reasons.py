"""What the budget knows of why: a refusal and its counter, what is used up, who is not asked until when."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from k1ctl.reasons import AROUND, BUDGET, ENDED, FAILED, LIMITED, Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.errors import K1ctlError
    from k1ctl.reasons import Subject
    from k1ctl.workspace import Workspace

_UNITS = ("tokens", "micro_usd")
_STATUS = "`k1ctl budget status` shows who holds and spent what; `k1ctl budget set` changes a limit"


def reasons(workspace: Workspace, config: Config, subject: Subject) -> list[Reason | K1ctlError]:
    """Why the workspace's agent gets no budget, and which provider, account or GitHub is not asked now; an error for
    what could not be looked at."""
    if not subject.whole:
        return []
    from k1ctl.errors import K1ctlError
    from k1ctl.plugins import one_line

    found: list[Reason | K1ctlError] = []
    for what, part in (("limits", _counters), ("breakers", _breakers), ("keys", _keys), ("github", _github)):
        try:
            found += part(workspace, config, subject)
        except K1ctlError as exc:
            found.append(exc)
        except Exception as exc:  # a damaged file of one of them hides none of the others
            found.append(K1ctlError(f"what is kept of {what} is damaged: {one_line(exc)}"))
    return found


def _counters(workspace: Workspace, config: Config, subject: Subject) -> list[Reason]:
    """A refusal, else what is used up. Without the books the events still tell of a refusal."""
    import sqlite3

    from k1ctl.errors import K1ctlError
    from k1ctl.overview import budget
    from k1ctl.overview.parts import Sources

    rows: dict[tuple[str, str], dict[str, Any]] = {}
    try:
        rows = {(row["scope"], row["name"]): row for row in budget.look(Sources(workspace, config)).rows}
    except (K1ctlError, OSError, sqlite3.Error):
        pass
    refused = _refused(workspace, subject, rows)
    return refused if refused and refused[0].until else [*refused, *_used_up(workspace, config, subject, rows)]


def _refused(workspace: Workspace, subject: Subject, rows: dict[tuple[str, str], dict[str, Any]]) -> list[Reason]:
    """The last refusal of a reserve: still so by the counters of now, or the last thing that the agent asked for."""
    import time

    from k1ctl.budget.limits import amount, key_of, named
    from k1ctl.units import format_duration, parse_rfc3339, rfc3339

    name = subject.workspace
    found = subject.find("budget.refused", whose=name, limit=1)
    if not found:
        return []
    event = found[-1]
    short = [{**r, "name": key_of(r["scope"], r["name"])[1]} for r in event.get("reasons") or [] if isinstance(r, dict)]
    still = any(_short(rows, reason) for reason in short)
    if not still and subject.went_on(event["at"]):
        return []
    chain = []
    for r in short:
        unit, key = _UNITS.index(r["unit"]), (r["scope"], r["name"])
        need, had, limit, spent, held = (amount(unit, r[k]) for k in ("need", "free", "limit", "spent", "held"))
        free = (rows.get(key) or {}).get(f"free_{r['unit']}")
        now = "" if free is None else f"; now {amount(unit, free)} are free"
        chain.append(f"{named(key)}: {need} asked, {had} free of {limit} ({spent} spent, {held} held){now}")
    holders = _holders(workspace, short)
    chain += holders
    counters = ", ".join(named((r["scope"], r["name"])) for r in short)
    seconds = float(event.get("expected_seconds") or 0.0)
    left = parse_rfc3339(event["at"]) + seconds - time.time() if seconds and still else 0.0
    until = rfc3339(time.time() + left) if left > 0 else ""
    when = f"; it would fit in about {format_duration(left)}" if until else ""
    over = "" if still else "; by now there is room for it"
    task = f" for task {event['task']}" if event.get("task") else ""
    asked = amount(0, event["tokens"]) if "tokens" in event else "what it asked for"
    room = f"no room for it in {counters or 'a counter'}"
    agent = str(event.get("agent") or name)
    who = name if agent == name else f"{name} (agent {agent})"
    text = f"{who} was refused {asked}{task}: {room}{when}{over}"
    return [
        Reason(
            BUDGET,
            text,
            code="budget-exhausted",
            stage=ENDED,
            holder="; ".join(holders),
            bound=counters,
            limit=_limit(short),
            until=until,
            at=event["at"],
            chain=chain,
            events=found,
            files=[workspace.ops_path("state.db")],
            next=_STATUS,
        )
    ]


def _short(rows: dict[tuple[str, str], dict[str, Any]], reason: dict[str, Any]) -> bool:
    """Whether a counter has still less than was asked of it."""
    row = rows.get((reason["scope"], reason["name"]))
    free = None if row is None else row.get(f"free_{reason['unit']}")
    return free is not None and free < reason["need"]


def _limit(short: list[dict[str, Any]]) -> str:
    from k1ctl.budget.limits import amount

    return ", ".join(amount(_UNITS.index(r["unit"]), r["limit"]) for r in short)


def _holders(workspace: Workspace, short: list[dict[str, Any]]) -> list[str]:
    """Who holds what of these counters now."""
    import sqlite3

    from k1ctl.budget import rows
    from k1ctl.budget.limits import amount, keys_of
    from k1ctl.errors import K1ctlError
    from k1ctl.state import State

    wanted = {(r["scope"], r["name"]) for r in short}
    try:
        opened = State(workspace, patience=0.2).glance(rows.opened)
    except (K1ctlError, OSError, sqlite3.Error):
        return []
    mine = [h for h in opened if wanted & set(keys_of(h.day, h.hour, h.agent, h.task, h.pool))]
    return [f"{h.agent} holds {amount(0, h.tokens)}{f' for task {h.task}' if h.task else ''}" for h in mine[:5]]


def _used_up(
    workspace: Workspace, config: Config, subject: Subject, rows: dict[tuple[str, str], dict[str, Any]]
) -> Iterator[Reason]:
    """Counters that the agent's next reserve falls on, and of which nothing is free."""
    import time

    from k1ctl.budget import days
    from k1ctl.budget.limits import Limits, amount, named, shown
    from k1ctl.units import rfc3339

    if not rows:
        return
    zone = Limits(config).zone
    now = time.time()
    for (scope, name), row in rows.items():
        mine = scope in ("day", "hour") or (scope == "agent" and name.partition(" ")[2] == subject.workspace)
        for unit, word in enumerate(_UNITS):
            if not mine or row[f"free_{word}"] != 0:
                continue
            end = (days.hour_of(now) + 1) * days.HOUR if scope == "hour" else days.next_day(now, zone)
            spent, held, limit = (amount(unit, row[f"{what}_{word}"]) for what in ("spent", "held", "limit"))
            text = f"nothing is left of {named((scope, name))}: {spent} spent and {held} held of {limit}"
            proof: dict[str, Any] = {
                "events": subject.find("budget.soft", scope=scope, name=shown((scope, name)), limit=2),
                "files": [workspace.ops_path("state.db")],
            }
            yield Reason(
                BUDGET, text, code="budget-exhausted", stage=AROUND, bound=named((scope, name)), limit=limit,
                until=rfc3339(end), next=_STATUS, **proof,
            )  # fmt: skip


def _breakers(workspace: Workspace, config: Config, subject: Subject) -> Iterator[Reason]:
    import os

    from k1ctl.budget.breaker import OPEN, Breakers

    breakers = Breakers(workspace, config)
    if not os.path.exists(breakers.kept.path):
        return
    for name in sorted(breakers.kept.read()[0]["providers"]):
        told = breakers.document(name)
        if told["state"] != OPEN:
            continue
        yield Reason(
            LIMITED,
            f"{name} is not asked until {told['until']}: {told['why']}",
            code="breaker-open",
            stage=AROUND,
            bound=f"breaker of {name}",
            limit=f"{told['failures']} failures" if told["failures"] else "",
            until=told["until"],
            events=subject.find("budget.breaker_opened", provider=name, limit=1),
            files=[breakers.kept.path],
            next="`k1ctl budget model --for TASK` names another one of a chain ([budget.chains]) that may be asked",
        )


def _keys(workspace: Workspace, config: Config, subject: Subject) -> Iterator[Reason]:
    import os
    import time

    from k1ctl.budget.kept import Kept
    from k1ctl.budget.keys import shift, tables
    from k1ctl.units import rfc3339

    kept = Kept(workspace, "keys", tables(), shift)
    if not os.path.exists(kept.path):
        return
    path, buckets = kept.path, kept.read()[0]["buckets"]
    nxt = "`k1ctl budget keys list` shows every account; `k1ctl budget keys next` takes one that is ready"
    for name, bucket in sorted(buckets.items()):
        proof: dict[str, Any] = {"stage": AROUND, "bound": f"account {name}", "files": [path], "next": nxt}
        if bucket.get("out"):
            found = subject.find("budget.key_out", bucket=name, limit=1)
            yield Reason(FAILED, f"the account {name} is out: {bucket['out']}", code="key-out", events=found, **proof)
            continue
        cool = bucket.get("cool")
        if cool and cool["until"] > time.time():
            until = rfc3339(cool["until"])
            found = subject.find("budget.key_cooled", bucket=name, limit=1)
            text = f"the account {name} cools down until {until}: {cool['why']}"
            yield Reason(LIMITED, text, code="key-cooling", until=until, events=found, **proof)


def _github(workspace: Workspace, config: Config, subject: Subject) -> Iterator[Reason]:
    import os

    from k1ctl.budget.github_kept import GitHub

    github = GitHub(workspace, config)
    if not os.path.exists(github.kept.path):
        return
    told = github.document()
    proof: dict[str, Any] = {
        "stage": AROUND,
        "code": "github-limited",
        "events": subject.find("budget.github_limited", limit=1),
        "files": [github.kept.path],
        "next": "`k1ctl budget github --pace --wait 2m` waits at most 2 m for the next write",
    }
    if told["secondary"]["limited"]:
        until = told["secondary"]["until"]
        text = f"GitHub's secondary limit lets nobody write until {until}"
        yield Reason(LIMITED, text, bound="GitHub secondary", until=until, **proof)
    for row in told["resources"]:
        if row["remaining"] == 0 and not row["is_past"]:
            text = f"GitHub's limit of {row['resource']} is used up until {row['reset']}"
            bound, limit = f"GitHub {row['resource']}", str(row["limit"])
            yield Reason(LIMITED, text, bound=bound, limit=limit, until=row["reset"], **proof)
