"""What all callers share about accounts, breakers and GitHub: one small JSON document each, in ``ops/budget``.

A change is made under a flock of the document's own, and the document is replaced whole (write, fsync, rename): a
SIGKILL or a loss of power at any moment leaves a state before or the one behind, and never half of one. Times are
seconds since 1970. Each document has the time of its last change (``at``): when the clock is earlier than that, it was
set back, and the times that rest on this host's clock are moved back with it, so that no wait grows by the hour that
went missing.
"""

from __future__ import annotations

import os
import time
from contextlib import contextmanager

from k1ctl.errors import ConfigError
from k1ctl.files import Locked, read_bytes
from k1ctl.jsontext import dumps, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from k1ctl.workspace import Workspace

    State = dict[str, Any]

VERSION = 1


class Kept:
    """The document ``ops/budget/NAME.json``; ``tables`` are its parts, each by name with what an entry of it looks like
    (`like`; or a function that says whether the part is sound), ``shift(state, seconds)`` moves its times back.

    A document that was damaged by hand, or is of a newer k1ctl, is refused and never overwritten.
    """

    def __init__(
        self, workspace: Workspace, name: str, tables: Mapping[str, Any], shift: Callable[[State, float], None]
    ) -> None:
        self.path = workspace.ops_path("budget", name + ".json")
        self.tables, self.shift = tables, shift
        self._text = ""  # of the document as it stands in the file

    def read(self, now: float | None = None) -> tuple[State, float]:
        """(The state, the time it was looked at), without the lock; ``now`` is for who asks of another time.

        Raises ConfigError (budget-state-damaged, budget-state-newer), OSError.
        """
        state = self._load()
        moment = time.time() if now is None else now
        if moment < state["at"]:
            with self.change(now) as (state, moment):
                pass
        return state, moment

    @contextmanager
    def change(self, now: float | None = None) -> Iterator[tuple[State, float]]:
        """(The state, the time) under the lock; written when the block changed it and did not raise.

        The time is taken under the lock: taken before, each wait for the lock would look like a clock set back.
        Raises ConfigError (budget-state-damaged, budget-state-newer), OSError.
        """
        with Locked(self.path + ".lock"):
            moment = time.time() if now is None else now
            state = self._load()
            if moment < state["at"]:
                self.shift(state, state["at"] - moment)
                self._write(state, moment)
            yield state, moment
            if dumps(state) != self._text:
                self._write(state, moment)

    def _write(self, state: State, now: float) -> None:
        state["at"] = now
        fresh = self.path + ".new"  # one name, as the lock is held: what a killed writer leaves is written over
        with open(fresh, "wb") as f:
            self._text = dumps(state)
            f.write(self._text.encode() + b"\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(fresh, self.path)

    def _load(self) -> State:
        data = read_bytes(self.path)
        if data is None:
            empty = {"version": VERSION, "at": 0.0, **{table: {} for table in self.tables}}
            self._text = dumps(empty)
            return empty
        try:
            self._text = data.decode().rstrip("\n")
            state = loads(self._text, bounded=True)
            sound = type(state["version"]) is int and like(state["at"], 0.0) and state["at"] >= 0
        except (ValueError, KeyError, TypeError):
            sound = False
        if sound and state["version"] > VERSION:
            raise ConfigError(
                f"{self.path} was written by a newer k1ctl", hint="update this one", code="budget-state-newer"
            )
        if not sound or not all(_table(state.get(name), model) for name, model in self.tables.items()):
            raise ConfigError(
                f"{self.path} is damaged; it was left as it is",
                hint="move it away: what is known of limits is then learned anew",
                code="budget-state-damaged",
            )
        return state  # type: ignore[no-any-return]


def like(value: Any, model: Any) -> bool:
    """Whether ``value`` is made as ``model`` is: the same keys, in a list any number like its one entry, in a tuple's
    place a list of as many, for None an end (`k1ctl.budget.ends`) or none, for a number any number."""
    if isinstance(model, dict):
        return isinstance(value, dict) and all(key in value and like(value[key], each) for key, each in model.items())
    if isinstance(model, list):
        return isinstance(value, list) and all(like(each, model[0]) for each in value)
    if isinstance(model, tuple):
        return isinstance(value, list) and len(value) == len(model) and all(map(like, value, model))
    if model is None:
        return value is None or like(value, {"until": 0.0, "fixed": False, "why": ""})
    if isinstance(model, str | bool):
        return type(value) is type(model)
    return type(value) in (int, float)


def _table(table: Any, model: Any) -> bool:
    if callable(model):
        return bool(model(table))
    return isinstance(table, dict) and all(like(entry, model) for entry in table.values())
