"""A stage's caches out of a page, and into another one.

The pool does neither. A page does both where a stage is described so: a step also gives its caches where they
are named among its hidden outputs, and takes given ones, like any input, in place of its own.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from browsers.bridge import Reply
from browsers.core.protocol import WireTensor
from browsers.session import BrowserSession
from browsers.session.decoding import StepAsked
from inference.core.generation.stages import Stage, StageInput, State, Use
from inference.generation import placing
from inference.graph.decoding.reference import filled
from inference.store.tensors import decode_array, encode_array
from webpool_site.lab.bench.texts.logged import HOLDER, Subject, asked

_WARM_UP: Final = 2
_LEAST, _MOST, _WITHIN_S = 8, 64, 1.0
_FOLLOWS: Final = f"{HOLDER}-follows"


@dataclass(frozen=True)
class Copied:
    """The caches of so many tokens, and what the next stage is given of these.

    Attributes:
        ms: what a copy takes.
        step_ms: how long a step of one token computes after them; `prompt_ms`: one of them all.
    """

    caches: tuple[WireTensor, ...]
    hidden: tuple[WireTensor, ...]
    ms: float
    step_ms: float
    prompt_ms: float

    @property
    def mb(self) -> float:
        return sum(len(tensor.data) for tensor in self.caches) / 1e6


def copied(browser: BrowserSession, subject: Subject, tokens: Sequence[int]) -> Copied:
    """The caches of these tokens out of the page.

    The copy is what a step that gives all of them takes beside its computing, more than one that gives none:
    medians of steps of one token.
    """
    stage = subject.stage
    presents = tuple(state.present for state in stage.states)
    gives = dataclasses.replace(stage, hidden=(*stage.hidden, *presents))
    (first, made), told = _steps(browser, subject, gives, tokens)
    _, without = _steps(browser, subject, stage, tokens[:1])
    return Copied(
        caches=tuple(tensor for tensor in made if tensor.name in presents),
        hidden=tuple(tensor for tensor in made if tensor.name in stage.hidden),
        ms=_beside_ms(told) - _beside_ms(without),
        step_ms=statistics.median(each["compute_ms"] for each in told),
        prompt_ms=first["compute_ms"],
    )


def _steps(
    browser: BrowserSession, subject: Subject, stage: Stage, tokens: Sequence[int]
) -> tuple[Reply, Sequence[Mapping[str, float]]]:
    """What a step of these tokens gives, and times of steps of one token, each as the first after these."""
    header = {"epoch": 1, "start": 0, "count": len(tokens), "drafted": 0, "top_k": None}
    begins = {**header, "stage": stage.to_json()}
    begun = asked(browser, _step(subject, begins, _tokens(stage, tokens)))
    told: list[Mapping[str, float]] = []
    until = time.perf_counter() + _WITHIN_S
    while len(told) < _LEAST or (len(told) < _MOST and time.perf_counter() < until):
        # Sessions of their own, which begin with the caches of the first.
        follows = {**header, "epoch": len(told), "start": len(tokens), "count": 1, "kept": HOLDER}
        step = _step(subject, follows, _tokens(stage, tokens[:1]), holder=_FOLLOWS)
        told.append(asked(browser, step)[0])
    for holder in (HOLDER, _FOLLOWS):
        browser.decoding.release(holder)
    return begun, told[_WARM_UP:]


def _beside_ms(told: Sequence[Mapping[str, float]]) -> float:
    return statistics.median(each["round_trip_ms"] - each["compute_ms"] for each in told)


def _tokens(stage: Stage, tokens: Sequence[int]) -> list[WireTensor]:
    (item,) = [each for each in stage.inputs if each.use is Use.TOKENS]
    return [encode_array(item.name, np.array([tokens], item.dtype))]


def _step(
    subject: Subject,
    header: Mapping[str, Any],
    tensors: Sequence[WireTensor],
    *,
    holder: str = HOLDER,
) -> StepAsked:
    return StepAsked(holder, subject.sha256, placing.WASM, header, tensors)


def pieces(stage: Stage, caches: Sequence[WireTensor], every: int) -> Iterator[list[WireTensor]]:
    """What is new in each of the checkpoints that were made of these caches, every so many tokens."""
    arrays = {tensor.name: decode_array(tensor) for tensor in caches}
    length = max(arrays[state.present].shape[state.axis] for state in stage.states)
    for start in range(0, length, every):
        new = range(start, min(start + every, length))
        yield [
            encode_array(state.present, arrays[state.present].take(new, state.axis))
            for state in stage.states
        ]


def go_on(
    browser: BrowserSession, subject: Subject, found: Sequence[WireTensor], tokens: Sequence[int]
) -> Reply:
    """What the step of the last of these tokens gives in a page that is given the caches of those before.

    `found`: the pieces of all of them, one after another.
    """
    stage = subject.stage
    pasts = [StageInput(s.past, Use.HIDDEN, s.dtype, len(s.shape)) for s in stage.states]
    others = [dataclasses.replace(item, use=Use.HIDDEN) for item in stage.inputs]
    takes = dataclasses.replace(stage, inputs=(*others, *pasts))
    header = {
        "epoch": 1,
        "start": 0,
        "count": 1,
        "drafted": 0,
        "top_k": None,
        "stage": takes.to_json(),
    }
    given = filled(stage, len(tokens) - 1, tokens[-1:], {})
    tensors = [encode_array(name, array) for name, array in given.items()]
    tensors += [joined(state, found) for state in stage.states]
    return asked(browser, _step(subject, header, tensors))


def joined(state: State, found: Sequence[WireTensor]) -> WireTensor:
    """A cache as a stage takes it, of its pieces."""
    parts = [decode_array(tensor) for tensor in found if tensor.name == state.present]
    return encode_array(state.past, np.concatenate(parts, axis=state.axis))
