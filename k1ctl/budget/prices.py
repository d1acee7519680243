"""What a model's tokens cost: a dated list in the package, and a file of one's own over it.

Prices are micro-dollars for a million tokens of a class, as the providers list them: what a subscription bills is
another matter, so that every sum made with them is imputed.
"""

from __future__ import annotations

import os

from k1ctl.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CLASSES = ("input", "output", "cache_write", "cache_read")
_ALL = (*_CLASSES, "cache_write_1h")
_MILLION = 1_000_000
_PREFIXES = ("anthropic/", "openai/", "us.", "eu.", "apac.", "global.", "anthropic.", "models/")


class Price:
    """Micro-dollars for a million tokens of each class; ``cache_write_1h`` of a write that is kept for an hour.

    ``above``: (tokens, the Price of a call whose prompt has more); ``before``: (the day, in UTC, until which it was
    the Price), the earliest first; ``fast`` the factor of fast mode, None where it has none.
    """

    __slots__ = (*_ALL, "above", "before", "fast", "model", "source")

    def __init__(self, model: str, entry: dict[str, Any], source: str = "") -> None:
        """From an entry of a list of prices. Raises ValueError saying what is wrong with it."""
        self.model, self.source = model, source
        for name in _CLASSES:
            setattr(self, name, _whole(entry, name))
        self.cache_write_1h: int = _whole(entry, "cache_write_1h") if "cache_write_1h" in entry else self.cache_write
        self.fast: int | float | None = entry.get("fast")
        if self.fast is not None and (not isinstance(self.fast, int | float) or not 1 <= self.fast <= 100):
            raise ValueError(f"fast of {model} has to be a factor from 1 on")
        above, before = entry.get("above"), entry.get("before", [])
        self.above = (_whole(above, "tokens"), Price(model, above, source)) if above is not None else None
        self.before = sorted(((_day(each), Price(model, each, source)) for each in before), key=lambda pair: pair[0])

    input: int
    output: int
    cache_write: int
    cache_read: int

    def at(self, seconds: float) -> Price:
        """The price that held then."""
        if self.before:
            from k1ctl.units import rfc3339

            day = rfc3339(seconds)[:10]
            for until, price in self.before:
                if day < until:
                    return price
        return self

    def cost(
        self, classes: tuple[int, int, int, int], write_1h: int = 0, *, at: float | None = None, fast: bool = False
    ) -> int:
        """Micro-dollars, rounded up, of one call's tokens (input, output, cache write, cache read)."""
        price = self if at is None else self.at(at)
        fed, output, write, read = classes
        if price.above is not None and fed + write + read > price.above[0]:
            price = price.above[1]
        hour = min(write_1h, write)
        cost = fed * price.input + output * price.output + read * price.cache_read
        cost += (write - hour) * price.cache_write + hour * price.cache_write_1h
        if fast and self.fast:
            cost = int(cost * self.fast)
        return -(-cost // _MILLION)

    def document(self) -> dict[str, Any]:
        """As lists have it."""
        return {"model": self.model, "source": self.source, **{name: getattr(self, name) for name in _ALL}}


class Prices:
    """A list of prices: ``as_of`` is its date, ``path`` where it came from, ``own`` the file of one's own over it."""

    def __init__(self, as_of: str, path: str, models: dict[str, Price], own: str = "") -> None:
        self.as_of, self.path, self.models, self.own = as_of, path, models, own
        self._found: dict[str, Price | None] = {}
        self._dearest: Price | None = None

    def of(self, model: str) -> Price | None:
        """The price of a model by the name that a transcript has; None for one that is in no list.

        A name matches with its case, provider and what is in brackets taken off, and without its date:
        ``claude-opus-4-1-20250805``, ``us.anthropic.claude-opus-4-1-20250805-v1:0``, ``gpt-5.2-2025-12-11``.
        """
        if model not in self._found:
            self._found[model] = next((self.models[name] for name in names(model) if name in self.models), None)
        return self._found[model]

    def dearest(self) -> Price:
        """Of each class the highest price in the list, that of long prompts and fast mode included."""
        if self._dearest is None:
            every = [p for price in self.models.values() for p in _all(price)]
            entry: dict[str, Any] = {name: max(getattr(p, name) for p in every) for name in _ALL}
            self._dearest = Price("the dearest", entry)
        return self._dearest


def names(model: str) -> list[str]:
    """What ``model`` may be called in a list, the most exact name first."""
    name = model.strip().lower().partition("[")[0].partition("@")[0].partition(":")[0]
    found = [model, name]
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name.removeprefix(prefix)
            found.append(name)
    for ending in ("-v1", "-v2", "-latest"):
        name = name.removesuffix(ending)
    found.append(name)
    head, _, last = name.rpartition("-")
    if len(last) == 8 and last.isdigit():
        found.append(head)
    parts = name.rsplit("-", 3)
    if len(parts) == 4 and [len(p) for p in parts[1:]] == [4, 2, 2] and "".join(parts[1:]).isdigit():
        found.append(parts[0])
    return found


def load(own: str = "") -> Prices:
    """The newest list in the package, with those of the file ``own`` ("" for none) over it. Raises ConfigError."""
    folder = os.path.join(os.path.dirname(__file__), "data")
    newest = max(name for name in os.listdir(folder) if name.startswith("prices-") and name.endswith(".json"))
    prices = _read(os.path.join(folder, newest))
    if own:
        over = _read(os.path.expanduser(own))
        prices = Prices(prices.as_of, prices.path, {**prices.models, **over.models}, over.path)
    return prices


def of(model: str, own: str = "") -> Price | None:
    """The price of a model, as `Prices.of`. Raises ConfigError."""
    return load(own).of(model)


def _read(path: str) -> Prices:
    from k1ctl.jsontext import loads

    hint = 'as in {"as_of": "2026-11-21", "models": {"NAME": {"input": 3000000, "output": 15000000, ...}}}'
    try:
        with open(path, encoding="utf-8") as f:
            document = loads(f.read())
        entries, as_of = document["models"], document.get("as_of", "")
        models = {name.lower(): Price(name, entry, str(entry.get("source", ""))) for name, entry in entries.items()}
    except OSError as exc:
        raise ConfigError(f"the prices in {path} cannot be read: {exc.strerror}", hint="budget.prices names the file")
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        said = exc if isinstance(exc, ValueError) else f"{type(exc).__name__}: {exc}"
        raise ConfigError(f"{path} is no list of prices: {said}", hint=hint, code="bad-prices") from exc
    return Prices(str(as_of), path, models)


def _whole(entry: dict[str, Any], name: str) -> int:
    value = entry.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} has to be whole micro-dollars (or tokens) of 0 or more, not {value!r}")
    return value


def _day(entry: dict[str, Any]) -> str:
    day = entry["until"]
    if not isinstance(day, str) or [len(part) for part in day.split("-")] != [4, 2, 2]:
        raise ValueError(f"until has to be a day, as 2026-11-21, not {day!r}")
    return day


def _all(price: Price) -> list[Price]:
    """The price, that of long prompts, and both in fast mode."""
    both = [price, *([price.above[1]] if price.above else [])]
    factor = price.fast or 1
    return both + [Price("", {name: int(getattr(p, name) * factor) for name in _ALL}) for p in both if factor > 1]
