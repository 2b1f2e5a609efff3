"""The life of runs and steps: whatever happens in whatever order, the real ledger keeps to the table.

Hypothesis chooses what happens; the test plays browsers, workers and operators. What is written is watched
by triggers in the database.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple, TypeVar, cast

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from browsers.core.failures import Category
from browsers.models import Browser, Incident
from browsers.queues import queue_of
from browsers.redis import client
from browsers.state import live
from inference.core.lifecycle import RUN, STEP, UNDER_WAY
from inference.core.turns import Turns
from inference.ledger import claims, draining, endings, operations, results, sweep
from inference.models import Attempt, Outcome, Run, RunState, RunStep, StepKind, StepState
from tests.support import workers
from tests.support.ledger import make_run, publish
from tests.support.moves import Watch, every_move, watched

pytestmark = pytest.mark.usefixtures("clean")
BROWSERS = ("a", "b", "c")
MOST_RUNS = 4
NOW = timedelta(0)
LATER = timedelta(seconds=5)  # after which the sweep takes a message for lost
MUCH_LATER = timedelta(seconds=50)  # after which it takes a join's worker for dead
ENOUGH_ROUNDS = 60
VALUES = {"right": 1.0, "wrong": 11.0, "odd": float("nan")}
FAILURES = (
    Category.BROWSER_CRASH, Category.CONNECTION, Category.INVALID_INPUT,
    Category.UNSUPPORTED_OPERATION, Category.INTERNAL,
)  # fmt: skip

T = TypeVar("T")
any_browser = st.sampled_from(BROWSERS)
any_of = st.integers(0, 1000)
any_value = st.sampled_from(["right", "right", "odd", "wrong"])


def pick(things: Sequence[T], which: int) -> T | None:
    return things[which % len(things)] if things else None


class Life(RuleBasedStateMachine):
    """A small pool with a few runs."""

    watch: Watch
    seen: set[str]

    @initialize()
    def start(self) -> None:
        client().flushall()
        for model in (Run, Incident, Browser):
            model.objects.all().delete()
        for name in BROWSERS:
            Browser.objects.create(pk=name, kind=name, family=name)
            publish(name)
        self.watch.take()
        self.runs: list[Run] = []
        self.held: list[RunStep] = []
        self.messages: list[tuple[int, int]] = []
        self.claims: Counter[int] = Counter()
        self.turns = {name: Turns() for name in BROWSERS}

    # --- callers ---

    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    @rule(
        strategy=st.sampled_from(["layer", "data"]),
        shards=st.integers(1, 3),
        redundancy=st.sampled_from(["", "", "first", "compare"]),
        max_retries=st.integers(0, 2),
        tenant=st.sampled_from(["key greedy", "key other"]),
    )
    def ask(
        self, strategy: str, shards: int, redundancy: str, max_retries: int, tenant: str
    ) -> None:
        run = make_run(
            strategy, shards, redundancy=redundancy, max_retries=max_retries, tenant=tenant
        )
        workers.send_first(run)
        self.runs.append(run)

    @precondition(lambda self: self.runs)
    @rule(which=any_of, how=st.sampled_from(["cancelled", "late"]))
    def end(self, which: int, how: str) -> None:
        run = self.runs.pop(which % len(self.runs))
        if how == "cancelled":
            endings.cancel(run.pk, "nobody wants it")
            return
        past = timezone.now() - timedelta(milliseconds=1)
        Run.objects.filter(pk=run.pk).update(deadline_at=past)
        for shard in self.held:
            if shard.run_id == run.pk:
                shard.run.deadline_at = past

    # --- workers ---

    @rule(which=any_of)
    def take_a_message(self, which: int) -> None:
        if browser := pick(workers.with_messages(BROWSERS), which):
            self._receive(browser)

    @rule(which=any_of, value=any_value)
    def compute_at_once(self, which: int, value: str) -> None:
        browser = pick(workers.with_messages(BROWSERS), which)
        if browser and (shard := self._receive(browser)):
            self.held.remove(shard)
            workers.answer(shard, VALUES[value])

    @precondition(lambda self: self.messages)
    @rule(which=any_of)
    def get_a_message_again(self, which: int) -> None:
        self._hold(workers.claim(self.messages[which % len(self.messages)]))

    def _receive(self, browser: str) -> RunStep | None:
        message = workers.next_message(browser)
        self.messages.append(message)
        return self._hold(workers.claim_next(browser, message, self.turns[browser]))

    def _hold(self, shard: RunStep | None) -> RunStep | None:
        if shard is not None:
            self.held.append(shard)
            self.claims[shard.pk] += 1
        return shard

    @precondition(lambda self: self.held)
    @rule(which=any_of, value=any_value)
    def answer(self, which: int, value: str) -> None:
        workers.answer(self.held.pop(which % len(self.held)), VALUES[value])

    @precondition(lambda self: self.held)
    @rule(which=any_of, category=st.sampled_from(FAILURES))
    def fail(self, which: int, category: Category) -> None:
        workers.fail(self.held.pop(which % len(self.held)), category)

    @rule(browser=any_browser)
    def say_that_all_is_computed(self, browser: str) -> None:
        """Whether it could be written down or not; it may still come, late."""
        workers.become_idle(browser)

    # --- the control worker ---

    @rule()
    def follow_chords(self) -> None:
        workers.follow_chords()

    @rule()
    def die_while_joining(self) -> None:
        for join in workers.joins_to_do():
            claims.claim(join.pk, join.fence, timezone.now())
        sweep.restart_joins()

    @rule(later=st.sampled_from([NOW, LATER, MUCH_LATER]))
    def sweep(self, later: timedelta) -> None:
        assert sweep.sweep(timezone.now() + later)

    # --- browsers ---

    @rule(browser=any_browser, how=st.sampled_from(["told", "unseen", "messages", "back", "back"]))
    def die_or_come_back(self, browser: str, how: str) -> None:
        if how == "back":
            publish(browser)
        elif how == "messages":
            client().delete(queue_of(browser))
        else:
            live.withdraw(browser)
            if how == "told":
                results.owner_died(browser, "killed")

    @rule(browser=any_browser, what=st.sampled_from(["drain", "quarantine", "release", "release"]))
    def operate(self, browser: str, what: str) -> None:
        if what == "release":
            operations.release(browser)
        elif what == "drain":
            draining.drain(browser, reason="by hand")
        else:
            operations.quarantine(browser, by="somebody")

    # --- what must hold ---

    @invariant()
    def holds(self) -> None:
        self.seen.update(change.name for change in self.watch.take())
        ledger = Ledger.read()
        ledger.nothing_counts_twice(self.claims)
        ledger.nothing_is_lost()
        ledger.what_ended_keeps_its_answer_alone()

    def teardown(self) -> None:
        """From now on all goes well: every run must end after a finite number of fair rounds."""
        self.held.clear()
        for name in BROWSERS:
            operations.release(name)
            results.owner_died(name, "the pool starts anew")
            workers.become_idle(name)
        sweep.restart_joins()
        for _ in range(ENOUGH_ROUNDS):
            if not Run.objects.active().exists():
                break
            self._fair_round()
        left = list(RunStep.objects.filter(run__state=RunState.RUNNING).values())
        assert not left, f"after {ENOUGH_ROUNDS} fair rounds: {left}"

    def _fair_round(self) -> None:
        assert sweep.sweep(timezone.now() + LATER)
        for browser in workers.with_messages(BROWSERS):
            while workers.with_messages([browser]):
                self._receive(browser)
        while self.held:
            workers.answer(self.held.pop(), VALUES["right"])
        workers.follow_chords()
        self.holds()


class Step(NamedTuple):
    pk: int
    run: uuid.UUID
    at: int
    kind: str
    state: str
    browser: str
    attempts: int
    depends_on: list[int]


@dataclass(frozen=True)
class Ledger:
    """All that is written down, read at once, and what must be true of it at every moment."""

    runs: dict[uuid.UUID, tuple[str, dict[str, Any]]]
    steps: list[Step]
    counted: Counter[tuple[uuid.UUID, int]]

    @classmethod
    def read(cls) -> Ledger:
        steps = RunStep.objects.order_by().values_list(
            "pk", "run", "index", "kind", "state", "browser", "attempts", "plan_step__depends_on"
        )
        good = Attempt.objects.filter(outcome=Outcome.SUCCEEDED).order_by()
        runs = Run.objects.order_by().values_list("pk", "state", "outputs")
        return cls(
            {pk: (state, outputs) for pk, state, outputs in runs},
            [Step(*row) for row in steps],
            Counter(good.values_list("shard__run", "shard__index")),
        )

    def nothing_counts_twice(self, claims: Counter[int]) -> None:
        done = Counter((s.run, s.at) for s in self.steps if s.state == StepState.DONE)
        computed = {
            (s.run, s.at)
            for s in self.steps
            if s.state == StepState.DONE and s.kind == StepKind.COMPUTE
        }
        assert set(done.values()) <= {1}, "two copies are done"
        assert dict(self.counted) == dict.fromkeys(computed, 1), "one answer of each that is done"
        tried = {s.pk: s.attempts for s in self.steps if s.kind == StepKind.COMPUTE and s.attempts}
        assert tried == dict(claims)

    def nothing_is_lost(self) -> None:
        for run, (state, _) in self.runs.items():
            steps = [step for step in self.steps if step.run == run]
            still_open = [step for step in steps if step.state in STEP.open]
            done = {step.at for step in steps if step.state == StepState.DONE}
            if state != RUN.initial:
                assert not still_open, f"{state}, and {still_open}"
                assert (state == RunState.SUCCEEDED) == (done == {step.at for step in steps})
                continue
            assert still_open, "none of its steps is open, and it has not ended"
            for step in still_open:
                forgotten = step.state == StepState.WAITING and done.issuperset(step.depends_on)
                assert not forgotten, step
                if step.kind == StepKind.COMPUTE:
                    assert bool(step.browser) == (step.state in UNDER_WAY), step

    def what_ended_keeps_its_answer_alone(self) -> None:
        stored, told = (
            {str(key, "utf-8") for key in cast("list[bytes]", client().keys(f"webpool:{what}:*"))}
            for what in ("tensor", "done")
        )
        for run, (state, outputs) in self.runs.items():
            if state in RUN.ended:
                kept = {key for key in stored if key.split(":")[2] == str(run)}
                assert kept == {item["key"] for item in outputs.values()}, state
                assert f"webpool:done:{run}" in told, "who waits was told"


@pytest.fixture
def watch() -> Iterator[Watch]:
    with watched() as watch:
        yield watch


def live_through(watch: Watch, examples: int, steps: int) -> set[str]:
    """Returns every move that was seen."""
    Life.watch, Life.seen = watch, set()
    often = settings(
        settings.get_profile("webpool"),
        max_examples=examples,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Life, settings=often)
    return Life.seen


def test_whatever_happens_no_step_is_lost_none_counts_twice_and_every_run_ends(
    watch: Watch,
) -> None:
    assert live_through(watch, examples=8, steps=40) <= every_move()


@pytest.mark.soak("some minutes of whatever may happen")
def test_whatever_happens_for_long(watch: Watch) -> None:
    assert live_through(watch, examples=100, steps=60) == every_move()
