"""Steps of a log that are computed together by a stage that catches up, where that gives the same numbers.

1. A step of one token costs nearly as much as one of several. Where positions are known to be alike, whatever
   their step computes beside them (placing.alike), those that follow one another in the log are one step: as
   if all tokens after the first had been drafted, each of them right.
2. Of each logged step no more is taken than the next one left: drafts that were wrong were cut off.
3. The last step of a log is never taken: what it gave may not be known yet. Nor is one whose outcome the next
   stage was not given, as where a text is begun anew: that is passed on, and so comes of its own step. What
   the others gave must be what comes of them here, to the bit.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from browsers.core.protocol import WireTensor
from inference.core.generation import drafts, telling
from inference.generation import streams
from inference.generation.frames import Framed, read_frame
from inference.store.tensors import decode_array, encode_array

_MOST: Final = drafts.MOST + 1  # positions of a step that were tried to be alike


@dataclass(frozen=True)
class CatchUp:
    """A stage has more to compute than one step, up to position `until`; `prompt`: tokens of the prompt."""

    prompt: int
    until: int


@dataclass(frozen=True)
class Stride:
    """Logged steps as one.

    `entries`: how many positions of each are taken, by its entry in the stream; `told`: the tokens that
    followed each position; `given`: what the next stage was given of them, None: there is no next one.
    """

    entries: tuple[tuple[str, int], ...]
    framed: Framed
    told: tuple[int, ...]
    given: tuple[WireTensor, ...] | None

    @property
    def last(self) -> str:
        """The entry that the next step is after."""
        return self.entries[-1][0]


@dataclass(frozen=True)
class Input:
    """What a stage computes next, and its entry in the stream, of a stride the last one."""

    entry: str
    framed: Framed
    stride: Stride | None = None

    @property
    def sure(self) -> int:
        """How many of its positions are not drafted: 1 while a text is written."""
        return self.framed.count if self.stride is not None else self.framed.sure


def input_of(
    session: str,
    stage: int,
    entry: str,
    framed: Framed,
    catch_up: CatchUp | None,
    *,
    last: bool,
) -> Input:
    """What came to a stage under that entry; while it catches up, with what came after it.

    Args:
        last: no stage comes after it.

    Raises:
        RedisError: the store does not answer.
    """
    if catch_up is not None and framed.start + framed.sure < catch_up.until:
        stride = of_log(session, stage, entry, framed, catch_up, last=last)
        if stride is not None:
            return Input(stride.last, stride.framed, stride)
    return Input(entry, framed)


def of_log(
    session: str, stage: int, entry: str, first: Framed, catch_up: CatchUp, *, last: bool
) -> Stride | None:
    """What can be computed together from that entry on; None: its own step alone.

    Raises:
        RedisError: the store does not answer.
    """
    if not _is_single(first, catch_up.prompt):
        return None
    later = _logged(session, stage, f"({entry}", count=_MOST)
    taken = _taken([(entry, first), *later], catch_up.prompt)
    passed_on = [] if last else _passed_on(session, stage, [key for key, *_ in taken])
    taken = taken if last else taken[: len(passed_on)]
    if len(taken) < 2:
        return None
    counts = [count for *_, count in taken]
    tensors = _joined([step.tensors for _, step, _ in taken], counts)
    given = None if last else _joined([step.tensors for step in passed_on], counts)
    told = _told(session, first.start + 1 - catch_up.prompt, sum(counts))
    if tensors is None or (given is None and not last) or len(told) != sum(counts):
        return None
    framed = Framed(first.start, sum(counts), tensors, told[:-1])
    return Stride(tuple((key, count) for key, _, count in taken), framed, told, given)


def _logged(
    session: str, stage: int, first: str, last: str = "+", count: int | None = None
) -> list[tuple[str, Framed]]:
    """What a stage was given from one entry to another."""
    found = streams.entries(streams.in_key(session, stage), first, last, count)
    return [
        (key, read_frame(fields[streams.FRAME])) for key, fields in found if streams.FRAME in fields
    ]


def _passed_on(session: str, stage: int, entries: Sequence[str]) -> list[Framed]:
    """What the next stage was given of these, up to the first that it was not given."""
    if not entries:
        return []
    known = dict(_logged(session, stage + 1, entries[0], entries[-1]))
    return [known[key] for key in itertools.takewhile(known.__contains__, entries)]


def _is_single(step: Framed, prompt: int) -> bool:
    """Whether it is one of a token that was written, and of those drafted after it."""
    return step.start >= prompt and step.sure == 1


def _taken(steps: Sequence[tuple[str, Framed]], prompt: int) -> list[tuple[str, Framed, int]]:
    """Steps from the first on that go together, with how many of their positions were right."""
    taken: list[tuple[str, Framed, int]] = []
    room = _MOST
    for (entry, step), (_, after) in itertools.pairwise(steps):
        count = after.start - step.start
        if not _is_single(step, prompt) or not 0 < count <= min(room, step.count):
            break
        taken.append((entry, step, count))
        room -= count
    return taken


def _joined(
    steps: Sequence[Sequence[WireTensor]], counts: Sequence[int]
) -> tuple[WireTensor, ...] | None:
    """The first positions of each step's tensors, one after another; None: they are not by position."""
    joined = []
    for same in zip(*steps, strict=False):
        arrays = [decode_array(tensor) for tensor in same]
        named = {(tensor.name, tensor.dtype) for tensor in same}
        if len(named) != 1 or any(
            array.ndim < 2 or array.shape[1] < count
            for array, count in zip(arrays, counts, strict=True)
        ):
            return None
        rows = [array[:, :count] for array, count in zip(arrays, counts, strict=True)]
        joined.append(encode_array(same[0].name, np.concatenate(rows, axis=1)))
    return tuple(joined) if len({len(step) for step in steps}) == 1 else None


def _told(session: str, index: int, count: int) -> tuple[int, ...]:
    """Tokens of the answer from `index` on, as they were told."""
    first, last = f"{index + 1}-0", f"{index + count}-0"
    found = streams.entries(streams.out_key(session), first, last)
    return tuple(
        telling.token_of(fields[streams.EVENT]) for key, fields in found if key.endswith("-0")
    )
