"""What the pool is asked while it is hurt: a small BERT with seeded weights, and onnxruntime's answers.

The answers are computed before anything is hurt, in this process, on the unsplit model.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from inference.catalog import registry
from inference.graph.reference import Array, equal, reference
from inference.models import ModelType
from inference.runs import creation
from inference.store.tensors import WireTensor, decode_array, encode_array
from inference.zoo import bert
from inference.zoo.families import FAMILIES


@dataclasses.dataclass(frozen=True)
class Size:
    """A model's config, and how much it is asked at once."""

    name: str
    config: bert.BertConfig
    batch: int
    length: int


# Some tenths of a second in WebAssembly: time to be hurt. The light one is gone in milliseconds.
HEAVY = Size("faults-heavy", bert.BertConfig(6, 256, 4, 1024, positions=128), batch=4, length=96)
# It takes memory: 50 MB of weights.
LARGE = Size("faults-large", bert.BertConfig(4, 512, 8, 2048, positions=128), batch=1, length=16)
LIGHT = Size("faults-light", bert.BertConfig(2, 32, 4, 64), batch=4, length=8)


@dataclasses.dataclass(frozen=True)
class Question:
    """Inputs, and the right answer."""

    model: str
    inputs: tuple[WireTensor, ...]
    answer: Mapping[str, Array]

    def is_right(self, outputs: Sequence[WireTensor]) -> bool:
        got = {tensor.name: decode_array(tensor) for tensor in outputs}
        return got.keys() == self.answer.keys() and all(
            equal(got[name], expected) for name, expected in self.answer.items()
        )

    def asked(self, **how: Any) -> creation.RunRequest:
        return creation.RunRequest(model=self.model, inputs=self.inputs, **how)


def questions(size: Size, count: int, *, seed: int) -> list[Question]:
    """Register the model and compute the answers to `count` questions."""
    family = FAMILIES["bert"]
    with tempfile.TemporaryDirectory() as folder:
        (built,) = family.build(Path(folder), seed=seed, config=size.config)
        registry.add_model(built.path, name=size.name, model_type=ModelType.TEXT_EMBEDDING)
        made = []
        for number in range(count):
            arrays = family.example_inputs(
                seed + number, size.config, batch=size.batch, length=size.length
            )
            inputs = tuple(encode_array(name, array) for name, array in arrays.items())
            made.append(Question(size.name, inputs, reference(built.path, arrays)))
    return made
