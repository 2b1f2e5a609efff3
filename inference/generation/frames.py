"""A stage's input as its stream keeps it, and the logits that its page gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from django.conf import settings

from browsers.bridge import Reply
from browsers.core.answers.agreement import disagreement
from browsers.core.protocol import WireTensor, decode_frame, encode_frame
from inference.core.generation.sampled import TopLogits
from inference.core.generation.sessions import steps_of
from inference.core.generation.stages import Stage, Use
from inference.store.tensors import decode_array, encode_array

_TOKENS: Final = "tokens"
_ALIKE: Final = 1e-2  # differences grow with a text's positions; a wrong answer is further off


@dataclass(frozen=True)
class Framed:
    """Positions `start` to `start + count - 1`, with their tokens or hidden tensors.

    `drafted`: the tokens of the last ones, which may be wrong.
    """

    start: int
    count: int
    tensors: Sequence[WireTensor]
    drafted: Sequence[int] = ()

    @property
    def sure(self) -> int:
        """How many of its positions are not drafted."""
        return self.count - len(self.drafted)


def frame_of(framed: Framed) -> bytes:
    header = {"start": framed.start, "count": framed.count, "drafted": list(framed.drafted)}
    return b"".join(encode_frame(header, framed.tensors))


def read_frame(frame: bytes) -> Framed:
    header, tensors = decode_frame(frame)
    return Framed(header["start"], header["count"], tensors, header.get("drafted", ()))


def alike(one: bytes, other: bytes) -> bool:
    """Whether two frames are of the same step, their tensors within what backends may differ by."""
    a, b = read_frame(one), read_frame(other)
    same = (a.start, a.count, list(a.drafted)) == (b.start, b.count, list(b.drafted))
    return same and not disagreement(a.tensors, b.tensors, tolerance=_ALIKE)


def named(tokens: WireTensor, name: str, dtype: str) -> WireTensor:
    """Tokens under the name, and of the type, that a stage's input has."""
    if dtype == tokens.dtype:
        return WireTensor(name, dtype, tokens.shape, tokens.data)
    return encode_array(name, decode_array(tokens).astype(dtype))


def tops(reply: Reply, *, complete: bool) -> list[TopLogits]:
    """What a page gives of the logits of a step's last position that is sure, and of each that is drafted."""
    header, tensors = reply
    found = {tensor.name: decode_array(tensor) for tensor in tensors}
    if complete:  # in the order of their ids
        return [TopLogits.of_row(row) for row in found["logits"]]
    rows = zip(found["ids"].astype(np.int64), found["logits"], header["log_sum"], strict=True)
    return [TopLogits(ids, logits, log_sum, complete=False) for ids, logits, log_sum in rows]


def tokens_frame(
    start: int,
    tokens: Sequence[int],
    memory: Sequence[WireTensor] = (),
    drafted: Sequence[int] = (),
) -> bytes:
    """A step of the first stage: `tokens` at the positions from `start`, and what an encoder made."""
    every = [*tokens, *drafted]
    data = np.array(every, "<i8").tobytes()
    own = WireTensor(_TOKENS, "int64", (1, len(every)), data)
    return frame_of(Framed(start, len(every), [own, *memory], drafted))


def memory_frame(memory: Sequence[WireTensor]) -> bytes:
    """What an encoder made, as a session's row keeps it."""
    return frame_of(Framed(0, 0, memory))


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


def taken_by(stage: Stage, tensors: Sequence[WireTensor], *, first: bool) -> Sequence[WireTensor]:
    """Tokens as the first stage's input wants them; others have their names already, if it takes them."""
    taken = {item.name for item in stage.inputs}
    if not first:
        return [tensor for tensor in tensors if tensor.name in taken]
    tokens = [
        named(tensors[0], item.name, item.dtype) for item in stage.inputs if item.use is Use.TOKENS
    ]
    return [*tokens, *(tensor for tensor in tensors[1:] if tensor.name in taken)]


def memory_in(stage: Stage, tensors: Sequence[WireTensor], *, first: bool) -> Sequence[WireTensor]:
    """What an encoder made, if it came with this step: later stages need it, too."""
    hidden = {item.name for item in stage.inputs if item.use is Use.HIDDEN}
    return [tensor for tensor in tensors[first:] if tensor.name not in hidden]
