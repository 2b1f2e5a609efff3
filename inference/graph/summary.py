"""What a model's file says, read once: ports, operators, weights, cuts, the batch."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from pathlib import Path

import onnx

from inference.documents import JsonObject
from inference.graph.batching.batch import batch_axis
from inference.graph.batching.batch_axis import BatchAxis
from inference.graph.cutting.cut import Cutter
from inference.graph.divisions import input_divisions
from inference.graph.files import InvalidModel, serialise
from inference.graph.model import constant_bytes, load, ports, refuse_nul, tensor_bytes
from inference.graph.runtime import session
from inference.graph.spec import TensorSpec


@dataclasses.dataclass(frozen=True)
class ModelSummary:
    """What was read from a graph.

    Attributes:
        sha256: of the model as one file, external data inside.
        weight_bytes: bytes of all initialisers.
        max_shards: how many layer shards the graph allows.
        layers: repeated blocks found in the graph's structure.
        cuts: legal cuts: after how many nodes, the tensors that cross, their bytes at example sizes.
        batch_axis: whether a batch may be split, and what that rests on.
        divisions: of inputs, that may have no quotient (`divisions.input_divisions`).
    """

    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    opsets: dict[str, int]
    operators: dict[str, int]
    producer: str
    node_count: int
    weight_bytes: int
    file_bytes: int
    max_shards: int
    layers: int
    cuts: tuple[JsonObject, ...]
    batch_axis: BatchAxis
    divisions: tuple[JsonObject, ...]

    def to_json(self) -> JsonObject:
        return {
            **dataclasses.asdict(self),
            "inputs": [spec.to_json() for spec in self.inputs],
            "outputs": [spec.to_json() for spec in self.outputs],
            "batch_axis": self.batch_axis.to_json(),
        }


def read_model(path: Path) -> ModelSummary:
    """Read and check a file with onnx and onnxruntime.

    Raises:
        InvalidModel: says what was expected, what came and what to do.
    """
    return read_packed(path)[0]


def read_packed(path: Path) -> tuple[ModelSummary, onnx.ModelProto, bytes]:
    """What the file says, the model, and its bytes as one file.

    Raises:
        InvalidModel: as `read_model`.
    """
    try:
        model = load(path)
        raw = serialise(model)
        return _summary(model, raw), model, raw
    except UnicodeDecodeError as error:
        raise InvalidModel(f"it holds a name that is not UTF-8: {error}") from error


def _summary(model: onnx.ModelProto, raw: bytes) -> ModelSummary:
    refuse_nul(model.graph)
    runtime = session(raw)
    inputs, outputs = ports(model)
    cutter = Cutter(model)
    return ModelSummary(
        sha256=hashlib.sha256(raw).hexdigest(),
        inputs=inputs,
        outputs=outputs,
        opsets={item.domain or "ai.onnx": item.version for item in model.opset_import},
        operators=dict(sorted(Counter(node.op_type for node in model.graph.node).items())),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        node_count=len(model.graph.node),
        weight_bytes=sum(map(tensor_bytes, model.graph.initializer))
        + sum(map(constant_bytes, model.graph.node)),
        file_bytes=len(raw),
        max_shards=cutter.max_shards,
        layers=cutter.layers,
        cuts=tuple(cutter.describe_cuts()),
        batch_axis=batch_axis(cutter.graph, runtime, inputs, outputs),
        divisions=tuple(input_divisions(cutter.graph)),
    )
