"""What is known of a tensor about the rows of the batch, and a node as its rule sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property

import onnx

from inference.documents import JsonObject
from inference.graph.batching.rows.sizes import ONE, ROWS, Size, symbol
from inference.graph.standins import attributes

Dims = tuple[Size, ...]


class Unclear(Exception):
    """A node of which nobody can say that it keeps the rows apart; says why."""


@dataclasses.dataclass(frozen=True)
class Value:
    """A tensor.

    A tensor is *whole* when it is the same however the batch is split: `axis` None and nothing mixed.

    Attributes:
        dims: its sizes; None: not even the rank is known.
        axis: where its rows lie: what is at place i there depends on row i of the inputs alone.
        outer: that axis counts outer · rows · length, in this order.
        alike: every row is the same, and depends on no input's row.
        sizes: the entries of a small vector or scalar of integers; None in place of one not known.
        mixed: why its rows cannot be told apart; empty: they can.
    """

    dims: Dims | None
    axis: int | None = None
    outer: Size = ONE
    alike: bool = False
    sizes: tuple[Size | None, ...] | None = None
    mixed: str = ""

    @property
    def rank(self) -> int:
        return len(self.known)

    @property
    def known(self) -> Dims:
        """The sizes.

        Raises:
            Unclear: they are not known.
        """
        if self.dims is None:
            raise Unclear("the rank of what it takes is not known")
        return self.dims

    @property
    def whole(self) -> bool:
        return self.axis is None and not self.mixed

    @property
    def single(self) -> bool:
        """Whether it is one element for everything."""
        return self.dims is not None and all(dim == ONE for dim in self.dims)

    def moved(self, dims: Sequence[Size], axis: int | None) -> Value:
        """The same rows in another place."""
        return Value(tuple(dims), axis, self.outer if axis is not None else ONE)

    def with_dims(self, dims: Sequence[Size]) -> Value:
        return self.moved(dims, self.axis)


def whole(dims: Sequence[Size] | None) -> Value:
    return Value(None if dims is None else tuple(dims))


@dataclasses.dataclass(frozen=True)
class Operation:
    """A node with what is known of its inputs; one that is left out is None.

    Attributes:
        version: of the operator set it comes from.
        constant: the values of a small constant tensor by its name; None for anything else.
    """

    node: onnx.NodeProto
    inputs: Sequence[Value | None]
    version: int
    constant: Callable[[str], Sequence[float] | None]

    @cached_property
    def given(self) -> JsonObject:
        return attributes(self.node)

    def has(self, position: int) -> bool:
        return len(self.inputs) > position and self.inputs[position] is not None

    def at(self, position: int) -> Value:
        """An input that must be there.

        Raises:
            Unclear: it is not.
        """
        value = self.inputs[position] if len(self.inputs) > position else None
        if value is None:
            raise Unclear(f"it lacks its input {position}")
        return value

    def rest_whole(self, *rows: int) -> None:
        """Check that no input but these has rows.

        Raises:
            Unclear: one has.
        """
        for position, value in enumerate(self.inputs):
            if value is not None and position not in rows and not value.whole:
                raise Unclear(f"its input {position} depends on the batch")

    def axis(self, default: int, rank: int) -> int:
        """The attribute `axis`, from 0."""
        return int(self.given.get("axis", default)) % max(rank, 1)

    def axes(self, position: int, rank: int) -> tuple[int, ...] | None:
        """Axes of an attribute or, since they are one, of an input, from 0; None: there are none given.

        Raises:
            Unclear: they are computed.
        """
        found: Sequence[int] | None = self.given.get("axes")
        if found is None and self.has(position):
            found = self.integers(position)
        return None if found is None else tuple(int(a) % max(rank, 1) for a in found)

    def integers(self, position: int) -> list[int]:
        """The constant integers that an input is.

        Raises:
            Unclear: it is no constant.
        """
        sizes = self.at(position).sizes
        constants = [s.constant if s is not None else None for s in sizes or ()]
        found = [c for c in constants if c is not None]
        if sizes is None or len(found) != len(constants):
            raise Unclear(f"its input {position} is not a constant")
        return found

    def numbers(self, position: int) -> Sequence[float] | None:
        """The values of an input that is a constant; None: it is not."""
        return self.constant(self.node.input[position]) if self.has(position) else None

    def fresh(self, place: int, output: int = 0) -> Size:
        """A size that is the same for any batch, and of which nothing else is known."""
        return symbol(f"{self.node.output[output]}:{place}")


def is_rows(size: Size) -> bool:
    return size == ROWS


def apart(operation: Operation, *positions: int) -> list[Value]:
    """Inputs whose rows must lie on their first axis, one place for each row.

    Raises:
        Unclear: some do not, or some input is there that is whole.
    """
    found = []
    for position in positions:
        value = operation.at(position)
        if value.mixed or value.axis != 0 or value.outer != ONE or not is_rows(value.known[0]):
            raise Unclear(f"its input {position} does not have one row of the batch in each place")
        found.append(value)
    return found
