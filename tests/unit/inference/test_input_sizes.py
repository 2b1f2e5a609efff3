"""Inputs that would be too large once widened and filled in: refused before anything of it is made."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest

from inference.conversion.exact import array_of
from inference.documents import Array
from inference.errors import InvalidRequest, TooLarge
from inference.graph.batching.batch_axis import BatchAxis, Verdict
from inference.models import OnnxModel
from inference.runs.inputs import from_python, prepare
from inference.store.tensors import WireTensor, decode_array

LITTLE = 4 * 2**20


def model(dtype: str = "int64") -> OnnxModel:
    ports = [
        {"name": "ids", "dtype": dtype, "shape": ["n", "length"]},
        {
            "name": "mask",
            "dtype": "int64",
            "shape": ["n", "length"],
            "default": "ones_like:ids",
        },
        {
            "name": "types",
            "dtype": "float64",
            "shape": ["n", "length"],
            "default": "zeros_like:mask",
        },
    ]
    axis = BatchAxis(Verdict.NO, reason="nobody looked").to_json()
    return OnnxModel(name="m", inputs=ports, batch_axis=axis, summary={})


def many(count: int, value: object = np.uint8(0)) -> Array:
    """An array that takes no memory itself."""
    return np.broadcast_to(np.asarray(value), (1, count))


def refusal(ask: Callable[[], object], kind: type[InvalidRequest], most: int = LITTLE) -> str:
    """The words of a refusal for which no more than so many bytes were taken."""
    tracemalloc.start()
    try:
        with pytest.raises(kind) as caught:
            ask()
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()
    return str(caught.value)


def test_an_array_is_judged_as_wide_as_its_port() -> None:
    told = refusal(lambda: from_python(model(), {"ids": many(100_000_000)}), TooLarge)
    assert told.startswith("the inputs are 2289 MB, the limit is 256 MB")


def test_what_is_to_be_filled_in_counts() -> None:
    assert "275 MB" in refusal(lambda: from_python(model(), {"ids": many(12_000_000)}), TooLarge)
    sent = WireTensor("ids", "int64", (1, 12_000_000), bytes(96_000_000))
    assert "275 MB" in refusal(lambda: prepare(model(), [sent]), TooLarge)


def test_texts_count_at_least_their_lengths() -> None:
    told = refusal(lambda: from_python(model("string"), {"ids": many(70_000_000)}), TooLarge)
    assert "MB" in told


def test_an_array_of_a_kind_that_its_port_does_not_take_is_looked_at_in_pieces() -> None:
    for dtype, value in (("int64", np.float32(1)), ("string", np.uint8(1))):
        array = np.full((1, 2**21), value)
        told = refusal(partial(array_of, "x", array, dtype), InvalidRequest, most=2**25)
        assert "at [0, 0]" in told


def test_a_wrong_value_in_a_later_piece_is_told_with_its_place() -> None:
    array = np.zeros((2, 100_000), np.int64)
    array[1, 7] = 300
    with pytest.raises(InvalidRequest, match=r"got 300 at \[1, 7\]"):
        array_of("x", array, "int8")
    texts = np.full((2, 100_000), "a")
    texts[1, 7] = "\ud800"
    with pytest.raises(InvalidRequest, match=r"at \[1, 7\]"):
        array_of("x", texts, "string")


def test_what_is_filled_in_is_what_the_defaults_say() -> None:
    prepared = prepare(model(), from_python(model(), {"ids": many(3, np.int8(7))}).tensors)
    assert prepared.filled_in == ["mask: ones_like:ids", "types: zeros_like:mask"]
    arrays = [decode_array(tensor) for tensor in prepared.tensors]
    assert [array.tolist() for array in arrays] == [[[7] * 3], [[1] * 3], [[0.0] * 3]]
    assert [array.dtype.name for array in arrays] == ["int64", "int64", "float64"]
