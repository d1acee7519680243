"""Printing: stdout is data, stderr is talk; JSON, tables, colour and the live line live here and nowhere else."""

from __future__ import annotations

import os
import sys

from k1ctl.jsontext import dumps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, TextIO, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def json_option(function: F) -> F:
    """Add ``--json`` to a click command; the callback gets it as ``as_json``."""
    import click

    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document on stdout.")(function)


def emit_json(value: Any) -> None:
    """Print one JSON document on stdout, indented when a person reads it; see `put` on readers that went away."""
    if sys.stdout.isatty():
        import json

        text = json.dumps(value, indent=2)
    else:
        text = dumps(value)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        _without_a_reader()


def emit_jsonl(values: Iterable[Any]) -> None:
    """Print one JSON document a line, each flushed as it comes."""
    for value in values:
        sys.stdout.write(dumps(value) + "\n")
        sys.stdout.flush()


def put(text: str = "") -> None:
    """Print a line of data on stdout; characters that its encoding does not have as escapes, as stderr does.

    A reader that went away is no reason to fail, nor to end with another exit code than with one: that is a verdict,
    too. What goes on for as long as it is read calls `flush`.
    """
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        encoding = sys.stdout.encoding
        put(text.encode(encoding, "backslashreplace").decode(encoding))
    except BrokenPipeError:
        _without_a_reader()


_unread = False


def _without_a_reader() -> None:
    """What is printed from now on goes nowhere."""
    global _unread
    _unread = True
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def flush() -> None:
    """Hand on what was put. Raises BrokenPipeError once nobody reads it any more."""
    if _unread:
        raise BrokenPipeError
    sys.stdout.flush()


def say(text: str) -> None:
    """Print a line of talk on stderr, a live line there taken away. A reader that went away is no reason to fail."""
    if _live is not None:
        _live.clear()
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def coloured(stream: TextIO) -> bool:
    """Whether ``stream`` gets colour: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def style(text: str, *names: str, stream: TextIO | None = None) -> str:
    """``text`` in styles (bold, dim, red, green, yellow, cyan) where ``stream`` (default stdout) takes colour."""
    if not coloured(stream or sys.stdout):
        return text
    return f"\x1b[{';'.join(_CODES[n] for n in names)}m{text}\x1b[0m"


def clean(text: str) -> str:
    """``text`` without control characters: what others named (labels, commands) must not move our cursor."""
    return "".join(c if c.isprintable() else "?" for c in text)


def table(rows: Iterable[Sequence[object]], headers: Sequence[str]) -> str:
    """Columns aligned with two spaces between them, a header line first; cells are cleaned of control characters."""
    cells = [list(headers), *[[clean(str(cell)) for cell in row] for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headers))]
    lines = ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([style(lines[0], "bold"), *lines[1:]])


_live: LiveLine | None = None  # the one that a terminal shows now


class LiveLine:
    """One line on stderr that changes: redrawn in place on a terminal, else printed anew at each change.

    ``update(text, key)``: off a terminal a line is printed only when ``key`` (default: the text) differs from the
    last, so what changes every second (elapsed time) does not flood a log.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stderr
        self.terminal = self.stream.isatty() and os.environ.get("TERM") != "dumb"
        self.last: object = None
        self.shown = False

    def update(self, text: str, key: object = None) -> None:
        global _live
        text, key = clean(text), text if key is None else key
        try:
            if self.terminal:
                try:
                    width = os.get_terminal_size(self.stream.fileno()).columns or 80
                except OSError:
                    width = 80
                self.stream.write(f"\r\x1b[2K{text[: max(width - 1, 20)]}")
                self.stream.flush()
                self.shown = True
                if self.stream is sys.stderr:
                    _live = self
            elif key != self.last:
                self.stream.write(text + "\n")
                self.stream.flush()
        except OSError:
            pass
        self.last = key

    def clear(self) -> None:
        """Take the line away before other output."""
        global _live
        _live = None if _live is self else _live
        if self.shown:
            try:
                self.stream.write("\r\x1b[2K")
                self.stream.flush()
            except OSError:
                pass
            self.shown = False
