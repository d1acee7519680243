"""The line of a key in a TOML text, which tomllib does not tell."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.settings import Place


def split_key(text: str) -> Place:
    """``devices."my k1".host`` as ("devices", "my k1", "host"); in double quotes ``\\`` takes the next character."""
    parts, current, solid, quote, escaped = [], "", 0, "", False
    for char in text.strip():
        if escaped or (quote and char != quote and not (char == "\\" and quote == '"')):
            current, escaped = current + char, False
            solid = len(current)
        elif quote and char == quote:
            quote = ""
        elif quote:
            escaped = True
        elif char in "\"'":
            quote, current = char, current[:solid]
        elif char == ".":
            parts.append(current[:solid])
            current, solid = "", 0
        elif char != " " or solid:
            current += char
            solid = solid if char == " " else len(current)
    return (*parts, current[:solid])


def dotted(place: Place) -> str:
    """A place as people write it; a part that would be misread stands in quotes. `split_key` reads it back."""
    return ".".join(f'"{_escaped(p)}"' if not p or set(p) & set(".\"'\\ =#[]") else p for p in place)


def _escaped(part: str) -> str:
    return part.replace("\\", "\\\\").replace('"', '\\"')


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
            key = (*table, *split_key(before_equals(line)))
        else:
            continue
        if key == place:
            return number
        if place[: len(key)] == key and len(key) > depth:
            best, depth = number, len(key)
    return best


def before_equals(line: str) -> str:
    """The key of a line ``key = value``; an equals sign in quotes belongs to the key."""
    quote, escaped = "", False
    for i, char in enumerate(line):
        if escaped:
            escaped = False
        elif quote:
            escaped = char == "\\" and quote == '"'
            quote = "" if char == quote else quote
        elif char in "\"'":
            quote = char
        elif char == "=":
            return line[:i]
    return line
