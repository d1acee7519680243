"""What a call of a model uses: tokens in four classes that are priced apart."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from k1ctl.budget.prices import Price

CLASSES = ("input", "output", "cache_write", "cache_read")
MOST = 10**15  # tokens; sums of a thousand such, weighed, still fit 64 bits


class Usage:
    """Tokens by class: ``input`` (not from a cache), ``output``, ``cache_write``, ``cache_read``. Raises ValueError for
    less than 0 or more than `MOST`."""

    __slots__ = CLASSES

    def __init__(self, input: int = 0, output: int = 0, cache_write: int = 0, cache_read: int = 0) -> None:
        for count in (input, output, cache_write, cache_read):
            if not 0 <= count <= MOST:
                raise ValueError(f"{count} is no number of tokens")
        self.input, self.output, self.cache_write, self.cache_read = input, output, cache_write, cache_read

    @property
    def classes(self) -> tuple[int, int, int, int]:
        """The four numbers, in the order of `CLASSES`."""
        return self.input, self.output, self.cache_write, self.cache_read

    @property
    def total(self) -> int:
        """Tokens of all classes, each as one."""
        return self.input + self.output + self.cache_write + self.cache_read

    def counted(self, weights: Sequence[int]) -> int:
        """Tokens as the limits count them: each class by its weight in thousandths, rounded up as a whole."""
        return -(-sum(n * w for n, w in zip(self.classes, weights, strict=True)) // 1000)

    def weighted(self, price: Price) -> int:
        """Micro-dollars at this price, rounded up."""
        return price.cost(self.classes)

    def larger(self, other: Usage) -> Usage:
        """Of each class the larger number: what repeated reports of one message come to."""
        return Usage(*(max(a, b) for a, b in zip(self.classes, other.classes, strict=True)))

    def part(self, share: int, whole: int) -> Usage:
        """Of each class ``share`` parts of ``whole``, rounded down; all of it where these are equal."""
        return self if share == whole else Usage(*(n * share // whole for n in self.classes))

    def __add__(self, other: Usage) -> Usage:
        return Usage(*(a + b for a, b in zip(self.classes, other.classes, strict=True)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*(a - b for a, b in zip(self.classes, other.classes, strict=True)))

    def __bool__(self) -> bool:
        return any(self.classes)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Usage) and self.classes == other.classes

    def __hash__(self) -> int:
        return hash(self.classes)

    def __repr__(self) -> str:
        return f"Usage({', '.join(f'{k}={n}' for k, n in self.document().items() if n)})"

    def document(self) -> dict[str, int]:
        """The four numbers by name."""
        return dict(zip(CLASSES, self.classes, strict=True))


NOTHING = Usage()
