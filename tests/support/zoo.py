"""Run the zoo's models on onnxruntime, component after component."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference.graph.runtime import session
from inference.zoo.families import Component

Array = np.ndarray[Any, Any]


def run_model(model: Path | bytes, inputs: Mapping[str, Array], *, optimise: bool = True) -> dict:
    """What one file answers; of the inputs it takes those it has."""
    runtime = session(model if isinstance(model, bytes) else str(model), optimise=optimise)
    names = [item.name for item in runtime.get_outputs()]
    taken = {item.name: inputs[item.name] for item in runtime.get_inputs()}
    return dict(zip(names, runtime.run(names, taken), strict=True))


def run_components(
    components: Sequence[Component], inputs: Mapping[str, Array], *, optimise: bool = True
) -> dict[tuple[str, str], Array]:
    """All outputs by (role, name); what one component gives another takes."""
    made: dict[tuple[str, str], Array] = {}
    for component in components:
        given = {name: made[source] for name, source in component.takes.items()}
        answers = run_model(component.path, {**inputs, **given}, optimise=optimise)
        made |= {(component.role, name): array for name, array in answers.items()}
    return made


def assert_near(got: Mapping, wanted: Mapping, tolerance: float) -> None:
    """The same outputs, no further apart than so much of the largest number."""
    assert got.keys() == wanted.keys()
    for name, array in wanted.items():
        off = np.abs(got[name] - array).max()
        assert off <= tolerance * np.abs(array).max(), f"{name} is off by {off}"


def dequantised(path: Path) -> bytes:
    """The model with each MatMulNBits replaced by a MatMul with the numbers its weights stand for."""
    model = onnx.load(str(path))
    arrays = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "MatMulNBits":
            continue
        options = {item.name: item.i for item in node.attribute}
        x, packed, scales = node.input
        matrix = _unpacked(arrays[packed], arrays[scales], **options)
        model.graph.initializer.append(numpy_helper.from_array(matrix.T.copy(), f"{packed}_float"))
        node.CopyFrom(helper.make_node("MatMul", [x, f"{packed}_float"], node.output))
    return bytes(model.SerializeToString())


def _unpacked(packed: Array, scales: Array, *, K: int, N: int, bits: int, block_size: int) -> Array:
    """float32[N, K], number by number as onnxruntime's documentation of MatMulNBits has it."""
    matrix = np.zeros((N, K), np.float32)
    each = 8 // bits
    for row in range(N):
        for column in range(K):
            block, at = divmod(column, block_size)
            byte = int(packed[row, block, at // each])
            level = byte >> bits * (at % each) & (2**bits - 1)
            matrix[row, column] = (level - 2 ** (bits - 1)) * float(scales[row, block])
    return matrix
