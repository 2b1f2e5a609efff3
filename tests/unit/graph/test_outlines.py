"""Plans for graphs whose weights are not there: their types and shapes are enough."""

from __future__ import annotations

import dataclasses
import resource
import time

import onnx
import pytest

from inference.graph.cutting.cut import plan_graph
from inference.graph.indexed import GraphIndex
from inference.graph.runtime import session
from inference.graph.types import Typed
from tests.support.transformers import KINDS, Shape, transformer

SEVEN = Shape(
    layers=32, hidden=4096, heads=32, kv_heads=32, inner=11008, vocabulary=32_000, rms=True,
    gated=True, bias=False, bits=4, fused=True, outline=True,
)  # fmt: skip
SEVENTY = dataclasses.replace(
    SEVEN, layers=80, hidden=8192, heads=64, kv_heads=8, inner=28_672, fused=False, rotary=True
)


@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_without_weights_is_the_plan_with_them(kind: str) -> None:
    shape = KINDS[kind]
    whole = transformer(shape)
    outline = transformer(dataclasses.replace(shape, outline=True))
    assert plan_graph(outline, 3) == plan_graph(whole, 3)


@pytest.mark.parametrize("kind", ["int4", "int8", "fused", "fused-int4"])
def test_foreign_operators_have_the_types_that_onnxruntime_finds(kind: str) -> None:
    model = transformer(dataclasses.replace(KINDS[kind], outline=False))
    index = GraphIndex(model)
    asked = onnx.ModelProto()
    asked.CopyFrom(model)
    already = {item.name for item in model.graph.output}
    foreign = [
        name
        for node in model.graph.node
        if node.domain or node.op_type.startswith("Simplified")
        for name in node.output
    ]
    asked.graph.output.extend(onnx.ValueInfoProto(name=n) for n in foreign if n not in already)
    runtime = session(asked.SerializeToString(), optimise=False)
    found = {item.name: item for item in runtime.get_outputs() if item.name in foreign}
    assert len(found) == len(foreign) > 0
    for name, item in found.items():
        typed = index.types[name]
        assert isinstance(typed, Typed) and typed.shape is not None
        assert typed.dtype == "float32"
        for ours, theirs in zip(typed.shape, item.shape, strict=True):
            if isinstance(ours, int) or isinstance(theirs, int):
                assert ours == theirs or not isinstance(theirs, int)


@pytest.mark.parametrize(("shape", "shards"), [(SEVEN, 2), (SEVEN, 8), (SEVENTY, 32)])
def test_large_models_are_planned_in_moments_and_little_memory(shape: Shape, shards: int) -> None:
    """7B and 70B with 4 bits. Bounds are for a slow machine; it takes well under a second."""
    model = transformer(shape)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    plan = plan_graph(model, shards)
    assert time.process_time() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 512 * 1024  # KB
    assert len(plan) == shards
    projections = 2 * shape.hidden + 2 * shape.kv_heads * shape.head + 3 * shape.inner
    packed = shape.layers * shape.hidden * projections // 2  # bytes, without scales
    total = sum(step.weight_bytes for step in plan)
    assert packed < total < 1.5 * packed
    assert max(step.weight_bytes for step in plan) < 2.5 / shards * total
    hidden = 128 * shape.hidden * 4
    assert all(step.crossing_bytes < 1.2 * hidden for step in plan[1:])
