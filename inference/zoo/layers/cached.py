"""Attention over the keys and values of all positions so far, in plain operators.

Every operator works on each row alone, so that on WebAssembly the same position gives the same bits however
many positions a step computes.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import HIDDEN, padding


@dataclasses.dataclass(frozen=True)
class Heads:
    """Query heads, and the key/value heads that they share: heads / groups each."""

    heads: int
    groups: int
    size: int
    scale: float


def attend_cached(
    net: Net, heads: Heads, query: str, key: str, value: str, past: tuple[str, str], bias: str
) -> tuple[str, tuple[str, str]]:
    """Attention of a step's queries to the past's and the step's keys and values.

    query [batch, sequence, heads, size]; key and value [batch, sequence, groups, size]; past
    [batch, groups, past, size] each; `bias` broadcasts to [batch, heads, sequence, past + sequence].
    Returns [batch, sequence, heads · size], and keys and values with the step's: like past.
    """
    query, key, value = (net.op("Transpose", x, perm=[0, 2, 1, 3]) for x in (query, key, value))
    key = net.op("Concat", past[0], key, axis=2)
    value = net.op("Concat", past[1], value, axis=2)
    shared = heads.heads != heads.groups
    if shared:  # the queries of a group as more rows: keys and values are not copied then
        query = net.op("Reshape", query, net.ints(0, heads.groups, -1, heads.size))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    if heads.scale != 1:
        scores = net.op("Mul", scores, net.number(heads.scale))
    if shared:
        scores = net.op("Reshape", scores, net.ints(0, heads.heads, -1, 0))
    attention = net.op("Softmax", net.op("Add", scores, bias), axis=-1)
    if shared:
        attention = net.op("Reshape", attention, net.ints(0, heads.groups, -1, 0))
    mixed = net.op("MatMul", attention, value)
    if shared:
        mixed = net.op("Reshape", mixed, net.ints(0, heads.heads, -1, heads.size))
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.op("Reshape", mixed, net.ints(0, 0, heads.heads * heads.size)), (key, value)


def visible(net: Net, mask: str, places: str, window: int = 0) -> str:
    """0 where a query may see a key, else a large negative number: [batch, 1, sequence, past + sequence].

    mask int64[batch, past + sequence], places int64[batch, sequence], of which the sizes count. A query sees
    keys up to its own, of a window only the last `window`.
    """
    behind = distances(net, mask, places)
    hidden = net.op("Less", behind, net.scalar(0, np.int64))
    if window:
        far = net.op("Greater", behind, net.scalar(window - 1, np.int64))
        hidden = net.op("Or", hidden, far)
    bias = net.op("Where", hidden, net.number(HIDDEN), net.number(0.0))
    return net.op("Add", net.op("Unsqueeze", bias, net.ints(0, 1)), padding(net, mask))


def distances(net: Net, mask: str, places: str) -> str:
    """How far each key is behind each query: int64[sequence, past + sequence]; mask and places as above."""
    total, new = (
        net.op("Squeeze", net.op("Slice", net.op("Shape", x), net.ints(1), net.ints(2)))
        for x in (mask, places)
    )
    one, zero = net.scalar(1, np.int64), net.scalar(0, np.int64)
    keys = net.op("Range", zero, total, one)
    queries = net.op(
        "Unsqueeze", net.op("Range", net.op("Sub", total, new), total, one), net.ints(1)
    )
    return net.op("Sub", queries, net.op("Unsqueeze", keys, net.ints(0)))
