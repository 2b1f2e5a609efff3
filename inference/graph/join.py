"""Put partial tensors together, as a plan's join says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.documents import Array
from inference.graph.steps import JoinSpec


def join(spec: JoinSpec, parts: Sequence[Array]) -> Array:
    """The joined tensor; half floats are added in single precision.

    Raises:
        ValueError: another number of parts than the join has, or parts that do not fit together.
    """
    if len(parts) != len(spec.parts):
        raise ValueError(
            f"expected {len(spec.parts)} parts of {spec.output.name!r}, got {len(parts)}"
        )
    if spec.axis is not None:
        return np.concatenate(parts, axis=spec.axis)
    shapes = {part.shape for part in parts}
    if len(shapes) > 1:
        raise ValueError(f"parts of {spec.output.name!r} differ in shape: {sorted(shapes)}")
    dtype = parts[0].dtype
    total = parts[0].astype(np.float32) if dtype == np.float16 else parts[0].copy()
    for part in parts[1:]:
        total += part
    return total.astype(dtype)
