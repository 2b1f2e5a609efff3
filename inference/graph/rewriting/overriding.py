"""Weights that are listed as inputs (ONNX IR 4 and later): made inputs that every caller gives.

onnxruntime's JavaScript knows no such input: in a browser such a weight is fixed, unless its value is taken
out of the file.
"""

from __future__ import annotations

from collections.abc import Collection

import onnx

from inference.graph.files import InvalidModel
from inference.graph.model import ports


def make_inputs(model: onnx.ModelProto, names: Collection[str]) -> None:
    """Take the values of these weights out of the model, so that they are inputs like the others.

    Raises:
        InvalidModel: names one that is no weight listed as an input, and those that are.
    """
    inputs, _ = ports(model)
    known = [port.name for port in inputs if port.optional]
    if unknown := sorted(set(names) - set(known)):
        raise InvalidModel(
            f"overrides: {', '.join(map(repr, unknown))} is no weight that the model lists as an input; "
            f"expected some of {', '.join(map(repr, known)) or 'none, for it lists none'}"
        )
    graph = model.graph
    dense = [item for item in graph.initializer if item.name not in names]
    sparse = [item for item in graph.sparse_initializer if item.values.name not in names]
    del graph.initializer[:], graph.sparse_initializer[:]
    graph.initializer.extend(dense)
    graph.sparse_initializer.extend(sparse)
