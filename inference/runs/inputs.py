"""From what a caller sent to the tensors a model takes: checked, completed, never guessed silently."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.conversion.exact import array_of
from inference.documents import Array, JsonObject, JsonView
from inference.errors import InvalidRequest
from inference.graph.divisions import without_quotient
from inference.graph.shapes import InvalidInput, bind_dims, check_inputs, check_names
from inference.graph.spec import TensorSpec
from inference.models import OnnxModel
from inference.runs import sizes
from inference.sandbox import archives
from inference.store.ports import specs
from inference.store.tensors import WireTensor, decode_array, encode_array


@dataclasses.dataclass(frozen=True)
class Prepared:
    """Tensors in the model's order.

    Attributes:
        filled_in: what was added for the caller, one sentence each.
        batch_axis_of: names of the inputs whose first axis is the batch.
    """

    tensors: list[WireTensor]
    filled_in: list[str]
    batch_axis_of: frozenset[str]


def prepare(model: OnnxModel, tensors: Sequence[WireTensor]) -> Prepared:
    """Check tensors against the model's inputs and fill in those with a declared default.

    Raises:
        InvalidRequest: a wrong name, type or shape, or a division without a quotient; says what was expected
            and what came.
        TooLarge: it is, or would be with what is to be added; nothing was added.
    """
    ports = specs(model.inputs)
    given = {tensor.name: tensor for tensor in tensors}
    if len(given) != len(tensors):
        raise InvalidRequest("an input was given twice; each name may come once")
    added = sizes.filled_in(ports, _shapes(given))
    defaults = [port for port in ports if port.name in added]
    _check(model, ports, given, added)
    given |= {port.name: _filled(port, added[port.name]) for port in defaults}
    filled_in = [f"{port.name}: {port.default}" for port in defaults]
    if why := without_quotient(model.summary.get("divisions", ()), _array_in(given)):
        raise InvalidRequest(f"model {model.name} cannot compute these inputs: {why}")
    ordered = [given[port.name] for port in ports if port.name in given]
    return Prepared(ordered, filled_in, frozenset(model.batch.inputs))


def _shapes(given: Mapping[str, WireTensor]) -> dict[str, sizes.Shape]:
    return {name: tuple(tensor.shape) for name, tensor in given.items()}


def _check(
    model: OnnxModel,
    ports: Sequence[TensorSpec],
    given: Mapping[str, WireTensor],
    added: Mapping[str, sizes.Shape],
) -> None:
    """Types, shapes and size of what was given and what is to be added to it."""
    shapes = {**_shapes(given), **added}
    types = {port.name: port.dtype for port in ports} | {n: t.dtype for n, t in given.items()}
    try:
        check_inputs(ports, {name: (types[name], shape) for name, shape in shapes.items()})
        bind_dims(ports, shapes)
    except InvalidInput as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    to_add = sum(sizes.bytes_of(types[name], shape) for name, shape in added.items())
    sizes.check(to_add + sum(len(tensor.data) for tensor in given.values()))


def _array_in(given: Mapping[str, WireTensor]) -> Callable[[str], Array | None]:
    return lambda name: decode_array(given[name]) if name in given else None


def _filled(port: TensorSpec, shape: sizes.Shape) -> WireTensor:
    """The tensor that a declared default stands for."""
    value = sizes.FILL[(port.default or "").partition(":")[0]]
    return encode_array(port.name, np.full(shape, value, dtype=port.dtype))


def from_python(model: OnnxModel, values: JsonView, *, json: bool = False) -> Prepared:
    """Arrays and (nested) lists as tensors of the ports' types, each value as it was sent (`conversion`).

    A list that lacks only the batch dimension gets it. `json`: the values were read from JSON.

    Raises:
        InvalidRequest: an unknown name, or a value that is not a tensor of the declared type.
        TooLarge: arrays that would be too large as tensors; none was made.
    """
    ports = {port.name: port for port in specs(model.inputs)}
    try:
        check_names(list(ports.values()), values)
    except InvalidInput as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    arrays = {name: value.shape for name, value in values.items() if isinstance(value, np.ndarray)}
    sizes.check_shapes(list(ports.values()), arrays)
    filled_in: list[str] = []
    tensors = []
    for name, value in values.items():
        array = array_of(name, value, ports[name].dtype, json=json)
        lacks_batch = array.ndim == len(ports[name].shape) - 1
        if lacks_batch and (json or not isinstance(value, np.ndarray)):
            array = array[np.newaxis, ...]
            filled_in.append(f"{name}: batch dimension added")
        tensors.append(encode_array(name, array))
    return Prepared(tensors, filled_in, frozenset())


def from_file(model: OnnxModel, path: Path) -> Prepared:
    """What an .npz or .json file holds as tensors of the ports' types.

    Raises:
        InvalidRequest: as `read_input_file` and `from_python`.
    """
    return from_python(model, read_input_file(path), json=path.suffix.lower() == ".json")


def read_input_file(path: Path) -> JsonObject:
    """Read named tensors from an .npz file, or from a .json object of name → nested list.

    Raises:
        InvalidRequest: the file is missing or not of that form.
    """
    try:
        suffix = path.suffix.lower()
        if suffix == ".npz":
            with path.open("rb") as file:
                return dict(archives.read(file))
        if suffix == ".json":
            content = json.loads(path.read_text(encoding="utf-8-sig"))  # editors may mark it
            if not isinstance(content, dict):
                raise InvalidRequest(f"{path}: expected an object of input name → list")
            return content
    except FileNotFoundError as error:
        raise InvalidRequest(f"{path}: no such file") from error
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{path}: cannot be read as {path.suffix}: {error}") from error
    raise InvalidRequest(f"{path}: expected a file that ends in .npz or .json")
