"""Devices watched side by side: a thread asks each, one place looks at what they say."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

from k1ctl.device import resets, survey
from k1ctl.device.verdict import INFO, Verdict, judge
from k1ctl.errors import ConfigError, K1ctlError
from k1ctl.units import rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.config import Config
    from k1ctl.device.health import Record
    from k1ctl.workspace import Workspace

_LONGEST = 3600.0  # seconds that one wait may last
_SHORTEST = 0.05  # seconds between two looks


class Screen(Protocol):
    """Where it is shown."""

    def show(self, all_of_them: Sequence[Watched], new: Watched) -> None: ...


class Watched:
    """A device and what is known of it: its ``record`` and ``verdict`` (None before the first answer), ``trouble`` when
    nobody came to one, how many ``resets`` were seen, and how many of them nothing explains; ``reset`` is that of the
    last record, {at, explained_by, message} or None."""

    def __init__(self, device: dict[str, Any]) -> None:
        self.device = device
        self.name = str(device["name"])
        self.record: Record | None = None
        self.verdict: Verdict | None = None
        self.trouble = ""
        self.resets = self.unexplained = 0
        self.reset: dict[str, Any] | None = None
        self._last: resets.Sample | None = None

    @property
    def state(self) -> str:
        """The verdict's state, or ``unknown``."""
        return self.verdict.state if self.verdict and not self.trouble else "unknown"

    def take(self, workspace: Workspace, config: Config, answer: Record | str) -> None:
        """Look at an answer, or at the reason why there is none."""
        self.reset = None
        if isinstance(answer, str):
            self.trouble = answer
            return
        self.trouble, self.record, self.verdict = "", answer, judge(answer, self.device)
        known = self.verdict.reachable and INFO not in self.verdict.missing  # else another board may be there
        found = resets.sample(answer) if known else None
        if found is None:
            return
        before, self._last = self._last, found
        if before is not None and resets.between(before, found):
            self._restarted(workspace, config, found)

    def _restarted(self, workspace: Workspace, config: Config, found: resets.Sample) -> None:
        who = resets.explanation(workspace, config, self.device, found.started_at)
        self.resets += 1
        message = f"{self.name} restarted ({who})"
        if not who:
            self.unexplained += 1
            message = (
                f"{self.name} restarted and nothing had it through the queue: someone flashed or reset it past the "
                "queue, or it crashed or lost power"
            )
            try:
                resets.note_unexplained(workspace, self.name, found)
            except (OSError, K1ctlError):
                pass  # a folder that cannot be written costs the event, not the view
        self.reset = {"at": rfc3339(found.started_at), "explained_by": who, "message": message}

    def document(self) -> dict[str, Any]:
        """One line of ``--jsonl``."""
        values = self.verdict.values if self.verdict and not self.trouble else {}
        record = self.record if self.record and not self.trouble else None
        return {
            "at": record["probed_at"] if record else rfc3339(),
            "device": self.name,
            "state": self.state,
            "message": self.trouble or (self.verdict.message if self.verdict else ""),
            **{key: values.get(key) for key in ("fps", "heap_free_bytes", "rssi_dbm", "uptime_ms")},
            "limited": bool(self.verdict and self.verdict.limited and not self.trouble),
            "reset": self.reset,
            "resets": self.resets,
            "unexplained_resets": self.unexplained,
        }


def watch(
    workspace: Workspace,
    config: Config,
    names: Sequence[str],
    *,
    interval: float,
    seconds: float | None,
    screen: Screen,
) -> None:
    """Show the devices (default: all) until ``seconds`` are over or ^C. Raises ConfigError."""
    from queue import Empty, SimpleQueue
    from threading import Event, Thread

    watched = {name: Watched(device) for name, device in survey.configured(config, names).items()}
    if not watched:
        hint = f"k1ctl device discover --toml finds boards; their sections go into {config.path}"
        raise ConfigError("no device is configured", hint=hint, code="unknown-device")
    window = float(config.get("device", "window"))
    said: SimpleQueue[tuple[str, Record | str]] = SimpleQueue()
    over = Event()

    def ask(name: str) -> None:
        seen = 0.0
        while not over.is_set():
            begun = time.monotonic()
            answer = survey.ask_each(workspace, {name: watched[name].device}, window=window)[name]
            told = 0.0 if isinstance(answer, str) else float(answer["monotonic"])
            if not told or told != seen:  # another one's answer is taken once
                said.put((name, answer))
            seen = told
            over.wait(max(interval, window, _SHORTEST) - (time.monotonic() - begun))

    for name in watched:
        Thread(target=ask, args=(name,), daemon=True).start()
    end = None if seconds is None else time.monotonic() + seconds
    try:
        while (left := _LONGEST if end is None else end - time.monotonic()) > 0:
            try:
                name, answer = said.get(timeout=min(left, _LONGEST))
            except Empty:
                continue
            watched[name].take(workspace, config, answer)
            screen.show(list(watched.values()), watched[name])
    except KeyboardInterrupt:
        pass
    finally:
        over.set()
