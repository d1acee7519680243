"""What several plugins look at in one scrape is read once.

Within ``with shared.scrape():`` each of these remembers its answer; outside it they simply look.
"""

from __future__ import annotations

from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from k1ctl.capacity.facts import Facts
    from k1ctl.config import Config
    from k1ctl.tally import Tally
    from k1ctl.tally.resident import Resident
    from k1ctl.workspace import Workspace

    T = TypeVar("T")

_resident: Resident | None = None
_seen: dict[tuple[str, ...], Any] | None = None  # one scrape at a time: `k1ctl.metrics.serving` holds a lock


@contextmanager
def scrape() -> Iterator[None]:
    """One scrape; what is read in it is forgotten at its end."""
    global _seen
    _seen = {}
    try:
        yield
    finally:
        _seen = None


def _once(key: tuple[str, ...], look: Callable[[], T]) -> T:
    if _seen is None:
        return look()
    if key not in _seen:
        _seen[key] = look()
    found: T = _seen[key]
    return found


def tally(workspace: Workspace) -> Tally:
    """What all events come to (`k1ctl.tally.current`)."""
    from k1ctl.tally import current

    if _resident is not None and _resident.workspace.root == workspace.root:
        return _once(("tally", workspace.root), _resident.look)
    return _once(("tally", workspace.root), lambda: current(workspace))


def stay(workspace: Workspace) -> None:
    """From now on the tally of ``workspace`` is kept in memory between scrapes: for a server."""
    global _resident
    from k1ctl.tally.resident import Resident

    _resident = Resident(workspace)


def tickets(workspace: Workspace, config: Config) -> list[dict[str, Any]]:
    """The queue's tickets (`k1ctl.queue.view.entries`)."""
    from k1ctl.queue import view
    from k1ctl.queue.folder import queue_folder

    folder = queue_folder(workspace, config)
    return _once(("tickets", folder), lambda: view.entries(folder))


def facts() -> Facts:
    """The host (`k1ctl.capacity.facts.read`). Raises ConfigError, OSError."""
    from k1ctl.capacity.facts import read

    return _once(("facts",), read)
