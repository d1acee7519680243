"""Taking samples for a command: what a plugin could not tell is said on stderr."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from k1ctl.cli import Context
    from k1ctl.metrics.gathering import Gathered


def take(context: Context, aliases: bool | None = None) -> Gathered:
    """The samples of now. Raises ConfigError outside a repository."""
    from k1ctl.metrics.gathering import gather
    from k1ctl.output import say

    found = gather(context.plugins, context.workspace, context.config, aliases=aliases)
    for plugin, why in found.failed.items():
        say(f"k1ctl: no samples of {plugin}: {why}")
    return found
