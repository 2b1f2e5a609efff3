"""What the table is made of: small members of three families at the shapes of published models.

The weights are seeded, not trained: what is measured here does not depend on them. Encoder-decoder models
come twice: as two files wired by a manifest, and as one graph, which is the same model unsharded.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from onnx import compose, helper

from inference.catalog import registry
from inference.catalog.components import add_components
from inference.graph.reference import reference
from inference.store.tensors import encode_array
from inference.zoo import llama, t5, whisper
from inference.zoo.families import FAMILIES, Component, manifest
from webpool_site.lab.faults.work import Question

BATCH = 3


@dataclasses.dataclass(frozen=True)
class Shape:
    """A family's member: whose shape it has, its config, and how long the inputs are."""

    about: str
    config: Any
    sizes: Mapping[str, int]


SHAPES: Mapping[str, Shape] = {
    "llama": Shape(
        "llama2.c stories15M, 16 tokens",
        llama.LlamaConfig(6, 288, 6, 6, 768, 32_000, 256),
        {"length": 16},
    ),
    "t5": Shape(
        "t5-efficient-tiny, 8 tokens",
        t5.T5Config(4, 4, 256, 4, 64, 1024, 32_128, gated=False, tied=True),
        {"length": 8},
    ),
    "whisper": Shape(
        "whisper-tiny, 2 s of sound, 8 tokens",
        dataclasses.replace(whisper.WHISPER_TINY, source=100),
        {"length": 8},
    ),
}


@dataclasses.dataclass(frozen=True)
class Subject:
    """A registered member with a question and its right answer; `in_parts`: of two files."""

    family: str
    about: str
    question: Question
    in_parts: bool


def subjects(seed: int = 11) -> Iterator[Subject]:
    """Build, register and answer with onnxruntime, one after another."""
    for family, shape in SHAPES.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            built = FAMILIES[family].build(folder, seed=seed, config=shape.config)
            whole = built[0].path if len(built) == 1 else as_one(built, folder / "whole.onnx")
            arrays = FAMILIES[family].example_inputs(3, shape.config, batch=BATCH, **shape.sizes)
            inputs = tuple(encode_array(key, array) for key, array in arrays.items())
            answer = reference(whole, arrays)
            model_type = FAMILIES[family].model_type
            registry.add_model(whole, name=f"bench-{family}-whole", model_type=model_type)
            question = Question(f"bench-{family}-whole", inputs, answer)
            yield Subject(family, shape.about, question, in_parts=False)
            if len(built) > 1:
                yield Subject(family, shape.about, _parts(family, built, question), in_parts=True)


def _parts(family: str, built: Sequence[Component], whole: Question) -> Question:
    """The same model and question, as files wired by a manifest."""
    name = f"bench-{family}-parts"
    document = json.dumps(manifest(built)).encode()
    add_components(
        document, built[0].path.parent, name=name, model_type=FAMILIES[family].model_type
    )
    return Question(name, whole.inputs, whole.answer)


def as_one(built: Sequence[Component], path: Path) -> Path:
    """Encoder and decoder as one graph, whose output is the decoder's."""
    encoder, decoder = (onnx.load(component.path) for component in built)
    decoder = compose.add_prefix(decoder, "decoder/", rename_inputs=False, rename_outputs=False)
    nodes, given = list(encoder.graph.node), {port.name for port in encoder.graph.input}
    for port, (_, source) in built[1].takes.items():
        nodes.append(helper.make_node("Identity", [source], [port]))
    ports = list(encoder.graph.input)
    ports += [
        port
        for port in decoder.graph.input
        if port.name not in given and port.name not in built[1].takes
    ]
    weights = [*encoder.graph.initializer, *decoder.graph.initializer]
    graph = helper.make_graph(
        [*nodes, *decoder.graph.node], "whole", ports, list(decoder.graph.output), weights
    )
    model = helper.make_model(graph, opset_imports=list(encoder.opset_import))
    model.ir_version = encoder.ir_version
    helper.set_model_props(model, {p.key: p.value for p in encoder.metadata_props})
    onnx.save(model, path)
    return path
