"""Standbys of a text's stages: who is asked, what they may write, how one takes over, and which is given up.

Store, ledger and decode loops are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from browsers import clock
from browsers.bridge import Refusal, Reply
from browsers.core.errors import BrowserCrash
from browsers.core.failures import Category
from browsers.core.protocol import WireTensor
from browsers.session.decoding import StepAsked
from browsers.state import live
from browsers.worker import BrowserWorker
from inference.catalog import registry
from inference.core.generation import telling
from inference.core.generation.asked import Asked, Ended, Paused, Resumed, TokenWritten
from inference.core.generation.sampled import Pick
from inference.errors import InvalidRequest
from inference.generation import endings, frames, recovery, report, serving, streams
from inference.generation.loop import DecodeLoop
from inference.generation.opening import _held
from inference.generation.streams import Said
from inference.generation.takeover import following, strides
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, GenerationStandby, OnnxModel
from inference.store.tensors import decode_array, encode_array
from tests.support import decoders
from tests.support.ledger import publish
from tests.support.native_page import Page
from tests.support.sessions import begin, entries, heard, passed_on, stages, write

PROMPT, TOKENS = tuple(range(40)), 60
pytestmark = pytest.mark.usefixtures("clean")


class Decoding:
    """Steps in a page: `before` is called with the number of each step that is not of a prompt."""

    def __init__(self) -> None:
        self.page, self.released = Page(), list[str]()
        self.kept = SimpleNamespace(holders=set)
        self.before: Callable[[int], object] = lambda step: None
        self.after: Callable[[Reply | Refusal], Reply | Refusal] = lambda reply: reply
        self.computed, self.at = 0, 0

    def steps(self, asked: Sequence[StepAsked], *, timeout_s: float) -> list[Reply | Refusal]:
        for each in asked:
            if each.step["start"]:
                self.at = each.step["start"]
                self.before(each.step["start"] - len(PROMPT))
                self.computed += 1
        return [self.after(self.page.step(each)) for each in asked]

    def release(self, holder: str) -> None:
        self.released.append(holder)


class Browser:
    """A browser of the pool: what a decode loop knows of its worker, and the loop."""

    def __init__(self, name: str) -> None:
        publish(name, memory_limit_mb=4000.0)
        self.id, self.decoding = name, Decoding()
        self.session = SimpleNamespace(decoding=self.decoding)
        self.status = SimpleNamespace(idle_since=1.0, instance="test")
        self.holding = SimpleNamespace(step_failed=lambda sha256, error: None)
        self.loop = DecodeLoop(cast("BrowserWorker", self))


@pytest.fixture
def model(decoder_file: Path, settings: Any) -> Iterator[OnnxModel]:
    settings.WEBPOOL_KEEP_S = 0
    known = OnnxModel.objects.filter(name="stood-by").first()
    yield known or registry.add_model(decoder_file, name="stood-by", drawn=True)
    GenerationSession.objects.all().delete()


@pytest.fixture
def right(decoder_file: Path) -> list[int]:
    return decoders.greedy(decoder_file, list(PROMPT), TOKENS)


class Text:
    """A text of one stage in browser a, which b follows."""

    def __init__(self, model: OnnxModel, **asked: Any) -> None:
        self.a, self.b = Browser("a"), Browser("b")
        asked = {"ignore_end": True, "shards": 1, "standbys": 1, "browsers": ("a", "b"), **asked}
        self.key = serving.start(model, Asked(PROMPT, TOKENS, **asked), "")
        self.told: list[Any] = []
        rows = GenerationStage.objects.select_related("plan_shard", "session", "session__model")
        self.row = rows.get(session__pk=self.key)
        self.has, self.other = (self.a, self.b) if self.row.browser == "a" else (self.b, self.a)

    def open(self) -> None:
        """The stage's own browser begins."""
        GenerationStage.objects.filter(pk=self.row.pk).update(opened_by="test")
        self.has.loop.open(_held(self.row))

    def follow(self) -> GenerationStandby:
        """Once there is a token, the other one is asked and follows."""
        session = GenerationSession.objects.get(pk=self.key)
        until(lambda: endings.write_down(session) or bool(session.written))
        following.keep(session, clock.now())
        standby = GenerationStandby.objects.select_related("stage").get(stage=self.row)
        self.row.refresh_from_db()
        self.other.loop.open(_held(self.row, standby))
        GenerationStandby.objects.filter(pk=standby.pk).update(opened_by="test")
        return standby

    def hear(self) -> list[int]:
        self.told = list(serving.listen(self.key))
        return [each.pick.token for each in self.told if isinstance(each, TokenWritten)]


def until(true: Callable[[], object], within_s: float = 30.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def die(step: int, at: int, reached: threading.Event, go_on: threading.Event) -> None:
    """Stop before a step, and break then."""
    if step >= at:
        reached.set()
        assert go_on.wait(30)
        raise BrowserCrash("it was killed")


@pytest.mark.parametrize("speculation", [False, True])
def test_a_standby_goes_on_where_the_stage_was_lost(
    model: OnnxModel, right: list[int], speculation: bool
) -> None:
    text = Text(model, speculation=speculation)
    reached, go_on = threading.Event(), threading.Event()
    two, follows = threading.Event(), threading.Event()

    def dies_at_thirty(step: int) -> None:
        if step >= 2:
            two.set()
            assert follows.wait(30)
            die(step, 30, reached, go_on)

    text.has.decoding.before = dies_at_thirty
    text.open()
    assert two.wait(30)
    standby = text.follow()
    follows.set()
    assert reached.wait(30)
    # It has the same inputs: what the lost one was at is computed before anybody notices.
    until(lambda: text.other.decoding.at >= text.has.decoding.at)
    computed = text.other.decoding.computed
    go_on.set()
    Watcher().turn()
    assert text.hear() == right
    (paused,) = (each for each in text.told if isinstance(each, Paused))
    (resumed,) = (each for each in text.told if isinstance(each, Resumed))
    assert (paused.stage, resumed.browser, resumed.how) == (0, text.other.id, "standby")
    assert text.other.decoding.computed > computed
    (one,) = GenerationSession.objects.get(pk=text.key).recoveries.all()
    assert (one.how, one.epoch, one.taken_by) == ("standby", standby.epoch, text.other.id)
    (said,) = report.of_session(text.key)["stages"]
    assert said["browser"] == text.other.id


def test_a_standby_computes_all_and_writes_nothing(model: OnnxModel, right: list[int]) -> None:
    text = Text(model)
    at_two, follows = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            at_two.set()
            assert follows.wait(30)

    text.has.decoding.before = wait
    text.open()
    assert at_two.wait(30)
    text.follow()
    follows.set()
    assert text.hear() == right
    assert not [each for each in text.told if isinstance(each, Paused | Resumed)]
    until(lambda: text.other.decoding.released)
    assert text.other.decoding.computed > 10
    (standby,) = GenerationStandby.objects.filter(stage=text.row)
    assert (standby.category, standby.why) == ("", "")


def test_a_standby_that_gives_something_else_is_given_up(
    model: OnnxModel, right: list[int]
) -> None:
    text = Text(model)
    at_two, follows, lost = threading.Event(), threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step == 2:
            at_two.set()
            assert follows.wait(30)
        elif step >= 30:
            assert lost.wait(30)

    def other_tokens(reply: Reply | Refusal) -> Reply | Refusal:
        assert not isinstance(reply, Exception)
        header, tensors = reply
        wrong = [
            encode_array(each.name, (decode_array(each) + 1) % decoders.VOCABULARY)
            if each.name == "ids"
            else each
            for each in tensors
        ]
        return header, wrong

    text.has.decoding.before = wait
    text.open()
    assert at_two.wait(30)
    text.follow()
    text.other.decoding.after = other_tokens
    follows.set()
    watcher = Watcher()
    given_up = GenerationStandby.objects.exclude(category="")
    while not given_up.exists():
        watcher.turn()
    lost.set()
    assert text.hear() == right
    (standby,) = GenerationStandby.objects.filter(stage=text.row)
    assert standby.category == Category.WRONG_ANSWER
    assert "gave something else" in standby.why


# --- the ledger ------------------------------------------------------------------------------------------


def stood_by(writer: OnnxModel, standbys: int = 1) -> tuple[GenerationSession, str]:
    """A text with one token, two stages, and standbys that follow."""
    session = begin(writer, standbys=standbys)
    session.stages.update(opened_by="test")
    write(session, 0, 3)
    session.refresh_from_db()
    endings.write_down(session)
    for _ in range(standbys):
        following.keep(session, clock.now())
    GenerationStandby.objects.update(opened_by="test")
    return session, str(session.pk)


def test_before_its_first_token_a_text_has_no_standby(writer: OnnxModel) -> None:
    session = begin(writer, standbys=1)
    session.stages.update(opened_by="test")
    following.keep(session, clock.now())
    assert not GenerationStandby.objects.exists()


def test_each_stage_is_followed_elsewhere(writer: OnnxModel) -> None:
    session, _ = stood_by(writer, standbys=2)
    for row in session.stages.all():
        browsers = {row.browser, *row.standbys.values_list("browser", flat=True)}
        assert browsers == {"a", "b", "c"}
        assert [each.epoch for each in row.standbys.all()] == [2, 3]
    following.keep(session, clock.now())
    assert GenerationStandby.objects.count() == 4


def test_of_two_standbys_one_takes_over_and_the_other_follows_it(writer: OnnxModel) -> None:
    session, key = stood_by(writer, standbys=2)
    first, second = session.stages.get(index=1).standbys.all()
    assert recovery.give(key, 1, 1, Category.BROWSER_CRASH, "it died")
    assert stages(session)[1] == (first.browser, 2)
    assert [each.pk for each in session.stages.get(index=1).standbys.all()] == [second.pk]
    assert streams.standing(key, 1, 3) is Said.FOLLOWS
    assert streams.standing(key, 1, 2) is Said.NEW
    assert streams.standing(key, 1, 1) is Said.STALE
    taken = streams.taken(key, 1)
    assert taken is not None and taken.how == "standby"
    assert recovery.give(key, 1, 2, Category.BROWSER_CRASH, "it died, too")
    assert stages(session)[1] == (second.browser, 3)
    recoveries = session.recoveries.all()
    assert [(each.how, each.taken_by) for each in recoveries] == [
        ("standby", first.browser), ("standby", second.browser),
    ]  # fmt: skip


def test_what_a_standby_says_is_compared_and_not_written(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    (standby,) = session.stages.get(index=0).standbys.all()
    assert passed_on(streams.append(key, 0, standby.epoch, 5, b"hidden")).said is Said.FOLLOWS
    assert entries(session, 1) == []
    assert passed_on(streams.append(key, 0, 1, 5, b"hidden")).said is Said.NEW
    answer = passed_on(streams.append(key, 0, standby.epoch, 5, b"hidden"))
    assert (answer.said, answer.had) == (Said.HAD, b"hidden")
    before = len(heard(session))
    recovery.give(key, 0, 1, Category.BROWSER_CRASH, "it died")
    assert len(heard(session)) == before + 1
    assert passed_on(streams.append(key, 0, 1, 6, b"late")).said is Said.STALE
    assert passed_on(streams.append(key, 0, standby.epoch, 6, b"next")).said is Said.NEW


def test_without_a_standby_that_lives_a_stage_is_replayed(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    (standby,) = session.stages.get(index=1).standbys.all()
    live.withdraw(standby.browser)
    assert recovery.give(key, 1, 1, Category.BROWSER_CRASH, "it died")
    row = session.stages.get(index=1)
    assert row.epoch > standby.epoch, "what it may still say is refused"
    assert streams.standing(key, 1, standby.epoch) is Said.STALE
    assert session.recoveries.get().how == "replay"


def test_a_lost_standby_is_replaced_and_its_browser_rests(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    row = session.stages.get(index=1)
    (standby,) = row.standbys.all()
    assert not recovery.give(key, 1, standby.epoch, Category.INTERNAL, "no cache")
    assert stages(session)[1] == (row.browser, 1), "the stage goes on"
    following.keep(session, clock.now())
    gone, another = row.standbys.all()
    assert (gone.pk, gone.why) == (standby.pk, "no cache")
    assert another.browser not in (row.browser, gone.browser)
    assert another.epoch > gone.epoch


def test_the_watcher_sees_that_a_standby_is_gone(writer: OnnxModel) -> None:
    session, _ = stood_by(writer)
    (standby,) = session.stages.get(index=1).standbys.all()
    publish(standby.browser, memory_limit_mb=4000.0, worker="another")
    following.look(live.living())
    standby.refresh_from_db()
    assert standby.category == Category.BROWSER_CRASH


def test_a_text_that_is_begun_anew_has_none_at_first(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    epochs = [each.epoch for each in GenerationStandby.objects.all()]
    streams.drop(key, 2)
    assert recovery.rebuild(session, "the store has lost it")
    assert not GenerationStandby.objects.exists()
    for index, epoch in enumerate(epochs):
        assert streams.standing(key, index, epoch) is Said.STALE


def test_how_many_standbys_there_may_be(writer: OnnxModel) -> None:
    with pytest.raises(InvalidRequest, match="standbys 4: expected a whole number from 0 to 3"):
        begin(writer, standbys=4)


def test_a_text_without_standbys_asks_for_none(writer: OnnxModel) -> None:
    session, _ = stood_by(writer, standbys=0)
    following.keep(session, clock.now())
    assert not GenerationStandby.objects.exists()
    assert not isinstance(heard(session)[-1], Ended)


# --- strides ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("speculation", [False, True])
def test_who_catches_up_computes_several_steps_at_once(
    model: OnnxModel, right: list[int], shards: int, speculation: bool
) -> None:
    """Its stage is lost late; what replays it in another browser is asked far less often."""
    browsers = [Browser(name) for name in ("a", "b", "c")]
    asked = Asked(PROMPT, TOKENS, ignore_end=True, shards=shards, speculation=speculation)
    key = serving.start(model, asked, "")
    rows = GenerationStage.objects.select_related("plan_shard", "session", "session__model")
    of = {browser.id: browser for browser in browsers}
    lost = rows.get(session__pk=key, index=shards - 1)
    reached, go_on = threading.Event(), threading.Event()
    of[lost.browser].decoding.before = lambda step: die(step, 45, reached, go_on)
    for row in rows.filter(session__pk=key):
        of[row.browser].loop.open(_held(row))
    assert reached.wait(60)
    computed = of[lost.browser].decoding.computed
    go_on.set()
    Watcher().turn()
    until(lambda: GenerationStage.objects.get(pk=lost.pk).epoch == 2)
    held = _held(rows.get(pk=lost.pk))
    assert held.catch_up is not None and held.catch_up.until > 80
    of[GenerationStage.objects.get(pk=lost.pk).browser].loop.open(held)
    told = list(serving.listen(key))
    assert [each.pick.token for each in told if isinstance(each, TokenWritten)] == right
    (one,) = GenerationSession.objects.get(pk=key).recoveries.all()
    assert one.how == "replay"
    again = of[one.taken_by].decoding.computed - (TOKENS - 45)
    assert again < computed / 2, f"{again} steps for what took {computed}"


def test_what_a_stride_gives_must_be_what_was_given(model: OnnxModel, right: list[int]) -> None:
    publish("a", memory_limit_mb=4000.0)
    session = GenerationSession.objects.get(
        pk=serving.start(model, Asked(PROMPT, TOKENS, ignore_end=True, shards=2), "")
    )
    key = str(session.pk)
    tokens = [right[index] for index in range(6)]
    for index, token in enumerate(tokens):
        last = streams.tell_tokens(
            key, 1, 1, index, [telling.pick_to_json(Pick(token, -1.0))],
            feed=(41 + index, frames.tokens_frame(40 + index, [token])), ended=None,
        )  # fmt: skip
        assert passed_on(last).said is Said.NEW
        hidden = WireTensor("h", "float32", (1, 1, 2), np.full(2, index, "<f4").tobytes())
        given = frames.frame_of(frames.Framed(40 + index, 1, [hidden]))
        assert passed_on(streams.append(key, 0, 1, 41 + index, given)).said is Said.NEW
    first = frames.read_frame(frames.tokens_frame(40, tokens[:1]))
    stride = strides.of_log(key, 0, "41-0", first, strides.CatchUp(40, 46))
    assert stride is not None
    assert [entry for entry, _ in stride.entries] == ["41-0", "42-0", "43-0", "44-0", "45-0"]
    assert decode_array(stride.framed.tensors[0]).tolist() == [tokens[:5]]
    assert (stride.told, stride.framed.count, stride.framed.sure) == (tuple(tokens[1:]), 5, 1)
    rows = np.repeat(np.arange(5, dtype="<f4"), 2).reshape(1, 5, 2)
    assert strides.is_what_was_given(key, 0, stride, [encode_array("h", rows)])
    rows[0, 3, 1] += 1e-6
    assert not strides.is_what_was_given(key, 0, stride, [encode_array("h", rows)])
    prompt = frames.Framed(20, 1, first.tensors)
    assert strides.of_log(key, 0, "21-0", prompt, strides.CatchUp(40, 46)) is None
