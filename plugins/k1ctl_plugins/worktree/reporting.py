"""How a set-up is told: a line that moves while a step works and a table at the end, or plain lines; and as JSON."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Any

from k1ctl.errors import K1ctlError
from k1ctl.output import LiveLine, clean, say, table
from k1ctl.units import format_duration, format_size
from k1ctl_plugins.worktree.prepare import Watch, set_up, total

if TYPE_CHECKING:
    from k1ctl.cli import Context
    from k1ctl.workspace import Workspace
    from k1ctl_plugins.worktree.prepare import Result
    from k1ctl_plugins.worktree.steps import Options

_TICK = 0.25  # s between two looks of the line that moves
_SHOWN_AFTER = 0.4  # s; what is quicker needs no line
_SHORTEST = 20  # characters of a summary that the table shows on a narrow terminal


class Lines(Watch):
    """Off a terminal: one line a step, when it ends."""

    def ended(self, result: Result) -> None:
        took = f"{result.status:<9}  {result.name:<14}  {format_duration(result.seconds):>7}"
        say(f"{clean(took)}  {clean(result.summary)}{_sizes(result)}")
        _tell_lines(result)

    def finish(self) -> None:
        """Nothing is left to tell."""


class Live(Watch):
    """On a terminal: the step that works and for how long, in place; the table when all is over."""

    def __init__(self) -> None:
        import threading

        self.line, self.text, self.since = LiveLine(), "", 0.0
        self.results: list[Result] = []
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._tick, daemon=True)
        self.thread.start()

    def began(self, name: str, number: int, total: int) -> None:
        self.since, self.text = time.monotonic(), f"set-up: {name} ({number} of {total})"

    def ended(self, result: Result) -> None:
        self.text = ""
        self.results.append(result)

    def _tick(self) -> None:
        while not self.over.wait(_TICK):
            text, passed = self.text, time.monotonic() - self.since
            if text and passed > _SHOWN_AFTER:
                self.line.update(f"{text}, {format_duration(passed)}")

    def finish(self) -> None:
        """Take the line away and print the table; what failed in full below it."""
        self.over.set()
        self.thread.join()
        self.line.clear()
        if not self.results:
            return
        say(report(self.results, _width()))
        for result in self.results:
            if result.status == "failed":
                say(f"{result.name}: {clean(result.summary)}")
                _tell_lines(result)


def report(results: list[Result], width: int) -> str:
    """The steps as a table of ``width`` columns at most, where the summaries can be cut to that."""
    cells = [
        (r.name, r.status, f"{r.seconds:.2f}", _size(r.own_bytes), _size(r.shared_bytes), r.summary) for r in results
    ]
    headers = ("STEP", "STATUS", "SECONDS", "OWN", "SHARED", "SUMMARY")
    taken = sum(max(len(str(row[i])) for row in [headers, *cells]) + 2 for i in range(5))
    room = max(width - taken - 1, _SHORTEST)
    cut = [(*row[:5], row[5] if len(row[5]) <= room else f"{row[5][: room - 3]}...") for row in cells]
    return table(cut, headers)


def run_set_up(
    ctx: Context, workspace: Workspace, options: Options | None = None, *, wait: float = 0.0
) -> dict[str, Any]:
    """Set up, telling how it goes; returns the report. ``wait``: seconds at most to wait for room on the host.

    Raises K1ctlError naming the steps that failed, BusyError (no-capacity) when nothing was begun.
    """
    from k1ctl_plugins.worktree import agents

    begun = time.monotonic()
    dry_run = options is not None and options.dry_run
    if dry_run:
        room = agents.planned(workspace, ctx.config)
        if not room["go"]:
            say(f"there is no room now: {'; '.join(reason['text'] for reason in room['reasons'])}")
    else:
        from k1ctl.process.view import View

        view = View()
        try:
            room = {"reservation": agents.admit(workspace, ctx.config, wait=wait, tell=view.held_back) or None}
        finally:
            view.closed()
    watch = Live() if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else Lines()
    try:
        results = set_up(workspace, ctx.config, ctx.plugins, options, watch=watch)
    finally:
        watch.finish()
    for name, broken in ctx.plugins.broken.items():
        say(f"plugin {name} is left out: {broken.message}")
    seconds = round(time.monotonic() - begun, 3)
    failed = [result.name for result in results if result.status == "failed"]
    facts = {"root": workspace.root, "workspace": workspace.name, "path": workspace.path, "dry_run": dry_run}
    own, shared = total(results, "own_bytes"), total(results, "shared_bytes")
    told = {
        **facts,
        **({"capacity": room} if dry_run else room),
        "setup_seconds": seconds,
        "own_bytes": own,
        "shared_bytes": shared,
    }
    told["steps"] = [result.document() for result in results]
    if failed:
        raise K1ctlError(
            f"set-up of {workspace.path} failed: {', '.join(failed)}",
            hint="the other steps are done; mend it and run k1ctl worktree setup there again",
            code="setup-failed",
            failed=failed,
            **told,
        )
    verb = "would set up" if dry_run else "set up"
    say(f"{verb} {workspace.path} in {format_duration(seconds)}{_amount(own, shared)}")
    return {"ok": True, **told}


def _tell_lines(result: Result) -> None:
    """The last lines of a failed step's log, and what to do about it."""
    error = result.details.get("error")
    if result.status != "failed" or not isinstance(error, dict):
        return
    for line in error.get("lines", []):
        say(f"  | {clean(str(line))}")
    if error.get("hint"):
        say(f"  hint: {clean(error['hint'])}")


def _sizes(result: Result) -> str:
    return _amount(result.own_bytes, result.shared_bytes)


def _amount(own: int | None, shared: int | None) -> str:
    parts = [f"own {format_size(own)}"] if own is not None else []
    parts += [f"shared {format_size(shared)}"] if shared is not None else []
    return f" ({', '.join(parts)})" if parts else ""


def _size(value: int | None) -> str:
    return "-" if value is None else format_size(value)


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or 80
    except OSError:
        return 80
