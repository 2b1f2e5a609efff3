"""Whether a batch may be split: a candidate axis from the ports' shapes, then by trying it.

Shapes alone do not tell whether rows influence one another (a softmax over the batch does not show), so
three rows are run together and apart, and the answers compared.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from inference.graph.reference import Array, equal, example_inputs
from inference.graph.spec import TensorSpec

_ROWS = 3
_PARTS = (slice(0, 1), slice(1, _ROWS))
# Sizes tried for the other dynamic dimensions: a deep convolutional net leaves nothing of a small image.
_SIZES = (8, 64, 224)
_MOST_ELEMENTS = 2**26  # in one input; larger trials are left out


def batch_axis(
    model: onnx.ModelProto,
    runtime: onnxruntime.InferenceSession,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
) -> dict[str, Any]:
    """{"splittable", "inputs": those split on their first axis, "reason": why not}."""
    batch = _candidate(inputs, outputs)
    if batch is None:
        shown = ", ".join(f"{spec.name}{list(spec.shape)}" for spec in (*inputs, *outputs))
        return _refused(f"its ports do not share one dynamic first dimension ({shown})")
    split = [spec.name for spec in inputs if spec.shape[:1] == (batch,) and not spec.optional]
    reason = ""
    for size in _SIZES:
        if _elements(inputs, size) > _MOST_ELEMENTS and reason:
            break
        try:
            together = example_inputs(model, inputs, seed=0, dims={batch: _ROWS}, other=size)
            whole = _run(runtime, together)
            parts = [
                _run(runtime, {n: a[rows] if n in split else a for n, a in together.items()})
                for rows in _PARTS
            ]
        except Exception as error:  # onnxruntime raises types of its own per status code
            reason = reason or f"a trial batch did not run: {str(error).splitlines()[0][:200]}"
            continue
        if all(map(_telling, whole)):
            mixed = _mixed(outputs, whole, parts)
            return _refused(mixed) if mixed else {"splittable": True, "inputs": split, "reason": ""}
        reason = reason or "a trial batch gave answers that tell nothing (empty, or not finite)"
    return _refused(reason)


def _mixed(
    outputs: Sequence[TensorSpec], whole: Sequence[Array], parts: Sequence[Sequence[Array]]
) -> str:
    """Why the parts are not the whole; empty if they are."""
    for spec, answer, *pieces in zip(outputs, whole, *parts, strict=True):
        if answer.shape[:1] != (_ROWS,) or any(not piece.shape for piece in pieces):
            return f"its output {spec.name!r} does not have one row per row of the batch"
        if not equal(np.concatenate(pieces), answer):
            return "rows of a batch influence one another: run apart they answer otherwise"
    return ""


def _telling(answer: Array) -> bool:
    """Whether an answer shows anything: it is neither empty nor nothing but NaN and infinities."""
    return answer.size > 0 and (answer.dtype.kind != "f" or bool(np.isfinite(answer).any()))


def _elements(inputs: Sequence[TensorSpec], size: int) -> int:
    """Of the largest input, with every dynamic dimension of that size."""
    return max(math.prod(d if isinstance(d, int) else size for d in s.shape) for s in inputs)


def _candidate(inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> str | None:
    """The dynamic dimension that is the first of inputs and outputs, and nowhere another axis."""
    firsts = {s.shape[0] for s in inputs if s.shape and not s.optional}
    named = {dim for dim in firsts if isinstance(dim, str)}
    ends = {spec.shape[0] if spec.shape else None for spec in outputs}
    if any(not isinstance(dim, str) for dim in ends):
        return None  # an output of fixed size
    shared = named & ends or named
    inner = {dim for spec in (*inputs, *outputs) for dim in spec.shape[1:]}
    found = sorted(dim for dim in shared - inner if isinstance(dim, str))
    return found[0] if len(found) == 1 else None


def _run(runtime: onnxruntime.InferenceSession, inputs: Mapping[str, Array]) -> list[Array]:
    return [np.asarray(output) for output in runtime.run(None, dict(inputs))]


def _refused(reason: str) -> dict[str, Any]:
    return {"splittable": False, "inputs": [], "reason": reason}
