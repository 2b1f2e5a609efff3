"""Sizes as products: a number times symbols, one of which stands for the number of rows of the batch.

A symbol is a size that is the same however the batch is split: a named dimension, or something that is
computed from such sizes. It is never negative.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable

_ROWS = "\0rows"


@dataclasses.dataclass(frozen=True)
class Size:
    """`number` times its symbols, in order; a symbol may come several times."""

    number: int
    symbols: tuple[str, ...] = ()

    @property
    def degree(self) -> int:
        """How often the number of rows is a factor."""
        return self.symbols.count(_ROWS)

    @property
    def constant(self) -> int | None:
        return None if self.symbols else self.number

    def times(self, other: Size) -> Size:
        number = self.number * other.number
        return Size(number, tuple(sorted(self.symbols + other.symbols)) if number else ())

    def over(self, other: Size) -> Size | None:
        """The quotient where it is one for every size of the symbols; None: not known to be."""
        left = Counter(self.symbols)
        left.subtract(other.symbols)
        if not other.number or self.number % other.number or any(n < 0 for n in left.values()):
            return None
        return Size(self.number // other.number, tuple(sorted(left.elements())))

    def plus(self, other: Size) -> Size | None:
        """The sum; None where it cannot be a size: rows would be added to something else."""
        if self.symbols == other.symbols:
            number = self.number + other.number
            return Size(number, self.symbols if number else ())
        for one, rest in ((self, other), (other, self)):
            if one == ZERO:
                return rest
        if self.degree or other.degree or self.number < 0 or other.number < 0:
            return None
        return symbol("(" + "+".join(sorted((str(self), str(other)))) + ")")

    def minus(self, other: Size) -> Size | None:
        return self.plus(Size(-other.number, other.symbols))

    def divided(self, other: Size) -> Size | None:
        """The quotient of integers, rounded; None where that depends on the number of rows."""
        exact = self.over(other)
        if exact is not None:
            return exact
        if self.degree or other.degree or self.number < 0 or other.number <= 0:
            return None
        if self.constant is not None and other.constant is not None:
            return Size(self.number // other.number)
        return symbol(f"({self}/{other})")

    def is_equal(self, other: Size) -> bool | None:
        """None: it depends on the sizes."""
        if self == other:
            return True
        if self.constant is not None and other.constant is not None:
            return False
        # A product of symbols is never negative.
        negative = [s.constant is not None and s.number < 0 for s in (self, other)]
        unsigned = [s.constant is None and s.number > 0 for s in (self, other)]
        return False if any(negative) and any(unsigned) else None

    def __str__(self) -> str:
        named = ["rows" if name == _ROWS else name for name in self.symbols]
        shown = [str(self.number)] if self.number != 1 or not named else []
        return "·".join([*shown, *named])


ZERO, ONE = Size(0), Size(1)
ROWS = Size(1, (_ROWS,))


def symbol(name: str) -> Size:
    return Size(1, (name,))


def product(sizes: Iterable[Size]) -> Size:
    result = ONE
    for size in sizes:
        result = result.times(size)
    return result
