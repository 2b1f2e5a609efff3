"""Manifests of several files: what is wired to what, in which order, and what is refused with which words."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Sequence
from typing import Any

import pytest

from inference.graph.ensemble.declared import InvalidManifest
from inference.graph.ensemble.manifest import parse_manifest, read_manifest
from inference.graph.ensemble.parts import Wiring
from inference.graph.ensemble.wiring import wire
from inference.graph.spec import TensorSpec
from tests.support.ensembles import DIAMOND

Shape = Sequence[int | str]


def port(name: str, *shape: int | str, dtype: str = "float32", **more: Any) -> TensorSpec:
    return TensorSpec(name, dtype, tuple(shape), **more)


ENCODER = ([port("x", "batch", 8)], [port("pooled", "batch", 8)])
FUSION = ([port("a", "rows", 8), port("b", "rows", 8)], [port("y", "rows", 4)])
PORTS: dict[str, Any] = {"text": ENCODER, "image": ENCODER, "fusion": FUSION}


def wired(document: Any, ports: Any = None) -> Wiring:
    return wire(parse_manifest(document), {**PORTS, **(ports or {})})


def component(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "model": f"{name}.onnx", **more}


def changed(**changes: Any) -> dict[str, Any]:
    """The diamond with other keys in some of its components, or of the whole."""
    document = copy.deepcopy(DIAMOND)
    for item in document["components"]:
        item.update(changes.pop(item["name"], {}))
    return {**document, **changes}


def shape_of(wiring: Wiring) -> dict[str, Any]:
    return {item.name: list(item.depends_on) for item in wiring.components}


def test_encoders_come_first_and_depend_on_nothing_of_each_other() -> None:
    wiring = wired(DIAMOND)
    assert shape_of(wiring) == {"text": [], "image": [], "fusion": [0, 1]}
    assert [(spec.name, spec.shape) for spec in wiring.inputs] == [
        ("words", ("batch", 8)),
        ("pixels", ("batch", 8)),
    ]
    (output,) = wiring.outputs
    assert (output.spec.name, output.tensor, output.spec.shape) == ("score", "scores", ("batch", 4))
    fusion = wiring.components[2]
    assert [(item.spec.name, item.tensor) for item in fusion.inputs] == [
        ("a", "text_pooled"),
        ("b", "pooled"),
    ]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_manifest_does_not_matter(order: Sequence[int]) -> None:
    document = {**DIAMOND, "components": [DIAMOND["components"][at] for at in order]}
    wiring = wired(document)
    assert wiring.components[2].name == "fusion"
    assert wiring.components[2].depends_on == (0, 1)


def test_ports_that_are_not_mapped_join_by_their_own_name() -> None:
    ports = {
        "encoder": ([port("ids", "batch", "n", dtype="int64")], [port("hidden", "batch", "n", 8)]),
        "decoder": (
            [port("ids", "batch", "m", dtype="int64"), port("hidden", "batch", "n", 8)],
            [port("logits", "batch", "m", 5)],
        ),
    }
    wiring = wired({"components": [component("decoder"), component("encoder")]}, ports)
    assert shape_of(wiring) == {"encoder": [], "decoder": [0]}
    assert [spec.name for spec in wiring.inputs] == ["ids"]
    assert [item.spec.name for item in wiring.outputs] == ["logits"]


def test_outputs_of_one_name_get_their_component_in_front() -> None:
    document = {"components": [component("text"), component("image"), component("fusion")]}
    document["components"][2]["inputs"] = {"a": "text/pooled", "b": "image/pooled"}
    wiring = wired(document)
    assert [item.outputs[0].tensor for item in wiring.components[:2]] == [
        "text/pooled",
        "image/pooled",
    ]
    assert [spec.name for spec in wiring.inputs] == ["x"], "one name is one tensor"


def test_equal_sizes_are_one_dimension_and_others_of_that_name_are_not() -> None:
    """The decoder's own `n` is another size than the encoder's."""
    ports = {
        "encoder": ([port("ids", "batch", "n", dtype="int64")], [port("hidden", "batch", "n", 8)]),
        "decoder": (
            [port("tokens", "rows", "n", dtype="int64"), port("hidden", "rows", "k", 8)],
            [port("logits", "rows", "n", 5)],
        ),
    }
    wiring = wired({"components": [component("encoder"), component("decoder")]}, ports)
    shapes = {spec.name: spec.shape for spec in wiring.inputs}
    assert shapes == {"ids": ("batch", "n"), "tokens": ("batch", "decoder/n")}
    assert wiring.outputs[0].spec.shape == ("batch", "decoder/n", 5)


def test_a_fixed_size_downstream_fixes_the_callers_input() -> None:
    ports = {"fusion": ([port("a", 3, 8), port("b", 3, 8)], [port("y", 3, 4)])}
    assert {spec.shape for spec in wired(DIAMOND, ports).inputs} == {(3, 8)}


def test_declared_defaults_are_told_in_the_words_of_the_whole() -> None:
    mask = port("mask", "batch", 8, default="ones_like:x")
    wiring = wired(
        changed(inputs=["words", "pixels", "mask"]),
        {"text": ([port("x", "batch", 8), mask], [port("pooled", "batch", 8)])},
    )
    assert {spec.name: spec.default for spec in wiring.inputs}["mask"] == "ones_like:words"


def test_overridable_weights_stay_what_the_file_says_unless_listed() -> None:
    ports = {
        name: ([*spec[0], port("w", 8, 8, optional=True)], spec[1]) for name, spec in PORTS.items()
    }
    assert [spec.name for spec in wired(DIAMOND, ports).inputs] == ["words", "pixels"]
    listed = wired(changed(inputs=["words", "pixels", "w"]), ports)
    assert [(spec.name, spec.optional) for spec in listed.inputs][2] == ("w", True)


REFUSED: list[tuple[str, Any, Any, str]] = [
    ("not-json", "{", None, "it is not JSON"),
    ("no-object", [], None, 'such as {"components"'),
    ("no-components", {"inputs": ["x"]}, None, 'such as {"components"'),
    ("empty", {"components": []}, None, "expected a list of at least one"),
    ("unknown-key", changed(output=["y"]), None, "unknown 'output'; expected inputs, outputs"),
    ("unknown-key-below", changed(text={"file": "t"}), None, "component 2: unknown 'file'"),
    ("no-model", changed(text={"model": 3}), None, "expected 'model' to be a name, got 3"),
    ("bad-name", changed(text={"name": "a/b"}), None, "expected letters, digits"),
    ("key-twice", '{"components": [], "components": []}', None, "the key 'components' comes twice"),
    ("duplicate", changed(image={"name": "text"}), None, "two components are named 'text'"),
    ("input-twice", changed(inputs=["words", "words"]), None, "'words' is listed twice"),
    ("no-outputs", changed(outputs={}), None, "leave the key out to have it derived"),
    ("port", changed(text={"inputs": {"z": "words"}}), None, "has no input 'z'; it has 'x'"),
    (
        "output-port",
        changed(text={"outputs": {"z": "text_pooled"}}),
        None,
        "component 'text' (text.onnx) has no output 'z'; it has 'pooled'",
    ),
    (
        "reference-to-port",
        changed(fusion={"inputs": {"a": "text/nosuch", "b": "image/pooled"}}),
        None,
        "component 'text' has no output 'nosuch'; it has 'pooled'",
    ),
    (
        "made-twice",
        changed(image={"outputs": {"pooled": "text_pooled"}}),
        None,
        "tensor 'text_pooled' is made twice, by text/pooled and image/pooled",
    ),
    (
        "made-and-given",
        changed(text={"outputs": {"pooled": "words"}}),
        None,
        "'words' is an input of the whole, and text/pooled makes it too",
    ),
    (
        "cycle",
        changed(inputs=["pixels"], text={"inputs": {"x": "scores"}}),
        None,
        "wait for one another: fusion → text → fusion",
    ),
    (
        "own-output",
        changed(inputs=["pixels"], text={"inputs": {"x": "text_pooled"}}),
        None,
        "wait for one another: text → text",
    ),
    (
        "unwired",
        changed(inputs=["words", "pixels"], text={"inputs": {}}),
        None,
        "input 'x' of component 'text' is not wired: no component makes 'x'",
    ),
    (
        "unknown-tensor",
        changed(text={"inputs": {"x": "wrods"}}),
        None,
        "takes 'wrods', which no component makes and which is no input of the whole; there are 'words'",
    ),
    (
        "ambiguous",
        {"components": [component("text"), component("image"), component("next")]},
        {"next": ([port("pooled", "batch", 8)], [port("y", "batch", 8)])},
        "could take text/pooled or image/pooled or an input of the whole",
    ),
    (
        "input-of-nobody",
        changed(inputs=["words", "pixels", "sound"]),
        None,
        "input 'sound' of the whole ('sound') is taken by no component",
    ),
    (
        "output-of-nobody",
        changed(outputs=["logits"]),
        None,
        "no component makes 'logits'; they make 'text_pooled', 'pooled', 'scores'",
    ),
    (
        "type",
        DIAMOND,
        {"text": (ENCODER[0], [port("pooled", "batch", 8, dtype="float16")])},
        "tensor 'text_pooled': types differ: text/pooled is float16[batch, 8], fusion/a is float32[rows, 8]",
    ),
    (
        "rank",
        DIAMOND,
        {"text": (ENCODER[0], [port("pooled", "batch", 1, 8)])},
        "ranks differ: text/pooled is float32[batch, 1, 8], fusion/a is float32[rows, 8]",
    ),
    (
        "size",
        DIAMOND,
        {"text": (ENCODER[0], [port("pooled", "batch", 9)])},
        "sizes differ: text/pooled is float32[batch, 9], fusion/a is float32[rows, 8]; axis 1 is 9 and 8",
    ),
    (
        "size-by-name",
        DIAMOND,
        {
            "text": ([port("x", 2, 8)], [port("pooled", 2, 8)]),
            "image": ([port("x", 3, 8)], [port("pooled", 3, 8)]),
        },
        "axis 0 is 3 and 2 (other tensors fix 'rows')",
    ),
    (
        "shared-input",
        {"components": [component("text"), component("image"), component("fusion")]}
        | {"outputs": ["y"]},
        {
            "image": ([port("x", "batch", 8, dtype="int64")], [port("a", "batch", 8)]),
            "text": (ENCODER[0], [port("b", "batch", 8)]),
        },
        "tensor 'x': types differ",
    ),
    (
        "nothing-connected",
        {
            "components": [
                component("text", inputs={"x": "a"}),
                component("image", inputs={"x": "b"}),
            ]
        },
        None,
        "nothing is connected",
    ),
    (
        "useless",
        changed(fusion={"inputs": {"a": "text_pooled", "b": "text_pooled"}}),
        None,
        "component 'image' is of no use: nothing takes 'pooled'",
    ),
]


@pytest.mark.parametrize(
    ("document", "ports", "message"),
    [(document, ports, message) for _, document, ports, message in REFUSED],
    ids=[name for name, *_ in REFUSED],
)
def test_what_cannot_be_right_is_refused(document: Any, ports: Any, message: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        if isinstance(document, str):
            read_manifest(document)
        wired(document, ports)
    assert message in str(caught.value)


# --- Triton's form ---------------------------------------------------------------------


def triton(**changes: Any) -> dict[str, Any]:
    def tensor(name: str, *dims: int, data_type: str = "TYPE_FP32") -> dict[str, Any]:
        return {"name": name, "data_type": data_type, "dims": list(dims)}

    return {
        "name": "clip",
        "platform": "ensemble",
        "max_batch_size": 0,
        "input": [tensor("words", -1, 8), tensor("pixels", -1, 8)],
        "output": [tensor("scores", -1, 4)],
        "ensemble_scheduling": {
            "step": [
                {
                    "model_name": "text",
                    "model_version": -1,
                    "input_map": {"x": "words"},
                    "output_map": {"pooled": "t"},
                },
                {
                    "model_name": "image",
                    "input_map": {"x": "pixels"},
                    "output_map": {"pooled": "i"},
                },
                {
                    "model_name": "fusion",
                    "input_map": {"a": "t", "b": "i"},
                    "output_map": {"y": "scores"},
                },
            ]
        },
        **changes,
    }


def steps(*changes: dict[str, Any]) -> dict[str, Any]:
    document = triton()
    for step, change in zip(document["ensemble_scheduling"]["step"], changes, strict=False):
        step.update(change)
    return document


def test_tritons_ensemble_is_the_same_model() -> None:
    wiring = wired(json.loads(json.dumps(triton())))
    assert shape_of(wiring) == {"text": [], "image": [], "fusion": [0, 1]}
    assert [item.spec.name for item in wiring.outputs] == ["scores"]


def test_with_a_batch_size_tritons_dimensions_lack_the_first() -> None:
    document = triton(max_batch_size=8)
    for item in (*document["input"], *document["output"]):
        item["dims"] = [str(size) for size in item["dims"][1:]]  # as protobuf writes int64
    assert wired(document).inputs[0].shape == ("batch", 8)


def test_a_model_used_twice_gives_two_components() -> None:
    document = steps({}, {"model_name": "text"})
    wiring = wired(document, {"text-2": ENCODER})
    assert shape_of(wiring) == {"text": [], "text-2": [], "fusion": [0, 1]}
    assert [item.model for item in wiring.components] == ["text", "text", "fusion"]


def test_tritons_ports_that_no_map_names_stay_alone() -> None:
    ports = {"text": (ENCODER[0], [*ENCODER[1], port("words", "batch", 8)])}
    assert [item.tensor for item in wired(triton(), ports).components[0].outputs] == [
        "t",
        "text/words",
    ]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (triton(platform="onnxruntime_onnx"), "platform: expected 'ensemble'"),
        (triton(dynamic_batching={}), "unknown 'dynamic_batching'"),
        (triton(ensemble_scheduling={}), "with at least one step"),
        (triton(max_batch_size=-1), "max_batch_size: expected a whole number"),
        (triton(input=[]), "input: an ensemble declares at least one"),
        (triton(output=[{"name": "scores", "data_type": "FP32", "dims": [-1, 4]}]), "TYPE_FP32"),
        (
            triton(output=[{"name": "scores", "data_type": "TYPE_FP32", "dims": [-2]}]),
            "dims: expected",
        ),
        (steps({"model_version": 3}), "models have version 1 only"),
        (steps({"input_map": {}}), "input 'x' of component 'text' is not wired"),
        (
            triton(output=[{"name": "scores", "data_type": "TYPE_FP16", "dims": [-1, 4]}]),
            "declared as float16[-1, 4], but fusion/y is float32[rows, 4]",
        ),
        (
            triton(output=[{"name": "scores", "data_type": "TYPE_FP32", "dims": [-1, 5]}]),
            "axis 1 is 5 and 4",
        ),
    ],
)
def test_bad_ensembles_are_refused(document: Any, message: str) -> None:
    with pytest.raises(InvalidManifest) as caught:
        wired(document)
    assert message in str(caught.value)
