"""What a worker prints for its run's log and for who watches it."""

from __future__ import annotations

import os

from k1ctl.output import clean


def say(text: str) -> None:
    """Print a line, or several; a reader that went away or a full disk never ends what the worker does."""
    try:
        os.write(1, ("\n".join(clean(line) for line in text.split("\n")) + "\n").encode())
    except OSError:
        pass


def trace(exc: BaseException) -> None:
    """Print where an exception came from."""
    import traceback

    for line in traceback.format_exception(exc):
        say(line.rstrip())
