"""Look-ups, sorting, and tensors that are made from sizes."""

from __future__ import annotations

from inference.graph.batching.rows.sizes import ONE, ROWS, ZERO, Size
from inference.graph.batching.rows.values import Operation, Unclear, Value, apart, whole


def gather(operation: Operation) -> list[Value]:
    """Rows of indices into a table; or the same indices into every row."""
    data, indices = operation.at(0), operation.at(1)
    axis = operation.axis(0, data.rank)
    dims = [*data.known[:axis], *indices.known, *data.known[axis + 1 :]]
    if data.whole:
        return [indices.moved(dims, None if indices.axis is None else axis + indices.axis)]
    if not indices.whole:
        raise Unclear("it looks rows of the batch up in rows of the batch")
    assert data.axis is not None
    if data.axis == axis:
        first = indices.sizes == (ZERO,) or indices.sizes == (Size(-1),)
        if first and data.alike and data.known[axis] == ROWS:
            return [whole(dims)]
        raise Unclear("it takes some rows of the batch")
    moved = data.axis if data.axis < axis else data.axis + indices.rank - 1
    return [data.moved(dims, moved)]


def gather_quantised(operation: Operation) -> list[Value]:
    """GatherBlockQuantized: only the indices have rows; the table is quantised along its last axis."""
    operation.rest_whole(1)
    data, indices = operation.at(0), operation.at(1)
    axis = int(operation.given.get("gather_axis", 0)) % data.rank
    dims = [*data.known[:axis], *indices.known, *data.known[axis + 1 :]]
    if operation.given.get("bits", 4) != 8 and axis < data.rank - 1:
        dims[-1] = operation.fresh(len(dims) - 1)  # several elements may share a byte
    return [indices.moved(dims, None if indices.axis is None else axis + indices.axis)]


def gather_elements(operation: Operation) -> list[Value]:
    data, indices = operation.at(0), operation.at(1)
    axis = operation.axis(0, data.rank)
    if data.axis is None and indices.axis is None:
        return [whole(indices.known)]
    if data.axis is None or data.axis != indices.axis or data.axis == axis:
        raise Unclear("it looks up across the rows of the batch")
    if data.known[data.axis] != indices.known[data.axis] or data.outer != indices.outer:
        raise Unclear("what it takes has the rows of the batch in different order")
    return [indices.with_dims(indices.known)]


def gather_nd(operation: Operation) -> list[Value]:
    if not operation.given.get("batch_dims"):
        raise Unclear("it looks up by places in the batch")
    data, indices = apart(operation, 0, 1)
    made = indices.rank - 1 + data.rank - int(operation.given["batch_dims"])
    last = indices.known[-1].constant
    if last is None:
        raise Unclear("how long its indices are is not known")
    return [data.moved([ROWS, *(operation.fresh(i) for i in range(1, made - last))], 0)]


def one_hot(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    axis = operation.axis(-1, x.rank + 1)
    dims = [*x.known[:axis], operation.fresh(axis), *x.known[axis:]]
    return [x.moved(dims, None if x.axis is None else x.axis + (axis <= x.axis))]


def top_k(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    axis = operation.axis(-1, x.rank)
    if axis == x.axis:
        raise Unclear("it sorts the rows of the batch")
    dims = list(x.known)
    dims[axis] = operation.fresh(axis)
    return [x.with_dims(dims), x.with_dims(dims)]


def cumulative_sum(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    (axis,) = operation.integers(1)
    if axis % x.rank == x.axis:
        raise Unclear("it adds up the rows of the batch")
    return [x.with_dims(x.known)]


def triangle(operation: Operation) -> list[Value]:
    """Trilu: of the last two axes."""
    operation.rest_whole(0)
    x = operation.at(0)
    if x.axis is not None and x.axis >= x.rank - 2:
        raise Unclear("it takes a triangle of the rows of the batch")
    return [x.with_dims(x.known)]


def constant_of_shape(operation: Operation) -> list[Value]:
    sizes = operation.at(0).sizes
    if sizes is None or any(s is None or s.number < 0 for s in sizes):
        raise Unclear("its shape is not known")
    dims = [size for size in sizes if size is not None]
    places = [place for place, size in enumerate(dims) if size.degree]
    if not places:
        return [whole(dims)]
    if len(places) > 1 or dims[places[0]].degree > 1:
        raise Unclear("it has the rows of the batch along two axes")
    return [Value(tuple(dims), places[0], ONE)]


def numbers(operation: Operation) -> list[Value]:
    """Range: it numbers what it counts; rows of the batch too, if it counts them."""
    if any(value is not None and not value.whole for value in operation.inputs):
        raise Unclear("it numbers the rows of the batch")
    return [whole([operation.fresh(0)])]
