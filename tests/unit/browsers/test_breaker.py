"""The circuit breaker: a state machine over all that can happen to it, and what single outcomes count for."""

from __future__ import annotations

import json

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from browsers.core import breaker as one
from browsers.core.breaker import POLICY, Breaker, BreakerState
from browsers.core.breakers import Breakers
from browsers.core.failures import Category

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


class BreakerMachine(RuleBasedStateMachine):
    """Time passes, work fails and succeeds, browsers are repaired, probes begin and are forgotten."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000_000.0
        self.breaker = Breaker()
        self.in_a_row = 0
        self.pardoned: list[float] = []

    @property
    def state(self) -> BreakerState:
        return one.settled(self.breaker, self.now).state

    @rule(seconds=st.floats(0, 400))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(crash=st.booleans())
    def fail(self, crash: bool) -> None:
        before, cooldown = self.state, self.breaker.cooldown_s
        self.breaker = one.failed(self.breaker, self.now, crash=crash)
        self.in_a_row = self.in_a_row + 1 if before is CLOSED else 0
        if before is CLOSED:
            opened = crash or self.in_a_row >= POLICY.failures_to_open
            assert self.state is (OPEN if opened else CLOSED)
            if opened:
                self.in_a_row = 0
                assert self.breaker.cooldown_s == POLICY.cooldown_s
        elif before is HALF_OPEN:
            assert self.state is OPEN
            assert self.breaker.cooldown_s == min(2 * cooldown, POLICY.longest_cooldown_s)
        else:
            assert self.breaker.cooldown_s == cooldown

    @rule()
    def succeed(self) -> None:
        before, successes = self.state, one.settled(self.breaker, self.now).successes
        self.breaker = one.succeeded(self.breaker, self.now)
        self.in_a_row = 0
        if before is HALF_OPEN:
            closes = successes + 1 >= POLICY.successes_to_close
            assert self.state is (CLOSED if closes else HALF_OPEN)
        else:
            assert self.state is before

    @rule()
    def repair(self) -> None:
        before, pardonable = self.state, self.breaker.pardonable
        self.breaker = one.repaired(self.breaker, self.now)
        self.in_a_row = 0 if before is CLOSED else self.in_a_row
        if before is OPEN:
            assert self.state is (CLOSED if pardonable else OPEN)
            if pardonable:
                self.pardoned.append(self.now)

    @rule(owner=st.sampled_from(["a", "b"]))
    def begin_probe(self, owner: str) -> None:
        before = one.settled(self.breaker, self.now)
        taken = one.begin_probe(self.breaker, self.now, owner=owner)
        assert (taken is None) == (before.state is not HALF_OPEN or bool(before.probe))
        if taken is not None:
            self.breaker = taken
            assert one.begin_probe(taken, self.now, owner="c") is None, "one probe at a time"
            assert not one.admits(taken, self.now)
            later = self.now + POLICY.probe_s
            assert one.begin_probe(taken, later, owner="c"), "a probe whose owner died expires"

    @rule(owner=st.sampled_from(["a", "b"]))
    def end_probe(self, owner: str) -> None:
        was = one.settled(self.breaker, self.now).probe
        self.breaker = one.succeeded(self.breaker, self.now, probe=owner)
        self.in_a_row = 0
        if self.state is HALF_OPEN:
            assert self.breaker.probe == ("" if was == owner else was)

    @invariant()
    def work_passes_when_closed_and_never_while_it_cools_down(self) -> None:
        if self.state is CLOSED:
            assert one.admits(self.breaker, self.now)
        if self.state is OPEN:
            assert not one.admits(self.breaker, self.now)

    @invariant()
    def it_is_tried_again_in_bounded_time(self) -> None:
        later = self.now + POLICY.longest_cooldown_s + POLICY.probe_s
        assert one.admits(self.breaker, later)

    @invariant()
    def repairs_cannot_pardon_more_than_they_have(self) -> None:
        for first in self.pardoned:
            within = [at for at in self.pardoned if first <= at <= first + 60]
            assert len(within) <= POLICY.pardons + 60 / POLICY.pardon_every_s + 1e-6

    @invariant()
    def it_survives_being_written_down(self) -> None:
        both = Breakers(self.breaker, {"ab": self.breaker})
        assert Breakers.from_json(json.loads(json.dumps(both.to_json()))) == both


TestBreaker = BreakerMachine.TestCase


def test_a_browser_that_crashes_again_and_again_serves_its_cooldown() -> None:
    breaker, now, pardoned = Breaker(), 0.0, 0
    for _ in range(20):
        breaker = one.repaired(one.failed(breaker, now, crash=True), now + 2)
        pardoned += breaker.state is CLOSED
        now += 3
    assert pardoned == POLICY.pardons
    assert one.settled(breaker, now).state is OPEN


@pytest.mark.parametrize(
    ("category", "browsers", "models"),
    [
        (Category.BROWSER_CRASH, OPEN, CLOSED),
        (Category.TIMEOUT, CLOSED, CLOSED),
        (Category.OUT_OF_MEMORY, CLOSED, CLOSED),
    ],
)
def test_what_one_failure_does(category: Category, browsers: str, models: str) -> None:
    after = Breakers().failed(category, 5.0, sha256="ab")
    assert after.state(5.0) == browsers
    assert one.settled(after.models["ab"], 5.0).state == models


def test_three_failures_of_a_model_keep_that_model_away_and_no_other() -> None:
    breakers = Breakers()
    for _ in range(3):
        breakers = breakers.failed(Category.OUT_OF_MEMORY, 5.0, sha256="ab")
    assert breakers.state(5.0) is CLOSED
    assert breakers.blocked_models(5.0, busy=False) == {"ab"}
    assert not breakers.blocked_models(5.0 + POLICY.cooldown_s, busy=False)
    assert breakers.blocked_models(5.0 + POLICY.cooldown_s, busy=True) == {"ab"}
    assert breakers.probing("ab", 5.0 + POLICY.cooldown_s)
    for _ in range(2):
        breakers = breakers.succeeded(70.0, sha256="ab")
    assert breakers.models == {}, "what is closed needs no place"


@pytest.mark.parametrize("category", [Category.INVALID_INPUT, Category.MODEL_INCOMPATIBLE])
def test_bad_input_is_nobodys_failure(category: Category) -> None:
    assert Breakers().failed(category, 5.0, sha256="ab") == Breakers()


def test_a_probe_of_browser_and_model_is_taken_by_one_only() -> None:
    now = 5.0
    breakers = Breakers().failed(Category.BROWSER_CRASH, now)
    assert breakers.begin_probe(now + 60, owner="a", sha256="ab")
    taken = breakers.begin_probe(now + 60, owner="a")
    assert taken is not None
    assert taken.begin_probe(now + 61, owner="b", sha256="ab") is None
