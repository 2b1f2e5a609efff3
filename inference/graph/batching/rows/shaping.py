"""Operators that move elements without changing them: where the rows lie afterwards."""

from __future__ import annotations

from collections.abc import Sequence

from inference.graph.batching.rows.sizes import ONE, ROWS, ZERO, Size, product
from inference.graph.batching.rows.values import Operation, Unclear, Value, whole

_TO_THE_END = 2**31 - 1
_NO_INPUT = 99  # axes that are an attribute only


def transpose(operation: Operation) -> list[Value]:
    x = operation.at(0)
    perm = list(operation.given.get("perm", range(x.rank)[::-1]))
    return [x.moved([x.known[a] for a in perm], None if x.axis is None else perm.index(x.axis))]


# --- reshape -----------------------------------------------------------------------------------------


def reshape(operation: Operation) -> list[Value]:
    """Rows stay apart where the same number of elements is before them, and whole rows are behind."""
    x = operation.at(0)
    wanted = operation.at(1).sizes
    if wanted is None:
        raise Unclear("its target shape is not known")
    return [_reshaped(operation, x, _target(operation, x, wanted))]


def _target(operation: Operation, x: Value, wanted: Sequence[Size | None]) -> list[Size]:
    """The target without 0 and -1."""
    dims: list[Size] = []
    open_at = None
    for place, size in enumerate(wanted):
        if size is None or (size.number < 0 and size != Size(-1)):
            raise Unclear("its target shape is not known")
        if size == Size(-1):
            open_at = place
            dims.append(ONE)
        elif size == ZERO and not operation.given.get("allowzero"):
            dims.append(_copied(x, place))
        else:
            dims.append(size)
    if open_at is not None:
        dims[open_at] = _remaining(operation, product(x.known), product(dims), open_at)
    return dims


def _copied(x: Value, place: int) -> Size:
    if place >= x.rank:
        raise Unclear("its target shape copies a size that is not there")
    return x.known[place]


def _remaining(operation: Operation, total: Size, others: Size, place: int) -> Size:
    exact = total.over(others)
    if exact is not None:
        return exact
    if total.degree != others.degree:
        raise Unclear("how many rows its result has depends on how they divide")
    return operation.fresh(place)


def _reshaped(operation: Operation, x: Value, dims: list[Size]) -> Value:
    if x.axis is None:
        if any(size.degree for size in dims):
            raise Unclear("it shares one tensor out over the rows of the batch")
        return whole(dims)
    places = [place for place, size in enumerate(dims) if size.degree]
    if len(places) != 1 or dims[places[0]].degree != 1:
        raise Unclear("rows of the batch are folded into one another")
    (axis,) = places
    before = product(x.known[: x.axis]).times(x.outer)
    outer = before.over(product(dims[:axis]))
    if outer is None or dims[axis].over(outer.times(ROWS)) is None:
        raise Unclear("it is not known that rows of the batch stay apart")
    return Value(tuple(dims), axis, outer)


def flatten(operation: Operation) -> list[Value]:
    x = operation.at(0)
    axis = int(operation.given.get("axis", 1))
    axis += x.rank if axis < 0 else 0
    return [_reshaped(operation, x, [product(x.known[:axis]), product(x.known[axis:])])]


# --- axes that come and go ---------------------------------------------------------------------------


def unsqueeze(operation: Operation) -> list[Value]:
    x = operation.at(0)
    given = operation.given.get("axes")
    count = len(given if given is not None else operation.integers(1))
    axes = operation.axes(1, x.rank + count) or ()
    left = iter(range(x.rank))
    source = [None if a in axes else next(left) for a in range(x.rank + count)]
    dims = [ONE if a is None else x.known[a] for a in source]
    return [x.moved(dims, None if x.axis is None else source.index(x.axis))]


def squeeze(operation: Operation) -> list[Value]:
    x = operation.at(0)
    axes = operation.axes(1, x.rank)
    if axes is None:
        if x.axis is not None or any(dim.constant is None for dim in x.known):
            raise Unclear("which axes it removes depends on the sizes")
        axes = tuple(a for a, dim in enumerate(x.known) if dim == ONE)
    if x.axis in axes:
        raise Unclear("it removes the axis of the batch")
    kept = [a for a in range(x.rank) if a not in axes]
    return [x.moved([x.known[a] for a in kept], None if x.axis is None else kept.index(x.axis))]


# --- repeated ----------------------------------------------------------------------------------------


def expand(operation: Operation) -> list[Value]:
    x, sizes = operation.at(0), operation.at(1).sizes
    if sizes is None or any(size is None or size.number < 0 for size in sizes):
        raise Unclear("its target shape is not known")
    wanted = [size for size in sizes if size is not None]
    rank = max(x.rank, len(wanted))
    have = [ONE] * (rank - x.rank) + list(x.known)
    want = [ONE] * (rank - len(wanted)) + wanted
    rows = None if x.axis is None else rank - x.rank + x.axis
    dims = list[Size]()
    for place, (mine, theirs) in enumerate(zip(have, want, strict=True)):
        if theirs.degree and mine == ONE and rows is None and theirs.degree == 1:
            rows = place  # one tensor for every row
        elif (theirs.degree or place == rows) and theirs not in (mine, ONE):
            raise Unclear("it repeats along the rows of the batch")
        dims.append(_expanded(operation, place, mine, theirs))
    if rows is None:
        return [whole(dims)]
    outer = x.outer if x.axis is not None else ONE
    return [Value(tuple(dims), rows, outer)]


def _expanded(operation: Operation, place: int, mine: Size, theirs: Size) -> Size:
    if mine == theirs or theirs == ONE:
        return mine
    return theirs if mine == ONE else operation.fresh(place)


def tile(operation: Operation) -> list[Value]:
    x, sizes = operation.at(0), operation.at(1).sizes
    if sizes is None or any(s is None or s.degree or s.number < 0 for s in sizes):
        raise Unclear("how often it repeats is not known")
    times = [size for size in sizes if size is not None]
    if len(times) != x.rank or (x.axis is not None and times[x.axis] != ONE):
        raise Unclear("it repeats the rows of the batch")
    return [x.with_dims([dim.times(n) for dim, n in zip(x.known, times, strict=True)])]


# --- put together and taken apart ----------------------------------------------------------------------


def concat(operation: Operation) -> list[Value]:
    values = [value for value in operation.inputs if value is not None]
    first = values[0]
    axis = operation.axis(0, first.rank)
    axes = {value.axis for value in values}
    if len(axes) > 1 or first.axis == axis:
        raise Unclear("it puts rows of the batch beside something else")
    if first.axis is not None:
        places = {(value.known[first.axis], value.outer) for value in values}
        if len(places) > 1:
            raise Unclear("what it takes has the rows of the batch in different order")
    total: Size | None = ZERO
    for value in values:
        total = total.plus(value.known[axis]) if total is not None else None
    dims = list(first.known)
    dims[axis] = total if total is not None else operation.fresh(axis)
    return [first.with_dims(dims)]


def split(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    axis = operation.axis(0, x.rank)
    if axis == x.axis:
        raise Unclear("it takes the batch apart")
    count = len(operation.node.output)
    sizes: Sequence[Size | None] | None = operation.at(1).sizes if operation.has(1) else None
    if "split" in operation.given:
        sizes = [Size(int(n)) for n in operation.given["split"]]
    made = []
    for output in range(count):
        size = sizes[output] if sizes is not None and len(sizes) == count else None
        dims = list(x.known)
        dims[axis] = size if size is not None else operation.fresh(axis, output)
        made.append(x.with_dims(dims))
    return made


def slice_(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    old = "starts" in operation.given
    axes = operation.axes(3, x.rank)
    if axes is None:
        given = operation.given["starts"] if old else operation.at(1).sizes
        if given is None:
            raise Unclear("which axes it cuts is not known")
        axes = tuple(range(len(given)))
    if x.axis in axes:
        return [_of_rows(operation, x, axes, old=old)]
    dims = [operation.fresh(a) if a in axes else dim for a, dim in enumerate(x.known)]
    return [x.with_dims(dims)]


def _of_rows(operation: Operation, x: Value, axes: Sequence[int], *, old: bool) -> Value:
    """All rows of the batch, or the first of rows that are alike; nothing else."""
    place = axes.index(x.axis) if x.axis is not None else 0
    starts = operation.given["starts"] if old else operation.integers(1)
    ends = operation.given["ends"] if old else operation.integers(2)
    steps = operation.integers(4) if not old and operation.has(4) else [1] * len(axes)
    dims = [operation.fresh(a) if a in axes else dim for a, dim in enumerate(x.known)]
    assert x.axis is not None
    if (starts[place], steps[place]) == (0, 1) and ends[place] >= _TO_THE_END:
        dims[x.axis] = x.known[x.axis]
        return x.with_dims(dims)
    first = (starts[place], ends[place], steps[place]) == (0, 1, 1)
    if first and x.alike and x.known[x.axis] == ROWS:
        dims[x.axis] = ONE
        return whole(dims)
    raise Unclear("it takes some rows of the batch")


def pad(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    x = operation.at(0)
    given = operation.given.get("pads")
    pads = [int(n) for n in given] if given is not None else operation.integers(1)
    axes = operation.integers(3) if operation.has(3) else list(range(x.rank))
    if len(pads) != 2 * len(axes):
        raise Unclear("which axes it pads is not known")
    dims = list(x.known)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        if before == after == 0:
            continue
        if axis % x.rank == x.axis:
            raise Unclear("it adds rows to the batch")
        dims[axis % x.rank] = operation.fresh(axis % x.rank)
    return [x.with_dims(dims)]


def resize(operation: Operation) -> list[Value]:
    """Of images; the batch must stay as long as it is."""
    operation.rest_whole(0, 3)
    x = operation.at(0)
    mode = operation.given.get("coordinate_transformation_mode", b"")
    policy = operation.given.get("keep_aspect_ratio_policy", b"stretch")
    if mode == b"tf_crop_and_resize" or policy != b"stretch":
        raise Unclear("which part of an image it takes depends on its sizes")
    axes = operation.axes(_NO_INPUT, x.rank) or tuple(range(x.rank))
    dims = [operation.fresh(a) if a in axes else dim for a, dim in enumerate(x.known)]
    place = axes.index(x.axis) if x.axis is not None and x.axis in axes else None
    keeps = _keeps_by_sizes if operation.has(3) else _keeps_by_scales
    if not keeps(operation, x, place):
        raise Unclear("it is not known that it leaves the rows of the batch as they are")
    if x.axis is not None:
        dims[x.axis] = x.known[x.axis]
    return [x.with_dims(dims)]


def _keeps_by_sizes(operation: Operation, x: Value, place: int | None) -> bool:
    """Whether the batch keeps its own size, and no other axis gets one that depends on it."""
    wanted = operation.at(3)
    sizes = wanted.sizes
    if sizes is None:
        return wanted.whole and place is None
    others = [size for at, size in enumerate(sizes) if at != place]
    if not wanted.whole and any(size is None or size.degree for size in others):
        return False
    return place is None or x.axis is None or sizes[place] == x.known[x.axis]


def _keeps_by_scales(operation: Operation, x: Value, place: int | None) -> bool:
    """Whether the batch's scale is the constant 1."""
    if place is None:
        return True
    position = 1 if operation.node.op_type == "Upsample" or operation.version < 11 else 2
    scales = operation.given.get("scales") or operation.numbers(position)
    return scales is not None and len(scales) > place and scales[place] == 1.0
