"""The screen of an overview, drawn anew every few seconds: `k1ctl status --watch`, and what stands in for `top`."""

from __future__ import annotations

import sys
import time

from k1ctl.output import emit_jsonl, flush, put
from k1ctl.overview.text import screen, size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from k1ctl.config import Config
    from k1ctl.overview import Overview
    from k1ctl.tally.resident import Resident
    from k1ctl.workspace import Workspace

_HOME, _REST_OF_LINE, _REST = "\x1b[H", "\x1b[K", "\x1b[J"


class Looks:
    """Looks at a root, each at the cost of what is new in its events, with the configuration of now; while that cannot
    be read, as in the middle of an edit, with the last good one, and a problem says so. Raises ConfigError where there
    was none."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.config: Config | None = None
        self.tally: Resident | None = None

    def __call__(self) -> Overview:
        from k1ctl import overview
        from k1ctl.config import load
        from k1ctl.errors import ConfigError

        broken = ""
        try:
            self.config = load(self.workspace)
        except ConfigError as exc:
            if self.config is None:
                raise
            broken = exc.message
        if self.tally is None:
            from k1ctl.tally.resident import Resident

            self.tally = Resident(self.workspace)
        found = overview.look(self.workspace, self.config, tally=self.tally.look)
        if broken:
            found.problems.insert(
                0, {"level": "error", "part": "config", "text": f"the settings of before hold: {broken}"}
            )
        return found


def watch(look: Callable[[], Overview], seconds: float, *, as_json: bool = False, every: bool = False) -> None:
    """Show what ``look`` finds, every ``seconds``, until ^C: on a terminal in place, else one below the other;
    ``as_json``: a JSON document a line. Raises BrokenPipeError when nobody reads it any more."""
    first = True
    try:
        while True:
            found = look()
            if as_json:
                emit_jsonl([found.document()])
            else:
                _draw(found, first=first, every=every)
            first = False
            time.sleep(seconds)
    except KeyboardInterrupt:
        return


def _draw(found: Overview, *, first: bool, every: bool) -> None:
    width, height = size()
    text = screen(found, width=width, height=height, every=every)
    if not width:
        put(text if first else "\n" + text)
        flush()
        return
    lines = text.split("\n")[:height]
    drawn = _HOME + (_REST if first else "") + f"{_REST_OF_LINE}\n".join(lines) + _REST_OF_LINE + "\n" + _REST
    sys.stdout.write(drawn if len(lines) < height else drawn.removesuffix("\n" + _REST))
    sys.stdout.flush()
