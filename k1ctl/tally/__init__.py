"""What all events since ever come to: read once, kept in ``ops/metrics/tally.json``, so that a look costs what is new.

    tally = current(workspace)
    tally.outcomes["build", "fw", "done"]
    tally.window("upload", 3600).bad

`k1ctl.tally.kinds` says which event is which outcome, `k1ctl.tally.fold.Tally` what there is.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.tally.fold import Tally as Tally
    from k1ctl.workspace import Workspace


def current(workspace: Workspace) -> Tally:
    """The tally of now; never raises for damage, waits for nobody, and works where nothing can be written."""
    from k1ctl.tally.store import look

    return look(workspace)
