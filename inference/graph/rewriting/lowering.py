"""A model for an older runtime: the same operators under older numbers, where nothing else changes.

1. An operator's meaning is fixed by the version in which it was last changed. A later version that says the
   same and takes more types changes nothing for who uses the earlier ones; whether a model does is checked by
   whoever loads it. So any opset from the newest of those on is as exact as the one it was written for.
2. A later version that says more, for other types or attributes, changes nothing for a node of the types and
   attributes that were there before (`_AS_BEFORE`). Where types cannot be told, the node keeps its version.
3. The IR version says which fields a reader must know. Those that came late (quantised types of few bits,
   devices) are checked by whoever loads the file.
4. Sizes that a file declares wrongly are put right (`declaring`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final

import onnx
from onnx import defs

from inference.graph.rewriting.declaring import correct_sizes
from inference.graph.structure import bodies
from inference.graph.types import infer_types

_IR_VERSION = 10
_OPSET = 26  # the newest that onnxruntime-web 1.30 takes as released
_ONNX = ("", "ai.onnx")
_UNSIGNED: Final = frozenset({"uint8", "uint16", "uint32", "uint64"})
_INTEGERS: Final = _UNSIGNED | {"int8", "int16", "int32", "int64"}


def _mod_as_before(node: onnx.NodeProto, dtype: str) -> bool:
    """28 gives floats a remainder with the divisor's sign; `fmod`, and integers, are what they were."""
    return dtype in _INTEGERS or any(item.name == "fmod" and item.i for item in node.attribute)


def _shift_as_before(_: onnx.NodeProto, dtype: str) -> bool:
    """28 takes signed integers. Of unsigned ones the runtime has always shifted all bits out."""
    return dtype in _UNSIGNED


_AS_BEFORE: Final[Mapping[str, Callable[[onnx.NodeProto, str], bool]]] = {
    "Mod": _mod_as_before,
    "BitShift": _shift_as_before,
}
"""By operator: whether a node of its newest version, whose first input has that type, is an earlier one's."""


def lower(model: onnx.ModelProto) -> str:
    """Lower its versions and correct its sizes in place where that changes nothing; says what was done.

    A model with an operator that onnx does not know under the opset it names stays as it is.
    """
    done = []
    for opset in model.opset_import:
        if opset.domain in _ONNX and (lower := _lower(model, opset.version)) < opset.version:
            done.append(f"opset {opset.version} → {lower}")
            opset.version = lower
            for function in model.functions:
                for own in function.opset_import:
                    if own.domain in _ONNX:
                        own.version = lower
    if model.ir_version > _IR_VERSION:
        done.append(f"IR version {model.ir_version} → {_IR_VERSION}")
        model.ir_version = _IR_VERSION
    return ", ".join(done + correct_sizes(model))


def _lower(model: onnx.ModelProto, version: int) -> int:
    """The newest opset that the runtime takes, or the next one, under which each operator is the same."""
    nodes = [*model.graph.node, *(node for item in model.functions for node in item.node)]
    found = min(_OPSET, version)
    types = functools.cache(lambda: _first_types(model))
    for node in _all(nodes):
        if node.domain in _ONNX:
            try:
                since = _unchanged_since(node.op_type, version)
                as_before = _AS_BEFORE.get(node.op_type) if since > _OPSET else None
                if as_before and as_before(node, types().get(node.input[0], "")):
                    since = _unchanged_since(node.op_type, since - 1)
                found = max(found, since)
            except defs.SchemaError:
                return version
    return found


def _first_types(model: onnx.ModelProto) -> dict[str, str]:
    """The types of first inputs of such nodes, where they are known; those of functions are not."""
    inside = {name for item in model.functions for node in item.node for name in node.input}
    names = {node.input[0] for node in _all(model.graph.node) if node.op_type in _AS_BEFORE}
    return {name: typed.dtype for name, typed in infer_types(model, names - inside).items()}


def _unchanged_since(operator: str, version: int) -> int:
    """The version from which on an operator is the same but for the types it takes."""
    schema = defs.get_schema(operator, version, "")
    while schema.since_version > 1:
        try:
            earlier = defs.get_schema(operator, schema.since_version - 1, "")
        except defs.SchemaError:
            break
        if _meaning(earlier) != _meaning(schema):
            break
        schema = earlier
    return schema.since_version


def _meaning(schema: defs.OpSchema) -> tuple[object, ...]:
    """All that a version says of an operator, without types."""
    ports = [(port.name, port.option, port.min_arity) for port in (*schema.inputs, *schema.outputs)]
    attributes = sorted(
        (name, str(each.type), each.required, str(each.default_value))
        for name, each in schema.attributes.items()
    )
    return (schema.doc or "").strip(), ports, len(schema.inputs), attributes


def _all(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    for node in nodes:
        yield node
        for body in bodies(node):
            yield from _all(body.node)
