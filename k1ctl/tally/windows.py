"""What came of something in time: buckets of 5 minutes for the last 6 hours, of an hour for the last 35 days."""

from __future__ import annotations

from k1ctl.tally.histogram import Histogram, parse

FINE, FINE_KEPT = 300, 6 * 3600  # s
COARSE, COARSE_KEPT = 3600, 35 * 86400  # s


class Window:
    """``good``, ``bad`` and ``ignored`` ends, the ``histogram`` of their seconds, and ``buckets`` [(begin in seconds
    since 1970, good, bad)] in order of time: of 5 minutes in a window of up to 6 hours, else of an hour."""

    __slots__ = ("bad", "buckets", "good", "histogram", "ignored")

    def __init__(self) -> None:
        self.good = self.bad = self.ignored = 0
        self.histogram = Histogram()
        self.buckets: list[tuple[int, int, int]] = []


class Cell:
    """One bucket of time."""

    __slots__ = ("bad", "good", "histogram", "ignored")

    def __init__(self) -> None:
        self.good = self.bad = self.ignored = 0
        self.histogram = Histogram()

    def document(self) -> str:
        return f"{self.good} {self.bad} {self.ignored} {self.histogram.document()}"


def cell_of(text: str) -> Cell:
    """What `Cell.document` wrote; an empty one where somebody changed it to something else."""
    made = Cell()
    try:
        good, bad, ignored, rest = text.split(" ", 3)
        made.histogram = parse(rest)
        made.good, made.bad, made.ignored = int(good), int(bad), int(ignored)
    except (ValueError, AttributeError):
        return Cell()
    return made


class Series:
    """The buckets of one kind and target; read from text only where somebody asks for them."""

    __slots__ = ("_coarse", "_fine", "_texts")

    def __init__(self, document: dict[str, dict[str, str]] | None = None) -> None:
        self._texts = document
        self._fine: dict[int, Cell | str] = {}
        self._coarse: dict[int, Cell | str] = {}
        if document is not None and not (type(document["fine"]) is type(document["hours"]) is dict):
            raise TypeError(document)

    @property
    def fine(self) -> dict[int, Cell | str]:
        self._read()
        return self._fine

    @property
    def coarse(self) -> dict[int, Cell | str]:
        self._read()
        return self._coarse

    def _read(self) -> None:
        if self._texts is not None:
            self._fine = {int(at): text for at, text in self._texts["fine"].items() if at.isdecimal()}
            self._coarse = {int(at): text for at, text in self._texts["hours"].items() if at.isdecimal()}
            self._texts = None

    def add(self, at: float, verdict: int, seconds: float | None, now: float) -> None:
        """Count an end at ``at`` (seconds since 1970): ``verdict`` 1 good, -1 bad, 0 neither."""
        for cells, width, kept in ((self.fine, FINE, FINE_KEPT), (self.coarse, COARSE, COARSE_KEPT)):
            if at < now - kept:
                continue
            cell = _cell(cells, int(at // width) * width)
            if verdict > 0:
                cell.good += 1
            elif verdict < 0:
                cell.bad += 1
            else:
                cell.ignored += 1
            if seconds is not None:
                cell.histogram.add(seconds)

    def into(self, window: Window, since: float, now: float) -> None:
        """Add what ended from ``since`` to ``now``: of the bucket that ``since`` falls into, all of it."""
        fine = now - since <= FINE_KEPT
        cells, width = (self.fine, FINE) if fine else (self.coarse, COARSE)
        known = {at: (good, bad) for at, good, bad in window.buckets}
        for at in list(cells):
            if at + width > since and at <= now:
                cell = _cell(cells, at)
                window.good += cell.good
                window.bad += cell.bad
                window.ignored += cell.ignored
                window.histogram.merge(cell.histogram)
                good, bad = known.get(at, (0, 0))
                known[at] = good + cell.good, bad + cell.bad
        window.buckets = [(at, good, bad) for at, (good, bad) in sorted(known.items())]

    def prune(self, now: float) -> None:
        """Drop the buckets that are too old to be asked for."""
        for cells, kept in ((self.fine, FINE_KEPT + FINE), (self.coarse, COARSE_KEPT + COARSE)):
            for at in [at for at in cells if at < now - kept]:
                del cells[at]

    def document(self) -> dict[str, dict[str, str]]:
        """The series as JSON."""
        if self._texts is not None:
            return self._texts
        return {"fine": _texts(self.fine), "hours": _texts(self.coarse)}


def _cell(cells: dict[int, Cell | str], at: int) -> Cell:
    cell = cells.get(at)
    if not isinstance(cell, Cell):
        cell = cells[at] = Cell() if cell is None else cell_of(cell)
    return cell


def _texts(cells: dict[int, Cell | str]) -> dict[str, str]:
    return {str(at): cell if isinstance(cell, str) else cell.document() for at, cell in sorted(cells.items())}
