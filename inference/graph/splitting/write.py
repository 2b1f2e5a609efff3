"""Write the steps of a plan as ONNX files, each with its own weights only, named by SHA-256."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import onnx
from onnx import helper

from inference.graph.files import serialise, store
from inference.graph.indexed import GraphIndex, model_like
from inference.graph.model import load
from inference.graph.splitting.divide import divide
from inference.graph.steps import ShardFile, Step, StepKind, WrittenStep

WeightSource = Callable[[str], onnx.TensorProto]


def write_steps(path: Path, plan: Sequence[Step], folder: Path) -> list[WrittenStep]:
    """Write every step of any plan of that model; joins have no file. Same plan, same bytes."""
    graph = GraphIndex(load(path))
    weight: WeightSource | None = None
    parts = max((step.part + 1 for step in plan if step.part is not None), default=0)
    if parts:
        divided = divide(graph, parts)
        graph, weight = divided.graph, divided.weight
    return [
        WrittenStep(
            step,
            write_step(graph, step, folder, weight) if step.kind is StepKind.COMPUTE else None,
        )
        for step in plan
    ]


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
    raw = serialise(model_like(source, made))
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
