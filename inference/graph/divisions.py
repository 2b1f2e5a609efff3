"""Divisions of what a caller sends: the smallest whole number by -1 has no quotient of its type.

onnxruntime refuses a divisor of zero, and does not look for this one. WebAssembly traps on it, which ends the
engine with all models that it holds; natively the process dies.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import numpy as np
import onnx
from onnx import numpy_helper

from inference.documents import Array, JsonObject, JsonView
from inference.graph.indexed import GraphIndex

# Smaller ones are divided as int32, and wrap around.
TRAPPING: Final = ("int32", "int64")
_MOST_KEPT = 64  # divisors that the file itself holds


def input_divisions(graph: GraphIndex) -> Iterator[JsonObject]:
    """Each Div of an input (`dividend`) by another (`by`), or by few numbers of the file (`constant`)."""
    for at in sorted(graph.live):
        node = graph.nodes[at]
        if node.op_type != "Div" or node.domain not in ("", "ai.onnx"):
            continue
        dividend, divisor = node.input
        if dividend not in graph.inputs or graph.inputs[dividend].dtype not in TRAPPING:
            continue
        if divisor in graph.inputs:
            yield {"dividend": dividend, "by": divisor}
        elif (constant := _constant(graph, divisor)) is not None and (constant == -1).any():
            yield {"dividend": dividend, "constant": constant.tolist()}


def _constant(graph: GraphIndex, name: str) -> Array | None:
    """What the file itself holds of that name, if that is little."""
    tensor = graph.dense.get(name)
    made_by = graph.producer.get(name)
    if made_by is not None and graph.nodes[made_by].op_type == "Constant":
        fields = {item.name: item for item in graph.nodes[made_by].attribute}
        if "value_int" in fields or "value_ints" in fields:
            one = fields.get("value_int")
            return np.asarray(one.i if one is not None else list(fields["value_ints"].ints))
        tensor = fields["value"].t if "value" in fields else None
    if tensor is None or tensor.data_location == onnx.TensorProto.EXTERNAL:
        return None
    return numpy_helper.to_array(tensor) if math.prod(tensor.dims) <= _MOST_KEPT else None


def without_quotient(divisions: Iterable[JsonView], given: Callable[[str], Array | None]) -> str:
    """Which of them has no quotient for these inputs; empty: all have one. `given`: an input by its name."""
    for division in divisions:
        dividend = given(division["dividend"])
        divisor = given(division["by"]) if "by" in division else np.asarray(division["constant"])
        if dividend is None or divisor is None:
            continue
        if _meet(dividend == np.iinfo(dividend.dtype).min, divisor == -1):
            least = np.iinfo(dividend.dtype).min
            return (
                f"input {division['dividend']!r} holds {least}, which the model divides by -1: the quotient "
                f"does not fit into {dividend.dtype.name}"
            )
    return ""


def _meet(one: Array, other: Array) -> bool:
    """Whether the two are true at one place when they are broadcast, which may be large and is not done."""
    if not (one.any() and other.any()):
        return False
    rank = max(one.ndim, other.ndim)
    one = one.reshape((1,) * (rank - one.ndim) + one.shape)
    other = other.reshape((1,) * (rank - other.ndim) + other.shape)
    for axis, (mine, its) in enumerate(zip(one.shape, other.shape, strict=True)):
        if mine == 1:
            other = np.asarray(other.any(axis=axis, keepdims=True))
        elif its == 1:
            one = np.asarray(one.any(axis=axis, keepdims=True))
        elif mine != its:
            return False  # shapes that do not go together are the runtime's to refuse
    return bool((one & other).any())
