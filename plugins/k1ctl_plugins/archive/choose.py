"""Which archives a call means, the store it means, and what a person sees while it works."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from k1ctl.archive.folder import find, list_archives
from k1ctl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from k1ctl.archive.folder import Archive
    from k1ctl.cli import Context
    from k1ctl.stores import Store


def archives(context: Context, references: Sequence[str], everything: bool) -> list[Archive]:
    """Those that are named, each once, else with ``everything`` all of them. Raises UsageError when it is neither or
    both, ArchiveNotFoundError."""
    if bool(references) == everything:
        raise UsageError("name archives, or give --all", hint="k1ctl archive list shows them")
    if everything:
        return list_archives(context.workspace)
    found = [find(context.workspace, reference) for reference in references]
    return list({archive.id: archive for archive in found}.values())


def store(context: Context, name: str) -> Store:
    """The store ``name``, "" for that of ``archive.store``. Raises ConfigError."""
    from k1ctl.stores import open_store

    given = name or str(context.config.get("archive", "store"))
    return open_store(context.plugins, context.workspace, context.config, given)


@contextmanager
def shown(text: str) -> Iterator[None]:
    """``text`` stands on the terminal, where stderr is one, until the block ends."""
    from k1ctl.output import LiveLine

    line = LiveLine()
    if line.terminal:
        line.update(text)
    try:
        yield
    finally:
        line.clear()
