"""Another host, or another load, in words: ``slots=5,devices=2,hosts=2,agents=20,build=3m``."""

from __future__ import annotations

from k1ctl.errors import UsageError
from k1ctl.units import format_duration, parse_duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from k1ctl.capacity.queueing import Model

_COUNTS = ("agents", "devices", "hosts")
_TIMES = ("think", "upload")
_KINDS = ("slots", "build", "uploads", "cv")  # of one kind of build; NAME after a dot says of which
KEYS = (*_COUNTS, *_TIMES, *_KINDS)
HINT = (
    "keys: slots, devices, hosts, agents (numbers); build, think, upload (times such as 3m, or 80% of what they are);"
    " uploads (share of turns, 0.5 or 50%); cv (variation of builds); of another kind of build than the first:"
    " slots.NAME, build.NAME, uploads.NAME, cv.NAME"
)
_LONGEST = 10 * 86400.0  # s: beyond any turn
_MOST = 1000  # agents, slots, devices and hosts that can be asked for


class Changed:
    """The ``model`` that a what-if makes, and the ``changes`` as [(what, before, after)] for people."""

    __slots__ = ("changes", "model", "text")

    def __init__(self, text: str, model: Model, changes: list[tuple[str, str, str]]) -> None:
        self.text, self.model, self.changes = text, model, changes

    def __str__(self) -> str:
        return ", ".join(f"{what} {before} -> {after}" for what, before, after in self.changes)


def parse(text: str, model: Model) -> Changed:
    """``model`` as it would be with the changes that ``text`` names. Raises UsageError, which names the keys."""
    seen: set[str] = set()
    changes: list[tuple[str, str, str]] = []
    changed = model
    for word in filter(None, (w.strip() for w in text.split(","))):
        key, equals, value = (part.strip() for part in word.partition("="))
        name, _, kind = key.partition(".")
        if name not in KEYS or (kind and name not in _KINDS):
            raise UsageError(f"what-if has no key {key!r}", hint=HINT)
        if not equals or not value:
            raise UsageError(f"{key}: to what?", hint=f"as in --what-if {key}={_example(name)}")
        if key in seen:
            raise UsageError(f"{key} is named twice", hint=HINT)
        seen.add(key)
        changed = _apply(changed, key, name, kind, value, changes)
    if not changes:
        raise UsageError("what-if names no change", hint=HINT)
    return Changed(text, changed, changes)


def _apply(model: Model, key: str, name: str, kind: str, value: str, changes: list[tuple[str, str, str]]) -> Model:
    if name in _COUNTS:
        number = _count(key, value)
        changes.append((name, str(getattr(model, name)), str(number)))
        return model.changed(**{name: number})
    if name in _TIMES:
        now = getattr(model, name)
        seconds = _time(key, value, now)
        changes.append((name, format_duration(now), format_duration(seconds)))
        return model.changed(**{name: seconds})
    at = _find(model, key, kind)
    one = model.kinds[at]
    told = f"{one.name} {name}" if len(model.kinds) > 1 else name
    if name == "slots":
        other = one.changed(slots=_count(key, value))
        changes.append((told, str(one.slots), str(other.slots)))
    elif name == "build":
        other = one.changed(seconds=_time(key, value, one.seconds))
        changes.append((told, format_duration(one.seconds), format_duration(other.seconds)))
    elif name == "uploads":
        other = one.changed(uploads=_share(key, value))
        changes.append((told, f"{one.uploads:.0%}", f"{other.uploads:.0%}"))
    else:
        other = one.changed(cv=_ratio(key, value))
        changes.append((told, f"{one.cv:.2g}", f"{other.cv:.2g}"))
    return model.changed(kinds=[*model.kinds[:at], other, *model.kinds[at + 1 :]])


def _find(model: Model, key: str, kind: str) -> int:
    """The place of the kind that is meant; a name may leave out ``build:``."""
    names = [k.name for k in model.kinds]
    if not kind:
        return 0
    for name in (kind, f"build:{kind}"):
        if name in names:
            return names.index(name)
    raise UsageError(f"{key}: nothing is built on {kind!r} here", hint=f"there is {', '.join(names)}")


def _example(name: str) -> str:
    return "3m" if name in (*_TIMES, "build") else "0.5" if name in ("uploads", "cv") else "2"


def _count(key: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:9]) <= _MOST and len(text) < 9):
        raise UsageError(f"{key}: {text!r} is no number from 1 to {_MOST}", hint=HINT)
    return int(text)


def _time(key: str, text: str, now: float) -> float:
    try:
        seconds = now * _percent(key, text) if text.endswith("%") else parse_duration(text)
    except ValueError as exc:
        raise UsageError(f"{key}: {exc}", hint=HINT) from None
    if seconds > _LONGEST:
        raise UsageError(f"{key}: {text!r} is more than {format_duration(_LONGEST)}", hint=HINT)
    return seconds


def _share(key: str, text: str) -> float:
    value = _percent(key, text) if text.endswith("%") else _number(key, text)
    if not 0 <= value <= 1:
        raise UsageError(f"{key}: {text!r} is no share from 0 to 1", hint=HINT)
    return value


def _ratio(key: str, text: str) -> float:
    value = _number(key, text)
    if not 0 <= value <= 5:
        raise UsageError(f"{key}: {text!r} is no variation from 0 to 5", hint=HINT)
    return value


def _percent(key: str, text: str) -> float:
    value = _number(key, text[:-1]) / 100
    if not 0 <= value <= 100:
        raise UsageError(f"{key}: {text!r} is no percentage", hint=HINT)
    return value


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"{key}: {text!r} is no number", hint=HINT) from None
