"""Prompts of the campaigns of texts: none whose text hangs on the last bits of two logits."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from inference.graph.decoding import found
from inference.graph.decoding.reference import Native
from inference.zoo import decoder
from webpool_site.lab.faults.texts import prompts

TIED = (6, 248, 93, 134, 144, 2, 74, 214, 189, 163, 64, 27, 233, 200, 203, 204)
"""Its 262nd token is 481 step by step and 496 at once, also without any browser; browsers take 496."""


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> Native:
    path = decoder.tiny(context=2048).save(tmp_path_factory.mktemp("model") / "model.onnx")
    return Native([(path, found.read_file(path).found.whole)])


def test_a_text_that_hangs_on_rounding_is_not_asked_for(native: Native) -> None:
    assert len(prompts._decided(native, TIED, 261)) == 261
    assert prompts._decided(native, TIED, 262) == []
    native.restart()
    written = native.greedy(TIED, 262)
    native.restart()
    at_once = native.step([*TIED, *written[:261]])
    first, second = np.sort(at_once)[-1], at_once[written[261]]
    assert 0 <= first - second < 1e-5


def test_what_is_drawn_is_what_native_onnxruntime_writes(native: Native) -> None:
    prompt, right = prompts.draw(native, Random(3), 64)
    native.restart()
    assert right == native.greedy(prompt, 64)
    assert len(prompt) == prompts.TOKENS
    assert prompts.draw(native, Random(3), 64) == (prompt, right)
