"""A decoder run natively, whole or stage after stage: for tests and known answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from inference.core.generation.stages import Stage, StageInput, Use
from inference.documents import Array
from inference.graph.runtime import session


def filled(
    stage: Stage, start: int, tokens: Sequence[int], hidden: Mapping[str, Array], rows: int = 1
) -> dict[str, Array]:
    """Everything but the states that a stage takes for the positions from `start` on.

    `hidden`: by name, what the stage before gives, and what an encoder made; `rows`: of how many positions
    logits are wanted.
    """
    return {item.name: _filled(item, start, tokens, hidden, rows) for item in stage.inputs}


def empty_states(stage: Stage) -> dict[str, Array]:
    """What a new session begins with."""
    return {state.past: np.zeros(state.shape, state.dtype) for state in stage.states}


def _filled(
    item: StageInput, start: int, tokens: Sequence[int], hidden: Mapping[str, Array], rows: int
) -> Array:
    if item.use in (Use.HIDDEN, Use.MEMORY):
        return hidden[item.name]
    if item.use is Use.ROWS:
        return np.ones(rows, item.dtype)
    made = _values(item.use, start, tokens).astype(item.dtype)
    return made.reshape([1] * (item.rank - made.ndim) + list(made.shape))


def _values(use: Use, start: int, tokens: Sequence[int]) -> Array:
    end = start + len(tokens)
    if use is Use.TOKENS:
        return np.array(tokens)
    if use is Use.MASK:
        return np.ones(end)
    if use is Use.POSITIONS:
        return np.arange(start, end)
    if use is Use.LAST_POSITION:
        return np.array(end - 1)
    return np.array(end if use is Use.LENGTH else start > 0)


class Native:
    """One session of a decoder on onnxruntime's CPU provider.

    Args:
        stages: files, or their bytes, in order.
        memory: what an encoder made, by the names of the decoder's inputs.
    """

    def __init__(
        self,
        stages: Sequence[tuple[Path | bytes, Stage]],
        memory: Mapping[str, Array] | None = None,
    ) -> None:
        self._memory = memory or {}
        self._stages = [
            (session(file if isinstance(file, bytes) else str(file)), stage)
            for file, stage in stages
        ]
        self.restart()

    def restart(self) -> None:
        """Begin a new session."""
        self._states = [empty_states(stage) for _, stage in self._stages]
        self.position = 0

    def step(self, tokens: Sequence[int]) -> Array:
        """The logits of the last of the given tokens, float[vocabulary]."""
        made: dict[str, Array] = {}
        for number, (runtime, stage) in enumerate(self._stages):
            known = {**self._memory, **made}
            given = filled(stage, self.position, tokens, known) | self._states[number]
            names = [item.name for item in runtime.get_outputs()]
            made = dict(zip(names, runtime.run(names, given), strict=True))
            self._states[number] = {s.past: made[s.present] for s in stage.states}
        self.position += len(tokens)
        logits: Array = made[self._stages[-1][1].logits][0, -1]
        return logits

    def greedy(self, prompt: Sequence[int], count: int, ends: Sequence[int] = ()) -> list[int]:
        """The likeliest tokens after a prompt, at most `count`, up to one that ends the text."""
        written: list[int] = []
        new = list(prompt)
        while len(written) < count:
            written.append(int(self.step(new).argmax()))
            if written[-1] in ends:
                break
            new = written[-1:]
        return written
