"""Sizes bound to names, inputs checked against ports, answers compared."""

from __future__ import annotations

import numpy as np
import pytest

from inference.graph.reference import equal, largest_difference
from inference.graph.shapes import InvalidInput, bind_dims, check_inputs
from inference.graph.spec import TensorSpec

IDS = TensorSpec("ids", "int64", ("batch", "sequence"))
MASK = TensorSpec("mask", "int64", ("batch", "sequence"))
SCALE = TensorSpec("scale", "float32", (4,), optional=True)
BIAS = TensorSpec("bias", "float32", (4,))


def test_names_are_bound_to_sizes() -> None:
    assert bind_dims([IDS, MASK], {"ids": (2, 7), "mask": (2, 7)}) == {"batch": 2, "sequence": 7}
    assert bind_dims([IDS, SCALE], {"ids": (0, 1)}) == {"batch": 0, "sequence": 1}


def test_two_sizes_for_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'sequence' is 7 in 'ids' but 8 in 'mask'"):
        bind_dims([IDS, MASK], {"ids": (2, 7), "mask": (2, 8)})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"idz": ("int64", (1, 2))}, "unknown input 'idz'; expected 'ids', 'scale'"),
        ({}, "missing input 'ids'"),
        ({"ids": ("int32", (1, 2))}, "'ids': expected int64, got int32"),
        ({"ids": ("int64", (1,))}, r"'ids': expected shape \[batch, sequence\], got \[1\]"),
        (
            {"ids": ("int64", (1, 2)), "scale": ("float32", (4,))},
            "'scale' has its value in the model's",
        ),
        (
            {"ids": ("int64", (1, 2)), "bias": ("float32", (5,))},
            r"expected shape \[4\], got \[5\]",
        ),
    ],
)
def test_wrong_inputs_are_named(
    given: dict[str, tuple[str, tuple[int, ...]]], message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        check_inputs([IDS, SCALE, *([BIAS] if "bias" in given else [])], given)


def test_right_inputs_pass() -> None:
    check_inputs([IDS, SCALE], {"ids": ("int64", (1, 2))})
    check_inputs([TensorSpec("s", "float32", ())], {"s": ("float32", ())})


def test_a_port_survives_json() -> None:
    for spec in (IDS, SCALE, TensorSpec("t", "bool", (), any_rank=True)):
        assert TensorSpec.from_json(spec.to_json()) == spec


@pytest.mark.parametrize(
    ("got", "ref", "same"),
    [
        ([1.0, 2.0], [1.0, 2.00009], True),
        ([1.0, 2.0], [1.0, 2.0003], False),
        ([0.0, 1000.0], [0.05, 1000.0], True),  # relative to the largest of the answer
        ([np.nan, 1.0], [np.nan, 1.0], True),
        ([1.0, np.nan], [np.nan, 1.0], False),
        ([np.inf, 1.0], [np.inf, 1.0], True),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
        ([np.inf, 1.0], [5.0, 1.0], False),
    ],
)
def test_floats_are_equal_within_tolerance(got: list[float], ref: list[float], same: bool) -> None:
    assert equal(np.array(got, np.float32), np.array(ref, np.float32)) is same


def test_half_floats_have_their_own_tolerance() -> None:
    ref = np.array([0.1, 0.5], np.float16)
    assert equal(ref + np.float16(0.005), ref)
    assert not equal(ref + np.float16(0.02), ref)


def test_everything_else_is_exact() -> None:
    big = np.array([2**53, 2**62], np.int64)
    assert equal(big, big.copy())
    assert not equal(big + 1, big)
    assert largest_difference(big + 1, big) == 1
    assert largest_difference(np.array([0], np.uint64), np.array([2**64 - 1], np.uint64)) == 2**64
    assert not equal(np.array([True]), np.array([False]))
    assert not equal(np.array(["a"], object), np.array(["b"], object))
    assert equal(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32))
    assert not equal(np.zeros(3, np.float32), np.zeros(3, np.float64))
    assert not equal(np.zeros(3, np.float32), np.zeros((1, 3), np.float32))
