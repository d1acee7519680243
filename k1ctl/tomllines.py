"""The line of a key in a TOML text, which tomllib does not tell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.settings import Place


def split_key(text: str) -> Place:
    """``devices."my k1".host`` as ("devices", "my k1", "host")."""
    parts, current, quote = [], "", ""
    for char in text.strip():
        if quote:
            if char == quote:
                quote = ""
            else:
                current += char
        elif char in "\"'":
            quote = char
        elif char == ".":
            parts.append(current.strip())
            current = ""
        else:
            current += char
    return (*parts, current.strip())


def line_of(text: str, place: Place) -> int:
    """The line (from 1) where ``place`` is set, else where the nearest table around it begins, else 0."""
    table: Place = ()
    best, depth = 0, 0
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if line.startswith("["):
            table = split_key(line.strip("[]").partition("]")[0])
            key = table
        elif "=" in line and not line.startswith("#"):
            key = (*table, *split_key(_before_equals(line)))
        else:
            continue
        if key == place:
            return number
        if place[: len(key)] == key and len(key) > depth:
            best, depth = number, len(key)
    return best


def _before_equals(line: str) -> str:
    quote = ""
    for i, char in enumerate(line):
        if quote:
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "=":
            return line[:i]
    return line
