"""The lives of a session, by Hypothesis: whatever is lost, repeated, late or given on, its text is one.

Ledger, store, stages and listeners are webpool's. In place of pages native onnxruntime computes the cut
stages, and refuses what a page refuses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from browsers import clock
from browsers.redis import client
from browsers.worker import BrowserWorker
from inference.catalog import registry
from inference.core.generation.asked import (
    Asked,
    Ended,
    Ending,
    Event,
    Paused,
    Resumed,
    TokenWritten,
)
from inference.core.generation.sampled import Sampling
from inference.generation import endings, recovery, serving, streams
from inference.generation.exchange import Exchange
from inference.generation.opening import _held
from inference.generation.stage import HeldStage
from inference.generation.takeover import following
from inference.generation.takeover.finding import Finder
from inference.generation.takeover.outcomes import Closed, Lost
from inference.models import (
    GenerationSession,
    GenerationStage,
    GenerationStandby,
    OnnxModel,
    SessionState,
)
from tests.support import decoders
from tests.support.ledger import publish
from tests.support.native_page import Page

BROWSERS = ("a", "b", "c")
TOKENS = 24
PROMPTS = ((72, 101, 108, 108, 111), (1, 2), (9,), (3, 4, 5) * 4)
SAMPLINGS = (
    Sampling(),
    Sampling(temperature=0.9, top_k=20, seed=11),
    Sampling(temperature=1.1, seed=2),
)

pytestmark = pytest.mark.usefixtures("clean")


class Worker:
    """A browser's worker, as far as a stage knows it."""

    def __init__(self, browser: str) -> None:
        self.id, self.page = browser, Page()


class Lives(RuleBasedStateMachine):
    """A session of one to three stages, and of standbys that follow them.

    `late` are those who held or followed a stage before, and do not know.
    """

    model: OnnxModel
    file: Path

    @initialize(
        stages=st.integers(1, 3),
        prompt=st.sampled_from(PROMPTS),
        sampling=st.sampled_from(SAMPLINGS),
        standbys=st.integers(0, 2),
        speculation=st.booleans(),
    )
    def begin(
        self,
        stages: int,
        prompt: tuple[int, ...],
        sampling: Sampling,
        standbys: int,
        speculation: bool,
    ) -> None:
        self.come_back()
        asked = Asked(
            prompt, TOKENS, sampling, ignore_end=True,
            shards=stages, standbys=standbys, speculation=speculation,
        )  # fmt: skip
        self.right = decoders.uncut(self.file, asked)
        self.id = serving.start(self.model, asked, "")
        self.stages = stages
        self.workers = {browser: Worker(browser) for browser in BROWSERS}
        self.exchange = Exchange()
        self.held: list[HeldStage] = []
        self.followers: list[HeldStage] = []
        self.late: list[HeldStage] = []
        self.where: dict[int, str] = {}
        self.listener = serving._Listening(self.id, 0)
        self.told: list[Event] = []
        self.cancelled = False
        self.lost_at: int | None = None  # so much had been told when the store was lost
        self.take_over()

    def come_back(self) -> None:
        for browser in BROWSERS:
            publish(browser, memory_limit_mb=4000.0)

    def take_over(self) -> None:
        """Each stage is opened by the browser that the ledger says."""
        rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
        rows = rows.filter(session__pk=self.id)
        current = {row.index: row.epoch for row in rows}
        self.late += [each for each in self.held if each.epoch != current[each.index]]
        self.held = [each for each in self.held if each.epoch == current[each.index]]
        self.late += [each for each in self.followers if each.epoch < current[each.index]]
        taking = [each for each in self.followers if each.epoch == current[each.index]]
        self.followers = [each for each in self.followers if each.epoch > current[each.index]]
        for held in taking:
            self.held.append(held)
            self.look(held)
        for row in rows.exclude(index__in=[each.index for each in self.held]):
            held = _held(row)
            self.where[id(held)] = row.browser
            self.held.append(held)
            GenerationStage.objects.filter(pk=row.pk).update(opened_by="test")
            if held.takeover is not None and held.takeover.until == 0:
                held.caught_up(row.browser, 0)

    # --- what happens ---

    @rule(stage=st.integers(0, 2), times=st.integers(1, 4))
    def go_on(self, stage: int, times: int) -> None:
        """A stage computes what it was given, if it was."""
        for _ in range(times):
            for held in [each for each in self.held if each.index == stage]:
                self.step(held)
        self.listen()

    @rule(times=st.integers(1, 3))
    def all_go_on(self, times: int) -> None:
        for _ in range(times):
            for index in range(self.stages):
                self.go_on(index, 1)

    @rule()
    def stages_are_given_standbys(self) -> None:
        session = GenerationSession.objects.select_related("plan", "model").get(pk=self.id)
        endings.write_down(session)
        Finder().keep([session], clock.now() + timedelta(hours=1))
        for standby in following.active().filter(stage__session=session, opened_by=""):
            held = _held(standby.stage, standby)
            self.where[id(held)] = standby.browser
            self.followers.append(held)
            GenerationStandby.objects.filter(pk=standby.pk).update(opened_by="test")

    @rule(times=st.integers(1, 6))
    def standbys_go_on(self, times: int) -> None:
        for held in list(self.followers):
            for _ in range(times):
                if held in self.followers:
                    self.step(held)
        self.listen()

    @rule(pick=st.randoms(use_true_random=False))
    def who_was_replaced_goes_on(self, pick: Any) -> None:
        if self.late:
            self.step(pick.choice(self.late))
        self.listen()

    @rule(stage=st.integers(0, 2))
    def the_answer_of_the_store_is_lost(self, stage: int) -> None:
        """The same step is done again by who does not know that it was passed on."""
        for held in [each for each in self.held if each.index == stage and each.place]:
            self.step(held, heard=False)
        self.listen()

    @rule(browser=st.sampled_from(BROWSERS))
    def a_page_is_lost(self, browser: str) -> None:
        self.workers[browser].page.lose()

    @rule(stage=st.integers(0, 2))
    def a_stage_is_given_on(self, stage: int) -> None:
        for held in [each for each in self.held if each.index == stage]:
            recovery.give(self.id, stage, held.epoch, None, "drained")
        self.take_over()

    @rule()
    def what_was_told_is_written_down(self) -> None:
        endings.write_down(GenerationSession.objects.get(pk=self.id))

    @precondition(lambda self: not self.ended)
    @rule()
    def the_store_is_lost(self) -> None:
        self.lost_at = len(self.told)
        client().flushall()
        self.come_back()
        recovery.rebuild(GenerationSession.objects.get(pk=self.id), "the store was lost")
        self.take_over()
        self.listen()

    @precondition(lambda self: len(self.told) > TOKENS)
    @rule()
    def nobody_wants_it_any_more(self) -> None:
        serving.cancel(self.id)
        self.cancelled = True
        self.listen()

    # --- what follows ---

    @property
    def ended(self) -> bool:
        return bool(self.told) and isinstance(self.told[-1], Ended)

    def step(self, held: HeldStage, *, heard: bool = True) -> None:
        """Compute its next input, if it has one; `heard`: what the store says of it comes back."""
        worker = self.workers[self.where[id(held)]]
        if held.next is None and not self.came(held):
            return
        try:
            if held.ahead:
                held.settle()
            if not held.ready:
                return
            reply = worker.page.step(held.ask())
            call = held.given(cast("BrowserWorker", worker), reply)
            (answer,) = self.exchange.pass_on([call], {held.key: held.cursor}, 0)
            self.exchange.wait({}, 0)
            if heard:
                held.passed(answer, call)
        except Closed:
            self.drop(held)
        except Lost as lost:
            self.drop(held)
            recovery.give(self.id, held.index, held.epoch, lost.category, str(lost))
            self.take_over()

    def came(self, held: HeldStage) -> bool:
        """Whether it has a next input now."""
        found: Any = client().xread({streams.in_key(self.id, held.index): held.cursor}, 1)
        if not found:
            return False
        entry, fields = found[0][1][0]
        if streams.END in fields:
            return False
        held.came(entry.decode(), fields[streams.FRAME])
        return True

    def look(self, held: HeldStage) -> None:
        """A standby that has the stage now hears of it."""
        try:
            held.look(self.where[id(held)])
        except Closed:
            self.drop(held)

    def drop(self, held: HeldStage) -> None:
        self.followers = [each for each in self.followers if each is not held]
        self.held = [each for each in self.held if each is not held]
        self.late = [each for each in self.late if each is not held]

    def listen(self) -> None:
        """As `serving.listen`, without waiting."""
        for _ in range(3):  # who finds that it was begun anew reads again
            found: Any = client().xread({self.listener.key: self.listener.cursor})
            self.told += self.listener.heard(found) or self.listener.from_row()
        tokens = [event for event in self.told if isinstance(event, TokenWritten)]
        assert [event.index for event in tokens] == list(range(len(tokens))), "each once, in order"
        assert [event.pick.token for event in tokens] == self.right[: len(tokens)]

    def teardown(self) -> None:
        """Without further harm it comes to its end, unless it did."""
        if not hasattr(self, "id"):
            return
        for _ in range(5 * TOKENS * self.stages):
            if self.ended:
                break
            self.all_go_on(1)
        assert self.ended, "it goes nowhere"
        ended = self.told[-1]
        assert isinstance(ended, Ended)
        if not self.cancelled:
            assert (ended.ending, ended.error) == (Ending.LENGTH, "")
            assert len([e for e in self.told if isinstance(e, TokenWritten)]) == TOKENS
            endings.write_down(GenerationSession.objects.get(pk=self.id))
            row = GenerationSession.objects.get(pk=self.id)
            assert (row.tokens, row.state) == (self.right, SessionState.ENDED)
            for stage in range(self.stages):
                assert_made_good(self.told, stage)
                if self.lost_at is not None:
                    later = self.told[self.lost_at :]
                    assert any(isinstance(e, Paused) and e.stage == stage for e in later)
        GenerationSession.objects.all().delete()


def assert_made_good(told: Sequence[Event], stage: int) -> None:
    """Whoever hears of a loss hears, after the last one, that it was made good."""
    of_it = [e for e in told if isinstance(e, Paused | Resumed) and e.stage == stage]
    assert not of_it or isinstance(of_it[-1], Resumed), of_it


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.write(tmp_path_factory.mktemp("decoder")).onnx


@pytest.fixture
def lives(file: Path) -> Iterator[type[Lives]]:
    Lives.file = file
    Lives.model = registry.add_model(file, name=f"writer-{os.getpid()}", drawn=True)
    yield Lives
    GenerationSession.objects.all().delete()


def live(lives: type[Lives], examples: int, steps: int) -> None:
    often = settings(
        max_examples=examples,
        stateful_step_count=steps,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(lives, settings=often)


def test_whatever_happens_the_text_is_that_of_the_uncut_decoder(lives: type[Lives]) -> None:
    live(lives, 5, 20)


@pytest.mark.soak("five are always lived")
def test_hundreds_of_lives_have_one_text_each(lives: type[Lives]) -> None:
    live(lives, 400, 60)
