"""The known-answer check: a small model with an answer that numpy computed, run on every backend.

A browser takes work only after its backends answered right; the time of the same work decides which
backend is preferred. The model is one feed-forward block (MatMul, bias, GELU by Erf, MatMul,
residual, LayerNormalization, Softmax), 34 million multiply-adds: a few milliseconds on WebAssembly,
enough to show a real GPU. Its weights are whole-number arithmetic inside the graph, folded when the
session is created, so that the file stays small and every machine gets the same bits.

    python -m browsers.probe      writes the model file again, after a change here
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from browsers.core.errors import InternalError
from browsers.core.protocol import WireTensor

PROBE_PATH: Final = Path(__file__).parent / "static" / "browsers" / "probe.onnx"
TOLERANCE: Final = 1e-4
"""Largest allowed |difference| relative to max(1, largest |reference|)."""

_ROWS, _HIDDEN, _INNER = 256, 128, 512
_STEP, _MODULUS = 7919, 1009
_EPSILON = 1e-5
_MOST, _LONG_ENOUGH_MS = 5, 200.0


def sha256() -> str:
    """The probe model's name among the files."""
    return hashlib.sha256(PROBE_PATH.read_bytes()).hexdigest()


def inputs() -> list[WireTensor]:
    """`x`, float32 [256, 128]."""
    values = _pattern(_ROWS * _HIDDEN, scale=2.0).reshape(_ROWS, _HIDDEN)
    return [WireTensor("x", "float32", values.shape, values.tobytes())]


@functools.cache
def expected() -> NDArray[np.float64]:
    """The answer `y` [256, 128], computed in float64."""
    x = _pattern(_ROWS * _HIDDEN, scale=2.0).reshape(_ROWS, _HIDDEN).astype(np.float64)
    rise = _pattern(_HIDDEN * _INNER, scale=0.3).reshape(_HIDDEN, _INNER).astype(np.float64)
    fall = _pattern(_INNER * _HIDDEN, scale=0.3).reshape(_INNER, _HIDDEN).astype(np.float64)
    inner = x @ rise + 0.1
    gelu = inner * 0.5 * (1 + _erf(inner / np.sqrt(2)))
    outer = gelu @ fall + x
    centred = outer - outer.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + _EPSILON)
    exponents = np.exp(normed - normed.max(axis=-1, keepdims=True))
    answer: NDArray[np.float64] = normed + exponents / exponents.sum(axis=-1, keepdims=True)
    return answer


def wants_more(times_ms: Sequence[float]) -> bool:
    """Whether the median of these timed runs should rest on more: on 5 of them, or on 200 ms together."""
    return not times_ms or (len(times_ms) < _MOST and sum(times_ms) < _LONG_ENOUGH_MS)


def largest_error(outputs: list[WireTensor]) -> float:
    """max |y - reference| / max(1, max |reference|); InternalError for another shape or type."""
    reference = expected()
    (output,) = outputs
    if (output.dtype, output.shape) != ("float32", reference.shape):
        raise InternalError(
            f"the probe answered {output.dtype} {list(output.shape)}; "
            f"expected float32 {list(reference.shape)}"
        )
    answer = np.frombuffer(output.data, dtype=np.float32).reshape(reference.shape)
    error = float(np.max(np.abs(answer - reference)) / max(1.0, float(np.abs(reference).max())))
    return error if np.isfinite(error) else float("inf")


def build() -> bytes:
    """The probe model as an ONNX file; needs the onnx package, which running it does not."""
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: Any) -> Any:
        return numpy_helper.from_array(np.asarray(value), name)

    def weights(name: str, shape: tuple[int, int], scale: float) -> tuple[list[Any], list[Any]]:
        """Nodes for the same numbers as `_pattern`."""
        count = shape[0] * shape[1]
        return [
            helper.make_node("Range", ["zero", f"{name}_count", "one"], [f"{name}_index"]),
            helper.make_node("Mul", [f"{name}_index", "step"], [f"{name}_stepped"]),
            helper.make_node("Mod", [f"{name}_stepped", "modulus"], [f"{name}_mod"]),
            helper.make_node("Cast", [f"{name}_mod"], [f"{name}_float"], to=TensorProto.FLOAT),
            helper.make_node("Div", [f"{name}_float", "divisor"], [f"{name}_unit"]),
            helper.make_node("Sub", [f"{name}_unit", "half"], [f"{name}_centred"]),
            helper.make_node("Mul", [f"{name}_centred", f"{name}_scale"], [f"{name}_flat"]),
            helper.make_node("Reshape", [f"{name}_flat", f"{name}_shape"], [name]),
        ], [
            constant(f"{name}_count", np.int64(count)),
            constant(f"{name}_scale", np.float32(scale)),
            constant(f"{name}_shape", np.array(shape, dtype=np.int64)),
        ]

    rise_nodes, rise_constants = weights("rise", (_HIDDEN, _INNER), 0.3)
    fall_nodes, fall_constants = weights("fall", (_INNER, _HIDDEN), 0.3)
    body = [
        helper.make_node("MatMul", ["x", "rise"], ["risen"]),
        helper.make_node("Add", ["risen", "bias"], ["inner"]),
        helper.make_node("Div", ["inner", "root_two"], ["scaled"]),
        helper.make_node("Erf", ["scaled"], ["erf"]),
        helper.make_node("Add", ["erf", "unit"], ["erf_plus_one"]),
        helper.make_node("Mul", ["inner", "erf_plus_one"], ["doubled"]),
        helper.make_node("Mul", ["doubled", "half"], ["gelu"]),
        helper.make_node("MatMul", ["gelu", "fall"], ["fallen"]),
        helper.make_node("Add", ["fallen", "x"], ["outer"]),
        helper.make_node(
            "LayerNormalization", ["outer", "gain", "shift"], ["normed"], axis=-1, epsilon=_EPSILON
        ),
        helper.make_node("Softmax", ["normed"], ["softmax"], axis=-1),
        helper.make_node("Add", ["normed", "softmax"], ["y"]),
    ]
    constants = [
        constant("zero", np.int64(0)),
        constant("one", np.int64(1)),
        constant("step", np.int64(_STEP)),
        constant("modulus", np.int64(_MODULUS)),
        constant("divisor", np.float32(_MODULUS)),
        constant("half", np.float32(0.5)),
        constant("unit", np.float32(1)),
        constant("root_two", np.float32(np.sqrt(2))),
        constant("bias", np.full(_INNER, 0.1, dtype=np.float32)),
        constant("gain", np.ones(_HIDDEN, dtype=np.float32)),
        constant("shift", np.zeros(_HIDDEN, dtype=np.float32)),
    ]
    shape = [_ROWS, _HIDDEN]
    graph = helper.make_graph(
        [*rise_nodes, *fall_nodes, *body],
        "webpool-probe",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [*constants, *rise_constants, *fall_constants],
    )
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="webpool"
    )
    return bytes(model.SerializeToString())


def _pattern(count: int, *, scale: float) -> NDArray[np.float32]:
    """`count` numbers in ±scale/2 without a simple pattern, the same bits everywhere."""
    spread = (np.arange(count, dtype=np.int64) * _STEP) % _MODULUS
    unit = spread.astype(np.float32) / np.float32(_MODULUS)
    return (unit - np.float32(0.5)) * np.float32(scale)


def _erf(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The error function; scipy would cost the worker 60 MB for it."""
    values: NDArray[np.float64] = np.vectorize(math.erf, otypes=[np.float64])(x)
    return values


if __name__ == "__main__":
    PROBE_PATH.write_bytes(build())
    print(f"{PROBE_PATH.name}: {PROBE_PATH.stat().st_size} bytes, {sha256()}")
