"""Run a model whole and in shards on onnxruntime, as the pool would: every tensor found by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from inference.graph.cut import plan_layers, write_shards
from inference.graph.model import read_model
from inference.graph.reference import largest_difference, reference
from inference.graph.shapes import bind_dims
from inference.graph.steps import ShardFile

Array = np.ndarray[Any, Any]
TOLERANCE = 1e-6  # SPEC S2: cut and uncut on the same backend


def run_shards(files: Sequence[ShardFile], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor there is after the last shard; a shard takes only what it declares."""
    available = dict(inputs)
    for file in files:
        if not any(spec.any_rank for spec in (*file.inputs, *file.outputs)):
            onnx.checker.check_model(str(file.path))  # it wants every port's rank
        own = {spec.name for spec in file.inputs if spec.name in available}
        missing = {spec.name for spec in file.inputs if not spec.optional} - own
        assert not missing, f"shard {file.index} needs {missing}, which nobody made"
        bind_dims(file.inputs, {name: available[name].shape for name in own})
        available.update(reference(file.path, {name: available[name] for name in own}))
    return available


def assert_shards_equal_whole(
    path: Path, inputs: Mapping[str, Array], folder: Path, *, shards: Sequence[int] | None = None
) -> int:
    """Cut into each number of shards, or into every one the graph allows; returns the maximum."""
    maximum = read_model(path).max_shards
    whole = reference(path, inputs)
    for count in shards or range(1, maximum + 1):
        files = write_shards(path, plan_layers(path, count), folder)
        got = run_shards(files, inputs)
        assert len(files) == count
        for name, expected in whole.items():
            scale = (
                max(1.0, float(np.abs(expected).max(initial=0)))
                if expected.dtype.kind == "f"
                else 1.0
            )
            difference = largest_difference(np.asarray(got[name]), expected)
            assert difference <= TOLERANCE * scale, (
                f"{count} shards: {name} differs by {difference}"
            )
    return maximum
