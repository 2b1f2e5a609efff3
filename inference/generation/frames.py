"""A stage's input as its stream keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from django.conf import settings

from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from inference.core.generation.sessions import steps_of

_TOKENS: Final = "tokens"


def frame_of(start: int, count: int, tensors: Sequence[WireTensor]) -> bytes:
    """The step of positions `start` to `start + count - 1`, with its tokens or hidden tensors."""
    return b"".join(encode_frame({"start": start, "count": count}, tensors))


def read_frame(frame: bytes) -> tuple[int, int, list[WireTensor]]:
    """(start, count, tensors) of a stage's input."""
    header, tensors = decode_frame(frame)
    return header["start"], header["count"], tensors


def tokens_frame(start: int, tokens: Sequence[int], memory: Sequence[WireTensor] = ()) -> bytes:
    """A step of the first stage: `tokens` at the positions from `start`, and what an encoder made."""
    data = np.array(tokens, "<i8").tobytes()
    own = WireTensor(_TOKENS, "int64", (1, len(tokens)), data)
    return frame_of(start, len(tokens), [own, *memory])


def memory_frame(memory: Sequence[WireTensor]) -> bytes:
    """What an encoder made, as a session's row keeps it."""
    return frame_of(0, 0, memory)


def first_stage(
    prompt: Sequence[int],
    written: Sequence[int],
    start: int = 0,
    memory: Sequence[WireTensor] = (),
) -> list[tuple[int, bytes]]:
    """All steps of the first stage from `start` on, each with the number of positions after it.

    What an encoder made comes with the first of all, and goes from stage to stage with that.
    """
    tokens = [*prompt, *written]
    most = settings.WEBPOOL_PROMPT_STEP
    return [
        (at + count, tokens_frame(at, tokens[at : at + count], () if at else memory))
        for at, count in steps_of(len(prompt), len(written), start=start, most=most)
    ]
