"""Whether a stage gives what was given before: hidden tensors to the bit, text by the token drawn of it."""

from __future__ import annotations

from collections.abc import Sequence

from browsers.bridge import Reply
from inference.core.generation import telling
from inference.core.generation.sampled import TopLogits
from inference.core.generation.writing import Writer
from inference.generation import placing
from inference.generation.frames import alike, tops
from inference.generation.takeover.strides import Stride


def is_same(had: bytes, given: str | bytes | float, backend: str) -> bool:
    """Whether what stood there is what was to be.

    Only wasm gives the same bits in every browser; hidden tensors of others agree within a tolerance.

    Args:
        given: a frame for the next stage, or tokens as they are told.
    """
    if isinstance(given, bytes):
        return had == given or (backend != placing.WASM and alike(had, given))
    assert isinstance(given, str), "tokens are told as text"
    return telling.tokens_of(had) == telling.tokens_of(given)


def is_same_stride(stride: Stride, reply: Reply, writer: Writer | None, first: int) -> bool:
    """Whether several steps gave together what is known of each.

    Args:
        writer: what draws the text, of the last stage; `first`: the number of its first token.
    """
    if writer is None:
        return list(reply[1]) == list(stride.given or ())
    return _drawn(writer, first, tops(reply, complete=writer.needs(first) == 0)) == stride.told


def _drawn(writer: Writer, first: int, rows: Sequence[TopLogits]) -> tuple[int, ...]:
    """The tokens from `first` on, of a row of logits each; those that were drawn before stay."""
    for index, row in enumerate(rows, first):
        if index >= len(writer.written):
            writer.write(index, [row])
    return tuple(writer.written[first : first + len(rows)])
