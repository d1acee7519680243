"""How a measurement is printed: JSON lines on stdout as they come, one table and the bars on stderr at the end."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
from collections.abc import Iterable, Sequence
from typing import Any


class Report:
    """One program's figures. ``quick`` asks for few rounds; ``check`` makes a missed bar exit 1."""

    def __init__(self, about: str, **options: dict[str, Any]) -> None:
        parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
        parser.add_argument("--quick", action="store_true", help="few rounds, a look and no proof")
        parser.add_argument("--check", action="store_true", help="exit 1 when a bar is missed")
        parser.add_argument("--out", help="append the JSON lines to this file, too")
        for name, settings in options.items():
            parser.add_argument(f"--{name.replace('_', '-')}", **settings)
        self.options = parser.parse_args()
        self.quick: bool = self.options.quick
        self.program = os.path.basename(sys.argv[0]).removesuffix(".py")
        self.rows: list[dict[str, Any]] = []
        self.bars: list[tuple[bool, str]] = []
        self.put(
            "machine",
            cores=os.cpu_count(),
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
        )

    def rounds(self, full: int, quick: int = 1) -> int:
        """How many rounds to take."""
        return quick if self.quick else full

    def put(self, what: str, **facts: Any) -> None:
        """Print one JSON line; a line with a ``tool`` becomes a row of the table."""
        line = json.dumps({"bench": self.program, "what": what, **facts})
        print(line, flush=True)
        if self.options.out:
            with open(self.options.out, "a") as f:
                f.write(line + "\n")
        if "tool" in facts:
            self.rows.append({"what": what, **facts})

    def bar(self, what: str, value: float | None, limit: float, unit: str = "", *, least: bool = False) -> None:
        """Hold a figure against its bar: at most ``limit``, or at least it."""
        reached = value is not None and (value >= limit if least else value <= limit)
        shown = "nothing" if value is None else f"{value:g}"
        sign = ">=" if least else "<="
        self.bars.append((reached, f"{what}: {shown} {unit} (bar {sign} {limit:g})".replace("  ", " ")))
        self.put("bar", name=what, value=value, limit=limit, unit=unit, reached=reached)

    def finish(self) -> int:
        """Print the table and the bars; returns the exit code."""
        say = sys.stderr.write
        for what in dict.fromkeys(row["what"] for row in self.rows):
            say(f"\n{what}\n{table([r for r in self.rows if r['what'] == what])}\n")
        say("\n")
        for reached, text in self.bars:
            say(f"{'reached' if reached else 'MISSED '}  {text}\n")
        missed = not all(reached for reached, _ in self.bars)
        return 1 if missed and self.options.check else 0


def table(rows: Iterable[dict[str, Any]]) -> str:
    """Rows of equal keys as aligned columns; ``what`` is left out."""
    rows = [{k: v for k, v in row.items() if k != "what"} for row in rows]
    headers = list(dict.fromkeys(key for row in rows for key in row))
    cells = [headers, *[["-" if row.get(h) is None else str(row[h]) for h in headers] for row in rows]]
    widths = [max(len(line[i]) for line in cells) for i in range(len(headers))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(line, widths, strict=True)) for line in cells)


def median(values: Sequence[float | None]) -> float | None:
    """The median of what is not None, to two places."""
    there = [v for v in values if v is not None]
    return round(statistics.median(there), 2) if there else None


def percentile(values: Iterable[float], share: float) -> float | None:
    """The value that ``share`` of all stay below, to two places."""
    ordered = sorted(values)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None
