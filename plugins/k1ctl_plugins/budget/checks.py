"""What `k1ctl doctor` is told of the budget: whether the books can be read, and whether prices are of this season."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.checks import ERROR, NOTE, OK, WARNING, Check

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from k1ctl.config import Config
    from k1ctl.workspace import Workspace

_OLD = 180  # days of a list of prices


def checks(workspace: Workspace, config: Config) -> list[Check]:
    """Nothing raised. The proof of the books is `k1ctl budget verify`; here only their file is looked at."""
    return [*_books(workspace), *_limits(config), *_prices(config)]


def _books(workspace: Workspace) -> Iterator[Check]:
    import os
    from shlex import quote

    from k1ctl.errors import K1ctlError
    from k1ctl.state import State

    state = State(workspace, patience=0.5)
    if not state.exists:
        yield Check("no-books", OK, "nothing was reserved or spent here yet")
        return

    def step(db: sqlite3.Connection) -> tuple[str, int]:
        (said,) = db.execute("PRAGMA quick_check(1)").fetchone()
        (entries,) = db.execute("SELECT COUNT(*) FROM record").fetchone()
        return str(said), int(entries)

    try:
        said, entries = state.glance(step)
    except K1ctlError as exc:
        level = NOTE if exc.code in ("state-older", "state-busy") else ERROR
        yield Check(exc.code, level, exc.message, why="no budget can be held or settled", fix=exc.hint)
        return
    if said != "ok":
        why, fix = "what was spent may be lost", "bring back a copy; `k1ctl budget export` saves what can be read"
        yield Check("state-damaged", ERROR, f"{state.path}: {said}", why=why, fix=fix)
    elif not os.access(state.path, os.W_OK):
        why, fix = "nothing can be reserved or settled", f"`ls -l {quote(state.path)}` tells whose it is"
        yield Check("state-read-only", ERROR, f"{state.path} cannot be written", why=why, fix=fix)
    else:
        yield Check("books", OK, f"the books are whole ({entries} entries)")


def _limits(config: Config) -> Iterator[Check]:
    from k1ctl.budget.limits import Limits

    limits = Limits(config)
    day = limits.tokens.get("day", 0)
    if limits.reserve and not day:
        what = "budget.reserve_pool is set, and the day has no limit"
        yield Check(
            "pool-without-day", WARNING, what, why="nothing is reserved", fix="k1ctl config set budget.day TOKENS"
        )
    for scope in ("agent", "hour", "task"):
        most = limits.tokens.get(scope, 0)
        if day and most > day:
            what = f"the limit of an {scope}" if scope in ("agent", "hour") else "the limit of a task"
            yield Check("limit-beyond-day", NOTE, f"{what} is more than that of a day", why="it never binds")


def _prices(config: Config) -> Iterator[Check]:
    import time
    from calendar import timegm

    from k1ctl.budget import prices
    from k1ctl.errors import ConfigError

    try:
        found = prices.load(str(config.get("budget", "prices")))
        made = timegm(time.strptime(found.as_of, "%Y-%m-%d"))
    except ConfigError as exc:
        yield Check("bad-prices", ERROR, exc.message, why="money is not counted", fix=exc.hint)
        return
    except ValueError:
        return
    days = int((time.time() - made) // 86400)
    if days > _OLD:
        what = f"the list of prices is {days} days old"
        fix = "update k1ctl, or name a list of your own: `k1ctl config set budget.prices FILE`"
        yield Check("old-prices", NOTE, what, why="dollars are counted by prices that may have changed", fix=fix)
