"""What a step of a session may do, and how prompts are cut into steps."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.sessions import Place, Step, judge, steps_of
from tests.support.shared import ROOT

CASES = json.loads((ROOT / "tests" / "js" / "fixtures" / "steps.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_steps_are_judged_as_in_the_page(case: dict[str, object]) -> None:
    place, step = case["place"], case["step"]
    assert isinstance(step, list)
    held = Place(*place) if isinstance(place, list) else None
    assert judge(held, Step(*step)) == case["verdict"]


@given(st.integers(1, 3000), st.integers(0, 20), st.integers(3, 300))
def test_steps_follow_one_another_to_the_end(prompt: int, written: int, most: int) -> None:
    steps = steps_of(prompt, written, most=most)
    position = 0
    for start, count in steps:
        assert start == position
        position += count
    assert position == prompt + written
    of_prompt = steps[: len(steps) - written]
    assert all(count <= most for _, count in of_prompt)
    assert prompt == 1 or all(count > 1 for _, count in of_prompt)
    assert all(count == 1 for _, count in steps[len(of_prompt) :])
    assert any(start + count == prompt for start, count in of_prompt)
