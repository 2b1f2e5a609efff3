"""Scaled dot-product attention in plain operators (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

from inference.zoo.layers.net import Net


def attend(
    net: Net,
    query: str,
    key: str,
    value: str,
    *,
    heads: int,
    size: int,
    scale: float,
    bias: str = "",
) -> str:
    """softmax(query · keyᵀ · scale + bias) · value, per head.

    query [batch, sequence, heads · size], key and value [batch, source, heads · size] → like query. `bias`
    is what is added to the scores and broadcasts to [batch, heads, sequence, source].
    """
    query, key, value = (split_heads(net, x, heads, size) for x in (query, key, value))
    return attend_split(net, query, key, value, heads=heads, size=size, scale=scale, bias=bias)


def attend_split(
    net: Net,
    query: str,
    key: str,
    value: str,
    *,
    heads: int,
    size: int,
    scale: float,
    bias: str = "",
) -> str:
    """The same for query, key and value that are split: [batch, length, heads, size]."""
    query = net.op("Transpose", query, perm=[0, 2, 1, 3])
    key = net.op("Transpose", key, perm=[0, 2, 3, 1])
    value = net.op("Transpose", value, perm=[0, 2, 1, 3])
    scores = net.op("MatMul", query, key)
    if scale != 1:
        scores = net.op("Mul", scores, net.number(scale))
    if bias:
        scores = net.op("Add", scores, bias)
    attention = net.op("Softmax", scores, axis=-1)
    mixed = net.op("Transpose", net.op("MatMul", attention, value), perm=[0, 2, 1, 3])
    return net.op("Reshape", mixed, net.ints(0, 0, heads * size))


def split_heads(net: Net, x: str, heads: int, size: int) -> str:
    """[batch, length, heads · size] → [batch, length, heads, size]."""
    return net.op("Reshape", x, net.ints(0, 0, heads, size))


def multi_head(
    net: Net,
    at: str,
    x: str,
    memory: str,
    *,
    width: int,
    heads: int,
    bias: str = "",
    key_bias: bool,
) -> str:
    """Attention of x to memory with projections under the names CLIP and Whisper give them."""
    query = net.linear(f"{at}.q_proj", x, width, width)
    key = net.linear(f"{at}.k_proj", memory, width, width, bias=key_bias)
    value = net.linear(f"{at}.v_proj", memory, width, width)
    size = width // heads
    mixed = attend(net, query, key, value, heads=heads, size=size, scale=size**-0.5, bias=bias)
    return net.linear(f"{at}.out_proj", mixed, width, width)
