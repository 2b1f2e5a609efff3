"""Which steps may be rows of one run."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.batches import batch_of, piece
from inference.core.generation.sessions import Step
from inference.core.generation.stages import Decoder, Stage, StageInput, State, Use
from inference.graph.decoding import found
from inference.zoo import decoder


def stage(size: int, *uses: Use) -> Stage:
    inputs = tuple(StageInput(use, use, "int64", 2) for use in uses)
    return Stage(inputs, (State("past", "present", "float32", (1, 2, 0, size), 2),), (), "logits")


DRAWN = (Use.TOKENS, Use.MASK, Use.POSITIONS, Use.ROWS)


@pytest.mark.parametrize(
    ("size", "keys"), [(8, 1024), (16, 1024), (24, 512), (64, 256), (80, 128), (128, 128)]
)
def test_the_wider_a_head_the_fewer_keys_are_summed_at_once(size: int, keys: int) -> None:
    assert piece(size) == keys


@given(st.integers(1, 128), st.integers(1, 5000), st.integers(1, 5000))
def test_steps_in_one_piece_go_together(size: int, one: int, another: int) -> None:
    batches = [batch_of(stage(size, *DRAWN), Step(1, start, 1)) for start in (one, another)]
    assert (batches[0] == batches[1]) == (one // piece(size) == another // piece(size))


@pytest.mark.parametrize("step", [Step(1, 0, 1), Step(1, 9, 4), Step(1, 9, 3, 2)])
def test_what_is_not_one_token_that_follows_is_computed_alone(step: Step) -> None:
    assert batch_of(stage(16, *DRAWN), step) is None


@pytest.mark.parametrize("use", [Use.LENGTH, Use.LAST_POSITION, Use.MEMORY, Use.CACHED])
def test_inputs_that_say_one_thing_for_all_rows_forbid_it(use: Use) -> None:
    assert batch_of(stage(16, *DRAWN, use), Step(1, 9, 1)) is None


def test_a_later_stage_takes_hidden_tensors_and_no_tokens() -> None:
    assert batch_of(stage(16, Use.HIDDEN, Use.MASK, Use.POSITIONS), Step(1, 9, 1)) == 0


def test_only_graphs_that_promise_it_are_batched() -> None:
    """Those drawn; not those that only look so, of an earlier webpool, of others, or with wide heads."""
    whole = found.read(decoder.tiny().model()).found.whole
    drawn = Decoder("llama", 4, 512, 99, (), "", {}, 1, whole, drawn=True)
    assert drawn.alike
    assert Decoder.from_json(drawn.to_json()) == drawn
    earlier = {name: value for name, value in drawn.to_json().items() if name != "drawn"}
    assert not Decoder.from_json(earlier).alike
    wide = dataclasses.replace(whole, states=(State("p", "q", "float32", (1, 2, 0, 256), 2),))
    assert not dataclasses.replace(drawn, whole=wide).alike
    inputs = tuple(item for item in whole.inputs if item.use is not Use.ROWS)
    others = dataclasses.replace(whole, inputs=inputs)
    assert not dataclasses.replace(drawn, whole=others).alike
