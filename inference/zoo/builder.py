"""A small builder of ONNX graphs: nodes with generated names, weights as initialisers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 9  # what every onnxruntime-web of the last years reads

Port = tuple[str, int, Sequence[int | str]]


class GraphBuilder:
    """Collects nodes and weights; `save` writes a deterministic file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, np.ndarray[Any, Any]] = {}

    def weight(self, name: str, array: np.ndarray[Any, Any]) -> str:
        self._weights[name] = array
        return name

    def scalar(self, value: float, dtype: Any = np.float32) -> str:
        return self.weight(f"scalar_{np.dtype(dtype).name}_{value!r}", np.array(value, dtype))

    def ints(self, *values: int) -> str:
        return self.weight("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def op(
        self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output and return the output's name."""
        output = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(kind, list(inputs), [output], name=output, domain=domain, **attributes)
        )
        return output

    def model(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str] | None = None,
    ) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info(n, t, list(s)) for n, t, s in inputs],
            [helper.make_tensor_value_info(n, t, list(s)) for n, t, s in outputs],
            [numpy_helper.from_array(array, key) for key, array in self._weights.items()],
        )
        model = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="webpool",
        )
        helper.set_model_props(model, dict(metadata or {}))
        return model

    def save(
        self,
        path: Path,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        path.write_bytes(
            self.model(inputs, outputs, metadata).SerializeToString(deterministic=True)
        )
        return path


FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
