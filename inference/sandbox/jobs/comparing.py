"""What native onnxruntime answers for a comparison, to inputs that were given or are made up here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime

from inference.core.ports import read_ports
from inference.documents import Array, JsonView
from inference.graph.files import first_line
from inference.graph.model import load
from inference.graph.reference import index_limits, made_inputs
from inference.graph.runtime import out_of_memory, session
from inference.graph.spec import TensorSpec
from inference.sandbox.answer_file import IN, OUT
from inference.sandbox.frames import Answer
from inference.sandbox.jobs.steadiness import Steadiness

_SIZES: Final = (
    8,
    64,
    224,
)  # of dimensions that are not fixed; deep nets leave nothing of small images
_MOST_ELEMENTS: Final = 2**26


def reference_of(
    files: Sequence[JsonView],
    inputs: Sequence[JsonView],
    outputs: Sequence[JsonView],
    seed: int,
    dims: Mapping[str, int],
    arrays: dict[str, Array] | None = None,
) -> Answer:
    """Inputs and outputs as arrays, the version that answered, and why its answer is no measure, if so.

    Args:
        files: path, inputs and outputs of each file of the model, in the order they run.
        inputs, outputs: the model's ports, as the database keeps them.
        dims: sizes of symbolic dimensions; the others are raised until onnxruntime takes the inputs.
        arrays: what is asked; None: seeded inputs.

    Raises:
        ValueError: onnxruntime takes none of them; says why.
    """
    if arrays is not None:
        return _told(files, arrays, _run(files, outputs, arrays))
    ports = [TensorSpec.from_json(port) for port in inputs]
    limits = _limits(files)
    why = ""
    for size in _SIZES:
        _check_sizes(ports, dims, size)
        try:
            return _made(files, ports, outputs, limits, seed=seed, dims=dims, other=size)
        except ValueError as error:
            why = why or str(error)
    raise ValueError(f"{why}; give inputs of your own, or the model's known answer")


def _made(
    files: Sequence[JsonView],
    ports: Sequence[TensorSpec],
    outputs: Sequence[JsonView],
    limits: Mapping[str, int],
    *,
    seed: int,
    dims: Mapping[str, int],
    other: int,
) -> Answer:
    """Of seeded inputs; where the answer says nothing, of others, if it says more of those.

    Raises:
        ValueError: onnxruntime takes none such.
    """
    made = made_inputs(ports, limits, seed=seed, dims=dims, other=other)
    first = _told(files, made, _run(files, outputs, made))
    if not first.document["doubt"]:
        return first
    try:
        made = made_inputs(ports, limits, seed=seed, dims=dims, other=other, wide=True)
        second = _told(files, made, _run(files, outputs, made))
    except ValueError:
        return first
    return first if second.document["doubt"] else second


def _limits(files: Sequence[JsonView]) -> dict[str, int]:
    """How long the shortest table is that a tensor indexes, by the name under which the model knows it."""
    limits: dict[str, int] = {}
    for file in files:
        found = index_limits(load(Path(file["path"])))
        for port in read_ports(file["inputs"]):
            if port.name in found:
                limits[port.tensor] = min(
                    found[port.name], limits.get(port.tensor, found[port.name])
                )
    return limits


def _run(
    files: Sequence[JsonView], outputs: Sequence[JsonView], arrays: Mapping[str, Array]
) -> dict[str, Array]:
    """One file after another, each kept no longer than it is needed."""
    values = dict(arrays)
    for file in files:
        taken = {
            port.name: values[port.tensor]
            for port in read_ports(file["inputs"])
            if port.tensor in values
        }
        made = _answered(session(file["path"]), taken)
        values |= {port.tensor: made[port.name] for port in read_ports(file["outputs"])}
    return {port.name: values[port.tensor] for port in read_ports(outputs)}


def _answered(runtime: onnxruntime.InferenceSession, arrays: dict[str, Array]) -> dict[str, Array]:
    names = [item.name for item in runtime.get_outputs()]
    try:
        found = runtime.run(names, arrays)
    except Exception as error:  # onnxruntime raises types of its own per status code
        if out_of_memory(error):
            raise MemoryError from error
        raise ValueError(f"native onnxruntime refuses the inputs: {first_line(error)}") from error
    return dict(zip(names, map(np.asarray, found), strict=True))


def _told(files: Sequence[JsonView], inputs: dict[str, Array], outputs: dict[str, Array]) -> Answer:
    if empty := [name for name, array in outputs.items() if not array.size]:
        raise ValueError(f"output {empty[0]!r} is empty: the inputs are too small")
    named = {f"{IN}{name}": array for name, array in inputs.items()}
    named |= {f"{OUT}{name}": array for name, array in outputs.items()}
    doubt = _doubt(files[0], inputs, outputs) if len(files) == 1 else ""
    return Answer({"onnxruntime": onnxruntime.__version__, "doubt": doubt}, named)


def _doubt(file: JsonView, inputs: dict[str, Array], outputs: dict[str, Array]) -> str:
    """Why the answer of a model of one file is no measure; empty: nothing speaks against it."""
    taken = [TensorSpec.from_json(port) for port in file["inputs"]]
    try:
        runtime = session(file["path"])
    except MemoryError:  # it fitted when it answered: the answer stands
        return ""
    return Steadiness(Path(file["path"]), runtime).doubt(taken, inputs, outputs)


def _check_sizes(ports: Sequence[TensorSpec], dims: Mapping[str, int], other: int) -> None:
    for port in ports:
        shape = [dim if isinstance(dim, int) else dims.get(dim, other) for dim in port.shape]
        if math.prod(shape) > _MOST_ELEMENTS:
            raise ValueError(f"its input {port.name!r} of {shape} is too large to be made up")
