"""Whether stages answer as the uncut model does: run natively before anybody relies on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.core.generation.stages import Stage, Use
from inference.documents import Array
from inference.graph.decoding.reference import Native
from inference.graph.decoding.states import NoDecoder
from inference.graph.decoding.write import WrittenStage
from inference.graph.model import load, ports
from inference.graph.reference import equal, largest_difference

_STEPS = (4, 1, 2)  # positions: a prompt, one token, several
_SOURCE = 6  # positions of an encoder that takes any number


def verify(uncut: tuple[Path, Stage], written: Sequence[WrittenStage], vocabulary: int) -> None:
    """Refuse stages that answer otherwise.

    Raises:
        NoDecoder: says by how much.
    """
    random = np.random.default_rng(7)
    memory = _memory(*uncut, random)
    reference = Native([uncut], memory)
    stages = Native([(one.file.path, one.stage) for one in written], memory)
    for count in _STEPS:
        tokens = [int(token) for token in random.integers(0, vocabulary, count)]
        wanted, got = reference.step(tokens), stages.step(tokens)
        if not equal(got, wanted):
            raise NoDecoder(
                f"cut into {len(written)} stages it answers otherwise than uncut (logits differ by "
                f"{largest_difference(got, wanted):g}): what it computes from sizes cannot be followed"
            )


def verify_steps(file: Path, whole: Stage, vocabulary: int) -> None:
    """Refuse a decoder that was exported for one token at a time: several in one step are not the same to it.

    Raises:
        NoDecoder: says by how much.
    """
    random = np.random.default_rng(7)
    native = Native([(file, whole)], _memory(file, whole, random))
    tokens = [int(token) for token in random.integers(0, vocabulary, max(_STEPS))]
    for token in tokens:
        wanted = native.step([token])
    native.restart()
    got = native.step(tokens)
    if not equal(got, wanted):
        raise NoDecoder(
            f"{len(tokens)} tokens in one step give other logits than one by one (they differ by "
            f"{largest_difference(got, wanted):g}): it was exported for one token at a time"
        )


def _memory(path: Path, whole: Stage, random: np.random.Generator) -> dict[str, Array]:
    """Something that an encoder might have made: random numbers, and masks that hide nothing."""
    taken, _ = ports(load(path))
    names = {item.name for item in whole.inputs if item.use is Use.MEMORY}
    made: dict[str, Array] = {}
    for spec in (spec for spec in taken if spec.name in names):
        shape = [1, *(d if isinstance(d, int) else _SOURCE for d in spec.shape[1:])]
        floats = "float" in spec.dtype
        made[spec.name] = (random.standard_normal(shape) if floats else np.ones(shape)).astype(
            spec.dtype
        )
    return made
