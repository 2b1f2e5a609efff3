"""What a text may go on with: looked up in what it said before."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.drafts import MOST, Drafts


def test_what_followed_before_is_drafted() -> None:
    drafts = Drafts((1, 2, 3, 4, 5, 9, 1, 2))
    assert drafts.next(9) == [3, 4], "few, before any was right"
    assert drafts.next(1) == [3]
    drafts.told([7], 0)
    assert drafts.next(9) == [], "2, 7 was never there"


def test_four_tokens_are_believed_before_two() -> None:
    assert Drafts((1, 2, 3, 4, 5, 0, 3, 4, 6, 0, 1, 2, 3, 4)).next(1) == [5]
    assert Drafts((1, 2, 3, 4, 5, 0, 3, 4, 6, 0, 9, 9, 3, 4)).next(1) == [6]


def test_a_text_that_goes_round_is_drafted_beyond_its_end() -> None:
    drafts = Drafts((1, 2, 3, 1, 2, 3))
    made = []
    for _ in range(6):
        made.append(drafts.next(9))
        text = [1, 2, 3] * 4
        start = sum(len(each) + 1 for each in made[:-1]) % 3
        assert made[-1] == text[start : start + len(made[-1])]
        drafts.told(text[start : start + len(made[-1]) + 1], len(made[-1]))
    assert [len(each) for each in made] == sorted(len(each) for each in made)
    assert len(made[-1]) == MOST, "all were right: as many as may be"


@given(st.integers(0, 2**32), st.integers(2, 5))
def test_what_drafts_cost_in_vain_is_bounded(seed: int, tokens: int) -> None:
    """Drawn by chance of few tokens, so that each seems to go on as before: a position costs half a step."""
    draw, count = random.Random(seed), 400
    drafts, lost = Drafts((1, 2) * 4), 0.0
    written = 0
    while written < count:
        drafted = drafts.next(MOST)
        told: list[int] = []
        for expected in (*drafted, None):
            told.append(draw.randrange(tokens))
            if told[-1] != expected:
                break
        drafts.told(told, len(drafted))
        written += len(told)
        lost += 0.5 * len(drafted) - (len(told) - 1)
    assert lost < 0.03 * count


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 9))
def test_the_same_text_makes_the_same_drafts(text: list[int], most: int) -> None:
    one, other = Drafts(text), Drafts(text)
    assert one.next(most) == one.next(most) == other.next(most)
    assert len(one.next(most)) <= most
    assert set(one.next(most)) <= set(text)
