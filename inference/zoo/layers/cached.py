"""Attention over the keys and values of all positions so far, in plain operators.

On WebAssembly a position gives the same bits however many positions a step computes, and however many keys
that it does not see stand among its own (core/generation/batches.py). Most operators work on each row alone;
two do not by themselves:
1. A softmax adds up a row in lanes: which numbers meet first depends on where they stand. As a product with
   ones they are added one after another, and the zeros of hidden keys change nothing.
2. A product of one row is computed another way than one of several. Where a step's heads have a row each,
   that row is there twice.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from onnx import helper

from inference.zoo.builder import FLOAT
from inference.zoo.layers.net import Net
from inference.zoo.layers.positions import HIDDEN, padding


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
        ones: float[past + sequence, 1], what a row of weights is added up with.
    """

    bias: str
    queries: str
    ones: str


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
    scores = net.op("Add", scores, bias)
    if shared:
        scores = net.op("Reshape", scores, net.ints(0, heads.groups, -1, 0))
    mixed = net.op("MatMul", _softmax(net, scores, sight.ones), value)
    if shared:
        mixed = net.op("Reshape", mixed, net.ints(0, heads.heads, -1, heads.size))
    else:
        mixed = net.op("Slice", mixed, net.ints(0), sight.queries, net.ints(2))
    mixed = net.op("Transpose", mixed, perm=[0, 2, 1, 3])
    return net.op("Reshape", mixed, net.ints(0, 0, heads.heads * heads.size)), (key, value)


def _softmax(net: Net, scores: str, ones: str) -> str:
    """Weights that add up to 1, summed in the order of keys; like scores [batch, groups, rows, keys]."""
    most = net.op("ReduceMax", scores, axes=[-1])
    weights = net.op("Exp", net.op("Sub", scores, most))
    return net.op("Div", weights, net.op("MatMul", weights, ones))


def visible(net: Net, mask: str, places: str, window: int = 0) -> Sight:
    """What a step's queries see: its bias is 0 there, else a large negative number.

    Its shape is [batch, 1, sequence, past + sequence].
    mask int64[batch, past + sequence], places int64[batch, sequence], of which the sizes count but for a
    window: a query sees keys up to its own, of a window only the last `window` that the mask has.
    """
    behind = distances(net, mask, places)
    hidden = net.op("Less", behind, net.scalar(0, np.int64))
    hidden = net.op("Unsqueeze", hidden, net.ints(0, 1))
    if window:
        hidden = net.op("Or", hidden, _far(net, mask, places, window))
    bias = net.op("Where", hidden, net.number(HIDDEN), net.number(0.0))
    bias = net.op("Add", bias, padding(net, mask))
    queries, keys = (
        net.op("Slice", net.op("Shape", x), net.ints(1), net.ints(2)) for x in (places, mask)
    )
    one = helper.make_tensor("one", net.precision.onnx_type, [1], [1.0])
    column = net.op("Concat", keys, net.ints(1), axis=0)
    return Sight(bias, queries, net.op("ConstantOfShape", column, value=one))


def _far(net: Net, mask: str, places: str, window: int) -> str:
    """Which keys are too far behind each query: bool[batch, 1, sequence, past + sequence]."""
    counted, place = (net.op("Cast", x, to=FLOAT) for x in (mask, places))
    keys = net.op(
        "CumSum", counted, net.scalar(1, np.int64)
    )  # from 1, and so less than that behind
    place = net.op("Unsqueeze", place, net.ints(1, 3))
    behind = net.op("Sub", place, net.op("Unsqueeze", keys, net.ints(1, 2)))
    return net.op("Greater", behind, net.scalar(window - 2.0))


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
