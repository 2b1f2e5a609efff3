"""Standbys of a text's stages in ledger and store: who is asked, which is given up, what an owner has."""

from __future__ import annotations

import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from browsers import clock
from browsers.core.failures import Category
from browsers.redis import client
from browsers.state import live
from browsers.worker import BrowserWorker
from inference.core.generation.asked import Ended, Ending
from inference.errors import Busy, InvalidRequest
from inference.generation import endings, recovery, streams
from inference.generation.opening import _open
from inference.generation.streams import Said
from inference.generation.takeover import following
from inference.generation.takeover.finding import Finder
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, GenerationStandby, OnnxModel
from tests.support.ledger import publish
from tests.support.loops import Browser
from tests.support.sessions import begin, entries, heard, passed_on, stages, write

pytestmark = pytest.mark.usefixtures("clean")


def stood_by(writer: OnnxModel, standbys: int = 1) -> tuple[GenerationSession, str]:
    """A text with one token, two stages, and standbys that follow."""
    session = begin(writer, standbys=standbys)
    session.stages.update(opened_by="test")
    write(session, 0, 3)
    session.refresh_from_db()
    endings.write_down(session)
    for _ in range(standbys):
        Finder().keep([session], clock.now())
    GenerationStandby.objects.update(opened_by="test")
    return session, str(session.pk)


def test_before_its_first_token_a_text_has_no_standby(writer: OnnxModel) -> None:
    session = begin(writer, standbys=1)
    session.stages.update(opened_by="test")
    Finder().keep([session], clock.now())
    assert not GenerationStandby.objects.exists()


def test_each_stage_is_followed_elsewhere(writer: OnnxModel) -> None:
    session, _ = stood_by(writer, standbys=2)
    for row in session.stages.all():
        browsers = {row.browser, *row.standbys.values_list("browser", flat=True)}
        assert browsers == {"a", "b", "c"}
        assert [each.epoch for each in row.standbys.all()] == [2, 3]
    Finder().keep([session], clock.now())
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


def test_a_stage_is_overtaken_where_it_owes_something(writer: OnnxModel) -> None:
    session, key = stood_by(writer, standbys=2)
    row = session.stages.get(index=0)
    _, second = row.standbys.all()
    publish(row.browser, memory_limit_mb=4000.0, idle_since=1.0)

    def overtakes(epoch: int, position: int = 6, *, waited: float = 0.25, later: float = 0) -> bool:
        row.refresh_from_db()
        now = row.given_at + timedelta(seconds=later)
        return recovery.overtake(key, 0, epoch, position, waited, now)

    assert passed_on(streams.append(key, 0, 1, 5, b"hidden")).said is Said.NEW
    assert not overtakes(second.epoch), "it has not said how long its steps take"
    streams.allow(key, 0, row.epoch, 60.0)
    assert not overtakes(second.epoch), "it computes something longer first"
    streams.allow(key, 0, row.epoch, 2.0)
    assert not overtakes(second.epoch, 5), "it has given that meanwhile"
    assert not overtakes(row.epoch), "that is no standby"
    publish(row.browser, memory_limit_mb=4000.0, idle_since=None)
    assert not overtakes(second.epoch), "it is at other work"
    live.withdraw(second.browser)
    assert not overtakes(second.epoch, waited=2.5), "the standby is gone"
    publish(second.browser, memory_limit_mb=4000.0)
    assert overtakes(second.epoch, waited=2.5)
    assert stages(session)[0] == (second.browser, second.epoch), "who spoke, not the first"
    assert not overtakes(second.epoch, later=60), "it is the stage's own now"
    Finder().keep([session], clock.now())
    GenerationStandby.objects.update(opened_by="test")
    streams.allow(key, 0, second.epoch, 2.0)
    publish(second.browser, memory_limit_mb=4000.0, idle_since=1.0)
    *_, third = row.standbys.order_by("epoch")
    assert not overtakes(third.epoch, later=9), "it was given on a moment ago"
    endings.end(session, Ending.CANCELLED)
    assert not overtakes(third.epoch, later=11), "it has ended"


def test_a_lost_standby_is_replaced_and_its_browser_rests(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    row = session.stages.get(index=1)
    (standby,) = row.standbys.all()
    assert not recovery.give(key, 1, standby.epoch, Category.INTERNAL, "no cache")
    assert stages(session)[1] == (row.browser, 1), "the stage goes on"
    Finder().keep([session], clock.now())
    gone, another = row.standbys.all()
    assert (gone.pk, gone.why) == (standby.pk, "no cache")
    assert another.browser not in (row.browser, gone.browser)
    assert another.epoch > gone.epoch


def test_the_watcher_sees_that_a_standby_is_gone(writer: OnnxModel) -> None:
    session, _ = stood_by(writer)
    (standby,) = session.stages.get(index=1).standbys.all()
    publish(standby.browser, memory_limit_mb=4000.0, worker="another")
    following.look(live.living(), clock.now())
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
    Finder().keep([session], clock.now())
    assert not GenerationStandby.objects.exists()
    assert not isinstance(heard(session)[-1], Ended)


def test_a_standby_that_never_began_is_given_up(writer: OnnxModel) -> None:
    stood_by(writer)
    GenerationStandby.objects.update(opened_by="")
    first, second = GenerationStandby.objects.order_by("stage__index")
    GenerationStandby.objects.filter(pk=second.pk).update(browser="a")
    following.look(live.living(), clock.now())
    assert following.active().count() == 2
    live.withdraw(first.browser)
    following.look(live.living(), clock.now())
    assert [each.pk for each in following.active()] == [second.pk]
    following.look(live.living(), clock.now() + timedelta(minutes=3))
    second.refresh_from_db()
    assert second.category == Category.TIMEOUT
    assert "did not begin to follow" in second.why


def test_who_is_given_up_hears_of_it(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    (standby,) = session.stages.get(index=1).standbys.all()
    assert streams.standing(key, 1, standby.epoch) is Said.FOLLOWS
    assert following.lost(key, 1, standby.epoch, Category.BROWSER_CRASH, "it was thought dead")
    assert streams.standing(key, 1, standby.epoch) is Said.STALE
    assert streams.entries(streams.wake_key(standby.browser), "-")


def test_an_epoch_is_given_once(writer: OnnxModel) -> None:
    session, key = stood_by(writer)
    row = session.stages.get(index=1)
    (standby,) = row.standbys.all()
    live.withdraw(({"a", "b", "c"} - {row.browser, standby.browser}).pop())
    following.lost(key, 1, standby.epoch, Category.INTERNAL, "no cache")
    Finder().keep([session], clock.now() + timedelta(seconds=11))
    (again,) = row.standbys.all()
    assert (again.browser, again.epoch) == (standby.browser, standby.epoch + 1)


def test_where_nobody_can_follow_the_pool_is_left_alone(
    writer: OnnxModel, django_assert_num_queries: Any
) -> None:
    live.withdraw("c")
    session, _ = stood_by(writer, standbys=2)
    finder, now = Finder(), clock.now()
    finder.keep([session], now)
    assert GenerationStandby.objects.count() == 2
    publish("c", memory_limit_mb=4000.0)
    with django_assert_num_queries(2):
        finder.keep([session], now + timedelta(seconds=5))
    finder.keep([session], now + timedelta(seconds=11))
    assert GenerationStandby.objects.count() == 4


def test_the_standby_that_is_furthest_takes_over(writer: OnnxModel) -> None:
    session, key = stood_by(writer, standbys=2)
    row = session.stages.get(index=1)
    first, second = row.standbys.all()
    streams.say_where(key, 1, first.epoch, 90)
    streams.say_where(key, 1, second.epoch, 100)
    assert following.follower(row) == first, "they say so at different moments"
    streams.say_where(key, 1, second.epoch, 200)
    assert following.follower(row) == second


@pytest.mark.usefixtures("hasty")
def test_who_catches_up_and_says_so_does_not_hang(writer: OnnxModel, settings: Any) -> None:
    settings.WEBPOOL_SESSION_STEP_S = 0.05
    session, key = stood_by(writer, standbys=0)
    assert recovery.give(key, 0, 1, None, "drained")
    session.stages.update(opened_by="test")
    watcher = Watcher()
    watcher.turn()
    for position in range(1, 4):
        time.sleep(0.1)
        streams.say_where(key, 0, 2, position)
        watcher.turn()
        assert stages(session)[0][1] == 2
    time.sleep(0.1)
    watcher.turn()
    assert stages(session)[0][1] == 3


def test_standbys_count_as_texts_of_their_owner(writer: OnnxModel, settings: Any) -> None:
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 4
    begin(writer, owner="key one", standbys=2)
    with pytest.raises(Busy, match="3 runs of key one are active"):
        begin(writer, owner="key one", standbys=1)
    begin(writer, owner="key one")
    begin(writer, owner="key two", standbys=3)


def test_what_cannot_be_opened_is_not_kept(writer: OnnxModel) -> None:
    begin(writer, stages=1)
    (row,) = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    browser = Browser(row.browser)
    browser.holding = SimpleNamespace(hold=lambda *asked, **named: "")
    browser.status = SimpleNamespace()  # it says nothing of itself
    _open(cast("BrowserWorker", browser), row)
    assert browser.decoding.released == [f"{row.session_id}:0"]
    assert client().llen(streams.TOLD) == 1
