"""Attention over the keys and values of all positions so far, in plain operators.

On WebAssembly a position gives the same bits however many positions a step computes. Most operators work on
each row alone; two do not by themselves:
1. A softmax adds up a row in lanes, and what is left of it one by one. Rows are filled up to whole lanes.
2. A product of one row is computed another way than one of several. Where a step's heads have a row each,
   that row is there twice.
"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np

from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import HIDDEN, padding

_LANES: Final = 16


@dataclasses.dataclass(frozen=True)
class Heads:
    """Query heads, and the key/value heads that they share: heads / groups each."""

    heads: int
    groups: int
    size: int
    scale: float


@dataclasses.dataclass(frozen=True)
class Sight:
    """Which keys each query sees.

    Attributes:
        bias: what is added to scores; broadcasts to [batch, heads, sequence, past + sequence].
        queries: int64[1], sequence.
        keys: int64[1], past + sequence.
        filling: int64[8], what a row of scores is padded by.
    """

    bias: str
    queries: str
    keys: str
    filling: str


def attend_cached(
    net: Net, heads: Heads, query: str, key: str, value: str, past: tuple[str, str], sight: Sight
) -> tuple[str, tuple[str, str]]:
    """Attention of a step's queries to the past's and the step's keys and values.

    query [batch, sequence, heads, size]; key and value [batch, sequence, groups, size]; past
    [batch, groups, past, size] each.
    Returns [batch, sequence, heads · size], and keys and values with the step's: like past.
    """
    bias = sight.bias
    query, key, value = (net.op("Transpose", x, perm=[0, 2, 1, 3]) for x in (query, key, value))
    key = net.op("Concat", past[0], key, axis=2)
    value = net.op("Concat", past[1], value, axis=2)
    shared = heads.heads != heads.groups
    if shared:  # the queries of a group as more rows: keys and values are not copied then
        query = net.op("Reshape", query, net.ints(0, heads.groups, -1, heads.size))
    else:
        query, bias = (net.op("Concat", x, x, axis=2) for x in (query, bias))
    scores = net.op("MatMul", query, net.op("Transpose", key, perm=[0, 1, 3, 2]))
    if heads.scale != 1:
        scores = net.op("Mul", scores, net.number(heads.scale))
    if shared:
        scores = net.op("Reshape", scores, net.ints(0, heads.heads, -1, 0))
    scores = net.op("Pad", net.op("Add", scores, bias), sight.filling, net.number(HIDDEN))
    attention = net.op("Softmax", scores, axis=-1)
    attention = net.op("Slice", attention, net.ints(0), sight.keys, net.ints(3))
    if shared:
        attention = net.op("Reshape", attention, net.ints(0, heads.groups, -1, 0))
    mixed = net.op("MatMul", attention, value)
    if shared:
        mixed = net.op("Reshape", mixed, net.ints(0, heads.heads, -1, heads.size))
    else:
        mixed = net.op("Slice", mixed, net.ints(0), sight.queries, net.ints(2))
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.op("Reshape", mixed, net.ints(0, 0, heads.heads * heads.size)), (key, value)


def visible(net: Net, mask: str, places: str, window: int = 0) -> Sight:
    """What a step's queries see: its bias is 0 there, else a large negative number.

    Its shape is [batch, 1, sequence, past + sequence].
    mask int64[batch, past + sequence], places int64[batch, sequence], of which the sizes count. A query sees
    keys up to its own, of a window only the last `window`.
    """
    behind = distances(net, mask, places)
    hidden = net.op("Less", behind, net.scalar(0, np.int64))
    if window:
        far = net.op("Greater", behind, net.scalar(window - 1, np.int64))
        hidden = net.op("Or", hidden, far)
    bias = net.op("Where", hidden, net.number(HIDDEN), net.number(0.0))
    bias = net.op("Add", net.op("Unsqueeze", bias, net.ints(0, 1)), padding(net, mask))
    queries, keys = (
        net.op("Slice", net.op("Shape", x), net.ints(1), net.ints(2)) for x in (places, mask)
    )
    missing = net.op("Mod", net.op("Neg", keys), net.ints(_LANES))
    return Sight(bias, queries, keys, net.op("Concat", net.ints(*[0] * 7), missing, axis=0))


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
