"""Whether stages answer as the uncut model does: run natively before anybody relies on them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inference.core.generation.stages import Stage
from inference.graph.decoding.reference import Native
from inference.graph.decoding.states import NoDecoder
from inference.graph.decoding.write import WrittenStage
from inference.graph.reference import equal, largest_difference

_STEPS = (4, 1, 2)  # positions: a prompt, one token, several


def verify(uncut: tuple[Path, Stage], written: Sequence[WrittenStage], vocabulary: int) -> None:
    """Refuse stages that answer otherwise.

    Raises:
        NoDecoder: says by how much.
    """
    reference = Native([uncut])
    stages = Native([(one.file.path, one.stage) for one in written])
    random = np.random.default_rng(7)
    for count in _STEPS:
        tokens = [int(token) for token in random.integers(0, vocabulary, count)]
        wanted, got = reference.step(tokens), stages.step(tokens)
        if not equal(got, wanted):
            raise NoDecoder(
                f"cut into {len(written)} stages it answers otherwise than uncut (logits differ by "
                f"{largest_difference(got, wanted):g}): what it computes from sizes cannot be followed"
            )
