"""The types of settings: what a value of each looks like, and how text becomes one.

Types: ``str``, ``int``, ``number`` (0 or more), ``bool``, ``duration`` (seconds), ``size`` (bytes), ``list`` (of
strings), ``percents`` (rising, from 1 to 99), ``mac`` (AA:BB:CC:DD:EE:FF or empty), ``slots`` (1 or more), ``port``
(0 to 65535), ``dbm`` (-127 to 0), ``tokens`` (a number of them), ``variable`` (the name of an environment variable),
``secret-file`` (a path from / or ~/), ``choice:a|b``.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Setting:
    """One setting: ``kind`` is its type, ``default`` the value when nobody sets it (already in base units)."""

    __slots__ = ("about", "default", "kind")

    def __init__(self, kind: str, default: Any, about: str) -> None:
        self.kind, self.default, self.about = kind, default, about


def convert(setting: Setting, value: Any) -> Any:
    """``value`` (from TOML, or text from the environment) in the setting's type and base unit. Raises ValueError."""
    from k1ctl.units import parse_duration, parse_size

    kind = setting.kind
    if kind == "str" and isinstance(value, str):
        return value
    if kind == "duration" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return parse_duration(value)
    if kind == "size" and isinstance(value, str | int) and not isinstance(value, bool):
        return parse_size(value)
    if kind == "int" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if kind == "dbm" and isinstance(value, int) and not isinstance(value, bool) and -127 <= value <= 0:
        return value
    if kind == "port" and isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 65535:
        return value
    if kind == "slots" and isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    if kind == "number" and _is_number(value):
        return float(value)
    if kind == "percents" and _are_percents(value):
        return [*value]
    if kind == "mac" and isinstance(value, str) and (not value or _is_mac(value)):
        return value
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "list" and isinstance(value, list) and all(isinstance(v, str) for v in value):
        return value
    if kind == "tokens" and isinstance(value, str | int) and not isinstance(value, bool):
        from k1ctl.units import parse_tokens

        return parse_tokens(value)
    if kind in ("variable", "secret-file"):
        word = value.strip() if isinstance(value, str) else "?"
        if word and not (_is_variable(word) if kind == "variable" else word.startswith(("/", "~/"))):
            raise ValueError(f"must be {_NAMES[kind]}")  # what stands there may be the secret itself: it is not told
        return word
    if kind.startswith("choice:"):
        if value in kind[7:].split("|"):
            return value
        raise ValueError(f"must be one of {kind[7:].replace('|', ', ')}, not {value!r}")
    raise ValueError(f"must be {_NAMES[kind]}, not {value!r}")


_OF_SECRETS = (
    "sk-",
    "sk_",
    "ghp_",
    "gho_",
    "ghs_",
    "ghu_",
    "github_pat_",
    "gsk_",
    "xox",
    "glpat",
    "AKIA",
    "AIza",
    "hf_",
)


def _is_variable(text: str) -> bool:
    """Whether ``text`` is the name of a variable, and does not look like a secret itself."""
    plain = text.isascii() and text.replace("_", "a").isalnum() and not text[0].isdigit()
    mixed = any(c.isdigit() for c in text) and any(c.islower() for c in text) and len(text) >= 24
    return plain and not mixed and not text.startswith(_OF_SECRETS)


def _is_mac(text: str) -> bool:
    pairs = text.replace("-", ":").split(":")
    return len(pairs) == 6 and all(len(p) == 2 and set(p) <= set("0123456789abcdefABCDEF") for p in pairs)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e9


def _are_percents(value: Any) -> bool:
    if not (isinstance(value, list) and all(type(v) is int and 0 < v < 100 for v in value)):
        return False
    return value == sorted(set(value))


def from_text(setting: Setting, text: str) -> Any:
    """A value from an environment variable or the command line. Raises ValueError."""
    if setting.kind in ("int", "slots", "port", "dbm"):
        return convert(setting, int(text) if text.strip().removeprefix("-").isdigit() else text)
    if setting.kind == "bool":
        words = {
            "1": True,
            "true": True,
            "yes": True,
            "on": True,
            "0": False,
            "false": False,
            "no": False,
            "off": False,
        }
        return convert(setting, words.get(text.strip().lower(), text))
    if setting.kind == "number":
        try:
            return convert(setting, float(text))
        except ValueError:
            return convert(setting, text)
    if setting.kind == "percents":
        parts = text.strip().removeprefix("[").removesuffix("]").split(",")
        return convert(setting, [int(w) for w in parts if w.strip()] if _all_digits(parts) else text)
    if setting.kind == "list":
        return [word for word in (w.strip() for w in text.split(",")) if word]
    return convert(setting, text)


def _all_digits(words: list[str]) -> bool:
    return all(not w.strip() or w.strip().isdecimal() for w in words)


_NAMES = {
    "number": "a number of 0 or more",
    "percents": "percents that rise, as [60, 80, 95]",
    "str": "text",
    "int": "a whole number of 0 or more",
    "slots": "a whole number of 1 or more",
    "port": "a port number, at most 65535",
    "dbm": "a signal strength in dBm, from -127 to 0",
    "mac": "a MAC address such as 24:0A:C4:00:00:01",
    "bool": "true or false",
    "duration": 'a duration ("10s", "5m") or seconds',
    "size": 'a size ("512k", "4M") or bytes',
    "list": "a list of texts",
    "tokens": 'a number of tokens ("50k", "3M")',
    "variable": "the name of an environment variable (never what is in it)",
    "secret-file": "an absolute path, or one below ~/, of a file with mode 0600 (never what is in it)",
}
