"""How a split goes through single operators, and parts of weights whose elements share bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

from inference.graph.join import join
from inference.graph.spec import TensorSpec
from inference.graph.splitting.flows import flow
from inference.graph.splitting.slices import WeightSlice
from inference.graph.splitting.splits import Asked, Flow, Shapes, Split
from inference.graph.steps import JoinSpec

BATCH, LENGTH = 1009, 2003  # dynamic: another size in the other set


def asked(
    kind: str,
    given: list[tuple[int, ...]],
    made: tuple[int, ...],
    split: Split,
    constants: dict[str, list[int]] | None = None,
    **attributes: Any,
) -> Flow | None:
    names = [f"in{i}" for i in range(len(given))]
    node = helper.make_node(kind, names, ["out"], **attributes)
    one = {**dict(zip(names, given, strict=True)), "out": made}
    other = {
        name: tuple({BATCH: 1013, LENGTH: 2011}.get(size, size) for size in shape)
        for name, shape in one.items()
    }
    return flow(Asked(node, 0, split, Shapes(one, other), (constants or {}).get))


@pytest.mark.parametrize(
    ("given", "made", "split", "expected"),
    [
        # Heads joined: columns come from heads; heads parted: heads come from columns.
        ((BATCH, LENGTH, 4, 16), (BATCH, LENGTH, 64), Split(2), Split(2)),
        ((BATCH, LENGTH, 64), (BATCH, LENGTH, 4, 16), Split(2), Split(2)),
        # Query, key and value in one matrix: three runs of columns.
        ((BATCH, LENGTH, 192), (BATCH, LENGTH, 3, 4, 16), Split(3), Split(2, 3)),
        # Rows and columns in one axis: never the rows.
        ((BATCH, LENGTH, 64), (BATCH * LENGTH, 64), Split(1), Split(2)),
        # Heads that share keys.
        ((BATCH, 2, 2, LENGTH, 16), (BATCH, 4, LENGTH, 16), Split(1), Split(1)),
        ((BATCH, 1, 4, LENGTH, 16), (BATCH, 4, LENGTH, 16), Split(1), Split(2)),
        # An axis that also counts rows has no fixed size.
        ((BATCH, 4, LENGTH, 16), (BATCH, 4 * LENGTH, 16), Split(1), None),
        ((BATCH, 4 * LENGTH, 16), (BATCH, 4, LENGTH, 16), Split(1), None),
    ],
)
def test_through_a_reshape(
    given: tuple[int, ...], made: tuple[int, ...], split: Split, expected: Split | None
) -> None:
    found = asked("Reshape", [given, (len(made),)], made, split)
    assert (found.inputs[0] if found else None) == expected


def test_through_other_operators() -> None:
    heads = (BATCH, 4, LENGTH, 16)
    found = asked("Transpose", [(BATCH, LENGTH, 4, 16)], heads, Split(1), perm=[0, 2, 1, 3])
    assert found and found.inputs == {0: Split(2)}
    found = asked("Add", [heads, (1, 1, LENGTH, 16)], heads, Split(1))
    assert found and found.inputs == {0: Split(1)}
    found = asked("Add", [heads, (4, LENGTH, 16)], heads, Split(1))
    assert found and found.inputs == {0: Split(1), 1: Split(0)}
    found = asked("MatMul", [heads, (BATCH, 4, 16, LENGTH)], (BATCH, 4, LENGTH, LENGTH), Split(1))
    assert found and found.inputs == {0: Split(1), 1: Split(1)}
    found = asked("Gather", [(3, BATCH, 4, LENGTH, 16), ()], heads, Split(1), axis=0)
    assert found and found.inputs == {0: Split(2)}
    found = asked("Unsqueeze", [heads, (1,)], (BATCH, 4, 1, LENGTH, 16), Split(1), {"in1": [2]})
    assert found and found.inputs == {0: Split(1)}


def test_what_mixes_the_parts_is_refused() -> None:
    heads, scores = (BATCH, 4, LENGTH, 16), (BATCH, 4, LENGTH, LENGTH)
    assert asked("Softmax", [scores], scores, Split(1), axis=1) is None
    assert asked("Softmax", [scores], scores, Split(1), axis=-1) is not None
    assert asked("LayerNormalization", [heads, (16,)], heads, Split(3), axis=-1) is None
    assert asked("ReduceMean", [heads], (BATCH, 1, LENGTH, 16), Split(1), axes=[1]) is None
    assert asked("Concat", [heads, heads], (BATCH, 8, LENGTH, 16), Split(1), axis=1) is None
    assert asked("CumSum", [heads, ()], heads, Split(1)) is None


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("length", [4, 5, 7])
@pytest.mark.parametrize("outer", [1, 3])
def test_elements_that_share_bytes(bits: int, length: int, outer: int) -> None:
    """Two rows of zero points, the lowest bits of a byte first; the last byte of a run is padded."""
    random = np.random.default_rng(length)
    elements = random.integers(0, 2**bits, (2, outer, length), dtype=np.uint8)

    def packed(array: np.ndarray) -> np.ndarray:
        per_byte = 8 // bits
        padded = np.zeros((*array.shape[:-1], -(-array.shape[-1] // per_byte) * per_byte), np.uint8)
        padded[..., : array.shape[-1]] = array
        grouped = padded.reshape(*array.shape[:-1], -1, per_byte)
        shifted = grouped << (bits * np.arange(per_byte)).astype(np.uint8)
        return np.bitwise_or.reduce(shifted, axis=-1).reshape(2, -1)

    weight = numpy_helper.from_array(packed(elements), "w")
    for start, stop in ((0, 2), (1, length), (length - 1, length)):
        cut = WeightSlice("w", 1, outer, start, stop, outer * length, bits)
        taken = cut.take(weight, "part")
        assert tuple(taken.dims) == cut.dims(tuple(weight.dims))
        np.testing.assert_array_equal(
            numpy_helper.to_array(taken), packed(elements[..., start:stop])
        )


def test_a_part_of_every_run_of_an_axis() -> None:
    array = np.arange(2 * 12, dtype=np.float32).reshape(2, 12)
    cut = WeightSlice("w", 1, 3, 1, 3, 12)
    taken = numpy_helper.to_array(cut.take(numpy_helper.from_array(array, "w"), "part"))
    np.testing.assert_array_equal(taken, array[:, [1, 2, 5, 6, 9, 10]])


def joining(op: str, axis: int | None, count: int = 2) -> JoinSpec:
    parts = tuple(f"p{i}" for i in range(count))
    return JoinSpec(op, axis, parts, TensorSpec("y", "float32", ("n", 4)))


def test_joins() -> None:
    left, right = np.ones((1, 2), np.float32), np.full((1, 3), 2, np.float32)
    assert join(joining("concat", 1), [left, right]).tolist() == [[1, 1, 2, 2, 2]]
    assert join(joining("sum", None), [left, left]).tolist() == [[2, 2]]
    assert left.tolist() == [[1, 1]]  # what was given is as it was
    with pytest.raises(ValueError, match="expected 2 parts of 'y', got 1"):
        join(joining("sum", None), [left])
    with pytest.raises(ValueError, match="differ in shape"):
        join(joining("sum", None), [left, right])


def test_half_floats_are_added_in_single_precision() -> None:
    parts = [np.array([2048], np.float16), *[np.array([1], np.float16)] * 4]
    total = join(joining("sum", None, 5), parts)
    assert total.dtype == np.float16
    assert total.tolist() == [2052]  # one by one in half precision it stays 2048
