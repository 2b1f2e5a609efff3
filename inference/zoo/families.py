"""Every family of models that the zoo can draw: its toy, its files and how they feed one another.

for family in FAMILIES.values():
    components = family.build(folder, precision=INT4, seed=3)
    inputs = family.example_inputs(seed=5)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx

from inference.documents import Array, JsonObject, JsonView
from inference.zoo import bert, clip, llama, t5, vit, whisper
from inference.zoo.graph import Graph
from inference.zoo.precision import FLOAT32, Precision
from inference.zoo.weights import Seeded

Links = Mapping[tuple[str, str], tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Component:
    """One file of a model.

    Attributes:
        takes: inputs that another component gives: name → (its role, its output). All others are the
            caller's; one name means one tensor in all components.
    """

    role: str
    path: Path
    takes: Mapping[str, tuple[str, str]]


@dataclasses.dataclass(frozen=True)
class Family:
    """A kind of model.

    Attributes:
        model_type: as the pool knows it: text, text_embedding, vision, audio, multimodal.
        toy: the config that is built unless another is given: two layers, a few kilobytes.
    """

    name: str
    model_type: str
    toy: Any
    draw: Callable[..., dict[str, Graph]]
    examples: Callable[..., dict[str, Array]]
    links: Links = dataclasses.field(default_factory=dict)

    def build(
        self, folder: Path, *, precision: Precision = FLOAT32, seed: int = 0, config: Any = None
    ) -> list[Component]:
        """Write `<family>.<role>.onnx` for each component, in an order in which they can run."""
        graphs = self.draw(config or self.toy, precision, Seeded(seed))
        return [
            Component(role, graph.save(folder / f"{self.name}.{role}.onnx"), self.takes(role))
            for role, graph in graphs.items()
        ]

    def takes(self, role: str) -> dict[str, tuple[str, str]]:
        """What a component takes from others: input → (role, output)."""
        return {name: source for (to, name), source in self.links.items() if to == role}

    def example_inputs(self, seed: int, config: Any = None, **sizes: int) -> dict[str, Array]:
        """Seeded inputs that the caller gives; `sizes` are `batch` and, for tokens, `length`."""
        return self.examples(config or self.toy, seed, **sizes)


def manifest(components: Sequence[Component]) -> JsonObject:
    """How the files make one model, for `add_model`: the files lie beside it."""
    return {
        "components": [
            {
                "name": component.role,
                "model": component.path.name,
                "inputs": {port: "/".join(source) for port, source in component.takes.items()},
            }
            for component in components
        ]
    }


_HIDDEN = {("decoder", "encoder_hidden_states"): ("encoder", "last_hidden_state")}
_POOLED = {
    ("similarity", "text_pooled"): ("text_encoder", "text_pooled"),
    ("similarity", "image_pooled"): ("vision_encoder", "image_pooled"),
}

FAMILIES = {
    family.name: family
    for family in (
        Family("bert", "text_embedding", bert.BertConfig(), bert.graphs, bert.example_inputs),
        Family("vit", "vision", vit.VitConfig(), vit.graphs, vit.example_inputs),
        Family(
            "clip", "multimodal", clip.ClipConfig(), clip.graphs, clip.example_inputs, _POOLED
        ),
        Family(
            "whisper", "audio", whisper.WhisperConfig(), whisper.graphs, whisper.example_inputs,
            _HIDDEN,
        ),
        Family("t5", "text", t5.T5Config(), t5.graphs, t5.example_inputs, _HIDDEN),
        Family("llama", "text", llama.LlamaConfig(), llama.graphs, llama.example_inputs),
    )
}  # fmt: skip


SHAPES: JsonView = {
    "llama-7b": llama.LLAMA_2_7B,
    "llama-70b": llama.LLAMA_2_70B,
    "bert-base": bert.BERT_BASE,
    "vit-base": vit.VIT_BASE,
}
"""Published models of one file, by name, to plan with."""


def shape_only(config: object, precision: Precision = FLOAT32, role: str = "") -> onnx.ModelProto:
    """A model of any size without its weights: to plan with, not to run.

    Nodes, ports and small constants are as in the real file; each weight is an initialiser with its type,
    its shape and, as external data, offset and length in a file "weights.bin" that does not exist
    (`graph.weight_bytes` adds them up). `role` says which component where there are several.

    Raises:
        ValueError: no family has such a config, or no such role.
    """
    for family in FAMILIES.values():
        if isinstance(config, type(family.toy)):
            graphs = family.draw(config, precision)
            if not role and len(graphs) == 1:
                return next(iter(graphs.values())).outline()
            if role in graphs:
                return graphs[role].outline()
            raise ValueError(f"{family.name} has the roles {', '.join(graphs)}; got {role!r}")
    known = ", ".join(type(family.toy).__name__ for family in FAMILIES.values())
    raise ValueError(f"expected one of {known}; got {type(config).__name__}")
