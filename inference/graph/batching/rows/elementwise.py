"""Operators that compute each element from the elements in its place."""

from __future__ import annotations

from collections.abc import Sequence

from inference.graph.batching.rows.sizes import ONE, Size
from inference.graph.batching.rows.values import Operation, Unclear, Value, whole

# The first input alone has a place; others are one value for all.
UNARY = frozenset(
    {"Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Cast", "CastLike", "Ceil",
     "Celu", "Clip", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish",
     "Identity", "IsInf", "IsNaN", "LeakyRelu", "Log", "Mish", "Neg", "Not", "QuickGelu", "Reciprocal",
     "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
     "Swish", "Tan", "Tanh", "ThresholdedRelu"}
)  # fmt: skip
BROADCASTING = frozenset(
    {"Add", "And", "BiasGelu", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Div", "Equal",
     "FastGelu", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Mean", "Min", "Mod", "Mul",
     "Or", "Pow", "PRelu", "Sub", "Sum", "Where", "Xor"}
)  # fmt: skip


def unary(operation: Operation) -> list[Value]:
    if operation.node.op_type != "CastLike":
        operation.rest_whole(0)
    x = operation.at(0)
    return [x.moved(x.known, x.axis)]


def broadcasting(operation: Operation) -> list[Value]:
    values = [value for value in operation.inputs if value is not None]
    made = broadcast(operation, values)
    x = operation.inputs[0]
    zero = any(v.whole and v.single and v.sizes and v.sizes[0] == Size(0) for v in values)
    if operation.node.op_type == "Mul" and zero and x is not None:
        # Integers, for only those have entries: 0 whatever the other is (0 · NaN would be NaN).
        return [Value(made.dims, made.axis, made.outer, alike=True)]
    return [made]


def broadcast(operation: Operation, values: Sequence[Value]) -> Value:
    """What elements of several tensors in the same place make.

    Raises:
        Unclear: a row would meet another, or a weight that has a place for each row.
    """
    rank = max(value.rank for value in values)
    dims = [ONE] * rank
    for value in values:
        for axis, dim in enumerate(value.known, rank - value.rank):
            dims[axis] = _merged(dims[axis], dim, operation.fresh(axis))
    found = {rank - v.rank + v.axis for v in values if v.axis is not None}
    if not found:
        return whole(dims)
    if len(found) > 1:
        raise Unclear("rows of the batch lie along different axes of what it takes")
    axis = found.pop()
    rows = [v for v in values if v.axis is not None]
    sizes = {v.known[v.axis] for v in rows if v.axis is not None}
    if len(sizes) > 1 or len({v.outer for v in rows}) > 1:
        raise Unclear("what it takes has the rows of the batch in different order")
    for value in values:
        check_absent(value, axis - rank)
    dims[axis] = sizes.pop()
    return rows[0].moved(dims, axis)


def check_absent(value: Value, from_the_right: int) -> None:
    """Check that a tensor without rows is the same for each row.

    Args:
        from_the_right: the axis where the rows of others lie, counted from the last as -1.

    Raises:
        Unclear: it has a place for each.
    """
    axis = value.rank + from_the_right
    if value.axis is None and axis >= 0 and value.known[axis] != ONE:
        raise Unclear(f"a tensor has {value.known[axis]} places where the rows of the batch lie")


def _merged(one: Size, other: Size, fresh: Size) -> Size:
    if one == other or other == ONE:
        return one
    if one == ONE:
        return other
    for size in (one, other):
        if size.constant is not None:
            return size
    return fresh
