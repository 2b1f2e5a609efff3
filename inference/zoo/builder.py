"""A small builder of ONNX graphs: nodes with generated names, weights as initialisers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import TensorProto, helper

from inference.documents import Array
from inference.zoo.graph import Graph, Parameter, Port

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
MICROSOFT = "com.microsoft"


class GraphBuilder:
    """Collects nodes and weights; `save` writes a deterministic file."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, Array | Parameter] = {}

    def weight(self, name: str, array: Array) -> str:
        self._weights[name] = array
        return name

    def parameter(
        self, name: str, dtype: DTypeLike, shape: Sequence[int], make: Callable[[], Array]
    ) -> str:
        """A weight that is made when the graph is written; taken twice, it is one initialiser."""
        self._weights.setdefault(name, Parameter(np.dtype(dtype), tuple(shape), make))
        return name

    def scalar(self, value: float, dtype: DTypeLike = np.float32) -> str:
        return self.weight(f"scalar_{np.dtype(dtype).name}_{value!r}", np.array(value, dtype))

    def ints(self, *values: int) -> str:
        return self.weight("ints_" + "_".join(map(str, values)), np.array(values, np.int64))

    def op(
        self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any
    ) -> str:
        """Add a node with one output and return the output's name."""
        output = output or self._next(kind)
        return self.ops(kind, *inputs, outputs=[output], domain=domain, **attributes)[0]

    def ops(
        self,
        kind: str,
        *inputs: str,
        outputs: Sequence[str],
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node with several outputs, named for the first; "" leaves one out."""
        self._nodes.append(
            helper.make_node(
                kind, list(inputs), list(outputs), name=outputs[0], domain=domain, **attributes
            )
        )
        return list(outputs)

    def rename(self, old: str, new: str) -> str:
        """Give a tensor another name wherever it occurs."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for at, name in enumerate(names):
                    if name == old:
                        names[at] = new
            node.name = node.output[0]
        return new

    def _next(self, kind: str) -> str:
        return f"{kind.lower()}_{len(self._nodes)}"

    def graph(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str] | None = None,
    ) -> Graph:
        """What was collected, with its ports."""
        return Graph(
            name=self._name,
            nodes=tuple(self._nodes),
            weights=dict(self._weights),
            inputs=tuple(inputs),
            outputs=tuple(outputs),
            metadata=dict(metadata or {}),
        )

    def model(
        self,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str] | None = None,
    ) -> onnx.ModelProto:
        return self.graph(inputs, outputs, metadata).model()

    def save(
        self,
        path: Path,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        return self.graph(inputs, outputs, metadata).save(path)
