"""Prompts whose texts hang on no rounding: what browsers write after them is onnxruntime's, token by token.

Native onnxruntime and that of the browsers add in other orders. Where two tokens are as likely but for the
last bits each may take another one, and both are right: such a text proves nothing of who was hurt.
"""

from __future__ import annotations

from random import Random
from typing import Final

import numpy as np

from inference.graph.decoding.reference import Native

TOKENS, _BYTES = 16, 256
_MARGIN: Final = 1e-5
"""Of the largest logit; float32 sums differ by about a tenth of it."""


def draw(native: Native, random: Random, count: int) -> tuple[tuple[int, ...], list[int]]:
    """A prompt of random tokens, and the likeliest tokens after it, so many."""
    while True:
        prompt = tuple(random.randrange(_BYTES) for _ in range(TOKENS))
        if written := _decided(native, prompt, count):
            return prompt, written


def _decided(native: Native, prompt: tuple[int, ...], count: int) -> list[int]:
    """What is written after it; empty: some token is as likely as the next one."""
    native.restart()
    written: list[int] = []
    new = list(prompt)
    while len(written) < count:
        logits = native.step(new)
        second, first = np.partition(logits, -2)[-2:]
        if first - second <= _MARGIN * max(1.0, abs(first)):
            return []
        new = [int(logits.argmax())]
        written += new
    return written
