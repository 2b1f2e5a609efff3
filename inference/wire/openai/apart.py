"""Embeddings written in the process that `wire.apart` asks: both sides of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from inference.conversion.documents import LARGE_VALUES
from inference.documents import Array
from inference.sandbox import Answer
from inference.wire.apart import BODY, Child
from inference.wire.openai.answers import embeddings

_WRITE: Final = "inference.wire.openai.apart:write"
_VECTORS: Final = "vectors"


@dataclasses.dataclass(frozen=True)
class Embeddings:
    """What `embeddings` takes: `vectors` float32[texts, dimensions]."""

    model: str
    vectors: NDArray[np.float32]
    tokens: int
    packed: bool

    @property
    def is_large(self) -> bool:
        return self.vectors.size > LARGE_VALUES

    def encoded(self) -> bytes:
        return json.dumps(
            embeddings(self.model, self.vectors, self.tokens, packed=self.packed)
        ).encode()

    def encoded_by(self, child: Child) -> bytes:
        words = {"model": self.model, "tokens": self.tokens, "packed": self.packed}
        return child.ask(_WRITE, {_VECTORS: self.vectors}, **words).arrays[BODY].tobytes()


def write(arrays: Mapping[str, Array], model: str, tokens: int, packed: bool) -> Answer:
    """In the child: the answer's body."""
    body = Embeddings(model, arrays[_VECTORS], tokens, packed).encoded()
    return Answer(None, {BODY: np.frombuffer(body, np.uint8)})
