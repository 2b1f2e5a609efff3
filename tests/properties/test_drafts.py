"""Drafted tokens change no text: small random decoders, drawn from in several ways."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.core.generation.asked import Asked
from inference.core.generation.drafts import Drafts
from inference.core.generation.sampled import Sampling, TopLogits
from inference.core.generation.stages import Stage
from inference.core.generation.writing import Writer
from inference.graph.decoding import found
from inference.graph.decoding.reference import empty_states, filled
from inference.graph.runtime import session
from inference.zoo import decoder
from inference.zoo.decoder import DecoderConfig
from inference.zoo.weights import Seeded

CONTEXT, TOKENS = 64, 32


@functools.cache
def small(seed: int) -> tuple[Stage, Any]:
    """A decoder of few tokens, which come again soon."""
    groups = 1 + seed % 2
    config = DecoderConfig(
        layers=1, hidden=16, heads=2, groups=groups, head_size=8, intermediate=24, vocabulary=6,
        context=CONTEXT,
    )  # fmt: skip
    model = decoder.graph(config, weights=Seeded(seed)).model()
    raw = model.SerializeToString()
    return found.read(model).found.whole, session(raw)


def written(
    seed: int, asked: Asked, drafts: Drafts | None, never: set[int], not_first: set[int]
) -> tuple[list[int], int]:
    """The text, and in how many steps it came."""
    stage, runtime = small(seed)
    states, start, sure, steps = empty_states(stage), 0, list(asked.prompt), 0
    writer = Writer(
        asked, context=CONTEXT, vocabulary=6, stop_tokens=(5,), suppress_tokens=[*never],
        begin_suppress_tokens=[*not_first], drafts=drafts,
    )  # fmt: skip
    names = [item.name for item in runtime.get_outputs()]
    while True:
        drafted = writer.drafts() if steps else []
        taken = filled(stage, start, [*sure, *drafted], {}, len(drafted) + 1)
        made = dict(zip(names, runtime.run(names, taken | states), strict=True))
        index = len(writer.written)
        tops = [TopLogits.of_row(row, writer.needs(index)) for row in made[stage.logits][0]]
        run = writer.write(index, tops, drafted)
        steps += 1
        if run.ending is not None:
            return writer.written, steps
        start += len(sure) + len(run.picks) - 1
        states = {s.past: made[s.present].take(range(start), s.axis) for s in stage.states}
        sure = [run.picks[-1].token]


@given(
    st.integers(0, 5),
    st.lists(st.integers(0, 4), min_size=1, max_size=12),
    st.sampled_from(
        (
            Sampling(),
            Sampling(temperature=0.7, seed=3),
            Sampling(temperature=1.5, top_k=2, seed=4),
            Sampling(repetition_penalty=1.3, frequency_penalty=0.5),
        )
    ),
    st.booleans(),
    st.sets(st.integers(0, 5), max_size=3),
    st.sets(st.integers(0, 5), max_size=2),
)
@settings(max_examples=60, deadline=None)
def test_the_text_is_that_of_one_token_a_step(
    seed: int,
    prompt: list[int],
    sampling: Sampling,
    ignore_end: bool,
    never: set[int],
    not_first: set[int],
) -> None:
    asked = Asked(tuple(prompt), TOKENS, sampling, ignore_end=ignore_end)
    text, steps = written(seed, asked, None, never, not_first)
    assert steps == len(text)
    assert not never & {*text}
    assert text[0] not in not_first
    same, fewer = written(seed, asked, Drafts(prompt), never, not_first)
    assert same == text
    assert fewer <= steps


@pytest.mark.parametrize("seed", [0, 1])
def test_a_text_that_goes_round_comes_in_few_steps(seed: int) -> None:
    asked = Asked((1, 2, 1, 2, 1, 2), TOKENS, Sampling(logit_bias={3: 100.0}), ignore_end=True)
    text, steps = written(seed, asked, Drafts(asked.prompt), set(), set())
    assert text == [3] * TOKENS
    assert steps < TOKENS / 2
