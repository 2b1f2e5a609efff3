"""From what a caller sent to the tensors a model takes: checked, completed, never guessed silently."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from django.conf import settings

from inference.conversion.exact import array_of
from inference.documents import Array, JsonObject, JsonView
from inference.errors import InvalidRequest, TooLarge
from inference.graph.divisions import without_quotient
from inference.graph.shapes import InvalidInput, bind_dims, check_inputs, check_names
from inference.graph.spec import TensorSpec
from inference.models import OnnxModel
from inference.sandbox import archives
from inference.sandbox.port_sizes import Count, filled_bytes, sent_bytes
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
        TooLarge: more than a request may hold, with what would be filled in; nothing was made.
    """
    ports = specs(model.inputs)
    given = {tensor.name: tensor for tensor in tensors}
    if len(given) != len(tensors):
        raise InvalidRequest("an input was given twice; each name may come once")
    counts = {name: Count(math.prod(t.shape)) for name, t in given.items()}
    _check_size(ports, counts, sum(len(tensor.data) for tensor in tensors))
    filled_in: list[str] = []
    for port in ports:
        if port.name not in given and (default := _default(port, given)) is not None:
            given[port.name] = default
            filled_in.append(f"{port.name}: {port.default}")
    try:
        check_inputs(ports, {name: (t.dtype, tuple(t.shape)) for name, t in given.items()})
        bind_dims(ports, {name: tuple(t.shape) for name, t in given.items()})
    except InvalidInput as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    if why := without_quotient(model.summary.get("divisions", ()), _array_in(given)):
        raise InvalidRequest(f"model {model.name} cannot compute these inputs: {why}")
    ordered = [given[port.name] for port in ports if port.name in given]
    return Prepared(ordered, filled_in, frozenset(model.batch.inputs))


def _check_size(ports: Sequence[TensorSpec], given: Mapping[str, Count], sent: int) -> None:
    """Refuse more than a request may hold, counted before it is made.

    Raises:
        TooLarge.
    """
    types = {port.name: port.dtype for port in ports}
    like = {port.name: port.like for port in ports if port.like}
    size = sent + filled_bytes(given, types, like)
    if size > settings.DATA_UPLOAD_MAX_MEMORY_SIZE:
        raise TooLarge(
            f"the inputs are {size / 2**20:.0f} MB, the limit is {settings.WEBPOOL_MAX_REQUEST_MB} "
            "MB (WEBPOOL_MAX_REQUEST_MB)"
        )


def _array_in(given: Mapping[str, WireTensor]) -> Callable[[str], Array | None]:
    return lambda name: decode_array(given[name]) if name in given else None


def _default(port: TensorSpec, given: Mapping[str, WireTensor]) -> WireTensor | None:
    """The tensor a declared default such as "ones_like:input_ids" stands for."""
    if port.like is None or port.like not in given:
        return None
    make = np.ones if str(port.default).startswith("ones") else np.zeros
    return encode_array(port.name, make(given[port.like].shape, dtype=port.dtype))


def from_python(model: OnnxModel, values: JsonView, *, json: bool = False) -> Prepared:
    """Arrays and (nested) lists as tensors of the ports' types, each value as it was sent (`conversion`).

    A list that lacks only the batch dimension gets it. `json`: the values were read from JSON.

    Raises:
        InvalidRequest: an unknown name, or a value that is not a tensor of the declared type.
        TooLarge: arrays that would be more than a request may hold, in the ports' types.
    """
    ports = {port.name: port for port in specs(model.inputs)}
    try:
        check_names(list(ports.values()), values)
    except InvalidInput as error:
        raise InvalidRequest(f"model {model.name}: {error}") from error
    counts = {name: _count(value) for name, value in values.items() if hasattr(value, "nbytes")}
    types = {port.name: port.dtype for port in ports.values()}
    _check_size(list(ports.values()), counts, sent_bytes(counts, types))
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


def _count(array: Array) -> Count:
    """Numbers are counted as the port has them: what came is there already, and may be wider."""
    return Count(array.size, array.nbytes if array.dtype.kind in "US" else 0)


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
