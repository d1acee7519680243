"""What watching looks like: lines that are redrawn on a terminal, lines at each change elsewhere, or JSON."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from k1ctl.device.verdict import DEGRADED, ONLINE, figure
from k1ctl.output import clean, emit_jsonl, flush, put, style
from k1ctl.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl_plugins.device.watch.flow import Screen, Watched

_COLOURS = {ONLINE: "green", DEGRADED: "yellow"}


def screen() -> Screen:
    """The one that fits where stdout goes."""
    return Terminal() if sys.stdout.isatty() and os.environ.get("TERM") != "dumb" else Changes()


class Lines:
    """A JSON document for each answer."""

    def show(self, all_of_them: Sequence[Watched], new: Watched) -> None:
        """Print that of the device that is new."""
        emit_jsonl([new.document()])


class Changes:
    """A line when a device's state changes, or it restarts."""

    def __init__(self) -> None:
        self.last: dict[str, tuple[str, int]] = {}

    def show(self, all_of_them: Sequence[Watched], new: Watched) -> None:
        """Print the device that is new, if it is not as it was."""
        key = (new.state, new.resets)
        if self.last.get(new.name) != key:
            self.last[new.name] = key
            if new.reset:
                put(clean(f"{new.reset['at']} {new.reset['message']}"))
            put(clean(f"{new.document()['at']} {line(new)}"))
            flush()


class Terminal:
    """One line a device, written over in one piece; what is told of a reset stays above them."""

    def __init__(self) -> None:
        self.drawn = 0

    def show(self, all_of_them: Sequence[Watched], new: Watched) -> None:
        """Draw all devices anew."""
        size = _size()
        rows = [self._row(each, size.columns) for each in all_of_them][: max(size.lines - 1, 1)]
        text = f"\x1b[{self.drawn}A" if self.drawn else ""
        if new.reset:
            text += "\r\x1b[J" + style(clean(f"{new.reset['at']} {new.reset['message']}"), "red") + "\n"
        text += "".join(f"\r{row}\x1b[K\n" for row in rows)
        sys.stdout.write(text)
        sys.stdout.flush()
        self.drawn = len(rows)

    def _row(self, each: Watched, width: int) -> str:
        plain = clean(line(each))[: max(width - 1, 20)]
        head = f"{each.name}: {each.state}"
        if not plain.startswith(head):
            return plain
        return f"{each.name}: {style(each.state, _COLOURS.get(each.state, 'red'))}{plain[len(head) :]}"


def _size() -> os.terminal_size:
    try:
        size = os.get_terminal_size(sys.stdout.fileno())
    except (OSError, ValueError):
        return os.terminal_size((80, 24))
    return os.terminal_size((size.columns or 80, size.lines or 24))


def line(each: Watched) -> str:
    """``k1: online, 2 resets (1 unexplained), 150.2 fps, 165 KiB of memory, -48 dBm, up 1 h 2 m``."""
    if each.verdict is None and not each.trouble:
        return f"{each.name}: {each.state} (not asked yet)"
    document = each.document()
    words = []
    if each.resets:
        told = f" ({each.unexplained} unexplained)" if each.unexplained else ""
        words.append(f"{each.resets} reset{'' if each.resets == 1 else 's'}{told}")
    words += [figure(k, document[k]) for k in ("fps", "heap_free_bytes", "rssi_dbm") if document[k] is not None]
    if document["uptime_ms"] is not None:
        words.append(f"up {format_duration(document['uptime_ms'] / 1000)}")
    why = f" ({document['message']})" if document["message"] else ""
    return f"{each.name}: {each.state}{why}{', ' if words else ''}{', '.join(words)}"
