"""A ticket's file name says all that a decision needs: state, priority, number, owner, key and resources.

``w50.0000000012.4711.9f3c2a11.device:k1=1`` is a waiting ticket; ``r`` runs (a lease), ``p`` is parked (its waiter
died and may come back). Names sort in the order of service. ``P.device:k1`` pauses a resource; ``D.device:k1`` says
that the device is out of service.

A ticket may leave one thing open: ``device:k1~k2=1`` takes either device. Let in, it is renamed to the one it got.

A priority has room in front of it: 31 to 49 are normal too, bumped to the front of those with 50.
"""

from __future__ import annotations

from k1ctl.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet

PRIORITIES = {"critical": 10, "high": 30, "normal": 50, "low": 70}
_PRIORITY_NAMES = {number: name for name, number in PRIORITIES.items()}
AGED = PRIORITIES["high"]  # where ageing ends: critical is for people only
CHOICE = "~"  # between the alternatives of a choice; stands in no resource's name
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:_@+-")
OUT_OF_SERVICE = "out of service"  # how the reason of a pause begins that `k1ctl device disable` made
NAME_LIMIT = 240  # bytes of a file name, below every local filesystem's 255


class Name:
    """A parsed ticket name.

    ``needs`` is {resource: slots}, a choice among them under its own name; ``choice`` its alternatives, () without one;
    ``lines`` the resources in whose lines the ticket stands; ``key`` is "" when the place cannot be parked.
    """

    __slots__ = ("choice", "file", "key", "lines", "needs", "pid", "priority", "seq", "state")

    def __init__(self, file: str) -> None:
        head, seq, pid, key, needs = file.split(".", 4)
        self.file = file
        self.state, self.priority, self.seq, self.pid = head[0], int(head[1:]), int(seq), int(pid)
        self.key = "" if key == "-" else key
        self.needs = {r: int(n) for r, _, n in (part.rpartition("=") for part in needs.split(","))}
        if self.pid < 2 or min(self.needs.values()) < 1:  # a foreign file must not free slots or have groups signalled
            raise ValueError(file)
        self.choice: tuple[str, ...] = ()
        self.lines: Collection[str] = self.needs
        if CHOICE in needs:
            self.lines = lines(self.needs)
            (self.choice,) = [alternatives(r) for r in self.needs if CHOICE in r]  # one at most

    def held_back(self, paused: AbstractSet[str]) -> bool:
        """Whether a pause keeps this ticket from being let in; of a choice, the pause of all that it may take."""
        return not paused.isdisjoint(self.needs) or (bool(self.choice) and all(r in paused for r in self.choice))

    def with_state(self, state: str) -> str:
        return state + self.file[1:]

    def with_priority(self, priority: int) -> str:
        return f"{self.state}{priority:02d}{self.file[3:]}"


def build(state: str, priority: int, seq: int, pid: int, key: str, needs: Mapping[str, int]) -> str:
    """A ticket's file name. Raises UsageError when it grows past the filesystem's limit."""
    wanted = ",".join(f"{r}={n}" for r, n in sorted(needs.items()))
    name = f"{state}{priority:02d}.{seq:010d}.{pid}.{key or '-'}.{wanted}"
    if len(name) > NAME_LIMIT:
        raise UsageError(
            f"too many resources in one ticket: the names are {len(wanted)} characters in all",
            hint="make a smaller group of devices (groups = [...])" if CHOICE in wanted else "",
        )
    return name


def parse(file: str) -> Name | None:
    """The ticket a file name stands for, or None for a foreign file."""
    if file[:1] not in ("w", "r", "p"):
        return None
    try:
        return Name(file)
    except (ValueError, IndexError):
        return None


def alternatives(resource: str) -> tuple[str, ...]:
    """What may be taken for ``resource``: device:k1 and device:k2 for the choice device:k1~k2, else itself."""
    kind, _, rest = resource.partition(":")
    return tuple(f"{kind}:{name}" for name in rest.split(CHOICE)) if CHOICE in resource else (resource,)


def lines(needs: Iterable[str]) -> list[str]:
    """The resources in whose lines a ticket with these needs stands."""
    return [each for resource in needs for each in alternatives(resource)]


def class_of(rank: int) -> int:
    """The priority that a name's two digits belong to: 50 for all from 31 to 50."""
    return next((p for p in PRIORITIES.values() if rank <= p), max(PRIORITIES.values()))


def priority_name(rank: int) -> str:
    """The priority as people know it."""
    return _PRIORITY_NAMES[class_of(rank)]


def above(rank: int) -> int:
    """The next higher priority, `AGED` at most."""
    return max([p for p in PRIORITIES.values() if p < class_of(rank)] + [AGED]) if rank > AGED else rank


def front_of(rank: int, ahead: Sequence[int]) -> int:
    """A rank before all those ``ahead`` that have the priority of ``rank``; the first of the priority if there is none.

    When a priority has no number left in front of it, it is shared, and the ticket's number decides.
    """
    here = class_of(rank)
    rivals = [r for r in ahead if class_of(r) == here]
    first = max([p for p in PRIORITIES.values() if p < here] + [0]) + 1
    return max(first, min(rivals) - 1) if rivals else rank


def is_resource(name: str) -> bool:
    """Whether ``name`` can be a resource."""
    return bool(name) and len(name) <= 64 and _ALLOWED.issuperset(name) and name[0].isalnum()


def check_resource(name: str) -> str:
    """``name`` if it can be a resource. Raises UsageError."""
    if not is_resource(name):
        raise UsageError(
            f"{name!r} is not a resource name",
            hint="letters, digits and : _ @ + - (64 at most, the first a letter or digit), as in device:k1",
        )
    return name


def parse_needs(words: Sequence[str]) -> dict[str, int]:
    """{resource: slots} from words like ``device:k1`` and ``build:fw=2``. Raises UsageError."""
    needs: dict[str, int] = {}
    for word in words:
        resource, equals, count = word.partition("=")
        check_resource(resource)
        if equals and not (count.isascii() and count.isdigit() and 0 < int(count) < 10000):
            raise UsageError(f"{word!r}: after = stands the number of slots, 1 or more")
        if resource in needs:
            raise UsageError(f"{resource} is named twice; write {resource}=2 for two slots")
        needs[resource] = int(count) if equals else 1
    if not needs:
        raise UsageError("name at least one resource, as in device:k1")
    return needs


def check_slots(needs: Mapping[str, int], slots: Callable[[str], int]) -> None:
    """Raises UsageError when more slots of a resource are asked for than there are."""
    for resource, need in needs.items():
        there = max(map(slots, alternatives(resource)))
        if need > there:
            each = alternatives(resource)
            raise UsageError(
                f"{' or '.join(each)} has {there} slot{'s' * (there != 1)}, {need} were asked for",
                hint=f'[queue.slots] "{each[0]}" = {need} in ops/k1ctl.toml gives it more',
                code="too-many-slots",
            )


def stable_key(*parts: str) -> str:
    """16 hex digits that tell callers apart: FNV-1a, 64 bit (Fowler, Noll, Vo), since hashlib costs 4 ms to import."""
    value = 0xCBF29CE484222325
    for byte in "\0".join(parts).encode("utf-8", "surrogateescape"):
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return f"{value:016x}"
