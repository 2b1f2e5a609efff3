"""Sessions in ledger and store: who may write, who takes a stage over, what is told, what is refused.

No browser computes here: the tests say what a worker says.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db.models.signals import post_init

from browsers.core.failures import Category
from browsers.queues import queue_of
from browsers.redis import client
from browsers.state import live
from inference.catalog import registry, uploads
from inference.catalog.decoders import decoder_of
from inference.checkpoints.described import Described
from inference.core.generation import telling
from inference.core.generation.asked import Asked, Ended, Ending, Paused, Resumed, TokenWritten
from inference.core.generation.sampled import Pick, Sampling
from inference.errors import Busy, InvalidRequest, Unavailable, UnknownRun
from inference.generation import endings, frames, recovery, report, serving, streams, watch
from inference.generation.exchange import Exchange
from inference.generation.scripts import Call
from inference.generation.streams import Appended, Said
from inference.generation.watch import Watcher
from inference.models import GenerationMemory, GenerationSession, GenerationStage, OnnxModel
from inference.runs import retention
from inference.store.tensors import encode_array
from tests.support import decoders, listeners
from tests.support.ledger import publish

PROMPT = (72, 101, 108, 108, 111)
pytestmark = pytest.mark.usefixtures("clean")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return decoders.write(tmp_path_factory.mktemp("decoder")).onnx


@pytest.fixture
def writer(files: Path) -> Iterator[OnnxModel]:
    known = OnnxModel.objects.filter(name="writer").first()
    model = known or registry.add_model(files, name="writer")
    for browser in ("a", "b", "c"):
        publish(browser, memory_limit_mb=4000.0)
    yield model
    GenerationSession.objects.all().delete()


def begin(model: OnnxModel, stages: int = 2, owner: str = "", **asked: Any) -> GenerationSession:
    session = serving.start(model, Asked(PROMPT, 10, shards=stages, **asked), owner)
    return GenerationSession.objects.get(pk=session)


def write(session: GenerationSession, index: int, token: int, ended: Ended | None = None) -> Said:
    """What the last of two stages says of a token."""
    last = session.stages.get(index=1)
    position = len(PROMPT) + index
    feed = None if ended else (position + 1, frames.tokens_frame(position, [token]))
    pick = telling.pick_to_json(Pick(token, -1.0))
    call = streams.tell_tokens(
        str(session.pk), 1, last.epoch, index, [pick], feed=feed, ended=ended
    )
    return passed_on(call).said


def passed_on(call: Call) -> Appended:
    (answer,) = Exchange().pass_on([call], {streams.wake_key("nobody"): "0-0"}, 0)
    assert isinstance(answer, Appended)
    return answer


def heard(session: GenerationSession, after: int = 0) -> list[Any]:
    """Everything up to now."""
    found = streams.events_after(str(session.pk), f"{after}-0")
    return [telling.from_json(raw, int(entry.split("-")[0])) for entry, raw in found]


def entries(session: GenerationSession, stage: int) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """What a stage was given."""
    found: Any = client().xrange(streams.in_key(str(session.pk), stage))
    return list(found)


def stages(session: GenerationSession) -> list[tuple[str, int]]:
    return [(row.browser, row.epoch) for row in session.stages.all()]


def test_a_session_is_a_row_with_stages_and_a_log(writer: OnnxModel) -> None:
    session = begin(writer)
    assert stages(session) == [("a", 1), ("b", 1)]
    assert [client().llen(queue_of(each)) for each in "abc"] == [1, 1, 0]
    ((entry, fields),) = entries(session, 0)
    framed = frames.read_frame(fields[streams.FRAME])
    (tokens,) = framed.tensors
    assert (entry, framed.start, framed.count) == (b"5-0", 0, 5)
    assert tokens.shape == (1, 5)


def test_a_token_is_told_once_and_feeds_the_first_stage(writer: OnnxModel) -> None:
    session = begin(writer)
    assert write(session, 0, 7) is Said.NEW
    assert write(session, 0, 7) is Said.HAD
    assert client().xlen(streams.in_key(str(session.pk), 0)) == 2
    assert [event.pick.token for event in heard(session)] == [7]


def test_who_was_replaced_writes_nothing(writer: OnnxModel) -> None:
    session = begin(writer)
    key = str(session.pk)
    assert passed_on(streams.append(key, 0, 1, 5, b"one")).said is Said.NEW
    assert recovery.give(key, 0, 1, Category.BROWSER_CRASH, "it died")
    assert passed_on(streams.append(key, 0, 1, 6, b"late")).said is Said.STALE
    again = passed_on(streams.append(key, 0, 2, 5, b"other"))
    assert (again.said, again.had) == (Said.HAD, b"one"), "what was passed on stands"
    assert passed_on(streams.append(key, 0, 2, 6, b"two")).said is Said.NEW
    assert passed_on(streams.append(key, 0, 2, 4, b"never")).said is Said.GAP
    assert passed_on(streams.nothing(key, 0, 1)).said is Said.STALE
    assert passed_on(streams.nothing(key, 0, 2)).said is Said.NEW


def test_what_several_sessions_give_is_judged_apart_and_what_came_is_read(
    writer: OnnxModel,
) -> None:
    one, other = begin(writer), begin(writer)
    calls = [
        streams.append(str(one.pk), 0, 1, 5, b"one"),
        streams.append(str(other.pk), 0, 9, 5, b"other"),
        streams.append(str(uuid.uuid4()), 0, 1, 5, b"nobody's"),
    ]
    client().script_flush()  # as after a restart of the store
    after = {streams.in_key(str(each.pk), 1): "0-0" for each in (one, other)}
    exchange = Exchange()
    exchange.pass_on(calls[2:], after, 0)
    assert not exchange.wait({}, 0)
    answers = exchange.pass_on(calls, after, 0)
    said = [answer.said for answer in answers if isinstance(answer, Appended)]
    assert said == [Said.NEW, Said.STALE, Said.GONE]
    exchange.wait({}, 0)  # was read before the scripts, which the store did not know, were run
    ((key, ((entry, fields),)),) = exchange.wait(after, 0)
    assert (key.decode(), entry) == (streams.in_key(str(one.pk), 1), b"5-0")
    assert fields == {streams.FRAME: b"one"}


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
    recovery.give(str(session.pk), 1, 1, Category.MODEL_INCOMPATIBLE, "no model")
    session.refresh_from_db()
    assert (session.state, session.ending) == ("ended", "failed")
    assert (session.error, session.error_category) == ("no model", Category.MODEL_INCOMPATIBLE)
    assert heard(session) == [
        Ended(Ending.FAILED, 5, 0, error="no model", category="model_incompatible")
    ]


def test_what_goes_on_nowhere_ends_in_the_end(writer: OnnxModel) -> None:
    session = begin(writer)
    for epoch in range(1, 20):
        recovery.give(str(session.pk), 0, epoch, Category.INTERNAL, "no cache")
    session.refresh_from_db()
    assert session.ending == "failed"
    assert "given on 8 times" in session.error


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


def test_a_browser_that_is_drained_is_left_where_another_can_take_over(writer: OnnxModel) -> None:
    session = begin(writer)
    publish("a", memory_limit_mb=4000.0, state=live.DRAINING)
    Watcher().turn()
    assert stages(session) == [("c", 2), ("b", 1)]
    publish("b", memory_limit_mb=4000.0, state=live.DRAINING)
    publish("c", memory_limit_mb=4000.0, state=live.DRAINING)
    Watcher().turn()
    assert stages(session) == [("c", 2), ("b", 1)], "there is no other"


def test_a_new_worker_of_a_browser_has_nothing(writer: OnnxModel) -> None:
    session = begin(writer)
    session.stages.update(opened_by="test")
    Watcher().turn()
    assert stages(session) == [("a", 1), ("b", 1)]
    publish("b", memory_limit_mb=4000.0, worker="another")
    Watcher().turn()
    assert stages(session) == [("a", 1), ("c", 2)]


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """The watcher looks at sessions at every turn, and leaves nothing to the browsers' workers."""
    monkeypatch.setattr(watch, "_WRITE_EVERY_S", 0.0)
    monkeypatch.setattr(watch, "_BEYOND_S", 0.0)


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
    streams.tell_lost(str(session.pk), 1, 1, Category.BROWSER_CRASH, "it died")
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


def test_what_an_encoder_made_is_told_once_kept_and_given_again(
    tmp_path: Path, writer: OnnxModel
) -> None:
    listeners.write(tmp_path)
    model = listeners.register(str(tmp_path))["reader"]
    decoder = decoder_of(model)
    made = [
        encode_array(name, np.full((1, 4, 3, 8), at, np.float32))
        for at, name in enumerate(decoder.whole.memory)
    ]
    asked = Asked(listeners.BEGINS, 10, shards=2)
    with pytest.raises(InvalidRequest, match="of an encoder, got nothing"):
        serving.start(model, asked, "")
    begun = serving.start(model, asked, "", memory=made, beside=["a"])
    session = GenerationSession.objects.get(pk=begun)
    assert {browser for browser, _ in stages(session)} == {"b", "c"}
    assert session.wanted.memory_bytes == 4 * 4 * 3 * 8 * 4

    def told() -> Any:
        (entry,) = entries(session, 0)
        return list(frames.read_frame(entry[1][b"f"]).tensors[1:])

    assert told() == made
    client().flushall()
    for browser in ("a", "b", "c"):
        publish(browser, memory_limit_mb=4000.0)
    assert recovery.rebuild(session, "lost")
    assert told() == made
    assert GenerationMemory.objects.filter(session=session).exists()
    assert endings.end(session, Ending.CANCELLED)
    assert not GenerationMemory.objects.filter(session=session).exists(), "it may be of many MB"
    for stage in range(session.plan.num_shards):
        left: Any = client().xrange(streams.in_key(str(session.pk), stage))
        assert [list(fields) for _, fields in left] == [[streams.END]], "so may these"


def test_a_decoder_that_listens_needs_its_encoder(tmp_path: Path) -> None:
    both = listeners.write(tmp_path)
    files = both["reader"]
    for described in (
        Described(context=9, encoder="nobody", begins=(1,)),
        Described(context=9, encoder="reader-encoder"),
        Described(context=9),
    ):
        with pytest.raises(InvalidRequest, match="encoder"):
            registry.add_model(files.decoder, name="deaf", described=described)
    call_command("add_model", str(both["hearer"].encoder), name="ear", type="audio")
    call_command(
        "add_model", str(both["hearer"].decoder), name="scribe", encoder="ear", begins="1,2"
    )
    decoder = decoder_of(OnnxModel.objects.get(name="scribe"))
    assert (decoder.encoder, decoder.begins) == ("ear", (1, 2))
    assert decoder.context == listeners.CONTEXT  # its table of positions tells


def test_listeners_come_and_go(writer: OnnxModel) -> None:
    session = begin(writer)
    for index, token in enumerate((7, 8, 9)):
        write(session, index, token)
    recovery.give(str(session.pk), 0, 1, Category.TIMEOUT, "gone")
    write(session, 3, 10, Ended(Ending.LENGTH, 5, 4))
    told = list(serving.listen(str(session.pk)))
    ended = Ended(Ending.LENGTH, 5, 4)
    assert [event.index for event in told if isinstance(event, TokenWritten)] == [0, 1, 2, 3]
    assert told[3:4] + told[5:] == [Paused(0, "gone"), ended]
    assert list(serving.listen(str(session.pk), after=2)) == told[2:]
    endings.write_down(session)
    client().flushall()
    from_row = list(serving.listen(str(session.pk), after=1))
    assert from_row == [*told[1:3], told[4], ended], "without the pause, which no row tells"


def test_rows_are_read_in_threads_that_drop_a_broken_connection(writer: OnnxModel) -> None:
    session = begin(writer)
    write(session, 0, 7, Ended(Ending.LENGTH, 5, 1))
    endings.write_down(session)
    client().flushall()
    threads: set[str] = set()

    def read(**_: object) -> None:
        threads.add(threading.current_thread().name)

    async def told() -> list[Any]:
        return [event async for event in serving.events(str(session.pk))]

    post_init.connect(read, sender=GenerationSession)
    try:
        assert len(asyncio.run(told())) == 2
    finally:
        post_init.disconnect(read, sender=GenerationSession)
    assert threads, "no row was read"
    assert all(name.startswith("serving") for name in threads), threads


def test_cancelled_once_and_for_good(writer: OnnxModel) -> None:
    session = begin(writer)
    write(session, 0, 7)
    serving.cancel(str(session.pk))
    serving.cancel(str(session.pk))
    assert write(session, 1, 8) is Said.ENDED
    *_, last = serving.listen(str(session.pk))
    assert isinstance(last, Ended)
    assert (last.ending, last.tokens) == (Ending.CANCELLED, 1)
    session.refresh_from_db()
    assert (session.tokens, session.ending) == ([7], "cancelled")
    for stage in (0, 1):
        *_, (_, fields) = entries(session, stage)
        assert streams.END in fields, "its stages hear of it"


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Asked((), 4), "at least one token"),
        (Asked((1,) * 256, 4), "context of 256"),
        (Asked((512,), 4), "up to and without 512"),
        (Asked(PROMPT, 0), "at least 1"),
        (Asked(PROMPT, 4, shards=5), "4 layers"),
        (Asked(PROMPT, 4, backend="webnn"), "expected one of wasm"),
        (Asked(PROMPT, 4, stop=("x",)), "no tokenizer"),
    ],
)
def test_what_cannot_be_is_refused(writer: OnnxModel, asked: Asked, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        serving.start(writer, asked, "")
    assert not GenerationSession.objects.exists()
    assert not client().keys("webpool:gen:*")


def test_a_pool_without_room_is_said(writer: OnnxModel, settings: Any) -> None:
    for browser in ("a", "b", "c"):
        publish(browser, memory_limit_mb=1.0)
    with pytest.raises(Unavailable, match="limit is 1 MB"):
        serving.start(writer, Asked(PROMPT, 4), "")
    publish("a", memory_limit_mb=4000.0)
    settings.WEBPOOL_MAX_RUNS_PER_OWNER = 1
    begin(writer, 1, owner="key one")
    with pytest.raises(Busy):
        begin(writer, 1, owner="key one")
    begin(writer, 1, owner="key two")
    settings.WEBPOOL_MAX_ACTIVE_RUNS = 2
    with pytest.raises(Busy):
        begin(writer, 1, owner="key three")
    with pytest.raises(UnknownRun):
        list(serving.listen("nobody"))


def test_texts_that_are_held_to_a_form_are_counted_apart(writer: OnnxModel, settings: Any) -> None:
    """Each has a process of its own."""
    settings.WEBPOOL_MAX_FORMS = 1
    begin(writer)
    held = begin(writer, grammar="start: /a/")
    with pytest.raises(Busy, match="1 texts that are held to a form"):
        begin(writer, grammar="start: /b/")
    begin(writer)
    assert endings.end(held, Ending.LENGTH)
    begin(writer, grammar="start: /b/")


def test_a_model_that_writes_is_not_deleted(writer: OnnxModel) -> None:
    session = begin(writer)
    with pytest.raises(uploads.Conflict, match="1 texts of model writer are written"):
        uploads.remove_model(writer)
    session.refresh_from_db()


def test_old_texts_are_forgotten(writer: OnnxModel, settings: Any) -> None:
    session = begin(writer)
    serving.cancel(str(session.pk))
    session.refresh_from_db()
    assert session.finished_at is not None
    kept = timedelta(days=settings.WEBPOOL_RUN_RETENTION_DAYS)
    retention.forget_old_runs(session.finished_at + kept - timedelta(seconds=1))
    assert GenerationSession.objects.count() == 1
    retention.forget_old_runs(session.finished_at + kept + timedelta(seconds=1))
    assert not GenerationStage.objects.exists()


def test_what_was_asked_survives_its_row() -> None:
    sampling = Sampling(temperature=0.5, logit_bias={3: -1.0}, seed=4, logprobs=2)
    asked = Asked(PROMPT, 9, sampling, ("x",), (2,), browsers=("a",))
    assert telling.asked_from_json(telling.asked_to_json(asked)) == asked
    pick = Pick(3, -0.5, ((3, -0.5), (4, -1.0)))
    assert telling.from_json(telling.pick_to_json(pick), 6) == TokenWritten(5, pick)
    ended = Ended(Ending.STOP, 3, 6)
    assert telling.from_json(telling.to_json(replace(ended, tokens=0)), 6) == ended


def test_without_the_store_a_session_is_told_from_its_row(
    writer: OnnxModel, settings: Any, tmp_path: Path
) -> None:
    session = begin(writer)
    settings.WEBPOOL_REDIS_URL = f"unix://{tmp_path}/nobody.sock"
    client.cache_clear()
    try:
        told = report.of_session(str(session.pk))
    finally:
        client.cache_clear()
    assert [stage["step_ms"] for stage in told["stages"]] == [None, None]
    assert (told["state"], told["tokens"]) == ("running", [])
