"""The budget as the last bound of capacity: asked once the host has room, so that a refused start never holds any."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.budget.limits import Reason
    from k1ctl.config import Config
    from k1ctl.workspace import Workspace


def limited(config: Config) -> bool:
    """Whether anything of the budget has a limit."""
    keys = ("day", "agent_day", "task", "hour", "day_usd", "agent_day_usd", "task_usd", "hour_usd")
    return any(config.get("budget", key) for key in keys)


def ask(workspace: Workspace, config: Config, tokens: int, *, critical: bool = False) -> list[Reason]:
    """Why the workspace's agent would not be held ``tokens`` now; [] where it would, or nothing is limited.

    Holds nothing. Raises ConfigError (state-damaged and such).
    """
    if not tokens or not limited(config):
        return []
    from k1ctl.budget.ledger import Ledger

    ledger = Ledger(workspace, config)
    try:
        least = int(bool(ledger.limits.micro_usd))  # micro-dollars: the model is not known, but something it will cost
        return ledger.ask(tokens, agent=workspace.name, critical=critical, micro_usd=least)
    finally:
        ledger.state.close()
