"""What a step of a session may do, how prompts are cut into steps, how long a step may take."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.core.generation.lead import LEAST as ENOUGH
from inference.core.generation.lead import Lead
from inference.core.generation.prefixes import LEAST as FEWEST
from inference.core.generation.prefixes import reusable
from inference.core.generation.sessions import Place, Step, judge, steps_of
from inference.core.generation.step_times import LEAST, StepTimes
from tests.support.shared import ROOT

CASES = json.loads((ROOT / "tests" / "js" / "fixtures" / "steps.json").read_text())


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_steps_are_judged_as_in_the_page(case: dict[str, object]) -> None:
    step = case["step"]
    assert isinstance(step, list)
    held, kept = (
        Place(*place) if isinstance(place, list) else None
        for place in (case["place"], case.get("kept"))
    )
    assert judge(held, Step(*step), kept) == case["verdict"]


@given(st.integers(2, 3000), st.integers(0, 20), st.integers(3, 300), st.floats(0, 1))
def test_steps_follow_one_another_to_the_end(
    prompt: int, written: int, most: int, share: float
) -> None:
    begun = int(share * (prompt - 2))
    steps = steps_of(prompt, written, start=begun, most=most)
    position = begun
    for start, count in steps:
        assert start == position
        position += count
    assert position == prompt + written
    of_prompt = steps[: len(steps) - written]
    assert all(count <= most for _, count in of_prompt)
    assert all(count > 1 for _, count in of_prompt)
    assert all(count == 1 for _, count in steps[len(of_prompt) :])
    assert any(start + count == prompt for start, count in of_prompt)


def test_a_prompt_of_one_token_is_one_step() -> None:
    assert list(steps_of(1, 1, most=9)) == [(0, 1), (1, 1)]


def test_a_kept_prompt_serves_as_far_as_the_next_one_is_the_same() -> None:
    kept = list(range(40))
    assert reusable(kept, [*kept, 7, 8, 9]) == 40
    assert reusable(kept, [*kept[:30], 99, *kept[31:]]) == 30
    assert reusable(kept, kept) == 38, "a step of several positions is left"
    assert reusable(kept, kept[: FEWEST + 1]) == 0, "too few"
    assert reusable(kept, [99, *kept]) == 0
    assert reusable(kept, [1]) == 0


def test_a_step_may_take_twenty_times_what_slow_ones_took() -> None:
    times = StepTimes(at_least_s=3.0)
    for _ in range(LEAST - 1):
        times.note(0.5)
    assert times.within_s() is None, "too few"
    times.note(0.5)
    assert times.within_s() == 10.0
    for _ in range(3):
        times.note(40.0)
    assert times.within_s() == 800.0, "three of nineteen are no exception"
    for _ in range(80):
        times.note(0.002)
    assert times.within_s() == 10.0, "three of ninety-nine are, and the half seconds still count"
    for _ in range(128):
        times.note(0.002)
    assert times.within_s() == 3.0
    assert (times.within_s(2.0), times.within_s(4.0)) == (3.0, 4.04), "behind those of others"
    assert times.slow_s() == 0.04, "several such steps wait for the least once"


def wait(lead: Lead, seconds: float) -> None:
    for look in range(round(seconds / 0.05) + 1):
        lead.look(look * 0.05)


def test_a_standby_waits_half_as_long_again_as_it_ever_had_to() -> None:
    lead = Lead()
    for _ in range(ENOUGH - 2):
        lead.end(0.0)
    wait(lead, 5.0)
    assert not lead.is_too_long, "too little is known"
    lead.end(5.0)
    for _ in range(128):
        lead.end(0.0)  # the stage had it before
    wait(lead, 0.15)
    assert lead.waits_s == pytest.approx(0.15)
    assert not lead.is_too_long
    lead.look(0.21)
    assert lead.is_too_long
    lead.end(0.21)
    lead.look(1.0)
    lead.end(1.1)
    wait(lead, 0.25)
    assert not lead.is_too_long, "a wait of 0.21 s was none of a browser that stands still"
    lead.look(0.35)
    assert lead.is_too_long


def test_a_standby_that_stood_still_itself_has_waited_for_a_moment() -> None:
    lead = Lead()
    for _ in range(ENOUGH):
        lead.end(0.0)
    lead.look(10.0)
    lead.look(70.0)
    assert lead.waits_s == pytest.approx(0.1)
    assert not lead.is_too_long
