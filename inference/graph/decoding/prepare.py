"""A decoder as exporters write it, made one that can be cut: one branch, the last row alone at the head.

1. Merged exports are one If on `use_cache_branch`. Its branch with a cache holds for a past of no positions,
   too, so that it takes the If's place.
2. `num_logits_to_keep` is set to one row.
3. Where logits of all rows are computed, the last row is taken before the head.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from inference.graph.costs import FOLLOWERS
from inference.graph.cutting.products import weight_products
from inference.graph.indexed import GraphIndex
from inference.graph.structure import bodies

_BRANCH = "use_cache_branch"
_ROWS = ("num_logits_to_keep", "logits_to_keep")
_PASSING = frozenset({"Identity", "Cast", "Squeeze", "Reshape", "Unsqueeze"})


def prepare(model: onnx.ModelProto) -> bool:
    """Change it in place; whether anything was changed."""
    return any([take_branch(model), _keep_one(model)])


def last_row(model: onnx.ModelProto, logits: str) -> bool:
    """Take the last position's row before the head, in place; whether that was possible and needed."""
    (port,) = (item for item in model.graph.output if item.name == logits)
    shape = port.type.tensor_type.shape.dim
    if len(shape) != 3 or shape[1].dim_value == 1:
        return False
    graph = GraphIndex(model)
    index = _head(graph, logits)
    if index is None:
        return False
    head = graph.nodes[index]
    typed = graph.types.get(head.input[0])
    if typed is None or typed.shape is None or len(typed.shape) != 3:
        return False
    made = _slice(model, head.input[0])
    head.input[0] = made.output[0]
    nodes = [*model.graph.node]
    at = next(i for i, node in enumerate(nodes) if node.output[:1] == head.output[:1])
    model.graph.node.insert(at, made)
    del model.graph.value_info[:]
    shape[1].dim_value = 1
    return True


def _head(graph: GraphIndex, logits: str) -> int | None:
    """The product with weights that logits come from, through operators that work row by row."""
    products = weight_products(graph)
    name = logits
    while (index := graph.producer.get(name)) is not None:
        node = graph.nodes[index]
        if index in products:
            return None if graph.is_fixed(node.input[0]) else index
        moving = [n for n in node.input if n and not graph.is_fixed(n)]
        if node.op_type not in FOLLOWERS or len(moving) != 1 or any(bodies(node)):
            return None
        name = moving[0]
    return None


def _slice(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    parts = {"starts": -1, "ends": 2**63 - 1, "axes": 1}
    names = []
    for part, value in parts.items():
        names.append(f"webpool_last_row_{part}")
        array = np.array([value], np.int64)
        model.graph.initializer.append(numpy_helper.from_array(array, names[-1]))
    made = f"{name}_last_row"
    return helper.make_node("Slice", [name, *names], [made], name=made)


# --- one branch ----------------------------------------------------------------------------------


def take_branch(model: onnx.ModelProto, branch: str = "then_branch") -> bool:
    """Set a branch of the If on `use_cache_branch` in its place; whether there is one."""
    if _BRANCH not in {item.name for item in model.graph.input}:
        return False
    nodes = list(model.graph.node)
    follow = {_BRANCH}
    for node in nodes:
        if node.op_type in _PASSING and node.input[0] in follow:
            follow.update(node.output)
    chosen = [node for node in nodes if node.op_type == "If" and node.input[0] in follow]
    if not chosen:
        return False
    kept: list[onnx.NodeProto] = []
    for node in nodes:
        if node in chosen:
            kept += _inlined(model, node, branch)
        elif not (node.op_type in _PASSING and follow.issuperset(node.output)):
            kept.append(node)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    left = [item for item in model.graph.input if item.name != _BRANCH]
    del model.graph.input[:]
    model.graph.input.extend(left)
    del model.graph.value_info[:]
    return True


def _inlined(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> list[onnx.NodeProto]:
    (branch,) = (item.g for item in node.attribute if item.name == name)
    model.graph.initializer.extend(branch.initializer)
    model.graph.sparse_initializer.extend(branch.sparse_initializer)
    made = {name for inner in branch.node for name in inner.output}
    named = {
        item.name: outer
        for item, outer in zip(branch.output, node.output, strict=True)
        if item.name in made and outer
    }
    nodes = []
    for inner in branch.node:
        copy = onnx.NodeProto.FromString(inner.SerializeToString())
        _rename(copy, named)
        nodes.append(copy)
    for item, outer in zip(branch.output, node.output, strict=True):
        if outer and named.get(item.name) != outer:
            source = named.get(item.name, item.name)
            nodes.append(helper.make_node("Identity", [source], [outer], name=outer))
    return nodes


def _rename(node: onnx.NodeProto, named: dict[str, str]) -> None:
    for names in (node.input, node.output):
        for at, name in enumerate(names):
            names[at] = named.get(name, name)
    for body in bodies(node):
        for inner in body.node:
            _rename(inner, named)
        for item in body.output:
            item.name = named.get(item.name, item.name)


def _keep_one(model: onnx.ModelProto) -> bool:
    found = [item for item in model.graph.input if item.name in _ROWS]
    for item in found:
        rank = len(item.type.tensor_type.shape.dim)
        dtype = helper.tensor_dtype_to_np_dtype(item.type.tensor_type.elem_type)
        array = np.ones([1] * rank, dtype)
        model.graph.initializer.append(numpy_helper.from_array(array, item.name))
        model.graph.input.remove(item)
    return bool(found)
