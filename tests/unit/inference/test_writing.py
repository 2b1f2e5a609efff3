"""A text, token by token: when it ends, and that a token asked for again is the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.asked import Asked, Ending
from inference.core.generation.drafts import Drafts
from inference.core.generation.sampled import Sampling, TopLogits
from inference.core.generation.writing import Writer

PROMPT = (1, 2, 3)


def write(writer: Writer, token: int) -> Ending | None:
    """Have the writer draw that token next."""
    logits = np.zeros(8, np.float32)
    logits[token] = 5.0
    top = TopLogits.of_row(logits)
    run = writer.write(len(writer.written), [top])
    assert [pick.token for pick in run.picks] == [token]
    return run.ending


def made(most: int = 9, *, context: int = 100, **asked: Any) -> Writer:
    texts = "abcdefgh"
    return Writer(
        Asked(PROMPT, most, **asked), context=context, vocabulary=8, stop_tokens=(7,),
        text_of=texts.__getitem__,
    )  # fmt: skip


def test_it_ends_at_the_model_s_own_end_or_the_caller_s() -> None:
    assert [write(made(), token) for token in (7, 6)] == [Ending.STOP, None]
    assert write(made(stop_tokens=(6,)), 6) is Ending.STOP
    assert write(made(ignore_end=True), 7) is None


def test_it_ends_at_its_length_or_where_the_context_does() -> None:
    writer = made(2)
    assert [write(writer, 0), write(writer, 1)] == [None, Ending.LENGTH]
    writer = made(context=5)
    assert [write(writer, 0), write(writer, 1)] == [None, Ending.LENGTH]


def test_a_stop_text_ends_it_over_the_bounds_of_tokens() -> None:
    writer = made(stop=("bcd",))
    assert [write(writer, token) for token in (0, 1, 2, 3)] == [None, None, None, Ending.STOP]
    with pytest.raises(ValueError, match="tokenizer"):
        Writer(Asked(PROMPT, 9, stop=("x",)), context=9, vocabulary=8, stop_tokens=())


def test_the_last_token_again_is_the_same_and_no_other_is_out_of_turn() -> None:
    writer = made(sampling=Sampling(temperature=1.0, seed=3))
    numbers = np.random.default_rng(0).standard_normal(8).astype(np.float32)
    top = TopLogits.of_row(numbers)
    first = writer.write(0, [top])
    assert writer.write(0, [top]) == first
    assert len(writer.written) == 1
    with pytest.raises(ValueError, match="expected token 1, got 2"):
        writer.write(2, [top])


@given(st.integers(0, 2**32), st.integers(0, 4), st.sampled_from((0.0, 1.2)))
def test_of_drafted_tokens_those_are_told_that_are_drawn(
    seed: int, right: int, temperature: float
) -> None:
    """The text is the one that is drawn row by row, whatever was drafted."""
    rows = np.random.default_rng(seed).standard_normal((5, 8)).astype(np.float32)
    tops = [TopLogits.of_row(row) for row in rows]
    sampling = Sampling(temperature=temperature, seed=seed)
    one_by_one, writer = (made(sampling=sampling, ignore_end=True) for _ in range(2))
    for index, top in enumerate(tops):
        one_by_one.write(index, [top])
    drafted = [*one_by_one.written[:right], *((t + 1) % 8 for t in one_by_one.written[right:])][:4]
    run = writer.write(0, tops, drafted)
    assert [pick.token for pick in run.picks] == one_by_one.written[: right + 1]
    assert writer.written == one_by_one.written[: right + 1]
    assert writer.write(0, tops, drafted) == run, "asked again, and drawn once"


def test_rows_that_a_wrong_draft_has_spoiled_are_not_missed() -> None:
    tops = [TopLogits.of_row(np.eye(8, dtype=np.float32)[token]) for token in (1, 2)]
    writer = made()
    assert [pick.token for pick in writer.write(0, tops, [1, 2, 3]).picks] == [1, 2]
    assert [pick.token for pick in writer.write(2, tops[:1], [6, 6, 6]).picks] == [1]


def test_what_ends_a_text_ends_it_within_a_step() -> None:
    tops = [TopLogits.of_row(np.eye(8, dtype=np.float32)[token]) for token in (1, 2, 3, 4)]
    run = made(stop=("cd",)).write(0, tops, [1, 2, 3])
    assert [pick.token for pick in run.picks] == [1, 2, 3]
    assert run.ending is Ending.STOP
    run = made(2).write(0, tops, [1, 2, 3])
    assert ([pick.token for pick in run.picks], run.ending) == ([1, 2], Ending.LENGTH)


def test_no_more_is_drafted_than_there_is_room_for() -> None:
    prompt = (5, 6) * 10
    for most, context, room in ((9, 100, 2), (3, 100, 1), (9, 23, 1), (2, 100, 0)):
        writer = Writer(
            Asked(prompt, most),
            context=context,
            vocabulary=8,
            stop_tokens=(),
            drafts=Drafts(prompt),
        )
        write(writer, 5)
        assert writer.drafts() == [6, 5][:room], (most, context)


def test_a_whole_row_is_put_in_order_ties_by_the_smaller_id() -> None:
    row = np.array([1, 3, 3, -2, 5], np.float32)
    top = TopLogits.of_row(row)
    assert top.ids.tolist() == [4, 1, 2, 0, 3]
    assert top.complete


def test_what_is_suppressed_at_the_beginning_may_come_later() -> None:
    row = np.array([9, 8, 7, 6, 5, 4, 3, 2], np.float32)

    def writer(**sampling: Any) -> Writer:
        return Writer(
            Asked(PROMPT, 9, Sampling(**sampling)), context=100, vocabulary=8, stop_tokens=(),
            suppress_tokens=(0, 2), begin_suppress_tokens=(1, 2),
        )  # fmt: skip

    one = writer()
    assert [one.needs(index) for index in (0, 1, 5)] == [4, 3, 3]
    for index, right in enumerate((3, 1, 1)):
        run = one.write(index, [TopLogits.of_row(row, one.needs(index))])
        assert [pick.token for pick in run.picks] == [right]
    together = writer().write(0, [TopLogits.of_row(row, one.needs(0))] * 3, [3, 1])
    assert [pick.token for pick in together.picks] == [3, 1, 1], "as one step gives them"
    assert [writer(temperature=1.0, top_k=top).needs(0) for top in (4, 5, 2**31 - 1)] == [7, 0, 0]
