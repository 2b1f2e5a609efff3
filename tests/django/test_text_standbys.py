"""Standbys of a text's stages: who is asked, what they may write, how one takes over, and which is given up.

Store, ledger and decode loops are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

import threading
from typing import Any

import pytest

from browsers import clock
from browsers.bridge import Refusal, Reply
from browsers.core.failures import Category
from inference.core.generation.asked import Asked, Paused, Resumed, TokenWritten
from inference.generation import endings, recovery, report, serving
from inference.generation.opening import _held
from inference.generation.takeover.finding import Finder
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, GenerationStandby, OnnxModel
from inference.store.tensors import decode_array, encode_array
from tests.support import decoders
from tests.support.ledger import publish
from tests.support.loops import PROMPT, TOKENS, Browser, die, until

pytestmark = pytest.mark.usefixtures("clean")


class Text:
    """A text of one stage in browser a, which b follows."""

    def __init__(self, model: OnnxModel, **asked: Any) -> None:
        self.a, self.b = Browser("a"), Browser("b")
        asked = {"ignore_end": True, "shards": 1, "standbys": 1, "browsers": ("a", "b"), **asked}
        self.key = serving.start(model, Asked(PROMPT, TOKENS, **asked), "")
        self.told: list[Any] = []
        rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
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
        Finder().keep([session], clock.now())
        standby = GenerationStandby.objects.select_related("stage").get(stage=self.row)
        self.row.refresh_from_db()
        self.other.loop.open(_held(self.row, standby))
        GenerationStandby.objects.filter(pk=standby.pk).update(opened_by="test")
        return standby

    def hear(self) -> list[int]:
        self.told = list(serving.listen(self.key))
        return [each.pick.token for each in self.told if isinstance(each, TokenWritten)]


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


def test_a_standby_goes_on_where_the_stage_stands_still(model: OnnxModel, right: list[int]) -> None:
    """Nothing fails and no deadline passes: the standby has waited longer than ever before."""
    text = Text(model)
    two, follows, awake = threading.Event(), threading.Event(), threading.Event()

    def stands_still(step: int) -> None:
        if step == 2:
            two.set()
            assert follows.wait(30)
        elif step == 50:
            assert awake.wait(60)

    text.has.decoding.before = stands_still
    text.open()
    assert two.wait(30)
    standby = text.follow()
    follows.set()
    publish(text.has.id, memory_limit_mb=4000.0, idle_since=1.0)
    watcher, session = Watcher(), GenerationSession.objects.get(pk=text.key)

    def overtaken() -> bool:
        watcher.turn()
        return session.recoveries.exists()

    until(overtaken)
    assert text.hear() == right
    (one,) = GenerationSession.objects.get(pk=text.key).recoveries.all()
    assert (one.how, one.epoch, one.category) == ("standby", standby.epoch, "")
    assert one.why.startswith(f"{text.has.id} gave nothing for ")
    text.row.refresh_from_db()
    assert (text.row.browser, text.row.avoid) == (text.other.id, {}), "nobody is blamed"
    awake.set()
    until(lambda: text.has.decoding.released)


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


def test_a_standby_that_is_ahead_waits_for_the_stage(model: OnnxModel, right: list[int]) -> None:
    """Begun anew, a text has all its steps at once: a standby may be faster than who has the stage."""
    of = {name: Browser(name) for name in ("a", "b", "c")}
    key = serving.start(model, Asked(PROMPT, TOKENS, ignore_end=True, shards=2, standbys=1), "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    first, last = rows.filter(session__pk=key)
    at_twenty, go_on, slow = threading.Event(), threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step >= 20:
            at_twenty.set()
            assert go_on.wait(30)

    of[last.browser].decoding.before = wait
    for row in (first, last):
        of[row.browser].loop.open(_held(row))
    assert at_twenty.wait(30)
    session = GenerationSession.objects.get(pk=key)
    endings.write_down(session)
    assert recovery.rebuild(session, "the store was started anew")
    of[first.browser].decoding.before = lambda step: slow.wait(30)
    go_on.set()
    for row in rows.filter(session__pk=key):
        GenerationStage.objects.filter(pk=row.pk).update(opened_by="test")
        of[row.browser].loop.open(_held(row))
    Finder().keep([session], clock.now())
    standby = GenerationStandby.objects.select_related("stage").get(stage=first)
    follows = _held(rows.get(pk=first.pk), standby)
    of[standby.browser].loop.open(follows)
    until(lambda: follows.ahead)
    slow.set()
    assert [
        each.pick.token for each in serving.listen(key) if isinstance(each, TokenWritten)
    ] == right
    standby.refresh_from_db()
    assert standby.category == ""
    until(lambda: not of[standby.browser].loop._held)
