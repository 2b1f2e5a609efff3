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
from browsers.state import live
from inference.core.generation.asked import Asked, Ended, Paused, Resumed, TokenWritten
from inference.errors import InvalidRequest
from inference.generation import endings, recovery, report, serving, streams
from inference.generation.opening import _held
from inference.generation.streams import Said
from inference.generation.takeover import following
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, GenerationStandby, OnnxModel
from inference.store.tensors import decode_array, encode_array
from tests.support import decoders
from tests.support.ledger import publish
from tests.support.loops import PROMPT, TOKENS, Browser, die, until
from tests.support.sessions import begin, entries, heard, passed_on, stages, write

pytestmark = pytest.mark.usefixtures("clean")


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
