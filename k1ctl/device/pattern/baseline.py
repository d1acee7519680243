"""What a pattern cost when it was last accepted, ``ops/baselines/PATTERN.json``, and whether it costs more now.

The shape is that of the K1 guides (Annex A): {pattern, baseline{fps, render_time_ms, memory_kb}, thresholds{fps_min,
render_time_ms_max, memory_kb_max}, recorded_at}, and `parameters`, what the device was set to. A threshold that is
null or missing is not checked.
"""

from __future__ import annotations

import os

from k1ctl.errors import WrongDataError
from k1ctl.files import read_bytes, write_json
from k1ctl.jsontext import loads
from k1ctl.units import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from fractions import Fraction
    from typing import Any

    Baseline = dict[str, Any]

FPS, RENDER, MEMORY = FIGURES = ("fps", "render_time_ms", "memory_kb")
THRESHOLDS = {FPS: "fps_min", RENDER: "render_time_ms_max", MEMORY: "memory_kb_max"}
_LARGEST = 1e9
_LONGEST_NAME = 150  # characters; a filesystem takes 255 bytes, the temporary file beside it included


def path_of(folder: str, pattern: str) -> str:
    """``FOLDER/PATTERN.json``; what does not belong into a file name is written in hexadecimal."""
    name = "".join(c if _plain(c) else f"%{ord(c):02x}" for c in pattern)
    if len(name) > _LONGEST_NAME:
        from hashlib import sha256

        name = f"{name[:_LONGEST_NAME]}%{sha256(pattern.encode('utf-8', 'surrogatepass')).hexdigest()}"
    return os.path.join(folder, f"{name}.json")


def _plain(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c in "-_")


def recorded(folder: str) -> list[str]:
    """The patterns that have a baseline, in order; files with other names are passed over."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return sorted(stem for stem in stems if stem and all(map(_plain, stem)))


def read(folder: str, pattern: str) -> Baseline | None:
    """The baseline of a pattern; None when there is none. Raises WrongDataError (code bad-baseline), OSError."""
    path = path_of(folder, pattern)
    data = read_bytes(path)
    if data is None:
        return None
    try:
        found = loads(data.decode())
        if not isinstance(found, dict):
            raise ValueError("not an object")
        if found.get("pattern") != pattern:
            raise ValueError(f"pattern is not {pattern!r}")
        for section, names in (("baseline", FIGURES), ("thresholds", tuple(THRESHOLDS.values()))):
            part = found.setdefault(section, {})
            if not isinstance(part, dict):
                raise ValueError(f"{section} is not an object")
            for name in names:
                if part.get(name) is not None and number(part[name]) is None:
                    raise ValueError(f"{section}.{name} is no number of 0 or more")
    except (ValueError, RecursionError) as exc:
        raise WrongDataError(
            f"{path} is no baseline: {exc}",
            hint="correct it, or move it away and record it anew: k1ctl device test PATTERN --record",
            code="bad-baseline",
        ) from exc
    return found


def record(
    folder: str,
    pattern: str,
    figures: Mapping[str, float | None],
    before: Baseline | None,
    parameters: Mapping[str, float | bool],
) -> Baseline:
    """Make ``figures``, measured with ``parameters``, the baseline of a pattern; the thresholds of ``before`` are kept.

    Raises OSError.
    """
    kept = (before or {}).get("thresholds") or {}
    found = {
        "pattern": pattern,
        "baseline": {name: figures.get(name) for name in FIGURES},
        "thresholds": {**dict.fromkeys(THRESHOLDS.values()), **kept},
        "recorded_at": rfc3339(),
        "parameters": dict(parameters),
    }
    write_json(path_of(folder, pattern), found)
    return found


def other_parameters(baseline: Baseline | None, now: Mapping[str, float | bool]) -> list[str]:
    """What the device was set to otherwise when the baseline was recorded, as in ``brightness 0.5, was 1``; nothing
    where the file does not tell."""
    before = (baseline or {}).get("parameters")
    if not isinstance(before, dict):
        return []
    found = []
    for name, value in now.items():
        old = before.get(name)
        if isinstance(old, int | float) and abs(old) <= _LARGEST and old != value:
            found.append(f"{name} {value:g}, was {old:g}")
    return found


def number(value: Any) -> float | None:
    """A figure that a device or a file may tell: a finite number of 0 or more; None for anything else."""
    whole = isinstance(value, int | float) and not isinstance(value, bool)
    return value if whole and 0 <= value <= _LARGEST else None


def worse_percent(figure: str, now: float, before: float) -> Fraction:
    """By how many percent of ``before`` a figure got worse, exactly; below 0 when it got better.

    Fewer frames a second are worse; longer drawing and more memory are worse. From 0 on nothing can be told: 0.
    """
    from fractions import Fraction

    if not before:
        return Fraction(0)
    old, new = Fraction(repr(before)), Fraction(repr(now))  # as they are written, not as binary fractions
    return (old - new if figure == FPS else new - old) * 100 / old


def compare(figures: Mapping[str, float | None], baseline: Baseline | None, percent: float) -> list[dict[str, Any]]:
    """What is wrong with ``figures``: [{figure, kind, value, limit, baseline, worse_percent}], empty when all is well.

    ``kind`` is ``regression`` (worse than the baseline by more than ``percent``) or ``threshold`` (beyond a limit that
    was set). A figure that is not known on either side is not compared.
    """
    if baseline is None:
        return []
    from fractions import Fraction

    found = []
    for name in FIGURES:
        now, before = figures.get(name), baseline["baseline"].get(name)
        limit = baseline["thresholds"].get(THRESHOLDS[name])
        if now is None:
            continue
        worse = None if before is None else worse_percent(name, now, before)
        facts = {"figure": name, "value": now, "baseline": before}
        facts["worse_percent"] = None if worse is None else round(float(worse), 2)
        if worse is not None and before is not None and worse > Fraction(repr(percent)):
            sign = -1 if name == FPS else 1
            found.append({**facts, "kind": "regression", "limit": round(before * (1 + sign * percent / 100), 4)})
        if limit is not None and (now < limit if name == FPS else now > limit):
            found.append({**facts, "kind": "threshold", "limit": limit})
    return found


_UNITS = {FPS: "{:g} fps", RENDER: "{:g} ms a frame", MEMORY: "{:g} KiB of memory"}


def figure_text(name: str, value: float | None) -> str:
    """A figure with its unit: ``150.2 fps``, ``1.21 ms a frame``, ``155 KiB of memory``."""
    return f"no word on {name}" if value is None else _UNITS[name].format(value)


def finding_text(finding: Mapping[str, Any]) -> str:
    """One finding for people: ``130 fps, 13.4 % worse than the baseline of 150.2 fps``."""
    name = finding["figure"]
    now = figure_text(name, finding["value"])
    if finding["kind"] == "regression":
        before = figure_text(name, finding["baseline"])
        return f"{now}, {finding['worse_percent']:g} % worse than the baseline of {before}"
    return f"{now}, {'at least' if name == FPS else 'at most'} {figure_text(name, finding['limit'])} is set"
