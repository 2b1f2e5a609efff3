"""The thread of a browser's worker that computes steps: who waits for whom, and what a hanging page costs.

Store and loop are webpool's; in place of the page native onnxruntime computes.
"""

from __future__ import annotations

import dataclasses
import gc
import json
import threading
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from browsers.bridge import Refusal, Reply
from browsers.core.errors import DeadlinePassed
from browsers.redis import client
from browsers.session.decoding import StepAsked
from browsers.worker import BrowserWorker
from inference.catalog import registry
from inference.core.generation.asked import Asked, Ended, Ending, TokenWritten
from inference.core.generation.sampled import Sampling
from inference.core.generation.sessions import Place
from inference.generation import endings, report, serving, streams
from inference.generation.kept import KeptStages
from inference.generation.loop import DecodeLoop, _round_s
from inference.generation.opening import _held
from inference.generation.stage import HeldStage
from inference.models import GenerationSession, GenerationStage, OnnxModel
from tests.support import decoders
from tests.support.ledger import publish
from tests.support.loops import Browser
from tests.support.native_page import Page

PROMPT = tuple(range(40))
pytestmark = pytest.mark.usefixtures("clean")


class Decoding:
    """Steps in a page that stops at the 20th of one position, and at those of prompts after it."""

    def __init__(self) -> None:
        self.page, self.released, self.prompts = Page(), list[str](), 0
        self.hangs = False
        self.singles = 0
        self.at_token, self.at_prompt = threading.Event(), threading.Event()
        self.go_on, self.end_prompt = threading.Event(), threading.Event()

    def steps(self, asked: Sequence[StepAsked], *, timeout_s: float) -> list[Reply | Refusal]:
        if all(each.step["count"] == 1 for each in asked):
            self.singles += 1
            if self.singles == 20:
                self.at_token.set()
                assert self.go_on.wait(30)
            if self.singles > 20 and self.hangs:
                raise DeadlinePassed("it hangs")
        elif self.singles:
            self.prompts += 1
            self.at_prompt.set()
            assert self.end_prompt.wait(30)
        return [self.page.step(each) for each in asked]

    def release(self, holder: str) -> None:
        self.released.append(holder)


class Worker:
    """A browser's worker, as far as a loop knows it."""

    def __init__(self) -> None:
        self.id = "a"
        self.session = SimpleNamespace(decoding=Decoding())
        self.status = SimpleNamespace(idle_since=1.0, instance="test")
        self.holding = SimpleNamespace(step_failed=lambda sha256, error: None)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.write(tmp_path_factory.mktemp("decoder")).onnx


@pytest.fixture
def writer(file: Path, settings: Any) -> Iterator[OnnxModel]:
    settings.WEBPOOL_KEEP_S = 0
    publish("a", memory_limit_mb=4000.0)
    known = OnnxModel.objects.filter(name="looped").first()
    yield known or registry.add_model(file, name="looped", drawn=True)
    GenerationSession.objects.all().delete()


def begin(model: OnnxModel, prompt: Sequence[int], tokens: int = 60) -> HeldStage:
    session = serving.start(model, Asked(tuple(prompt), tokens, ignore_end=True, shards=1), "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    return _held(rows.get(session__pk=session))


def at_twenty(model: OnnxModel) -> tuple[DecodeLoop, Decoding, HeldStage, HeldStage]:
    """One that writes, and another whose prompt came meanwhile."""
    worker = Worker()
    loop = DecodeLoop(cast("BrowserWorker", worker))
    one = begin(model, PROMPT)
    loop.open(one)
    decoding = cast("Decoding", worker.session.decoding)
    assert decoding.at_token.wait(30)
    another = begin(model, PROMPT[::-1])
    loop.open(another)
    return loop, decoding, one, another


def test_who_waits_for_the_prompt_of_another_is_not_late(writer: OnnxModel, settings: Any) -> None:
    _, decoding, one, another = at_twenty(writer)
    own = [settings.WEBPOOL_SESSION_STALL_S]
    assert streams.allowed_s(one.session, 1) == own
    decoding.go_on.set()
    assert decoding.at_prompt.wait(30)
    assert streams.allowed_s(one.session, 1) == [one.timeout_s]
    decoding.end_prompt.set()
    for held in (one, another):
        *_, ended = serving.listen(held.session)
        assert isinstance(ended, Ended) and (ended.ending, ended.tokens) == (Ending.LENGTH, 60)
    assert streams.allowed_s(one.session, 1) == own, "afterwards it goes by its own steps again"


def test_a_page_that_hangs_is_asked_nothing_more_of_what_was_lost(writer: OnnxModel) -> None:
    loop, decoding, one, another = at_twenty(writer)
    decoding.hangs = True
    decoding.end_prompt.set()
    decoding.go_on.set()
    told: set[str] = set()
    while told != {one.session, another.session}:
        found: Any = client().brpop([streams.TOLD], 30)
        assert found, "nobody was told"
        told.add(json.loads(found[1])["session"])
    decoding.hangs = False
    third = begin(writer, PROMPT, tokens=2)
    loop.open(third)
    assert isinstance(list(serving.listen(third.session))[-1], Ended)
    assert decoding.prompts == 1, "the third's own"


def test_of_a_kept_stage_nothing_is_held_but_its_cache(writer: OnnxModel, settings: Any) -> None:
    """Its writer would keep a process for each text that is held to a form."""
    settings.WEBPOOL_KEEP_S = 60
    held = begin(writer, PROMPT)
    endings.end(GenerationSession.objects.get(pk=held.session), Ending.LENGTH)
    held.place = Place(1, len(PROMPT), 0)
    worker = Worker()
    worker.session.decoding.keep = lambda holder, mb: None
    kept, ref = KeptStages(cast("BrowserWorker", worker)), weakref.ref(held)
    assert kept.keep(held)
    del held
    gc.collect()
    assert ref() is None and kept.any


def test_of_a_run_that_several_texts_share_each_is_told_its_part(writer: OnnxModel) -> None:
    """Ten steps of one token in runs of 12 ms, in which three other texts had theirs, after the prompt's."""
    browser = Browser("a")
    browser.decoding.after = _shared
    asked = Asked(PROMPT, 11, ignore_end=True, shards=1, speculation=False)
    key = serving.start(writer, asked, "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    browser.loop.open(_held(rows.get(session__pk=key)))
    assert isinstance(list(serving.listen(key))[-1], Ended)
    assert report.of_session(key)["stages"][0]["step_ms"] == pytest.approx(10 * 12.0 / 4)


def test_a_token_drawn_among_more_than_there_are_is_drawn_among_all(
    writer: OnnxModel, file: Path
) -> None:
    browser = Browser("a")
    among_all = Asked(PROMPT, 12, Sampling(temperature=1.0, seed=3), ignore_end=True, shards=1)
    sampling = dataclasses.replace(among_all.sampling, top_k=2**31 - 1, logprobs=20)
    key = serving.start(writer, dataclasses.replace(among_all, sampling=sampling), "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    browser.loop.open(_held(rows.get(session__pk=key)))
    told = [each.pick for each in serving.listen(key) if isinstance(each, TokenWritten)]
    assert [pick.token for pick in told] == decoders.uncut(file, among_all)
    assert {len(pick.top) for pick in told} == {20}


def _shared(reply: Reply | Refusal) -> Reply | Refusal:
    assert not isinstance(reply, Exception)
    return {**reply[0], "compute_ms": 12.0, "together": 4}, reply[1]


def test_a_round_has_the_times_that_are_known_and_one_for_the_others(writer: OnnxModel) -> None:
    one, another = begin(writer, PROMPT), begin(writer, PROMPT)
    assert _round_s([one, another], measured=False) == one.timeout_s == another.timeout_s
    for _ in range(20):
        one.times.note(0.01)
    known = one.times.within_s()
    assert known is not None and known < one.timeout_s
    assert _round_s([one, another], measured=True) == known + another.timeout_s
    for _ in range(20):
        another.times.note(0.01)
    assert _round_s([one, another], measured=True) == known, "a page stands still for all at once"
    for _ in range(20):
        another.times.note(1.0)
    assert _round_s([one, another], measured=True) == pytest.approx(0.2 + 20.0)
