"""Components in their places: what wiring a manifest makes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from inference.documents import JsonObject
from inference.graph.spec import TensorSpec

Ports = tuple[Sequence[TensorSpec], Sequence[TensorSpec]]


@dataclasses.dataclass(frozen=True)
class Wire:
    """A port and the tensor it takes or makes."""

    spec: TensorSpec
    tensor: str

    def to_json(self) -> JsonObject:
        own = {} if self.tensor == self.spec.name else {"tensor": self.tensor}
        return {**self.spec.to_json(), **own}


@dataclasses.dataclass(frozen=True)
class Component:
    """A component in its place; `depends_on` are positions of earlier ones, `type` as its manifest has it."""

    name: str
    model: str
    inputs: tuple[Wire, ...]
    outputs: tuple[Wire, ...]
    depends_on: tuple[int, ...] = ()
    type: str = ""


@dataclasses.dataclass(frozen=True)
class Wiring:
    """Components in an order in which they can run, and the ports of the whole."""

    components: tuple[Component, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[Wire, ...]


def taken(components: Iterable[Component]) -> list[str]:
    """Tensors that components take, each once, in order."""
    return list(dict.fromkeys(wire.tensor for c in components for wire in c.inputs))


def listed(words: Iterable[str]) -> str:
    """Names for a sentence."""
    return ", ".join(map(repr, words)) or "none"
