"""Record ``k1ctl demo`` as it runs in a terminal and write docs/demo.svg and docs/demo.txt (`make recording`).

Every row of the picture is shown for as long as it stood on the screen; the last screen stays for some seconds, then
the recording begins anew. A viewer without animation shows the last screen. Needs pyte (extra ``docs``).
"""

from __future__ import annotations

import re
import sys
import time
from html import escape
from pathlib import Path
from typing import NamedTuple

import pexpect
import pyte

FOLDER = Path(__file__).parent
COLUMNS, ROWS = 100, 30
HOLD = 6.0  # s that the last screen stays
CELL, LINE, MARGIN = 8.4, 18, 16  # px; a 14 px monospace font
COLOURS = {"red": "#e06c75", "green": "#98c379", "cyan": "#56b6c2", "brown": "#e5c07b", "blue": "#61afef"}


class Shown(NamedTuple):
    """A row of the screen: its number, its spans (text, colour, bold), from when until when it stood there (s)."""

    row: int
    spans: tuple[tuple[str, str, bool], ...]
    begin: float
    end: float


def record(argv: list[str]) -> tuple[list[Shown], list[str], float]:
    """Run a command in a terminal: (what was shown, the last screen as text, seconds). SystemExit when it fails."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    child = pexpect.spawn(argv[0], argv[1:], dimensions=(ROWS, COLUMNS), timeout=None)
    stream.feed(f"$ {Path(argv[0]).name} {' '.join(argv[1:])}\r\n".encode())
    began = time.monotonic()
    standing: dict[int, tuple[tuple[tuple[str, str, bool], ...], float]] = {}
    shown: list[Shown] = []
    alive = True
    while alive:
        try:
            stream.feed(child.read_nonblocking(65536, timeout=1))
        except pexpect.TIMEOUT:
            pass
        except pexpect.EOF:
            alive = False
        now = time.monotonic() - began
        for row in range(ROWS):
            spans = _spans(screen, row)
            before = standing.get(row)
            if before is None or before[0] != spans:
                if before is not None and now - before[1] > 0.02:  # the moment between erasing and writing a row
                    shown.append(Shown(row, before[0], before[1], now))
                standing[row] = (spans, now)
    child.close()
    if child.exitstatus:
        raise SystemExit(f"{argv} exited {child.exitstatus}")
    length = time.monotonic() - began
    shown += [Shown(row, spans, begin, length + HOLD) for row, (spans, begin) in standing.items()]
    return [s for s in shown if s.spans], [line.rstrip() for line in screen.display], length


def _spans(screen: pyte.Screen, row: int) -> tuple[tuple[str, str, bool], ...]:
    spans: list[tuple[str, str, bool]] = []
    for column in range(COLUMNS):
        cell = screen.buffer[row][column]
        style = (cell.fg, cell.bold)
        if spans and spans[-1][1:] == style:
            spans[-1] = (spans[-1][0] + cell.data, *style)
        else:
            spans.append((cell.data, *style))
    if not "".join(text for text, _, _ in spans).strip():
        return ()
    return tuple(spans)


def picture(shown: list[Shown], rows: int, length: float) -> str:
    """The recording as an animated SVG."""
    whole = length + HOLD
    width, height = COLUMNS * CELL + 2 * MARGIN, rows * LINE + 2 * MARGIN
    style, body = [], []
    for number, piece in enumerate(shown):
        last = piece.end >= whole
        begin, end = 100 * piece.begin / whole, 100 * piece.end / whole
        keys = (
            f"0%{{visibility:hidden}}{begin:.2f}%{{visibility:visible}}" if begin >= 0.01 else "0%{visibility:visible}"
        )
        keys += "" if last else f"{end:.2f}%{{visibility:hidden}}"
        style.append(f"@keyframes k{number}{{{keys}}}#k{number}{{animation-name:k{number}}}")
        words, x = [], 0
        for text, colour, bold in piece.spans:
            look = f' fill="{COLOURS[colour]}"' if colour in COLOURS else ""
            look += ' font-weight="bold"' if bold else ""
            for word in re.finditer(r"\S+(?: \S+)*", text):  # each has its place: fonts differ in how wide they run
                left = MARGIN + (x + word.start()) * CELL
                wide = f'textLength="{len(word[0]) * CELL:.1f}" lengthAdjust="spacingAndGlyphs"'
                words.append(f'<tspan x="{left:.1f}" {wide}{look}>{escape(word[0])}</tspan>')
            x += len(text)
        hidden = "" if last else ' visibility="hidden"'
        body.append(f'<text id="k{number}" y="{MARGIN + (piece.row + 1) * LINE - 5}"{hidden}>{"".join(words)}</text>')
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height}" '
            f'viewBox="0 0 {width:.0f} {height}" role="img" aria-label="A recording of k1ctl demo" '
            'font-family="ui-monospace,Menlo,Consolas,DejaVu Sans Mono,monospace" font-size="14" fill="#dcdfe4">',
            f"<style>text{{animation:{whole:.2f}s step-end infinite}}",
            *style,
            "</style>",
            f'<rect width="{width:.0f}" height="{height}" rx="8" fill="#1e2127"/>',
            *body,
            "</svg>",
            "",
        ]
    )


def main() -> int:
    """Record the demo of the k1ctl beside this Python."""
    shown, text, length = record([str(Path(sys.executable).with_name("k1ctl")), "demo", *sys.argv[1:]])
    while text and not text[-1]:
        text.pop()
    (FOLDER / "demo.svg").write_text(picture(shown, len(text), length), encoding="utf-8")
    (FOLDER / "demo.txt").write_text("\n".join(text) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
