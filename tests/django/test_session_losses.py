"""A session that loses a stage, its store or its watcher: who takes it over, what is told, when it ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from browsers.core.failures import Category
from browsers.redis import client
from browsers.state import live
from inference.core.generation import control
from inference.core.generation.asked import Ended, Ending, Paused, Resumed, TokenWritten
from inference.generation import endings, frames, recovery, serving, streams
from inference.generation.streams import Said
from inference.generation.watch import Watcher
from inference.models import GenerationSession, OnnxModel
from tests.support.ledger import publish
from tests.support.sessions import begin, entries, heard, passed_on, stages, write

pytestmark = pytest.mark.usefixtures("clean")


def test_a_loss_that_two_notice_is_made_good_once(writer: OnnxModel) -> None:
    session = begin(writer)
    key = str(session.pk)
    assert recovery.give(key, 1, 1, Category.BROWSER_CRASH, "it died")
    assert not recovery.give(key, 1, 1, Category.TIMEOUT, "its lease ended")
    assert stages(session) == [("a", 1), ("c", 2)]
    (one,) = session.recoveries.all()
    assert (one.lost_by, one.taken_by, one.how, one.seconds) == ("b", "c", "replay", None)
    assert heard(session) == [Paused(1, "it died")]


def test_a_browser_that_comes_to_harm_is_the_last_choice(writer: OnnxModel) -> None:
    session = begin(writer, browsers=("a", "b"))
    key = str(session.pk)
    recovery.give(key, 1, 1, Category.BROWSER_CRASH, "it died")
    assert stages(session) == [("a", 1), ("a", 2)]
    recovery.give(key, 1, 2, Category.OUT_OF_MEMORY, "too much")
    assert stages(session) == [("a", 1), ("b", 3)], "never again where it does not fit"


def test_what_is_the_same_everywhere_ends_it(writer: OnnxModel) -> None:
    session = begin(writer)
    recovery.give(str(session.pk), 1, 1, Category.INVALID_INPUT, "no text")
    session.refresh_from_db()
    assert (session.state, session.ending) == ("ended", "failed")
    assert (session.error, session.error_category) == ("no text", Category.INVALID_INPUT)
    assert heard(session) == [Ended(Ending.FAILED, 5, 0, error="no text", category="invalid_input")]


def test_what_goes_on_nowhere_ends_in_the_end(writer: OnnxModel) -> None:
    session = begin(writer)
    for epoch in range(1, 20):
        recovery.give(str(session.pk), 0, epoch, Category.INTERNAL, "no cache")
    session.refresh_from_db()
    assert session.ending == "failed"
    assert "given on 8 times" in session.error


def test_a_text_of_which_no_token_can_be_drawn_in_two_browsers_ends(writer: OnnxModel) -> None:
    session = begin(writer)
    key = str(session.pk)
    assert recovery.give(key, 1, 1, Category.REFUSED, "no numbers")
    assert recovery.give(key, 1, 2, Category.BROWSER_CRASH, "no numbers")
    endings.note_resumed(key, 1, 3, 0.1)
    assert recovery.give(key, 1, 3, Category.REFUSED, "no numbers"), "it went on in between"
    assert recovery.give(key, 1, 4, Category.REFUSED, "other words")
    assert recovery.give(key, 1, 5, Category.BROWSER_CRASH, "no numbers"), "who dies says nothing"
    session.refresh_from_db()
    assert session.ending == ""
    first = session.recoveries.get(epoch=4).lost_by
    last = next(browser for browser in "abc" if browser != first)
    session.stages.filter(index=1).update(browser=last)
    assert recovery.give(key, 1, 6, Category.REFUSED, "no numbers")
    session.refresh_from_db()
    assert (session.ending, session.error_category) == ("failed", Category.REFUSED)
    assert session.error == f"no numbers: in {first} and in {last} alike"


def test_a_store_that_is_lost_again_and_again_is_no_fault_of_a_text(writer: OnnxModel) -> None:
    session = begin(writer)
    for _ in range(10):
        session.refresh_from_db()
        assert recovery.rebuild(session, "the store was started anew")
    row = session.stages.get(index=0)
    assert recovery.give(str(session.pk), 0, row.epoch, Category.BROWSER_CRASH, "it died")
    session.refresh_from_db()
    assert session.ending == ""


def test_without_any_browser_it_waits_and_then_fails(writer: OnnxModel) -> None:
    session = begin(writer, browsers=("a", "b"))
    live.withdraw("a")
    live.withdraw("b")
    assert recovery.give(str(session.pk), 0, 1, Category.TIMEOUT, "gone")
    assert stages(session)[0] == ("", 2)
    given_at = session.stages.get(index=0).given_at
    publish("b", memory_limit_mb=4000.0)
    recovery.place_waiting(given_at, 120)
    assert stages(session)[0] == ("b", 2)
    live.withdraw("b")
    recovery.give(str(session.pk), 0, 2, Category.TIMEOUT, "gone")
    recovery.place_waiting(session.stages.get(index=0).given_at + timedelta(seconds=121), 120)
    session.refresh_from_db()
    assert (session.ending, session.error_category) == ("failed", Category.NO_BROWSER)
    assert session.error.startswith("no browser could take stage 0 for 120 s: ")
    assert "no browser" in session.error.partition(": ")[2], "and why"


def test_a_browser_that_is_drained_is_left_where_another_can_take_over(writer: OnnxModel) -> None:
    session = begin(writer)
    publish("a", memory_limit_mb=4000.0, state=live.DRAINING)
    Watcher().turn()
    assert stages(session) == [("c", 2), ("b", 1)]
    publish("b", memory_limit_mb=4000.0, state=live.DRAINING)
    publish("c", memory_limit_mb=4000.0, state=live.DRAINING)
    Watcher().turn()
    assert stages(session) == [("c", 2), ("b", 1)], "there is no other"


def test_a_browser_that_is_being_repaired_for_a_while_is_left(writer: OnnxModel) -> None:
    session = begin(writer)
    watcher = Watcher()
    publish("a", memory_limit_mb=4000.0, state="recovering")
    watcher.turn()
    assert stages(session) == [("a", 1), ("b", 1)], "a socket that was cut is repaired at once"
    publish("a", memory_limit_mb=4000.0)
    watcher.turn()
    publish("a", memory_limit_mb=4000.0, state="recovering")
    until = time.monotonic() + 30
    while stages(session)[0] == ("a", 1):
        assert time.monotonic() < until
        watcher.turn()
    assert stages(session) == [("c", 2), ("b", 1)]
    assert session.recoveries.get().category == "", "whoever repairs it says what failed"


def test_a_new_worker_of_a_browser_has_nothing(writer: OnnxModel) -> None:
    session = begin(writer)
    session.stages.update(opened_by="test")
    Watcher().turn()
    assert stages(session) == [("a", 1), ("b", 1)]
    publish("b", memory_limit_mb=4000.0, worker="another")
    Watcher().turn()
    assert stages(session) == [("a", 1), ("c", 2)]


@pytest.mark.usefixtures("hasty")
def test_a_stage_that_is_later_than_its_own_steps_goes_elsewhere(writer: OnnxModel) -> None:
    session = begin(writer)
    key = str(session.pk)
    streams.allow(key, 0, 1, 0.001)
    streams.allow(key, 1, 1, 0.001)
    publish("b", memory_limit_mb=4000.0, idle_since=1.0)
    passed_on(
        streams.append(key, 0, 1, 5, b"hidden")
    )  # the second stage has input and gives nothing
    watcher, deadline = Watcher(), time.monotonic() + 30
    while stages(session)[1] == ("b", 1):
        assert time.monotonic() < deadline
        watcher.turn()
    assert stages(session) == [("a", 1), ("c", 2)]
    (one,) = session.recoveries.all()
    assert (one.lost_by, one.category, one.why) == ("b", "timeout", "b gave nothing for 0.0 s")
    assert streams.allowed_s(key, 2) == [0.001, None], "another browser has steps of its own"


@pytest.mark.usefixtures("hasty")
def test_a_browser_with_other_work_is_given_more_time(writer: OnnxModel) -> None:
    session = begin(writer)
    streams.allow(str(session.pk), 0, 1, 0.001)
    watcher = Watcher()
    for _ in range(4):
        watcher.turn()
    assert stages(session) == [("a", 1), ("b", 1)], "its main thread is at work"
    publish("a", memory_limit_mb=4000.0, idle_since=1.0)
    deadline = time.monotonic() + 30
    while stages(session)[0] == ("a", 1):
        assert time.monotonic() < deadline
        watcher.turn()


def test_what_a_watcher_died_of_is_heard_by_the_next(writer: OnnxModel) -> None:
    session = begin(writer)
    streams.tell_control(control.Lost(str(session.pk), 1, 1, Category.BROWSER_CRASH, "it died"))
    client().lmove(streams.TOLD, streams.HEARING, "RIGHT", "LEFT")  # and is killed
    Watcher().turn()
    assert stages(session) == [("a", 1), ("c", 2)]
    assert not client().exists(streams.HEARING)


def test_what_was_told_is_written_down_with_its_end(writer: OnnxModel) -> None:
    session = begin(writer)
    write(session, 0, 7)
    Watcher().turn()
    session.refresh_from_db()
    assert (session.tokens, session.state) == ([7], "running")
    write(session, 1, 8, Ended(Ending.STOP, 5, 2))
    assert write(session, 2, 9) is Said.ENDED
    Watcher().turn()
    session.refresh_from_db()
    assert (session.tokens, session.state, session.ending) == ([7, 8], "ended", "stop")
    assert session.first_token_at is not None and session.finished_at is not None


def test_a_session_that_the_store_has_lost_begins_anew_where_it_was(writer: OnnxModel) -> None:
    session = begin(writer)
    write(session, 0, 7)
    write(session, 1, 8)
    endings.write_down(session)
    client().flushall()
    for browser in ("a", "b"):
        publish(browser, memory_limit_mb=4000.0)
    assert write(session, 2, 9) is Said.GONE
    Watcher().turn()
    assert stages(session) == [("a", 2), ("b", 2)]
    assert [e.pick.token for e in heard(session) if isinstance(e, TokenWritten)] == [7, 8]
    read = [frames.read_frame(fields[streams.FRAME]) for _, fields in entries(session, 0)]
    assert [(each.start, each.count) for each in read] == [(0, 5), (5, 1), (6, 1)], (
        "the same steps as before"
    )
    assert {row.how for row in session.recoveries.all()} == {"recompute"}
    assert write(session, 2, 9) is Said.NEW


def lost_behind_its_listener(session: GenerationSession) -> Iterator[Any]:
    """A listener who has heard of three tokens, of which the store and the row know one any more."""
    write(session, 0, 7)
    endings.write_down(session)
    write(session, 1, 8)
    write(session, 2, 9)
    listener = serving.listen(str(session.pk))
    heard = [next(listener) for _ in range(3)]
    assert [event.index for event in heard if isinstance(event, TokenWritten)] == [0, 1, 2]
    client().flushall()
    for browser in ("a", "b"):
        publish(browser, memory_limit_mb=4000.0)
    return listener


def test_who_heard_more_than_is_kept_hears_of_the_loss_and_no_token_twice(
    writer: OnnxModel,
) -> None:
    session = begin(writer)
    listener = lost_behind_its_listener(session)
    assert recovery.rebuild(session, "lost")
    again = [Resumed(stage, browser, "recompute", 0.5) for stage, browser in enumerate("ab")]
    for event in again:
        streams.resumed(str(session.pk), event.stage, 2, event)
    for index, token in ((1, 8), (2, 9), (3, 10)):
        assert write(session, index, token) is Said.NEW
    write(session, 4, 11, Ended(Ending.STOP, 5, 5))
    told = list(listener)
    assert told[:4] == [Paused(0, "lost"), Paused(1, "lost"), *again]
    assert [event.index for event in told[4:-1] if isinstance(event, TokenWritten)] == [3, 4]
    assert len(told) == 7
    assert told[-1] == Ended(Ending.STOP, 5, 5)


def test_what_was_told_a_moment_ago_stays_told_where_a_text_is_begun_anew(
    writer: OnnxModel,
) -> None:
    """The store has it still: a listener may have heard it, and nothing else may come in its place."""
    session = begin(writer)
    write(session, 0, 7)
    endings.write_down(session)
    write(session, 1, 8)
    write(session, 2, 9)
    before = GenerationSession.objects.get(pk=session.pk)
    assert len(before.written) == 1
    assert recovery.rebuild(before, "its kept cache is gone")
    assert GenerationSession.objects.get(pk=session.pk).tokens == [7, 8, 9]
    assert write(session, 3, 10) is Said.NEW
    write(session, 4, 11, Ended(Ending.STOP, 5, 5))
    assert recovery.rebuild(before, "too late")
    ended = GenerationSession.objects.get(pk=session.pk)
    assert (ended.ending, ended.tokens) == (Ending.STOP, [7, 8, 9, 10, 11])


def test_the_loss_is_told_before_the_next_token(writer: OnnxModel) -> None:
    session = begin(writer)
    listener = lost_behind_its_listener(session)
    assert recovery.rebuild(session, "lost")
    assert [next(listener), next(listener)] == [Paused(0, "lost"), Paused(1, "lost")]
    serving.cancel(str(session.pk))
    (ended,) = listener
    assert isinstance(ended, Ended)
    assert (ended.ending, ended.tokens) == (Ending.CANCELLED, 1)
