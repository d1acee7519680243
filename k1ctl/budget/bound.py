"""The budget as the last bound of capacity: asked once the host has room, so that a refused start never holds any."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.budget.limits import Reason
    from k1ctl.config import Config
    from k1ctl.errors import BusyError
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


def refused(workspace: Workspace, tokens: int, reasons: list[Reason]) -> BusyError:
    """The refusal for these ``reasons``: whoever waits for room on the host does not wait for the budget."""
    from k1ctl.budget.limits import amount, exhausted

    error = exhausted(f"{amount(0, tokens)} of {workspace.name}", reasons)
    if not error.details["never"]:
        error.hint = "k1ctl budget status shows who holds and spent what; --wait is for room on the host, not for this"
    return error
