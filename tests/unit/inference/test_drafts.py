"""What a text may go on with: looked up in what it said before."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.drafts import MOST, Drafts


def test_what_followed_before_is_drafted() -> None:
    drafts = Drafts((1, 2, 3, 4, 5, 9, 1, 2))
    assert drafts.next(9) == [3, 4, 5, 9]
    assert drafts.next(2) == [3, 4]
    drafts.told([7], 0)
    assert drafts.next(9) == [], "2, 7 was never there"


def test_four_tokens_are_believed_before_two() -> None:
    assert Drafts((1, 2, 3, 4, 5, 0, 3, 4, 6, 0, 1, 2, 3, 4)).next(1) == [5]
    assert Drafts((1, 2, 3, 4, 5, 0, 3, 4, 6, 0, 9, 9, 3, 4)).next(1) == [6]


def test_a_text_that_goes_round_is_drafted_beyond_its_end() -> None:
    drafts = Drafts((1, 2, 3, 1, 2, 3))
    assert drafts.next(9) == [1, 2, 3, 1]
    drafts.told([1, 2, 3, 1, 2], 4)
    assert drafts.next(9) == [3, 1, 2, 3, 1, 2, 3, 1], "all were right: twice as many"


def test_where_drafts_are_refused_they_become_rare() -> None:
    """Of two tokens by chance, so that what was there before tells nothing."""
    draw = random.Random(5)
    drafts, made = Drafts((1, 2) * 4), 0
    for _ in range(500):
        made += bool(asked := len(drafts.next(MOST)))
        drafts.told([draw.choice((1, 2))], asked)
    assert made < 30


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(1, 9))
def test_the_same_text_makes_the_same_drafts(text: list[int], most: int) -> None:
    one, other = Drafts(text), Drafts(text)
    assert one.next(most) == one.next(most) == other.next(most)
    assert len(one.next(most)) <= most
    assert set(one.next(most)) <= set(text)
