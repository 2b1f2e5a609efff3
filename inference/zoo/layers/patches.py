"""Images cut into patches, one token each (Dosovitskiy et al. 2020, arXiv:2010.11929)."""

from __future__ import annotations

from inference.zoo.layers.net import Net


def patches(net: Net, name: str, image: str, *, size: int, width: int, bias: bool) -> str:
    """image [batch, 3, height, width] → [batch, patches, width], row by row."""
    weights = [net.tensor(f"{name}.weight", width, 3, size, size, spread=(3 * size * size) ** -0.5)]
    if bias:
        weights.append(net.tensor(f"{name}.bias", width))
    grid = net.op("Conv", image, *weights, kernel_shape=[size, size], strides=[size, size])
    return net.op("Transpose", net.op("Reshape", grid, net.ints(0, width, -1)), perm=[0, 2, 1])


def class_first(net: Net, token: str, tokens: str, image: str) -> str:
    """Put the class token [1, 1, width] in front of every row's tokens."""
    batch = net.op("Gather", net.op("Shape", image), net.ints(0))
    rows = net.op("Concat", batch, net.ints(1, 1), axis=0)
    return net.op("Concat", net.op("Expand", token, rows), tokens, axis=1)
