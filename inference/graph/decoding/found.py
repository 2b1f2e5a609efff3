"""A decoder read from a model: prepared, with its ports and layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import onnx

from inference.core.generation.stages import Stage
from inference.graph.decoding.cut import DecoderCutter
from inference.graph.decoding.prepare import last_row, prepare
from inference.graph.decoding.states import Found, NoDecoder, find, known_context
from inference.graph.indexed import GraphIndex
from inference.graph.model import load


@dataclasses.dataclass(frozen=True)
class Read:
    """A decoder.

    Attributes:
        changed: the graph had to be changed: it is not the model's own file that a stage is.
        context: how many positions its own tables have rows for; 0: unknown.
    """

    found: Found
    cutter: DecoderCutter
    changed: bool
    context: int


def read(model: onnx.ModelProto, called: Mapping[str, str] | None = None) -> Read:
    """A decoder in memory, which is prepared in place.

    Raises:
        NoDecoder: as `states.find`.
    """
    changed = prepare(model)
    found = find(GraphIndex(model), called)
    if not found.whole.any_row:
        changed |= last_row(model, found.whole.logits)
    return Read(found, DecoderCutter(model, found), changed, known_context(model, found.whole))


def ports_of(model: onnx.ModelProto, called: Mapping[str, str] | None = None) -> Stage | None:
    """What the model takes and gives as it is; None: it has a port that only `read` does away with."""
    try:
        return find(GraphIndex(model), called).whole
    except NoDecoder:
        return None


def read_file(path: Path, called: Mapping[str, str] | None = None) -> Read:
    """The same for a file.

    Raises:
        InvalidModel: it cannot be read.
    """
    return read(load(path), called)
