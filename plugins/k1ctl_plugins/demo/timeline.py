"""The live timeline: one line an agent on a terminal, one line a change elsewhere."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from k1ctl.output import style
from k1ctl.queue import view

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl_plugins.demo.play import Agent

_LETTERS = {"set-up": "s", "build": "b", "in line": "-", "flashing": "#"}
_COLOURS = {"b": "cyan", "-": "dim", "#": "green", "s": "dim", "f": "red"}
_WIDTH = 48


class Timeline:
    """Shows what each agent does now, and what it did."""

    def __init__(self, ops: Path, agents: Sequence[Agent]) -> None:
        self.folder, self.agents = str(ops / "queue"), agents
        self.stream = sys.stderr
        self.terminal = self.stream.isatty()
        self.begun = time.monotonic()
        self.last: dict[str, str] = {}
        self.drawn = 0
        self.tracks: dict[str, list[tuple[float, str]]] = {a.name: [] for a in agents}

    def show(self) -> None:
        """Look, and draw anew what changed."""
        states = self._states()
        now = time.monotonic() - self.begun
        for name, state in states.items():
            if self.last.get(name) != state:
                self.tracks[name].append((now, state))
                if not self.terminal:
                    self.stream.write(f"{now:6.1f} s  {name}: {state}\n")
        self.last = states
        if self.terminal:
            self._draw(states, now)
        self.stream.flush()

    def close(self) -> None:
        """Leave the last picture standing."""
        if self.terminal:
            self.stream.write("\n")
            self.stream.flush()

    def _states(self) -> dict[str, str]:
        """{agent: what it does}; an upload is told apart by its ticket: in line or flashing."""
        tickets = {e.get("workspace"): e for e in view.entries(self.folder) if e.get("kind") == "upload"}
        states = {}
        for agent in self.agents:
            state, ticket = agent.stage, tickets.get(agent.name)
            if state == "upload":
                state = "in line"
                if ticket and ticket["state"] == "running":
                    state = "flashing"
                elif ticket and ticket["state"] == "waiting":
                    state = f"in line ({ticket['position']})"
                elif self.last.get(agent.name, "").startswith("flashing"):
                    state = "flashing"
            states[agent.name] = f"failed: {agent.error}" if state == "failed" else state
        return states

    def _draw(self, states: dict[str, str], now: float) -> None:
        if self.drawn:
            self.stream.write(f"\x1b[{self.drawn}A")
        scale = max(now / _WIDTH, 0.05)
        for name, state in states.items():
            self.stream.write(f"\r\x1b[2K{name:<10} {self._bar(name, now, scale)} {state[:40]}\n")
        self.stream.write(f"\r\x1b[2K{'':10} {now:.1f} s   s set-up  b build  - in line  # flashing\n")
        self.drawn = len(states) + 1

    def _bar(self, name: str, now: float, scale: float) -> str:
        """The agent's past as letters, a letter for each ``scale`` seconds."""
        cells = []
        track = [*self.tracks[name], (now, "")]
        for (begin, state), (end, _) in pairwise(track):
            letter = next((c for word, c in _LETTERS.items() if state.startswith(word)), " ")
            cells += [letter] * (round(end / scale) - round(begin / scale))
        text = "".join(cells)[:_WIDTH].ljust(_WIDTH)
        return "".join(style(c, _COLOURS[c], stream=self.stream) if c in _COLOURS else c for c in text)
