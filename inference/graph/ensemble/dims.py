"""Sizes of a model of several files: which dimensions of its components must be equal.

Within one file a dimension's name stands for one size; the same name in two files need not.
"""

from __future__ import annotations

from inference.graph.spec import TensorSpec

# A dimension of a component, (component, name), or a size.
Dim = tuple[str, str] | int


class Different(ValueError):
    """Two sizes that are known to differ would have to be equal; says which."""


class Dims:
    """Dimensions that were said to be equal, and the sizes that follow (union and find)."""

    def __init__(self) -> None:
        self._parent: dict[Dim, Dim] = {}
        self._names: dict[Dim, str] = {}

    def find(self, dim: Dim) -> Dim:
        """What stands for all that equal `dim`: a size where one is known, else the first named."""
        while dim in self._parent:
            dim = self._parent[dim]
        return dim

    def same(self, one: Dim, other: Dim) -> None:
        """Both are equal.

        Raises:
            Different: they cannot be.
        """
        one, other = self.find(one), self.find(other)
        if one == other:
            return
        if isinstance(one, int) and isinstance(other, int):
            raise Different(f"{one} and {other}")
        if isinstance(one, int):
            one, other = other, one
        if isinstance(other, int):
            self._parent[one] = other
        else:
            self._parent[other] = one

    def shape(self, component: str, spec: TensorSpec) -> tuple[int | str, ...]:
        """A port's shape in the words of the whole model: one name, one size.

        A dimension keeps its name; one of another size that has the same name gets its component's in
        front.
        """
        return tuple(self._named(self.find(dim)) for dim in dims_of(component, spec))

    def _named(self, dim: Dim) -> int | str:
        if isinstance(dim, int):
            return dim
        if dim not in self._names:
            component, name = dim
            taken = name in self._names.values()
            self._names[dim] = f"{component}/{name}" if taken else name
        return self._names[dim]


def dims_of(component: str, spec: TensorSpec) -> list[Dim]:
    return [size if isinstance(size, int) else (component, size) for size in spec.shape]
