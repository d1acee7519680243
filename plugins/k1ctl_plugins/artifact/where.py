"""The store that a call means."""

from __future__ import annotations

from typing import TYPE_CHECKING

from k1ctl.errors import ConfigError
from k1ctl.stores import open_store

if TYPE_CHECKING:
    from k1ctl.cli import Context
    from k1ctl.stores import Store


def store_of(context: Context, name: str) -> Store:
    """The store ``name``, or that of ``artifact.store``. Raises ConfigError (no-store), and what opening it raises."""
    wanted = name or str(context.config.get("artifact", "store"))
    if not wanted:
        raise ConfigError(
            "no store is configured for artifacts",
            hint=f'set [stores.NAME] kind and path, and artifact.store = "NAME" in {context.config.path}',
            code="no-store",
        )
    return open_store(context.plugins, context.workspace, context.config, wanted)
