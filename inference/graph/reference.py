"""What onnxruntime answers on the unsplit model, seeded inputs to ask it, and when two answers are equal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from browsers.core.answers.agreement import SINGLE, floats_differ
from inference.documents import Array
from inference.graph.runtime import session
from inference.graph.spec import TensorSpec


def reference(path: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the model whole on onnxruntime's CPU provider; output name → array."""
    runtime = session(str(path))
    names = [item.name for item in runtime.get_outputs()]
    return dict(zip(names, runtime.run(names, dict(inputs)), strict=True))


_WIDE: Final = 128  # integers below it fit every type


def example_inputs(
    model: onnx.ModelProto,
    specs: Sequence[TensorSpec],
    *,
    seed: int,
    dims: Mapping[str, int] | None = None,
    other: int = 8,
    wide: bool = False,
) -> dict[str, Array]:
    """Seeded inputs that the model can take; `dims` sizes symbolic dimensions, `other` the rest.

    Integers that index a table stay below its length; those with a declared default are that default (a
    mask is ones); other integers are 1 or 2, `wide`: from 0 to 127; floats are normal.
    """
    limits = index_limits(model)
    return made_inputs(specs, limits, seed=seed, dims=dims, other=other, wide=wide)


def made_inputs(
    specs: Sequence[TensorSpec],
    limits: Mapping[str, int],
    *,
    seed: int,
    dims: Mapping[str, int] | None = None,
    other: int = 8,
    wide: bool = False,
) -> dict[str, Array]:
    """`example_inputs` where it is known how long the tables are that inputs index: name → length."""
    random = np.random.default_rng(seed)
    sizes = dict(dims or {})
    made = {}
    for spec in specs:
        if spec.optional:
            continue
        shape = [d if isinstance(d, int) else sizes.get(d, other) for d in spec.shape]
        limit = limits.get(spec.name, _WIDE if wide else None)
        made[spec.name] = _example(spec, shape, limit, random)
    return made


def _example(
    spec: TensorSpec, shape: Sequence[int], limit: int | None, random: np.random.Generator
) -> Array:
    if spec.dtype == "string":
        return np.full(shape, "text", dtype=object)
    if spec.dtype == "bool":
        return np.asarray(random.random(shape) < 0.5)  # of shape [] it is no array
    dtype = np.dtype(spec.dtype)
    if dtype.kind in "iu":
        if spec.default is not None:
            return (np.zeros if spec.default.startswith("zeros") else np.ones)(shape, dtype)
        low, high = (1, 3) if limit is None else (0, limit)
        return np.asarray(random.integers(low, high, shape), dtype)
    return np.asarray(random.standard_normal(shape), dtype)


def index_limits(model: onnx.ModelProto) -> dict[str, int]:
    """For each tensor that a Gather looks up in a table of weights: the table's length."""
    tables = {item.name: item.dims[0] for item in model.graph.initializer if item.dims}
    source = {
        node.output[0]: node.input[0]
        for node in model.graph.node
        if node.op_type in ("Cast", "Identity")
    }
    limits: dict[str, int] = {}
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in tables:
            name = node.input[1]
            while name in source:
                name = source[name]
            limits[name] = min(limits.get(name, tables[node.input[0]]), tables[node.input[0]])
    return limits


def largest_difference(got: Array, ref: Array) -> float:
    """The largest absolute difference; infinity where shape, type or the place of a NaN differs."""
    if got.shape != ref.shape or got.dtype != ref.dtype:
        return float("inf")
    if ref.size == 0:
        return 0.0
    if ref.dtype.kind not in "fc":
        if bool(np.all(got == ref)):
            return 0.0
        if ref.dtype.kind not in "iu":
            return float("inf")
        # In Python's integers: neither 64-bit overflow nor rounding may hide a difference.
        return float(np.max(np.abs(got.astype(object) - ref.astype(object))))
    a, b = got.astype(np.float64), ref.astype(np.float64)
    odd = ~np.isfinite(b)
    if not np.array_equal(a[odd], b[odd], equal_nan=True) or not np.isfinite(a[~odd]).all():
        return float("inf")
    return float(np.max(np.abs(a[~odd] - b[~odd]), initial=0.0))


def equal(got: Array, ref: Array) -> bool:
    """Whether two answers are equal: floats within the tolerance of their type, the rest exactly.

    The scale is the tensor's largest number, of float32 and float64 1 at least (browsers.core.answers).
    """
    if got.shape != ref.shape or got.dtype != ref.dtype:
        return False
    if ref.dtype.kind != "f":
        return bool(np.all(got == ref))
    return not floats_differ(got, ref, SINGLE, 0.0 if ref.dtype == np.float16 else 1.0)
