"""What somebody needs of the host: ``mem=4G,cpu=2,tokens=10k,disk=1G,build:fw=1``."""

from __future__ import annotations

from k1ctl.errors import UsageError
from k1ctl.units import format_size, parse_size, parse_tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HINT = "as in --need mem=4G,cpu=2,tokens=10k,disk=1G,build:fw=1"


class Need:
    """``mem``, ``disk`` and ``gpu`` in bytes, ``cpu`` in cores (0.5 is half of one), ``tokens``, ``agents`` and
    ``models`` {name: how many at once}, ``slots`` {resource of the queue: slots}. 0 or {} is: none of it."""

    __slots__ = ("agents", "cpu", "disk", "gpu", "mem", "models", "slots", "tokens")

    def __init__(
        self,
        mem: int = 0,
        cpu: float = 0.0,
        disk: int = 0,
        tokens: int = 0,
        gpu: int = 0,
        agents: int = 0,
        models: dict[str, int] | None = None,
        slots: dict[str, int] | None = None,
    ) -> None:
        self.mem, self.cpu, self.disk, self.tokens, self.gpu, self.agents = mem, cpu, disk, tokens, gpu, agents
        self.models, self.slots = models or {}, slots or {}

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Need) and all(getattr(self, n) == getattr(other, n) for n in self.__slots__)

    def __hash__(self) -> int:
        return hash(str(self))

    def __str__(self) -> str:
        """As `parse` reads it; sizes as people write them."""
        words = [f"{name}={_size(getattr(self, name))}" for name in ("mem", "disk", "gpu") if getattr(self, name)]
        if self.cpu:
            words.insert(1 if self.mem else 0, f"cpu={self.cpu:g}")
        words += [f"{name}={getattr(self, name)}" for name in ("tokens", "agents") if getattr(self, name)]
        words += [f"model:{name}={n}" for name, n in sorted(self.models.items())]
        words += [f"{name}={n}" for name, n in sorted(self.slots.items())]
        return ",".join(words)

    def __repr__(self) -> str:
        return f"Need({self})"

    def less(self, **amounts: Any) -> Need:
        """The same need with other ``amounts``, by field."""
        return Need(**{name: amounts.get(name, getattr(self, name)) for name in self.__slots__})

    def document(self) -> dict[str, Any]:
        """The need as JSON, what is not needed left out."""
        units = (("mem", "mem_bytes"), ("cpu", "cpu_cores"), ("disk", "disk_bytes"), ("gpu", "gpu_bytes"))
        found: dict[str, Any] = {key: getattr(self, name) for name, key in units if getattr(self, name)}
        found.update({n: getattr(self, n) for n in ("tokens", "agents", "models", "slots") if getattr(self, n)})
        return found


def from_document(document: dict[str, Any]) -> Need:
    """What `Need.document` gave. Raises ValueError, TypeError."""
    return Need(
        int(document.get("mem_bytes", 0)),
        float(document.get("cpu_cores", 0.0)),
        int(document.get("disk_bytes", 0)),
        int(document.get("tokens", 0)),
        int(document.get("gpu_bytes", 0)),
        int(document.get("agents", 0)),
        dict(document.get("models") or {}),
        dict(document.get("slots") or {}),
    )


def parse(text: str) -> Need:
    """The need that ``text`` names, words separated by commas. Raises UsageError."""
    from k1ctl.queue.names import is_resource

    need, seen = Need(), set()
    for word in filter(None, (w.strip() for w in text.split(","))):
        name, equals, value = word.rpartition("=")
        if not equals:
            name, value = word, "1"
            if name in ("mem", "cpu", "disk", "tokens", "gpu"):
                raise UsageError(f"{name}: how much of it?", hint=_HINT)
        if name in seen:
            raise UsageError(f"{name} is named twice", hint=_HINT)
        seen.add(name)
        if name in ("mem", "disk", "gpu"):
            setattr(need, name, _checked(name, value, parse_size))
        elif name == "cpu":
            need.cpu = _checked(name, value, _cores)
        elif name == "tokens":
            need.tokens = _checked(name, value, parse_tokens)
        elif name == "agents":
            need.agents = _checked(name, value, _count)
        elif name.startswith("model:") and len(name) > 6:
            need.models[name[6:]] = _checked(name, value, _count)
        elif is_resource(name) and ":" in name:
            need.slots[name] = _checked(name, value, _count)
        else:
            known = "mem, cpu, disk, gpu, tokens, agents, model:NAME, or a resource of the queue such as build:fw"
            raise UsageError(f"{name!r} is nothing that can be needed", hint=f"there are {known}")
    if not need:
        raise UsageError("nothing is needed", hint=_HINT)
    return need


def _cores(text: str) -> float:
    try:
        cores = float(text)
    except ValueError:
        cores = -1.0
    if not 0 <= cores < 10_000:
        raise ValueError(f"{text!r} is no number of cores; write 2 or 0.5")
    return cores


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 10_000):
        raise ValueError(f"{text!r} is no number of 1 or more")
    return int(text)


def _checked(name: str, text: str, parse: Any) -> Any:
    try:
        return parse(text)
    except ValueError as exc:
        raise UsageError(f"{name}: {exc}", hint=_HINT) from None


def _size(number: int) -> str:
    for unit, letter in ((1 << 30, "G"), (1 << 20, "M"), (1 << 10, "k")):
        if number % unit == 0:
            return f"{number // unit}{letter}"
    return str(number)


def readable(need: Need) -> str:
    """The need for a sentence: ``4.0 GiB of memory, 2 cores``."""
    words = [f"{format_size(need.mem)} of memory"] if need.mem else []
    words += [f"{need.cpu:g} core{'s' * (need.cpu != 1)}"] if need.cpu else []
    words += [f"{format_size(need.disk)} of disk"] if need.disk else []
    words += [f"{format_size(need.gpu)} of GPU memory"] if need.gpu else []
    words += [f"{need.tokens} tokens"] if need.tokens else []
    words += [f"room for {need.agents} agent{'s' * (need.agents != 1)}"] if need.agents else []
    words += [f"{n} of model {name}" for name, n in sorted(need.models.items())]
    words += [f"{name}={n}" if n > 1 else name for name, n in sorted(need.slots.items())]
    return ", ".join(words)
