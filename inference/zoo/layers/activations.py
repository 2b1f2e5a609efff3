"""Activation functions as exporters spell them in plain operators."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt

from inference.zoo.layers.net import Net


def gelu(net: Net, x: str) -> str:
    """x/2 · (1 + erf(x/√2)) (Hendrycks and Gimpel 2016, arXiv:1606.08415)."""
    erf = net.op("Erf", net.op("Div", x, net.number(sqrt(2))))
    return net.op("Mul", net.op("Mul", x, net.op("Add", erf, net.number(1))), net.number(0.5))


def gelu_tanh(net: Net, x: str) -> str:
    """gelu by x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))."""
    cube = net.op("Mul", net.op("Pow", x, net.number(3)), net.number(0.044715))
    tanh = net.op("Tanh", net.op("Mul", net.op("Add", x, cube), net.number(sqrt(2 / pi))))
    return net.op("Mul", net.op("Mul", x, net.number(0.5)), net.op("Add", tanh, net.number(1)))


def gelu_sigmoid(net: Net, x: str) -> str:
    """gelu by x · σ(1.702 x), as CLIP has it."""
    return net.op("Mul", x, net.op("Sigmoid", net.op("Mul", x, net.number(1.702))))


def silu(net: Net, x: str) -> str:
    """x · σ(x)."""
    return net.op("Mul", x, net.op("Sigmoid", x))


def relu(net: Net, x: str) -> str:
    return net.op("Relu", x)


Activation = Callable[[Net, str], str]
