"""Ledgers for tests: limits as text, clocks that a test sets."""

from __future__ import annotations

from pathlib import Path

from k1ctl.budget.ledger import Ledger
from k1ctl.config import load
from k1ctl.workspace import Workspace


class Clock:
    """Both clocks; `pass_` moves them as time does, ``wall`` alone is what people set."""

    def __init__(self, wall: float = 1_780_000_000.0, monotonic: float = 5000.0) -> None:
        self.wall, self.monotonic = wall, monotonic

    def __call__(self) -> tuple[float, float]:
        return self.wall, self.monotonic

    def pass_(self, seconds: float) -> None:
        self.wall += seconds
        self.monotonic += seconds


def ledger(folder: Path, limits: str = "", *, clock: Clock | None = None, zone: str = "UTC") -> Ledger:
    """A ledger below ``folder`` with the settings ``limits`` of [budget]; without fsync."""
    (folder / "ops").mkdir(parents=True, exist_ok=True)
    (folder / "ops" / "k1ctl.toml").write_text(f'[budget]\nzone = "{zone}"\n{limits}\n')
    workspace = Workspace(str(folder), str(folder), folder.name)
    found = Ledger(workspace, load(workspace), durable=False)
    if clock is not None:
        found.clock = clock
    return found
