"""JSON by the interpreter's own C coder, without the `json` package's start-up cost.

`import json` pulls in `re` and five more modules (7 ms on a bare interpreter); records, tickets and events are
written on a path that may spend 10 ms in all. Where the C coder is missing the standard package does the work.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

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
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> Any:
        raise ValueError(f"{name} is not JSON")


def _refuse(value: object) -> Any:
    raise TypeError(f"{type(value).__name__} is not JSON-able")


def dumps(value: Any) -> str:
    """One line of JSON without spaces. Raises TypeError or ValueError for what JSON cannot hold (NaN included)."""
    if _coder is None:  # pragma: no cover
        import json

        return json.dumps(value, separators=(",", ":"), allow_nan=False)
    encode = _coder.make_encoder({}, _refuse, _coder.encode_basestring_ascii, None, ":", ",", False, False, False)
    return "".join(encode(value, 0))


def loads(text: str) -> Any:
    """The value that ``text`` holds. Raises ValueError when it is not one JSON document."""
    if _coder is None:  # pragma: no cover
        import json

        return json.loads(text)
    text = text.strip(" \t\r\n")
    try:
        value, end = _coder.make_scanner(_Context)(text, 0)
    except StopIteration as stop:
        raise ValueError(f"not JSON at character {stop.value}") from None
    except SystemError:
        # The C coder takes its error class from json.decoder and raises nothing at all when that is not imported.
        raise ValueError("not JSON") from None
    if end != len(text):
        raise ValueError(f"more than one JSON document: text after character {end}")
    return value
