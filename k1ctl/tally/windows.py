"""What came of something in time: buckets of 5 minutes for the last 6 hours, of an hour for the last 35 days."""

from __future__ import annotations

from k1ctl.tally.histogram import Histogram, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    Sum = tuple["Cell", list[tuple[int, int, int]]]

FINE, FINE_KEPT = 300, 6 * 3600  # s
COARSE, COARSE_KEPT = 3600, 35 * 86400  # s
_SUMS = 50  # that are remembered


class Window:
    """``good``, ``bad`` and ``ignored`` ends, the ``histogram`` of their seconds, and ``buckets`` [(begin in seconds
    since 1970, good, bad)] in order of time: of 5 minutes in a window of up to 6 hours, else of an hour."""

    __slots__ = ("_rows", "bad", "good", "histogram", "ignored")

    def __init__(self) -> None:
        self.good = self.bad = self.ignored = 0
        self.histogram = Histogram()
        self._rows: list[list[tuple[int, int, int]]] = []

    @property
    def buckets(self) -> list[tuple[int, int, int]]:
        known: dict[int, tuple[int, int]] = {}
        for rows in self._rows:
            for at, good, bad in rows:
                before = known.get(at, (0, 0))
                known[at] = before[0] + good, before[1] + bad
        return [(at, good, bad) for at, (good, bad) in sorted(known.items())]

    def take(self, cell: Cell, rows: list[tuple[int, int, int]]) -> None:
        """Add what a cell holds, and its buckets."""
        self.good += cell.good
        self.bad += cell.bad
        self.ignored += cell.ignored
        self.histogram.merge(cell.histogram)
        self._rows.append(rows)


class Cell:
    """One bucket of time, or the sum of some."""

    __slots__ = ("bad", "good", "histogram", "ignored")

    def __init__(self) -> None:
        self.good = self.bad = self.ignored = 0
        self.histogram = Histogram()

    def merge(self, other: Cell) -> None:
        """Add all that ``other`` holds."""
        self.good += other.good
        self.bad += other.bad
        self.ignored += other.ignored
        self.histogram.merge(other.histogram)

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
    """The buckets of one kind and target; read from text only where somebody asks for them.

    A window of a month is a sum of hundreds, and an objective asks for several at each look; so sums are remembered,
    without the newest bucket, until an older one changes."""

    __slots__ = ("_coarse", "_fine", "_sums", "_texts")

    def __init__(self, document: dict[str, dict[str, str]] | None = None) -> None:
        self._texts = document
        self._fine: dict[int, Cell | str] = {}
        self._coarse: dict[int, Cell | str] = {}
        self._sums: dict[tuple[int, int, int], Sum] = {}
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
            begin = int(at // width) * width
            if self._sums and cells and begin < max(cells):
                self._sums.clear()
            cell = _cell(cells, begin)
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
        newest = max(cells, default=0)
        if newest > now:  # of a clock that was wrong
            newest = max((at for at in cells if at <= now), default=0)
        first = int(since // width) * width
        if newest <= since - width:
            return
        window.take(*self._sum(cells, width, first, newest))
        last = _cell(cells, newest)
        window.take(last, [(newest, last.good, last.bad)])

    def _sum(self, cells: dict[int, Cell | str], width: int, first: int, end: int) -> Sum:
        """What the buckets from ``first`` on and before ``end`` come to."""
        key = width, first, end
        found = self._sums.get(key)
        if found is None:
            total, rows = Cell(), []
            for at in [at for at in cells if first <= at < end]:
                cell = _cell(cells, at)
                total.merge(cell)
                rows.append((at, cell.good, cell.bad))
            if len(self._sums) >= _SUMS:
                self._sums.clear()
            found = self._sums[key] = total, rows
        return found

    def prune(self, now: float) -> None:
        """Drop the buckets that are too old to be asked for."""
        self._sums.clear()
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
