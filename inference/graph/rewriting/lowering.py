"""A model for an older runtime: the same operators under older numbers, where nothing else changes.

1. An operator's meaning is fixed by the version in which it was last changed. The newest of those among a
   model's operators is therefore as exact as the opset it was written for.
2. The IR version says which fields a reader must know. Those that came late (quantised types of few bits,
   devices) are checked by whoever loads the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import onnx
from onnx import defs

from inference.graph.structure import bodies

_IR_VERSION = 10
_ONNX = ("", "ai.onnx")


def lower(model: onnx.ModelProto) -> str:
    """Lower its versions in place, as far as that changes nothing; returns what was done, or nothing.

    A model with an operator that onnx does not know under the opset it names stays as it is.
    """
    done = []
    for opset in model.opset_import:
        if opset.domain in _ONNX and (least := _least(model, opset.version)) < opset.version:
            done.append(f"opset {opset.version} → {least}")
            opset.version = least
            for function in model.functions:
                for own in function.opset_import:
                    if own.domain in _ONNX:
                        own.version = least
    if model.ir_version > _IR_VERSION:
        done.append(f"IR version {model.ir_version} → {_IR_VERSION}")
        model.ir_version = _IR_VERSION
    return ", ".join(done)


def _least(model: onnx.ModelProto, version: int) -> int:
    """The oldest opset under which each operator of the model is what it is under this one."""
    nodes = [*model.graph.node, *(node for item in model.functions for node in item.node)]
    found = 1
    for node in _all(nodes):
        if node.domain in _ONNX:
            try:
                schema = defs.get_schema(node.op_type, version, "")
            except defs.SchemaError:
                return version
            found = max(found, schema.since_version)
    return found


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from _all(body.node)
