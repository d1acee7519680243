"""Plots as SVG, written by hand: lines, steps, points and bars over axes with units. PNG by the extra ``plot`` (resvg).

The figures stand on no background and in colours that can be read on white and on black, and told apart by people who
see no red or green (Okabe and Ito's palette).
"""

from __future__ import annotations

from math import ceil, floor, log10

from k1ctl.errors import NotFoundError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Point = tuple[float, float | None]

NUMBER, COUNT, BYTES, SECONDS, PERCENT = "number", "count", "bytes", "seconds", "percent"  # units of an axis
LINE, STEP, DOTS, BAR = "line", "step", "dots", "bar"  # kinds of a series
_COLOURS = ("#0f7fc4", "#e08a00", "#009e73", "#cc6f9f", "#d55e00", "#4fa8dc", "#8a8f00", "#7b61c9")
_DASHES = ("", "6 3", "2 2", "8 3 2 3")
_LEFT, _RIGHT, _TOP, _BOTTOM, _GAP = 74, 18, 14, 44, 22  # pixels around and between the panels
_LINE = 18  # pixels of a line of text
_LARGEST, _LEAST = 1e30, 1e-12  # what is beyond is no figure, or nothing
_CLOCK = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)  # s between ticks
_STYLE = (
    "text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;fill:#6e7681}"
    ".t{font-size:14px;font-weight:600}.e{text-anchor:end}.m{text-anchor:middle}"
    ".g{stroke:#8b949e;stroke-opacity:.25}.a{stroke:#8b949e}.s{fill:none;stroke-width:1.8;stroke-linejoin:round}"
)


class Series:
    """A named row of points (x, y); a y of None (or one that is no number) is a gap.

    ``kind``: line, step (holds until the next point), dots, or bar, whose x are 0, 1, 2 ... of the panel's labels.
    """

    __slots__ = ("kind", "name", "points")

    def __init__(self, name: str, points: Iterable[Point], kind: str = LINE) -> None:
        self.name, self.kind = name, kind
        self.points: list[Point] = [
            (_round(x), _round(y) if y is not None and abs(y) < _LARGEST else None)
            for x, y in points
            if abs(x) < _LARGEST
        ]


class Panel:
    """One pair of axes: its series, the ``title`` and ``unit`` of y, and ``levels``: (y, name) drawn across.

    Units: number, count (of what is whole), bytes, seconds, percent. y begins at 0.
    """

    def __init__(
        self,
        series: Sequence[Series],
        title: str = "",
        unit: str = NUMBER,
        *,
        levels: Sequence[tuple[float, str]] = (),
        height: int = 220,
    ) -> None:
        self.series, self.title, self.unit, self.height = list(series), title, unit, height
        self.levels = [(_round(y), name) for y, name in levels if 0 <= y < _LARGEST]

    def top(self) -> float:
        ys = [y for s in self.series for _, y in s.points if y is not None]
        return max([*ys, *(y for y, _ in self.levels), 0.0])


def svg(
    series: Sequence[Series],
    *,
    title: str = "",
    x_title: str = "",
    x_unit: str = NUMBER,
    y_title: str = "",
    y_unit: str = NUMBER,
    levels: Sequence[tuple[float, str]] = (),
    labels: Sequence[str] = (),
    width: int = 760,
    height: int = 300,
) -> str:
    """One plot as an SVG document; ``labels`` name the places 0, 1, 2 ... of x instead of numbers (for bars)."""
    panel = Panel(series, y_title, y_unit, levels=levels, height=height)
    return stacked([panel], title=title, x_title=x_title, x_unit=x_unit, labels=labels, width=width)


def stacked(
    panels: Sequence[Panel],
    *,
    title: str = "",
    x_title: str = "",
    x_unit: str = NUMBER,
    labels: Sequence[str] = (),
    width: int = 760,
) -> str:
    """Panels one above the other over the same x, as an SVG document with a legend for each that has several series."""
    xs = [x for panel in panels for s in panel.series for x, _ in s.points]
    low, high = (-0.5, len(labels) - 0.5) if labels else (min([*xs, 0.0]), max([*xs, 0.0]))
    across = _Scale(low, high if high > low else low + max(1.0, abs(low)), _LEFT, width - _RIGHT)
    at = _TOP + (_LINE + 4 if title else 0)
    body = [f'<text class="t" x="{_LEFT}" y="{_TOP + 12}">{escape(title)}</text>'] if title else []
    for number, panel in enumerate(panels):
        legend = _legend(panel, at, width)
        at += (_LINE + 4) * len(legend) or (_LINE if panel.title else 0)
        body += [line for row in legend for line in row]
        down = _Scale(0.0, _nice_top(panel.top(), panel.unit), at + panel.height, at)
        body += _axes(panel, across, down, (x_unit, labels) if number == len(panels) - 1 else None)
        body += _drawn(panel, across, down, len(labels))
        at += panel.height + _GAP
    bottom = at - _GAP + _BOTTOM
    middle = (_LEFT + width - _RIGHT) / 2
    body += [f'<text class="m" x="{_n(middle)}" y="{bottom - 6}">{escape(x_title)}</text>'] if x_title else []
    told = escape(title or "plot")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{bottom}" viewBox="0 0 {width} {bottom}" '
        f'role="img" aria-label="{told}"><title>{told}</title><style>{_STYLE}</style>' + "".join(body) + "</svg>\n"
    )


def png(document: str, scale: float = 2.0) -> bytes:
    """An SVG document as PNG on white. Raises NotFoundError (tool-missing) without the extra ``plot``."""
    try:
        import resvg_py
    except ImportError as exc:
        raise NotFoundError(
            "a PNG needs resvg-py, which is not installed", hint="pip install 'k1ctl[plot]', or name a file .svg"
        ) from exc
    return bytes(resvg_py.svg_to_bytes(svg_string=document, background="#ffffff", zoom=scale))


def save(document: str, path: str) -> None:
    """Write an SVG document to ``path``, as PNG when it ends in .png. Raises UsageError, NotFoundError, OSError."""
    from k1ctl.files import write_named

    check_name(path)
    write_named(path, png(document) if path.lower().endswith(".png") else document)


def check_name(path: str) -> None:
    """Say before the work whether a plot can be written there. Raises UsageError, NotFoundError."""
    from importlib.util import find_spec

    if not path.lower().endswith((".svg", ".png")):
        raise UsageError(f"{path}: a plot is an .svg or a .png")
    if path.lower().endswith(".png") and find_spec("resvg_py") is None:
        png("")


def escape(text: str) -> str:
    """``text`` as XML holds it."""
    from k1ctl.output import clean

    text = clean(text).encode(errors="replace").decode()
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


class _Scale:
    """A value's place in pixels."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self.start, self.end = low, high, start, end

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def ticks(low: float, high: float, unit: str = NUMBER, about: int = 5) -> list[float]:
    """Round values between ``low`` and ``high``, both included where they are round; some ``about`` of them."""
    step = _step((high - low) / max(about, 1), unit)
    first, last = ceil(low / step - 1e-9), floor(high / step + 1e-9)
    return [n * step for n in range(first, last + 1)]


def _step(least: float, unit: str) -> float:
    """The next round step that is no smaller than ``least``."""
    if not least > 0:
        return 1.0
    if unit == SECONDS and least > 0.5:
        return next((float(step) for step in _CLOCK if step >= least), 86400.0 * ceil(least / 86400))
    base = 1.0
    rounds = (1, 2, 5, 10) if unit == COUNT else (1, 2, 2.5, 5, 10)
    least = max(least, 1.0) if unit == COUNT else least
    while unit == BYTES and least / base > 512:  # ticks at 256 MiB and 1 GiB, not at 200 and 1000 MB
        base *= 1024
    if unit == BYTES and least <= base * 512 and least > base * 100:
        return base * 256 if least <= base * 256 else base * 512
    power = 10.0 ** floor(log10(least / base))
    return base * next(power * n for n in rounds if power * n >= least / base * (1 - 1e-9))


def _nice_top(top: float, unit: str) -> float:
    """The end of an axis from 0: the round value above ``top``."""
    if not top > _LEAST:
        return 1.0
    step = _step(top * 1.02 / 5, unit)
    return step * ceil(top * 1.02 / step)


def shown(value: float, unit: str = NUMBER) -> str:
    """A value at a tick."""
    if unit == BYTES:
        size, names = value, ["B", "KiB", "MiB", "GiB", "TiB"]
        while abs(size) >= 1024 and len(names) > 1:
            size, names = size / 1024, names[1:]
        return f"{size:.4g} {names[0]}"
    if unit == SECONDS:
        for size, name in ((86400, "d"), (3600, "h"), (60, "min")):
            if value >= size:
                return f"{value / size:.4g} {name}"
        return f"{value:.4g} s"
    return f"{value:.4g} %" if unit == PERCENT else f"{value:.6g}"


def _axes(panel: Panel, across: _Scale, down: _Scale, x: tuple[str, Sequence[str]] | None) -> list[str]:
    """Grid, ticks and axes; the ticks of x below the last panel only."""
    left, right, top, bottom = across.start, across.end, down.end, down.start
    out = []
    for y in ticks(0.0, down.high, panel.unit):
        out.append(f'<path class="g" d="M{_n(left)} {_n(down(y))}H{_n(right)}"/>')
        out.append(f'<text class="e" x="{_n(left - 7)}" y="{_n(down(y) + 4)}">{escape(shown(y, panel.unit))}</text>')
    if x is not None:
        unit, labels = x
        places = [(float(n), label) for n, label in enumerate(labels)] or [
            (t, shown(t, unit)) for t in ticks(across.low, across.high, unit, 8)
        ]
        for at, label in places:
            out.append(f'<text class="m" x="{_n(across(at))}" y="{_n(bottom + 17)}">{escape(label)}</text>')
            if not labels:
                out.append(f'<path class="a" d="M{_n(across(at))} {_n(bottom)}v4"/>')
    out.append(f'<path class="a" fill="none" d="M{_n(left)} {_n(top)}V{_n(bottom)}H{_n(right)}"/>')
    for y, name in panel.levels:
        out.append(f'<path class="a" stroke-dasharray="4 4" d="M{_n(left)} {_n(down(y))}H{_n(right)}"/>')
        out.append(f'<text class="e" x="{_n(right - 4)}" y="{_n(down(y) - 4)}">{escape(name)}</text>')
    return out


def _drawn(panel: Panel, across: _Scale, down: _Scale, places: int) -> list[str]:
    """The series of a panel."""
    out, bars = [], [s for s in panel.series if s.kind == BAR]
    if not any(y is not None for s in panel.series for _, y in s.points):
        middle = (across.start + across.end) / 2, (down.start + down.end) / 2
        return [f'<text class="m" x="{_n(middle[0])}" y="{_n(middle[1])}">no data</text>']
    for number, series in enumerate(panel.series):
        colour = _COLOURS[number % len(_COLOURS)]
        if series.kind == BAR:
            room = (across.end - across.start) / max(places, len({x for x, _ in series.points}), 1)
            wide, nth = room * 0.76 / len(bars), bars.index(series)
            for x, y in series.points:
                if y is not None:
                    left, top = across(x) - room * 0.38 + nth * wide, down(max(y, 0.0))
                    size = f'width="{_n(wide * 0.94)}" height="{_n(down.start - top)}"'
                    out.append(f'<rect x="{_n(left)}" y="{_n(top)}" {size} fill="{colour}"/>')
        elif series.kind == DOTS:
            dots = [(across(x), down(max(y, 0.0))) for x, y in series.points if y is not None]
            out += [f'<circle cx="{_n(x)}" cy="{_n(y)}" r="3.2" fill="{colour}"/>' for x, y in dots]
        else:
            dash = _DASHES[number % len(_DASHES)]
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            out.append(f'<path class="s" stroke="{colour}"{dashed} d="{_path(series, across, down)}"/>')
    return out


def _path(series: Series, across: _Scale, down: _Scale) -> str:
    """The path of a line; of a step one that holds each value until the next point."""
    out, open_, last = [], False, 0.0
    points = _thinned(series.points, across)
    for (x, y), (_, then) in zip(points, [*points[1:], (0.0, None)], strict=False):
        if y is None:
            if open_ and series.kind == STEP:
                out.append(f"H{_n(across(x))}")
            open_ = False
            continue
        px, py = across(x), down(max(y, 0.0))
        if not open_:
            out.append(f"M{_n(px)} {_n(py)}")
            if then is None:
                out.append("m-3 0h6")  # a single point is seen as well
        elif series.kind == STEP:
            out.append(f"H{_n(px)}V{_n(py)}" if py != last else f"H{_n(px)}")
        else:
            out.append(f"L{_n(px)} {_n(py)}")
        open_, last = True, py
    return "".join(out)


def _thinned(points: list[Point], across: _Scale) -> list[Point]:
    """At most four points a pixel: the first, the least, the most and the last there, so that no peak is lost."""
    if len(points) <= 4 * (across.end - across.start):
        return points
    kept: list[Point] = []
    column: list[Point] = []
    for point in [*points, None]:
        if point is not None and (not column or int(across(point[0])) == int(across(column[0][0]))):
            column.append(point)
            continue
        seen = [p for p in column if p[1] is not None] or column[:1]
        ends = {seen[0], seen[-1], min(seen, key=lambda p: p[1] or 0.0), max(seen, key=lambda p: p[1] or 0.0)}
        kept += sorted(ends, key=seen.index)
        column = [point] if point is not None else []
    return kept


def _legend(panel: Panel, at: float, width: int) -> list[list[str]]:
    """The lines of text above a panel: its title, and which colour is which where there are several series."""
    rows: list[list[str]] = [[]]
    x = float(_LEFT)
    if panel.title:
        rows[0].append(f'<text x="{_n(x)}" y="{_n(at + 12)}">{escape(panel.title)}</text>')
        x += 7.0 * len(panel.title) + 24
    for number, series in enumerate(panel.series if len(panel.series) > 1 else ()):
        wide = 26 + 7.0 * len(series.name) + 16
        if x + wide > width - _RIGHT and rows[-1]:
            rows.append([])
            x = float(_LEFT)
        y, colour = at + 12 + (_LINE + 4) * (len(rows) - 1), _COLOURS[number % len(_COLOURS)]
        if series.kind == DOTS:
            mark = f'<circle cx="{_n(x + 12)}" cy="{_n(y - 4)}" r="3.2" fill="{colour}"/>'
        elif series.kind == BAR:
            mark = f'<rect x="{_n(x + 5)}" y="{_n(y - 9)}" width="10" height="10" fill="{colour}"/>'
        else:
            dash = _DASHES[number % len(_DASHES)]
            dashed = f' stroke-dasharray="{dash}"' if dash else ""
            mark = f'<path class="s" stroke="{colour}"{dashed} d="M{_n(x)} {_n(y - 4)}h20"/>'
        rows[-1].append(f'{mark}<text x="{_n(x + 26)}" y="{_n(y)}">{escape(series.name)}</text>')
        x += wide
    return rows if rows[0] else []


def _round(value: float) -> float:
    return float(value) if abs(value) > _LEAST else 0.0


def _n(value: float) -> str:
    """A place in pixels, a hundredth exact at most."""
    return f"{value:.2f}".rstrip("0").rstrip(".")
