"""Change one value in a TOML text and leave every other line, comments included, as it is.

Every edit is a proposal that is parsed again: it counts only when the new document is the old one with that one
change. So the scanner below may be simple; what it does not understand ends in `NoLineEdit`, not in a wrong file.
"""

from __future__ import annotations

from typing import NamedTuple

from k1ctl.tomllines import before_equals, split_key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from k1ctl.settings import Place

_BARE = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


class NoLineEdit(ValueError):
    """The change is not one of lines; its text says why."""


class Line(NamedTuple):
    """A statement or comment of the text, with offsets into it.

    ``kind`` is ``table``, ``array`` (of tables), ``value`` or ``comment``; ``place`` the full place of a table, a
    value, or a table that is commented out; ``table`` the one it stands in. ``start`` and ``end`` span its lines,
    ``at`` and ``to`` the value (of a comment: its text). ``inner`` is whether comments stand inside the value.
    """

    kind: str
    place: Place
    table: Place
    start: int
    end: int
    at: int
    to: int
    inner: bool = False


def set_value(text: str, place: Place, value: str) -> str:
    """``text`` with ``value`` (TOML, on one line) at ``place``.

    Raises NoLineEdit when that takes more than a line (inline tables, comments inside the old value).
    """
    wanted = with_value(text, place, value)
    lines = list(scan(text))
    old = next((line for line in lines if line.kind == "value" and line.place == place), None)
    if old is None:
        return _proved(_insertions(text, lines, place, value), [wanted], place)
    if old.inner:
        raise NoLineEdit(f"comments stand inside the value of {dotted(place)}")
    return _proved(iter([text[: old.at] + value + text[old.to :]]), [wanted], place)


def unset(text: str, place: Place) -> str:
    """``text`` without the value, or the whole table, at ``place``; a comment behind a value stays, on its own line.

    A text that has nothing there comes back as it is. Raises NoLineEdit.
    """
    wanted = without(text, place)
    if wanted is None:
        return text
    gone = [line for line in scan(text) if line.kind != "comment" and line.place[: len(place)] == place]
    if any(line.inner for line in gone):
        raise NoLineEdit(f"comments stand inside the value of {dotted(place)}")
    done, ending = text, _ending(text)
    for line in reversed(gone):
        rest = text[line.to : line.end].strip().lstrip("]").strip()
        done = done[: line.start] + (rest + ending if rest.startswith("#") else "") + done[line.end :]
    # Where dotted keys made a table, it is kept by a header; only one at the top may go with the last that it held.
    header = f"{ending if done and not done.endswith(ending) else ''}[{dotted(place[:-1])}]{ending}"
    accepted = [wanted, {k: v for k, v in wanted.items() if k != place[0] or v != {}}]
    return _proved(iter([done, done + header] if place[:-1] else [done]), accepted, place)


def with_value(text: str, place: Place, value: str) -> dict[str, Any]:
    """The document ``text`` with ``value`` (TOML) at ``place``. Raises NoLineEdit when no table can be there."""
    import tomllib

    tree = tomllib.loads(text)
    node: Any = tree
    for depth, part in enumerate(place[:-1], 1):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            raise NoLineEdit(f"{dotted(place[:depth])} is not a table")
    node[place[-1]] = tomllib.loads(f"v = {value}")["v"]
    return tree


def without(text: str, place: Place) -> dict[str, Any] | None:
    """The document ``text`` without what is at ``place``; None when nothing is there."""
    import tomllib

    tree = tomllib.loads(text)
    node: Any = tree
    for part in place[:-1]:
        node = node.get(part) if isinstance(node, dict) else None
    if not isinstance(node, dict) or place[-1] not in node:
        return None
    del node[place[-1]]
    return tree


def _proved(proposals: Iterator[str], wanted: list[dict[str, Any]], place: Place) -> str:
    """The first proposal that is one of the wanted documents."""
    import tomllib

    for proposal in proposals:
        try:
            tree = tomllib.loads(proposal)
        except tomllib.TOMLDecodeError:
            continue
        if any(same(tree, document) for document in wanted):
            return proposal
    raise NoLineEdit(f"{dotted(place)} stands in an inline table, or in tables that no line can be added to")


def _insertions(text: str, lines: list[Line], place: Place, value: str) -> Iterator[str]:
    """Where a new value may go, best first."""
    parent, name, ending = place[:-1], place[-1], _ending(text)
    new = f"{dotted((name,))} = {value}{ending}"
    for i, header in enumerate(lines):
        if header.kind == "table" and header.place == parent:
            section = _section(lines, i + 1)
            yield _insert(text, _behind(text, header, section, name), new)
    for i, line in enumerate(lines):  # a section that is there as a comment, ready to be taken
        if line.kind == "comment" and parent and line.place == parent:
            spot = _behind(text, line, _section(lines, i + 1), name)
            yield _insert(_insert(text, spot, new), line.end, f"[{dotted(parent)}]{ending}")
    for line in reversed(lines):  # dotted keys: a.b.c = 1 beside a.b.d = 2
        if line.kind == "value" and line.place[:-1] == parent and line.table != parent:
            yield _insert(text, line.end, f"{dotted(place[len(line.table) :])} = {value}{ending}")
    family = [line for line in lines if line.kind != "comment" and line.place[:1] == place[:1]]
    table = f"{ending}[{dotted(parent)}]{ending}{new}"
    if family and parent:
        yield _insert(text, family[-1].end, table)
    if parent:
        yield _insert(text, len(text), table)
    else:
        yield _insert(text, max((line.end for line in _section(lines, 0)), default=0), new)
    for line in reversed(family):  # a table that dotted keys made takes no header: a.b = 1 beside a.c.d = 2
        if line.kind == "value" and line.table == place[: len(line.table)]:
            yield _insert(text, line.end, f"{dotted(place[len(line.table) :])} = {value}{ending}")


def _behind(text: str, header: Line, section: list[Line], name: str) -> int:
    """Where a value of ``name`` goes in a section: behind its commented default, the last value, or the header."""
    for line in section:
        if line.kind == "comment" and _commented_key(text[line.at : line.to]) == name:
            return line.end
    values = [line for line in section if line.kind == "value"]
    return (values or [header])[-1].end


def _section(lines: list[Line], start: int) -> list[Line]:
    """The lines from ``start`` up to the next table, also when that is commented out."""
    stop = start
    while stop < len(lines) and (lines[stop].kind == "value" or lines[stop][:2] == ("comment", ())):
        stop += 1
    return lines[start:stop]


def _commented_key(comment: str) -> str:
    """``park`` of ``#park = "15m"``; "" for prose, which begins with a space."""
    if comment[1:2] in ("", " ", "\t", "[") or "=" not in comment:
        return ""
    parts = split_key(before_equals(comment[1:]))
    return parts[0] if len(parts) == 1 else ""


def _commented_table(comment: str) -> Place:
    """``("devices", "k1")`` of ``#[devices.k1]``."""
    inner = comment[1:].strip()
    return split_key(inner[1:-1]) if inner.startswith("[") and inner.endswith("]") and comment[1:2] == "[" else ()


def _insert(text: str, at: int, new: str) -> str:
    """``text`` with the line ``new`` at an offset behind a line; the last line may lack its end."""
    ending = _ending(text) if at and text[at - 1] != "\n" else ""
    return text[:at] + ending + (new if at else new.lstrip("\r\n")) + text[at:]


def _ending(text: str) -> str:
    return "\r\n" if "\r\n" in text else "\n"


def scan(text: str) -> Iterator[Line]:
    """The lines of a valid TOML text; empty ones are left out."""
    table: Place = ()
    start = 0
    while start < len(text):
        at = start
        while at < len(text) and text[at] in " \t":
            at += 1
        end = _line_end(text, at)
        char = text[at : at + 1]
        if char == "#":
            to = at + len(text[at:end].rstrip("\r\n"))
            yield Line("comment", _commented_table(text[at:to]), table, start, end, at, to)
        elif char == "[":
            brackets = 2 if text.startswith("[[", at) else 1
            to = _key_end(text, at + brackets, "]")
            table = _keys(text[at + brackets : to])
            yield Line("array" if brackets == 2 else "table", table, table, start, end, at, to)
        elif char not in ("", "\r", "\n"):
            equals = _key_end(text, at, "=")
            place = (*table, *_keys(text[at:equals]))
            at = equals + 1
            while at < len(text) and text[at] in " \t":
                at += 1
            to, inner = value_end(text, at)
            end = _line_end(text, to)
            yield Line("value", place, table, start, end, at, to, inner)
        start = end


def _keys(text: str) -> Place:
    import tomllib

    node: Any = tomllib.loads(f"{text} = 0")
    parts = []
    while isinstance(node, dict):
        ((part, node),) = node.items()
        parts.append(part)
    return tuple(parts)


def _line_end(text: str, at: int) -> int:
    """The offset behind the line that ``at`` is on."""
    return text.find("\n", at) + 1 or len(text)


def _key_end(text: str, at: int, stop: str) -> int:
    while at < len(text) and text[at] != stop:
        at = _string_end(text, at) if text[at] in "\"'" else at + 1
    return at


def _string_end(text: str, at: int) -> int:
    """The offset behind the string that begins at ``at``: basic or literal, on one line or several (TOML 1.0)."""
    quote = text[at]
    mark = quote * 3 if text.startswith(quote * 3, at) else quote
    at += len(mark)
    while at < len(text) and not text.startswith(mark, at):
        at += 2 if text[at] == "\\" and quote == '"' else 1
    at += len(mark)
    while len(mark) == 3 and at < len(text) and text[at] == quote:  # up to two quotes may stand before the mark
        at += 1
    return at


def value_end(text: str, at: int) -> tuple[int, bool]:
    """The offset behind the value at ``at``, and whether comments stand inside it."""
    depth, inner, end = 0, False, at
    while at < len(text):
        char = text[at]
        if char == "#" and depth:
            inner, at = True, _line_end(text, at)
            continue
        if char in "#\n" and not depth:
            break
        if char in "\"'":
            at = _string_end(text, at)
        else:
            depth += (char in "[{") - (char in "]}")
            at += 1
        if not char.isspace():
            end = at
    return end, inner


def same(one: Any, other: Any) -> bool:
    """Whether two documents are equal, types included: 1, 1.0 and true are three values, nan equals itself."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def dotted(place: Place) -> str:
    """A place as a TOML key."""
    return ".".join(part if part and set(part) <= _BARE else toml_text(part) for part in place)


def toml_text(text: str) -> str:
    """A TOML basic string. Raises ValueError for what is not Unicode text."""
    text.encode()
    return '"' + "".join(_ESCAPES.get(c) or (c if c.isprintable() else _escape(c)) for c in text) + '"'


def _escape(char: str) -> str:
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"
