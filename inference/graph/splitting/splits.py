"""How a tensor is split over browsers, and how a node computes parts.

A split divides one axis. The axis counts as `outer` runs of equal length, and a part takes the same
fraction of every run: with outer 3 a matrix that makes queries, keys and values at once gives each part
its share of all three. Fractions are whole units: every run along the way is a multiple of the number of
units, so that heads and blocks of quantised weights stay whole.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import onnx

from inference.graph.standins import attributes

Shape = tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Split:
    """A divided axis, counted from 0, as `outer` runs."""

    axis: int
    outer: int = 1

    def run(self, shape: Shape) -> int:
        """Length of one run."""
        return shape[self.axis] // self.outer


@dataclasses.dataclass(frozen=True)
class Flow:
    """How a node computes a part: its inputs and outputs that are split, by position; others are whole.

    Attributes:
        units: lengths that the number of units must divide, besides the runs.
        scaled: integer attributes of which a part has its fraction.
        scaled_input: position of a vector of integers of which a part has its fraction.
        shape_input: position of a shape, and of the axis in it, that a part must set to its own size;
            third, whether 1 is set instead (where the operator repeats what has length 1).
        uncounted: positions whose runs the number of units need not divide: several elements share a byte.
        first_only: positions that only the first part has: what must be added once.
        partial: its output is no part but a summand of the whole.
    """

    inputs: Mapping[int, Split]
    outputs: Mapping[int, Split]
    units: tuple[int, ...] = ()
    scaled: tuple[str, ...] = ()
    scaled_input: int | None = None
    shape_input: tuple[int, int, bool] | None = None
    uncounted: tuple[int, ...] = ()
    first_only: tuple[int, ...] = ()
    partial: bool = False


class Shapes:
    """Shapes of tensors, with odd sizes in place of the dynamic ones; which axes are of fixed size."""

    def __init__(self, one: Mapping[str, Shape], other: Mapping[str, Shape]) -> None:
        """Two sets of shapes that differ in the sizes assumed for dynamic dimensions."""
        self._one, self._other = one, other

    def of(self, name: str) -> Shape | None:
        return self._one.get(name)

    def fixed(self, name: str, axis: int) -> bool:
        return self._one[name][axis] == self._other.get(name, self._one[name])[axis]


@dataclasses.dataclass(frozen=True)
class Asked:
    """A node, which of its outputs is to be split and how, and the values of small constants."""

    node: onnx.NodeProto
    output: int
    split: Split
    shapes: Shapes
    constant: Callable[[str], Sequence[int] | None]

    def shape(self, name: str) -> Shape:
        """The shape of an input or output that `flow` found to be known."""
        found = self.shapes.of(name)
        assert found is not None
        return found

    @property
    def made(self) -> Shape:
        return self.shape(self.node.output[self.output])

    def axis(self, default: int) -> int:
        """The node's attribute `axis`, from 0."""
        given = int(attributes(self.node).get("axis", default))
        return given + len(self.made) if given < 0 else given
