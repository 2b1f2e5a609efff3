"""Run a model whole and in shards on onnxruntime, as the pool would: every tensor found by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from inference.graph.cutting.cut import plan_layers
from inference.graph.join import join
from inference.graph.reference import equal, largest_difference, reference
from inference.graph.shapes import bind_dims
from inference.graph.splitting.write import write_steps
from inference.graph.steps import ShardFile, Step, WrittenStep
from inference.graph.summary import read_model

Array = np.ndarray[Any, Any]


def write_shards(path: Path, plan: Sequence[Step], folder: Path) -> list[ShardFile]:
    """The files of a plan without joins."""
    return [written.file for written in write_steps(path, plan, folder) if written.file]


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


def run_steps(
    steps: Sequence[WrittenStep], inputs: Mapping[str, Array], seed: int = 0
) -> dict[str, Array]:
    """Every tensor there is after the last step, run in a random order that keeps to `depends_on`.

    A step sees the model's inputs and what the steps that it depends on give, nothing else.
    """
    random = np.random.default_rng(seed)
    made: dict[int, dict[str, Array]] = {}
    while len(made) < len(steps):
        ready = [
            written
            for written in steps
            if written.step.index not in made and made.keys() >= set(written.step.depends_on)
        ]
        written = ready[random.integers(len(ready))]
        seen = dict(inputs)
        for index in written.step.depends_on:
            seen |= made[index]
        made[written.step.index] = _run_step(written, seen)
    return {**inputs, **{name: array for given in made.values() for name, array in given.items()}}


def _run_step(written: WrittenStep, seen: Mapping[str, Array]) -> dict[str, Array]:
    step = written.step
    given = {spec.name: seen[spec.name] for spec in step.inputs if spec.name in seen}
    missing = {spec.name for spec in step.inputs if not spec.optional} - set(given)
    assert not missing, f"step {step.index} needs {missing}, which nobody it depends on made"
    if step.join is not None:
        assert written.file is None
        made = {step.join.output.name: join(step.join, [seen[n] for n in step.join.parts])}
    else:
        assert written.file is not None
        made = reference(written.file.path, given)
    assert set(made) == {spec.name for spec in step.outputs}
    for spec in (*step.inputs, *step.outputs):
        array = {**given, **made}.get(spec.name)
        if array is None or spec.any_rank:
            continue
        assert len(array.shape) == len(spec.shape), spec
        for size, declared in zip(array.shape, spec.shape, strict=True):
            assert isinstance(declared, str) or size == declared, spec
    return made


def assert_steps_equal_whole(
    path: Path, plan: Sequence[Step], inputs: Mapping[str, Array], folder: Path, *, seed: int = 0
) -> list[WrittenStep]:
    """Write and run a plan of any kind; equal to the unsplit model within the tolerance of its type."""
    steps = write_steps(path, plan, folder)
    got = run_steps(steps, inputs, seed)
    for name, expected in reference(path, inputs).items():
        difference = largest_difference(np.asarray(got[name]), expected)
        assert equal(np.asarray(got[name]), expected), f"{name} differs by {difference}"
    return steps


def assert_shards_equal_whole(
    path: Path, inputs: Mapping[str, Array], folder: Path, *, shards: Sequence[int] | None = None
) -> int:
    """Cut into each number of shards, or into every one the graph allows; returns the maximum.

    The answers are the same numbers, not only near ones.
    """
    maximum = read_model(path).max_shards
    whole = reference(path, inputs)
    for count in shards or range(1, maximum + 1):
        files = write_shards(path, plan_layers(path, count), folder)
        got = run_shards(files, inputs)
        assert len(files) == count
        for name, expected in whole.items():
            difference = largest_difference(np.asarray(got[name]), expected)
            assert difference == 0, f"{count} shards: {name} differs by {difference}"
    return maximum
