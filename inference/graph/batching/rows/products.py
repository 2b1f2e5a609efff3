"""Products and convolutions: rows stay where they are unless they are summed over."""

from __future__ import annotations

from inference.graph.batching.rows.elementwise import broadcast
from inference.graph.batching.rows.sizes import ONE, Size
from inference.graph.batching.rows.values import Operation, Unclear, Value, whole


def matmul(operation: Operation) -> list[Value]:
    return [_product(operation, operation.at(0), operation.at(1))]


def _product(operation: Operation, a: Value, b: Value) -> Value:
    if min(a.rank, b.rank) < 2:
        return _with_vector(a, b)
    lead = broadcast(operation, [_leading(a), _leading(b)])
    dims = [*lead.known, a.known[-2], b.known[-1]]
    for value, kept, summed in ((a, a.rank - 2, a.rank - 1), (b, b.rank - 1, b.rank - 2)):
        if value.axis == summed:
            raise Unclear("it sums over the rows of the batch")
        if value.axis == kept:
            other = b if value is a else a
            if not other.whole:
                raise Unclear("it multiplies rows of the batch with one another")
            return value.moved(dims, len(dims) - (2 if value is a else 1))
    return lead.moved(dims, lead.axis)


def _leading(value: Value) -> Value:
    """All but the matrices."""
    axis = value.axis if value.axis is not None and value.axis < value.rank - 2 else None
    return value.moved(value.known[:-2], axis)


def _with_vector(a: Value, b: Value) -> Value:
    if a.rank < 2 or not b.whole or a.axis == a.rank - 1:
        raise Unclear("it multiplies a vector with the batch")
    return a.with_dims(a.known[:-1])


def matmul_integer(operation: Operation) -> list[Value]:
    """Zero points are single, or the columns' own."""
    operation.rest_whole(0)
    if operation.has(2) and not operation.at(2).single:
        raise Unclear("its rows have zero points of their own")
    return matmul(operation)


def qlinear_matmul(operation: Operation) -> list[Value]:
    operation.rest_whole(0)
    for position in (1, 2, 6, 7):
        if not operation.at(position).single:
            raise Unclear("its rows have scales of their own")
    return [_product(operation, operation.at(0), operation.at(3))]


def gemm(operation: Operation) -> list[Value]:
    operation.rest_whole(0, 2)
    a, b = operation.at(0), operation.at(1)
    kept = 1 if operation.given.get("transA") else 0
    columns = b.known[0 if operation.given.get("transB") else 1]
    if a.axis not in (None, kept):
        raise Unclear("it sums over the rows of the batch")
    made = a.moved([a.known[kept], columns], None if a.axis is None else 0)
    return [broadcast(operation, [made, operation.at(2)]) if operation.has(2) else made]


def nbits(operation: Operation) -> list[Value]:
    """MatMulNBits: a quantised matrix behind everything."""
    operation.rest_whole(0)
    a = operation.at(0)
    if a.axis == a.rank - 1:
        raise Unclear("it sums over the rows of the batch")
    return [a.with_dims([*a.known[:-1], Size(int(operation.given["N"]))])]


def _images(operation: Operation, position: int = 0) -> Value:
    """The input whose first axis counts images; nothing else has rows."""
    operation.rest_whole(position)
    x = operation.at(position)
    if x.axis not in (None, 0):
        raise Unclear("the rows of the batch are not its images")
    return x


def convolution(operation: Operation) -> list[Value]:
    x, weights = _images(operation), operation.at(1)
    return [_convolved(operation, x, weights)]


def _convolved(operation: Operation, x: Value, weights: Value) -> Value:
    channels = weights.known[0]
    if operation.node.op_type == "ConvTranspose":
        channels = weights.known[1].times(Size(int(operation.given.get("group", 1))))
    return x.with_dims([x.known[0], channels, *(operation.fresh(i) for i in range(2, x.rank))])


def qlinear_convolution(operation: Operation) -> list[Value]:
    return [_convolved(operation, _images(operation), operation.at(3))]


def pool(operation: Operation) -> list[Value]:
    """MaxPool's second output numbers the elements of all images."""
    x = _images(operation)
    return [x.with_dims([*x.known[:2], *(operation.fresh(i) for i in range(2, x.rank))])]


def global_pool(operation: Operation) -> list[Value]:
    x = _images(operation)
    return [x.with_dims([*x.known[:2], *[ONE] * (x.rank - 2)])]


def of_images(operation: Operation) -> list[Value]:
    """Operators that keep the shape and see one image at a time: normalisation of its channels."""
    x = _images(operation)
    if operation.node.op_type == "BatchNormalization":
        outputs = [name for name in operation.node.output if name]
        if operation.given.get("training_mode") or len(outputs) > 1:
            raise Unclear("it takes statistics over the batch")
    return [x.with_dims(x.known)]


def blocks(operation: Operation) -> list[Value]:
    """DepthToSpace, SpaceToDepth."""
    x = _images(operation)
    return [x.with_dims([x.known[0], *(operation.fresh(i) for i in range(1, x.rank))])]


def einsum(operation: Operation) -> list[Value]:
    equation = operation.given["equation"].decode().replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if "." in equation or not arrow or len(terms) != len(operation.inputs):
        raise Unclear(f"its equation {equation!r} cannot be followed")
    sizes: dict[str, Size] = {}
    batch: dict[str, Value] = {}
    for term, position in zip(terms, range(len(terms)), strict=True):
        value = operation.at(position)
        if len(term) != value.rank or len(set(term)) != len(term):
            raise Unclear(f"its equation {equation!r} cannot be followed")
        sizes.update(zip(term, value.known, strict=True))
        if value.axis is not None:
            batch[term[value.axis]] = value
    if not batch:
        return [whole([sizes[letter] for letter in right])]
    (letter, value), *others = batch.items()
    if others or letter not in right:
        raise Unclear("it sums over rows of the batch, or multiplies them with one another")
    for term, position in zip(terms, range(len(terms)), strict=True):
        one = operation.at(position)
        if letter not in term:
            continue
        alike = one.axis is not None and one.outer == value.outer
        if not alike or one.known[term.index(letter)] != sizes[letter]:
            raise Unclear("a tensor has other places where the rows of the batch lie")
    return [value.moved([sizes[letter] for letter in right], right.index(letter))]


def quantise(operation: Operation) -> list[Value]:
    """QuantizeLinear, DequantizeLinear: one scale, or one for each place along an axis."""
    operation.rest_whole(0)
    x, scale = operation.at(0), operation.at(1)
    if operation.given.get("block_size"):
        raise Unclear("it has scales for blocks")
    if not scale.single and x.axis == operation.axis(1, x.rank):
        raise Unclear("rows of the batch have scales of their own")
    return [x.with_dims(x.known)]
