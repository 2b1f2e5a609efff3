"""Integers that are nothing but sizes: how a Shape becomes the target of a Reshape.

Each rule says the shape and the entries of what a node makes; None: that is no small vector of sizes.
Tensors of up to 64 entries, scalars and vectors only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from onnx import TensorProto, numpy_helper

from inference.graph.batching.rows.sizes import ONE, ZERO, Size, product
from inference.graph.batching.rows.values import Dims, Operation, Value

Entries = tuple[Size | None, ...]
Counted = tuple[Dims, Entries]
MOST = 64
_LARGEST = 2**31  # a factor beyond it would overflow somewhere
_INTEGERS = (TensorProto.INT64, TensorProto.INT32)


def counted(operation: Operation) -> Counted | None:
    """What a node makes of sizes; None: nothing that is known to be sizes."""
    rule = _RULES.get(operation.node.op_type)
    found = rule(operation) if rule is not None else None
    if found is None or len(found[1]) > MOST or len(found[0]) > 1:
        return None
    if any(size is not None and abs(size.number) > _LARGEST for size in found[1]):
        return None
    return found


def _vector(entries: Sequence[Size | None]) -> Counted:
    return (Size(len(entries)),), tuple(entries)


def _given(operation: Operation, position: int = 0) -> Value | None:
    """An input whose entries are known."""
    if not operation.has(position):
        return None
    value = operation.at(position)
    return value if value.sizes is not None and value.dims is not None else None


def _shape(operation: Operation) -> Counted | None:
    x = operation.at(0)
    if x.dims is None:
        return None
    start, end = operation.given.get("start", 0), operation.given.get("end")
    return _vector(x.dims[start:end])


def _size(operation: Operation) -> Counted | None:
    dims = operation.at(0).dims
    return None if dims is None else ((), (product(dims),))


def _same(operation: Operation) -> Counted | None:
    x = _given(operation)
    return None if x is None else (x.known, x.sizes or ())


def _cast(operation: Operation) -> Counted | None:
    return _same(operation) if operation.given.get("to") in _INTEGERS else None


def _gather(operation: Operation) -> Counted | None:
    x, index = _given(operation), _given(operation, 1)
    if x is None or index is None or len(x.known) != 1:
        return None
    entries, chosen = x.sizes or (), []
    for place in index.sizes or ():
        at = place.constant if place is not None else None
        if at is None or not -len(entries) <= at < len(entries):
            return None
        chosen.append(entries[at])
    return index.known, tuple(chosen)


def _concat(operation: Operation) -> Counted | None:
    entries: list[Size | None] = []
    for position in range(len(operation.inputs)):
        value = operation.at(position)
        if value.dims is None or len(value.dims) != 1 or value.dims[0].constant is None:
            return None
        count = value.dims[0].constant
        if value.sizes is None and count > MOST:
            return None
        entries.extend(value.sizes if value.sizes is not None else [None] * count)
    return _vector(entries)


def _slice(operation: Operation) -> Counted | None:
    x = _given(operation)
    if x is None or len(x.known) != 1 or "starts" in operation.given:
        return None
    marks: list[int] = []
    for position, default in ((1, 0), (2, 0), (4, 1)):
        value = _given(operation, position)
        if value is None and (position < 4 or operation.has(position)):
            return None
        (mark,) = value.sizes if value is not None and value.sizes else (Size(default),)
        if mark is None or mark.constant is None:
            return None
        marks.append(mark.constant)
    start, end, step = marks
    if step <= 0:
        return None
    return _vector((x.sizes or ())[start:end:step])


def _to_vector(operation: Operation) -> Counted | None:
    """Unsqueeze of a scalar, once."""
    x = _given(operation)
    axes = operation.given.get("axes")
    if axes is None and operation.has(1):
        axes = operation.at(1).sizes
    once = axes is not None and len(axes) == 1
    return _vector(x.sizes or ()) if x is not None and x.known == () and once else None


def _to_scalar(operation: Operation) -> Counted | None:
    """Squeeze of one entry."""
    x = _given(operation)
    return ((), x.sizes or ()) if x is not None and x.known == (ONE,) else None


def _reshape(operation: Operation) -> Counted | None:
    x, target = _given(operation), _given(operation, 1)
    if x is None or target is None:
        return None
    entries = x.sizes or ()
    if target.known == (ZERO,) and len(entries) == 1:
        return (), entries
    return _vector(entries) if target.sizes in ((Size(-1),), (Size(len(entries)),)) else None


def _elements(make: Callable[..., Size | None]) -> Callable[[Operation], Counted | None]:
    """A rule that goes entry by entry; one entry goes with each of many."""

    def rule(operation: Operation) -> Counted | None:
        values = [_given(operation, position) for position in range(len(operation.inputs))]
        known = [value for value in values if value is not None]
        if len(known) != len(values):
            return None
        longest = max(known, key=lambda value: (len(value.sizes or ()), len(value.known)))
        count = len(longest.sizes or ())
        columns = []
        for value in known:
            entries = value.sizes or ()
            if len(entries) not in (1, count):
                return None
            columns.append(entries if len(entries) == count else entries * count)
        made = [None if None in row else make(*row) for row in zip(*columns, strict=True)]
        return longest.known, tuple(made)

    return rule


def _equal(one: Size, other: Size) -> Size | None:
    same = one.is_equal(other)
    return None if same is None else Size(int(same))


def _where(condition: Size, yes: Size, no: Size) -> Size | None:
    if yes == no:
        return yes
    return None if condition.constant is None else (yes if condition.constant else no)


def _all(operation: Operation) -> Counted | None:
    """ReduceProd of a vector."""
    x = _given(operation)
    entries = [size for size in x.sizes or () if size is not None] if x is not None else []
    if x is None or len(entries) != len(x.sizes or ()) or len(x.known) != 1:
        return None
    return ((ONE,) if operation.given.get("keepdims", 1) else ()), (product(entries),)


def _filled(operation: Operation) -> Counted | None:
    """ConstantOfShape of a vector whose length is known."""
    shape = _given(operation)
    tensor = operation.given.get("value")
    if shape is None or tensor is None or tensor.data_type not in _INTEGERS:
        return None
    (count,) = shape.sizes if shape.sizes and len(shape.sizes) == 1 else (None,)
    if count is None or count.constant is None or not 0 <= count.constant <= MOST:
        return None
    (value,) = numpy_helper.to_array(tensor)
    return _vector([Size(int(value))] * count.constant)


_RULES: dict[str, Callable[[Operation], Counted | None]] = {
    "Shape": _shape,
    "Size": _size,
    "Identity": _same,
    "Cast": _cast,
    "Gather": _gather,
    "Concat": _concat,
    "Slice": _slice,
    "Unsqueeze": _to_vector,
    "Squeeze": _to_scalar,
    "Reshape": _reshape,
    "Add": _elements(Size.plus),
    "Sub": _elements(Size.minus),
    "Mul": _elements(Size.times),
    "Div": _elements(Size.divided),
    "Equal": _elements(_equal),
    "Where": _elements(_where),
    "ReduceProd": _all,
    "ConstantOfShape": _filled,
}
