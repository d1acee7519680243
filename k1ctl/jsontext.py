"""JSON by the interpreter's own C coder, without the `json` package's start-up cost.

`import json` pulls in `re` and five more modules (7 ms on a bare interpreter); records, tickets and events are
written on a path that may spend 10 ms in all. Where the C coder is missing the standard package does the work.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_DIGITS = 20  # of the longest 64-bit integer, its sign included
_coder: Any
try:
    import _json

    _coder = _json
except ImportError:  # pragma: no cover - other interpreters
    _coder = None


class _Context:
    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float: Callable[[str], float] = float
    parse_int: Callable[[str], int] = int

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")


class _Bounded(_Context):
    """Numbers that 64 bits hold."""

    @staticmethod
    def parse_float(text: str) -> float:
        value = float(text)
        if value - value != 0:
            raise ValueError("a number that no float holds")
        return value

    @staticmethod
    def parse_int(text: str) -> int:
        if len(text) > _DIGITS:
            raise ValueError(f"a number of {len(text)} digits")
        return int(text)


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def dumps(value: Any) -> str:
    """One line of JSON without spaces. Raises TypeError or ValueError for what JSON cannot hold (NaN included)."""
    if _coder is None:  # pragma: no cover
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    encode = _coder.make_encoder({}, _refuse, _coder.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encode(value, 0))


def loads(text: str, *, bounded: bool = False) -> Any:
    """The value that ``text`` holds; ``bounded``: it is a stranger's, and has no number that 64 bits do not hold.

    Raises ValueError when it is not one such JSON document.
    """
    context = _Bounded if bounded else _Context
    if _coder is None:  # pragma: no cover
        import json

        return json.loads(text, parse_float=context.parse_float, parse_int=context.parse_int)
    text = text.strip(" \t\r\n")
    try:
        value, end = _coder.make_scanner(context)(text, 0)
    except StopIteration as stop:
        raise ValueError(f"not JSON at character {stop.value}") from None
    except SystemError:
        # The C coder takes its error class from json.decoder and raises nothing at all when that is not imported.
        raise ValueError("not JSON") from None
    except RecursionError:  # thousands of brackets: damage, or a stranger's
        raise ValueError("nested too deeply") from None
    if end != len(text):
        raise ValueError(f"more than one JSON document: text after character {end}")
    return value
