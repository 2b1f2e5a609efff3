"""Positions of tokens, and what is added to attention scores to hide some of them."""

from __future__ import annotations

import numpy as np

from inference.zoo.layers.net import Net

HIDDEN = -10000.0  # exp of it is 0, and sums of a few are still float16


def count(net: Net, ids: str) -> str:
    """0, 1, 2 … for every row: int64[batch, sequence].

    Counted, so that [batch, sequence] stays known to shape inference: then the runtime fuses the same nodes
    in the whole graph as in its shards.
    """
    zeros = net.op("Mul", ids, net.scalar(0, np.int64))
    ones = net.op("Add", zeros, net.scalar(1, np.int64))
    return net.op("CumSum", ones, net.scalar(1, np.int64), exclusive=1)


def first_row(net: Net, places: str) -> str:
    """[batch, sequence] → [1, sequence]: all rows are alike."""
    # A Slice would do, but shape inference cannot know that a batch has a first row.
    return net.op("ReduceMax", places, axes=[0], keepdims=1)


def distances(net: Net, places: str) -> str:
    """How far each key is behind (positive: ahead of) each query: int64[1, sequence, sequence]."""
    row = first_row(net, places)
    return net.op(
        "Sub", net.op("Unsqueeze", row, net.ints(1)), net.op("Unsqueeze", row, net.ints(2))
    )


def padding(net: Net, mask: str) -> str:
    """0 where a token counts and a large negative number where it is padding: [batch, 1, 1, sequence]."""
    absent = net.op("Sub", net.number(1.0), net.op("Cast", mask, to=net.precision.onnx_type))
    return net.op("Unsqueeze", net.op("Mul", absent, net.number(HIDDEN)), net.ints(1, 2))


def causal(net: Net, places: str) -> str:
    """0 where a key is not ahead of the query, else a large negative number: [1, 1, sequence, sequence]."""
    ahead = net.op("Greater", distances(net, places), net.scalar(0, np.int64))
    hidden = net.op("Where", ahead, net.number(HIDDEN), net.number(0.0))
    return net.op("Unsqueeze", hidden, net.ints(1))
