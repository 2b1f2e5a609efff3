"""Fused attention: each row of the batch looks at its own keys and values."""

from __future__ import annotations

from collections.abc import Iterable

from inference.graph.batching.rows.sizes import ROWS, Size
from inference.graph.batching.rows.values import Operation, Unclear, Value, apart


def _check(
    operation: Operation,
    *,
    rows: Iterable[int],
    biases: Iterable[int] = (),
    refused: Iterable[int] = (),
) -> None:
    """Check every input of an attention.

    Args:
        rows: inputs that have the batch as their first axis.
        biases: those that are added to scores of [batch, heads, length, total], or broadcast to them.
        refused: those that mix rows, or of which nobody knows.

    Raises:
        Unclear: one is otherwise, or another input depends on the batch.
    """
    rows, biases = tuple(rows), tuple(biases)
    operation.rest_whole(*rows, *biases)
    for position in refused:
        if operation.has(position):
            raise Unclear(f"its input {position} cannot be followed")
    for position in filter(operation.has, rows):
        apart(operation, position)
    for position in filter(operation.has, biases):
        value = operation.at(position)
        if value.axis is not None:
            apart(operation, position)
            if value.rank != 4:
                raise Unclear(f"the rows of its input {position} are not those of the batch")
        elif value.rank > 4 or (value.rank == 4 and value.known[0] != Size(1)):
            raise Unclear(f"its input {position} has a place for each row of the batch")


def _made(operation: Operation, width: Size) -> list[Value]:
    """[batch, length, width], and what is kept: [batch, heads, total, head]."""
    query = operation.at(0)
    first = Value((ROWS, query.known[1], width), 0)
    rest = [
        Value((ROWS, *(operation.fresh(a, output) for a in (1, 2, 3))), 0)
        for output in range(1, len(operation.node.output))
    ]
    return [first, *rest]


def multi_head(operation: Operation) -> list[Value]:
    """MultiHeadAttention: query, key, value, bias, key mask, attention bias, past key, past value."""
    _check(operation, rows=(0, 1, 2, 4, 6, 7), biases=(5,), refused=(8, 9))
    query = operation.at(0)
    if not operation.has(0) or query.rank != 3 or query.axis != 0:
        raise Unclear("packed queries, keys and values cannot be followed")
    value = operation.at(2) if operation.has(2) else None
    width = value.known[2] if value is not None and value.rank == 3 else operation.fresh(2)
    return _made(operation, width)


def grouped(operation: Operation) -> list[Value]:
    """GroupQueryAttention: the length of a row's keys is the row's own, the longest one everybody's."""
    _check(operation, rows=(0, 1, 2, 3, 4, 5, 9), biases=(10,), refused=())
    query = operation.at(0)
    width = query.known[2] if operation.has(1) else operation.fresh(2)
    return _made(operation, width)


def with_weights(operation: Operation) -> list[Value]:
    """Attention of com.microsoft: one matrix for query, key and value."""
    _check(operation, rows=(0, 3), biases=(5,), refused=(4, 6))
    if operation.has(3) and operation.at(3).rank < 2:
        raise Unclear("a mask of indices cannot be followed")
    return _made(operation, operation.fresh(2))[:1]


def of_onnx(operation: Operation) -> list[Value]:
    """Attention of ONNX 23: query, key, value, mask, past key, past value."""
    _check(operation, rows=(0, 1, 2, 4, 5), biases=(3,), refused=(6,))
    query, value = operation.at(0), operation.at(2)
    if query.rank == 4:
        dims = [ROWS, *query.known[1:3], value.known[3]]
        return [Value(tuple(dims), 0), *_made(operation, value.known[3])[1:]]
    return _made(operation, operation.fresh(2))
