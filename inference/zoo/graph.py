"""A finished graph whose weights are made only when they are written, if ever.

It becomes a model with its weights inside (`model`), a file (`save`), or an outline that names its weights
as parts of a file that need not exist (`outline`): enough to plan with a graph of any size.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import onnx
from onnx import TensorProto, helper, numpy_helper

from inference.documents import Array, DType

OPSET = 17
IR_VERSION = 9  # what every onnxruntime-web of the last years reads
_ALIGNED = 4096  # offsets of external weights, so that they can be mapped into memory
_INSIDE_BYTES = 2**30  # files with more weights than this keep them in a second file

Port = tuple[str, int, Sequence[int | str]]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """A weight that is yet to be made; `make` gives the same array each time."""

    dtype: DType
    shape: tuple[int, ...]
    make: Callable[[], Array]

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def array(self) -> Array:
        """The weight.

        Raises:
            ValueError: what was made has another type or shape.
        """
        made = self.make()
        if (made.dtype, made.shape) != (self.dtype, self.shape):
            raise ValueError(
                f"expected a weight {self.dtype}{list(self.shape)}, "
                f"got {made.dtype}{list(made.shape)}"
            )
        return made


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes, weights and ports; weights that are arrays are small constants such as axes."""

    name: str
    nodes: tuple[onnx.NodeProto, ...]
    weights: Mapping[str, Array | Parameter]
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    metadata: Mapping[str, str]

    @property
    def weight_bytes(self) -> int:
        return sum(weight.nbytes for weight in self.weights.values())

    def model(self) -> onnx.ModelProto:
        """The model with its weights inside: below 2 GB."""
        return self._model(
            numpy_helper.from_array(w.array() if isinstance(w, Parameter) else w, name)
            for name, w in self.weights.items()
        )

    def outline(self, location: str = "weights.bin") -> onnx.ModelProto:
        """The model without its weights: initialisers name offset and length in a file `location`."""
        tensors, offset = [], 0
        for name, weight in self.weights.items():
            if isinstance(weight, Parameter):
                tensors.append(_external(name, weight, location, offset))
                offset = _aligned(offset + weight.nbytes)
            else:
                tensors.append(numpy_helper.from_array(weight, name))
        return self._model(tensors)

    def save(self, path: Path, *, inside_bytes: int = _INSIDE_BYTES) -> Path:
        """Write the file; more weights than fit inside go into `<stem>.weights.bin` beside it.

        One weight at a time is in memory then.
        """
        if self.weight_bytes <= inside_bytes:
            model = self.model()
        else:
            beside = path.with_name(f"{path.stem}.weights.bin")
            model = self.outline(beside.name)
            with beside.open("wb") as file:
                for weight in self._parameters():
                    file.seek(_aligned(file.tell()))
                    weight.array().tofile(file)
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path

    def _parameters(self) -> Iterator[Parameter]:
        return (weight for weight in self.weights.values() if isinstance(weight, Parameter))

    def _model(self, tensors: Iterator[TensorProto] | Sequence[TensorProto]) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            self.name,
            [helper.make_tensor_value_info(n, t, list(s)) for n, t, s in self.inputs],
            [helper.make_tensor_value_info(n, t, list(s)) for n, t, s in self.outputs],
            list(tensors),
        )
        domains = sorted({node.domain for node in self.nodes} - {""})
        model = helper.make_model(
            graph,
            opset_imports=[
                helper.make_opsetid("", OPSET),
                *(helper.make_opsetid(domain, 1) for domain in domains),
            ],
            ir_version=IR_VERSION,
            producer_name="webpool",
        )
        helper.set_model_props(model, dict(self.metadata))
        return model


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of a model's initialisers, from their types and shapes: an outline's too."""
    return sum(
        math.prod(tensor.dims) * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        for tensor in model.graph.initializer
    )


def _external(name: str, weight: Parameter, location: str, offset: int) -> TensorProto:
    tensor = TensorProto(
        name=name,
        data_type=helper.np_dtype_to_tensor_dtype(weight.dtype),
        dims=weight.shape,
        data_location=TensorProto.EXTERNAL,
    )
    where = {"location": location, "offset": offset, "length": weight.nbytes}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNED) * _ALIGNED
