"""Normalising, reducing and recurrent layers: they look along some axes, and rows lie along others."""

from __future__ import annotations

from inference.graph.batching.rows.elementwise import broadcast, check_absent
from inference.graph.batching.rows.sizes import ONE, Size
from inference.graph.batching.rows.values import Operation, Unclear, Value, apart, whole

_AXIS_ONLY_SINCE = 13  # before, a softmax went over all axes from its own to the last
_EXACT = frozenset({"ReduceMax", "ReduceMin"})  # of equal numbers: that number itself


def softmax(operation: Operation) -> list[Value]:
    x = operation.at(0)
    since = operation.version >= _AXIS_ONLY_SINCE
    axis = operation.axis(-1 if since else 1, x.rank)
    if x.axis is not None and (axis == x.axis if since else axis <= x.axis):
        raise Unclear("it goes over the rows of the batch")
    return [x.with_dims(x.known)]


def one_axis(operation: Operation) -> list[Value]:
    """LpNormalization."""
    x = operation.at(0)
    if operation.axis(-1, x.rank) == x.axis:
        raise Unclear("it goes over the rows of the batch")
    return [x.with_dims(x.known)]


def normalisation(operation: Operation) -> list[Value]:
    """LayerNormalization and its like, from `axis` to the last."""
    operation.rest_whole(0)
    x = operation.at(0)
    axis = operation.axis(-1, x.rank)
    if x.axis is not None:
        if axis <= x.axis:
            raise Unclear("it goes over the rows of the batch")
        for value in operation.inputs[1:]:
            if value is not None:
                check_absent(value, x.axis - x.rank)
    statistics = [*x.known[:axis], *[ONE] * (x.rank - axis)]
    return [x.with_dims(x.known), x.with_dims(statistics), x.with_dims(statistics)]


def skip_normalisation(operation: Operation) -> list[Value]:
    """SkipLayerNormalization: what is added has rows, too, or is the same for all of them."""
    operation.rest_whole(0, 1)
    x, skip = operation.at(0), operation.at(1)
    same = broadcast(operation, [x, skip])
    if same.axis == same.rank - 1:
        raise Unclear("it goes over the rows of the batch")
    statistics = same.with_dims([*same.known[:-1], ONE])
    return [same, statistics, statistics, same]


def reduction(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    axes = operation.axes(1, x.rank)
    if not axes:
        if operation.given.get("noop_with_empty_axes"):
            return [x.with_dims(x.known)]
        axes = tuple(range(x.rank))
    return [_reduced(operation, x, axes, keep=bool(operation.given.get("keepdims", 1)))]


def _reduced(operation: Operation, x: Value, axes: tuple[int, ...], *, keep: bool) -> Value:
    rows: int | None = x.axis
    if rows in axes:
        if not x.alike or operation.node.op_type not in _EXACT:
            raise Unclear("it goes over the rows of the batch")
        rows = None
    if keep:
        return x.moved([ONE if a in axes else dim for a, dim in enumerate(x.known)], rows)
    kept = [a for a in range(x.rank) if a not in axes]
    return x.moved([x.known[a] for a in kept], None if rows is None else kept.index(rows))


def arg_reduction(operation: Operation) -> list[Value]:
    x = operation.at(0)
    axis = operation.axis(0, x.rank)
    if axis == x.axis:
        raise Unclear("it goes over the rows of the batch")
    return [_reduced(operation, x, (axis,), keep=bool(operation.given.get("keepdims", 1)))]


def recurrent(operation: Operation) -> list[Value]:
    """RNN, GRU, LSTM over [steps, batch, width]: rows, if there are any, are the batch."""
    operation.rest_whole(0, 4, 5, 6)
    x = operation.at(0)
    if operation.given.get("layout"):
        raise Unclear("layout 1 cannot be followed")
    both = operation.given.get("direction", b"forward") == b"bidirectional"
    ways, hidden = Size(2 if both else 1), Size(int(operation.given["hidden_size"]))
    steps, batch = x.known[0], x.known[1]
    state = [ways, batch, hidden]
    if x.axis is None:
        operation.rest_whole()
        every = (whole([steps, *state]), whole(state), whole(state))
        return list(every)
    if x.axis != 1 or x.outer != ONE:
        raise Unclear("its steps are the rows of the batch")
    for position, axis in ((4, 0), (5, 1), (6, 1)):
        if operation.has(position) and not _batched(operation.at(position), axis, batch):
            raise Unclear(f"its input {position} does not have the rows of the batch")
    return [x.moved([steps, *state], 2), x.moved(state, 1), x.moved(state, 1)]


def _batched(value: Value, axis: int, batch: Size) -> bool:
    return value.axis == axis and value.outer == ONE and value.known[axis] == batch


def dropout(operation: Operation) -> list[Value]:
    """It does nothing when a model is used."""
    operation.rest_whole(0)
    if operation.has(2) and operation.integers(2) != [0]:
        raise Unclear("it is left in training mode")
    x = operation.at(0)
    return [x.with_dims(x.known)]


def rotary(operation: Operation) -> list[Value]:
    """RotaryEmbedding of com.microsoft: x, positions, cos, sin."""
    operation.rest_whole(0, 1)
    x, positions = operation.at(0), operation.at(1)
    if operation.given.get("is_packed_batching"):
        raise Unclear("packed batches cannot be followed")
    if x.axis is not None:
        apart(operation, 0)
        if positions.axis is not None:
            apart(operation, 1)
        elif not positions.single or positions.rank > 1:
            raise Unclear("its positions have a place for each row of the batch")
    elif positions.axis is not None:
        raise Unclear("its positions alone have rows")
    return [x.with_dims(x.known)]


def rotary_of_onnx(operation: Operation) -> list[Value]:
    """RotaryEmbedding of ONNX 23: x, cos, sin, positions. Without positions the tables have rows."""
    if not operation.has(3):
        apart(operation, 0, 1, 2)
    else:
        operation.rest_whole(0, 3)
        apart(operation, 0, 3)
    x = operation.at(0)
    return [x.with_dims(x.known)]
