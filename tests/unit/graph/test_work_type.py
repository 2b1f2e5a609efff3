"""What components do, told by what they take; a manifest may say it."""

from __future__ import annotations

import pytest

from inference.graph.ensemble.declared import InvalidManifest
from inference.graph.ensemble.manifest import parse_manifest
from inference.graph.ensemble.parts import Component, Wire
from inference.graph.ensemble.work_type import work_type
from inference.graph.spec import TensorSpec


def component(*inputs: tuple[str, int], after: tuple[int, ...] = ()) -> Component:
    wires = [
        Wire(TensorSpec(f"in{at}", dtype, ("n",) * rank), f"in{at}")
        for at, (dtype, rank) in enumerate(inputs)
    ]
    return Component("c", "c.onnx", tuple(wires), (), after)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (component(("int64", 2), ("int64", 2)), "text"),
        (component(("float32", 4)), "vision"),
        (component(("float32", 3)), "audio"),
        (component(("int64", 2), ("float32", 3), after=(0,)), "text"),
        (component(("float32", 3), after=(0,)), "other"),
        (component(("float32", 2), ("float32", 2), after=(0, 1)), "multimodal"),
        (component(("float32", 2)), "other"),
    ],
)
def test_what_a_component_does_is_told_by_what_it_takes(given: Component, expected: str) -> None:
    assert work_type(given) == expected


def test_a_manifest_may_say_it() -> None:
    entry = {"name": "a", "model": "a.onnx", "type": "audio"}
    assert parse_manifest({"components": [entry]}).components[0].type == "audio"
    with pytest.raises(
        InvalidManifest, match=r"component 'a', type: expected one of text, .* got 'x'"
    ):
        parse_manifest({"components": [{**entry, "type": "x"}]})
