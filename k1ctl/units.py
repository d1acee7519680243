"""Durations, sizes and times as people write them."""

from __future__ import annotations

import time

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_THOUSANDS = {"": 1, "k": 1000, "m": 1_000_000, "g": 1_000_000_000}
_BYTES = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def _parts(text: str) -> list[tuple[float, str]]:
    """Split ``1h30m`` into [(1.0, "h"), (30.0, "m")]."""
    parts: list[tuple[float, str]] = []
    i, n = 0, len(text)
    while i < n:
        j = i
        while j < n and (text[j] in "0123456789."):
            j += 1
        k = j
        while k < n and text[k].isalpha():
            k += 1
        if j == i:
            raise ValueError(text)
        parts.append((float(text[i:j]), text[j:k]))
        i = k
    return parts


def parse_duration(text: str | int | float) -> float:
    """Seconds from ``250ms``, ``10s``, ``1h30m`` or a plain number of seconds. Raises ValueError."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a duration")
    if isinstance(text, int | float):
        seconds = float(text)
    else:
        try:
            parts = _parts(text.strip().lower().replace(" ", ""))
            seconds = sum(number * (_SECONDS[unit] if unit or len(parts) > 1 else 1.0) for number, unit in parts)
            if not parts:
                raise ValueError(text)
        except (ValueError, KeyError):
            raise ValueError(f"{text!r} is not a duration; write 250ms, 10s, 5m, 1h30m or 2d") from None
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"{text!r} is not a duration")
    return seconds


def parse_size(text: str | int) -> int:
    """Bytes from ``4G``, ``512k``, ``1.5MiB`` or a plain number; units are powers of 1024. Raises ValueError."""
    if isinstance(text, bool):
        raise ValueError(f"{text!r} is not a size")
    if isinstance(text, int):
        size = text
    else:
        word = text.strip().lower()
        number = word.rstrip("bikmgt ")
        unit = word[len(number) :].strip()
        unit = unit.removesuffix("ib").removesuffix("b") if len(unit) > 1 else unit
        try:
            size = int((int if number.isdecimal() else float)(number) * _BYTES[unit])  # a whole number stays exact
        except (ValueError, KeyError, OverflowError):
            raise ValueError(f"{text!r} is not a size; write 512k, 4G or a number of bytes") from None
    if size < 0:
        raise ValueError(f"{text!r} is not a size")
    return size


def parse_tokens(text: str | int) -> int:
    """A number of tokens from ``10k``, ``1.5M`` or ``200``; units are powers of 1000. Raises ValueError."""
    word = str(text).strip().lower()
    unit = word[-1:] if word[-1:] in ("k", "m", "g") else ""
    digits = word.removesuffix(unit)
    try:
        number = (int if digits.isdecimal() else float)(digits) * _THOUSANDS[unit]  # a whole number stays exact
    except ValueError:
        raise ValueError(f"{text!r} is no number of tokens; write 200, 10k or 1.5M") from None
    if not 0 <= number < 1e15:
        raise ValueError(f"{text!r} is no number of tokens")
    return int(number)


def format_tokens(count: int) -> str:
    """A number of tokens for people: ``850``, ``50k``, ``1.25M``."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if abs(count) >= size:
            return f"{count / size:.2f}".rstrip("0").rstrip(".") + unit
    return str(count)


def format_duration(seconds: float) -> str:
    """A duration for people, two units at most: ``850 ms``, ``4.2 s``, ``1 m 20 s``, ``2 h 5 m``."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    whole = round(seconds)
    for unit, size, small, step in (("d", 86400, "h", 3600), ("h", 3600, "m", 60), ("m", 60, "s", 1)):
        if whole >= size:
            rest = whole % size // step
            return f"{whole // size} {unit} {rest} {small}" if rest else f"{whole // size} {unit}"
    return f"{whole} s"


def format_size(size: float) -> str:
    """A size for people: ``812 B``, ``1.2 MiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def rfc3339(seconds: float | None = None) -> str:
    """A time as RFC 3339 UTC with milliseconds (default: now)."""
    seconds = time.time() if seconds is None else seconds
    whole = int(seconds // 1)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)) + f".{int((seconds - whole) * 1000):03d}Z"


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970 of a time that `rfc3339` wrote. Raises ValueError."""
    if len(text) == 24 and text[-1] == "Z":  # what `rfc3339` writes: a look at events reads hundreds of them
        from datetime import datetime

        return datetime.fromisoformat(text).timestamp()
    from calendar import timegm

    whole, _, rest = text.partition(".")
    millis = rest.rstrip("Z") or "0"
    return timegm(time.strptime(whole.rstrip("Z"), "%Y-%m-%dT%H:%M:%S")) + int(millis) / 10.0 ** len(millis)
