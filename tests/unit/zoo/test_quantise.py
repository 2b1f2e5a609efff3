"""4- and 8-bit weights: how they are packed, and what is lost."""

from __future__ import annotations

import numpy as np
import pytest

from inference.zoo.builder import FLOAT
from inference.zoo.layers.net import Net
from inference.zoo.layers.quantise import dequantise, quantise
from inference.zoo.precision import PRECISIONS, Precision
from inference.zoo.weights import Given
from tests.support.zoo import run_model

RANDOM = np.random.default_rng(0)


def test_four_bits_by_hand() -> None:
    """-8 … 7 in steps of the scale: the largest magnitude is the scale's -8th."""
    row = np.zeros((1, 32), np.float32)
    row[0, :4] = [-4.0, 3.5, 0.5, -0.2]
    packed, scales = quantise(row, 4)
    assert scales.tolist() == [[0.5]]
    assert packed.shape == (1, 1, 16)
    assert packed[0, 0, 0] == 0 | 15 << 4  # -8 and 7
    assert packed[0, 0, 1] == 9 | 8 << 4  # 1 and 0
    assert (packed[0, 0, 2:] == 8 | 8 << 4).all()


def test_eight_bits_by_hand() -> None:
    row = np.zeros((1, 32), np.float32)
    row[0, :3] = [32.0, -31.75, 0.3]
    packed, scales = quantise(row, 8)
    assert scales.tolist() == [[-0.25]]
    assert packed[0, 0, :4].tolist() == [0, 255, 127, 128]


@pytest.mark.parametrize("inner", [1, 31, 32, 33, 100])
@pytest.mark.parametrize("bits", [4, 8])
def test_nothing_is_off_by_more_than_a_step(bits: int, inner: int) -> None:
    matrix = RANDOM.standard_normal((5, inner)).astype(np.float32)
    matrix[2] = 0
    packed, scales = quantise(matrix, bits)
    again = dequantise(packed, scales, inner)
    assert again.shape == matrix.shape
    steps = np.repeat(np.abs(scales), 32, axis=1)[:, :inner]
    # A value opposite to the block's largest may be clipped by up to one step; others are rounded.
    assert (np.abs(again - matrix) <= steps * 1.0001).all()
    assert np.median(np.abs(again - matrix)[steps > 0] / steps[steps > 0]) < 0.5
    assert not again[2].any()


@pytest.mark.parametrize("precision", ["int8", "int4", "int4-float16"])
@pytest.mark.parametrize("inner", [32, 40, 96])
def test_onnxruntime_reads_them_so(inner: int, precision: str) -> None:
    kind: Precision = PRECISIONS[precision]
    assert kind.bits is not None
    matrix = RANDOM.standard_normal((7, inner)).astype(np.float32)
    bias = RANDOM.standard_normal(7).astype(np.float32)
    net = Net("linear", kind, Given({"l.weight": matrix, "l.bias": bias}))
    net.give(net.linear("l", net.narrow("x"), inner, 7), "y")
    model = net.graph([("x", FLOAT, ["rows", inner])], [("y", FLOAT, ["rows", 7])]).model()
    x = RANDOM.standard_normal((4, inner)).astype(np.float32)
    got = run_model(model.SerializeToString(), {"x": x})["y"]
    wanted = x @ dequantise(*quantise(matrix, kind.bits, kind.dtype), inner).T + bias
    tolerance = (2e-2 if kind.half else 1e-5) * np.abs(wanted).max()
    np.testing.assert_allclose(got, wanted, atol=tolerance, rtol=0)
