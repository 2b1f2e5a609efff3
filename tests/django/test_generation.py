"""Sessions in ledger and store: who may write, who takes a stage over, what is told, what is refused.

No browser computes here: the tests say what a worker says.
"""

from __future__ import annotations

import asyncio
import threading
import uuid
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.db.models.signals import post_init
from redis.exceptions import OutOfMemoryError

from browsers.core.failures import Category
from browsers.queues import queue_of
from browsers.redis import client
from inference.catalog import registry, uploads
from inference.catalog.decoders import decoder_of
from inference.checkpoints.described import Described
from inference.core.generation import telling
from inference.core.generation.asked import Asked, Ended, Ending, Paused, TokenWritten
from inference.core.generation.sampled import Pick, Sampling
from inference.errors import Busy, InvalidRequest, Unavailable, UnknownRun
from inference.generation import endings, frames, recovery, report, serving, streams
from inference.generation.exchange import Exchange
from inference.generation.streams import Appended, Said
from inference.models import GenerationMemory, GenerationSession, GenerationStage, OnnxModel
from inference.runs import retention
from inference.store.tensors import encode_array
from tests.support import listeners
from tests.support.ledger import publish
from tests.support.sessions import PROMPT, begin, entries, heard, passed_on, stages, write

pytestmark = pytest.mark.usefixtures("clean")


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


def test_what_a_full_store_does_not_take_is_not_passed_on(writer: OnnxModel) -> None:
    key = str(begin(writer).pk)
    call = streams.append(key, 0, 1, 5, b"hidden")
    client().config_set("maxmemory", "1mb")
    try:
        (refused,) = Exchange().pass_on([call], {streams.wake_key("nobody"): "0-0"}, 0)
    finally:
        client().config_set("maxmemory", "256mb")
    assert isinstance(refused, OutOfMemoryError)
    assert passed_on(call).said is Said.NEW


def test_what_several_sessions_give_is_judged_apart_and_what_came_is_read(
    writer: OnnxModel,
) -> None:
    one, other = begin(writer), begin(writer)
    calls = [
        streams.append(str(one.pk), 0, 1, 5, b"one"),
        streams.append(str(other.pk), 0, 0, 5, b"other"),
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
