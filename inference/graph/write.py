"""Write the steps of a plan as ONNX files, each with its own weights only, named by SHA-256."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import helper

from inference.graph.indexed import IR_VERSION, GraphIndex
from inference.graph.model import serialise, store
from inference.graph.steps import ShardFile, Step

WeightSource = Callable[[str], onnx.TensorProto]


def write_step(
    graph: GraphIndex, step: Step, folder: Path, weight: WeightSource | None = None
) -> ShardFile:
    """Write one shard: its nodes, its initialisers, its ports, the model's metadata.

    `weight` gives weights that the graph itself holds no bytes of.
    """
    source = graph.model
    give = weight or graph.dense.__getitem__
    made = helper.make_graph(
        [graph.nodes[i] for i in step.nodes],
        f"{source.graph.name or 'graph'}_shard{step.index}",
        [spec.value_info() for spec in step.inputs],
        [spec.value_info() for spec in step.outputs],
        [give(name) for name in step.initialisers if name in graph.dense],
        sparse_initializer=[
            graph.sparse[name] for name in step.initialisers if name in graph.sparse
        ],
    )
    model = helper.make_model(
        made,
        opset_imports=list(source.opset_import),
        functions=list(source.functions),
        ir_version=max(source.ir_version, IR_VERSION),
        producer_name=source.producer_name or "webpool",
        producer_version=source.producer_version,
    )
    model.metadata_props.extend(source.metadata_props)
    raw = serialise(model)
    sha256, path = store(raw, folder)
    return ShardFile(
        index=step.index,
        sha256=sha256,
        path=path,
        bytes=len(raw),
        inputs=step.inputs,
        outputs=step.outputs,
        depends_on=step.depends_on,
        cost=step.cost,
        weight_bytes=step.weight_bytes,
        copied_bytes=step.copied_bytes,
        node_count=len(step.nodes),
    )
