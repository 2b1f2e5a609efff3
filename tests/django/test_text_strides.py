"""Strides through the log of a text's stage: what is computed together, and that nothing is lost by it.

Store, ledger and decode loops are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from browsers.core.errors import InvalidInput
from browsers.core.protocol import WireTensor
from browsers.worker import BrowserWorker
from inference.core.generation import telling
from inference.core.generation.asked import Asked, TokenWritten
from inference.core.generation.sampled import Pick
from inference.generation import endings, frames, recovery, serving, streams
from inference.generation.opening import _held
from inference.generation.scripts import Call
from inference.generation.stage import HeldStage
from inference.generation.streams import Said
from inference.generation.takeover import strides
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, OnnxModel
from inference.store.tensors import decode_array, encode_array
from tests.support.ledger import publish
from tests.support.loops import PROMPT, TOKENS, Browser, die, until
from tests.support.native_page import Page
from tests.support.sessions import passed_on

pytestmark = pytest.mark.usefixtures("clean")


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("speculation", [False, True])
def test_who_catches_up_computes_several_steps_at_once(
    model: OnnxModel, right: list[int], shards: int, speculation: bool
) -> None:
    """Its stage is lost late; what replays it in another browser is asked far less often."""
    browsers = [Browser(name) for name in ("a", "b", "c")]
    asked = Asked(PROMPT, TOKENS, ignore_end=True, shards=shards, speculation=speculation)
    key = serving.start(model, asked, "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
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


def test_what_one_page_calls_a_wrong_input_is_computed_by_another(
    model: OnnxModel, right: list[int]
) -> None:
    browsers = {name: Browser(name) for name in ("a", "b")}
    key = serving.start(model, Asked(PROMPT, TOKENS, ignore_end=True, shards=1), "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    first = rows.get(session__pk=key)
    has = browsers[first.browser]
    refusal = InvalidInput("Got invalid dimensions for input: ids")
    has.decoding.after = lambda reply: reply if has.decoding.computed < 20 else refusal
    has.loop.open(_held(first))

    def lost() -> bool:
        Watcher().turn()
        return GenerationStage.objects.get(pk=first.pk).epoch == 2

    until(lost)
    second = rows.get(pk=first.pk)
    assert second.browser != first.browser
    browsers[second.browser].loop.open(_held(second))
    told = list(serving.listen(key))
    assert [each.pick.token for each in told if isinstance(each, TokenWritten)] == right
    assert GenerationStage.objects.get(pk=first.pk).avoid == {
        first.browser: "unsupported_operation"
    }


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
    stride = strides.of_log(key, 0, "41-0", first, strides.CatchUp(40, 46), last=False)
    assert stride is not None
    assert [entry for entry, _ in stride.entries] == ["41-0", "42-0", "43-0", "44-0", "45-0"]
    assert decode_array(stride.framed.tensors[0]).tolist() == [tokens[:5]]
    assert (stride.told, stride.framed.count, stride.framed.sure) == (tuple(tokens[1:]), 5, 1)
    rows = np.repeat(np.arange(5, dtype="<f4"), 2).reshape(1, 5, 2)
    assert stride.given == (encode_array("h", rows),)
    prompt = frames.Framed(20, 1, first.tensors)
    assert strides.of_log(key, 0, "21-0", prompt, strides.CatchUp(40, 46), last=False) is None


@pytest.mark.parametrize("speculation", [False, True])
def test_a_text_of_two_stages_that_is_begun_anew_goes_on(
    model: OnnxModel, right: list[int], speculation: bool
) -> None:
    """The first stage has all steps at once, and the second one nothing yet."""
    browsers = [Browser(name) for name in ("a", "b")]
    asked = Asked(PROMPT, TOKENS, ignore_end=True, shards=2, speculation=speculation)
    key = serving.start(model, asked, "")
    of = {browser.id: browser for browser in browsers}
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    rows = rows.filter(session__pk=key)
    reached, go_on = threading.Event(), threading.Event()

    def wait(step: int) -> None:
        if step >= 30 and not go_on.is_set():
            reached.set()
            assert go_on.wait(30)

    of[rows.get(index=1).browser].decoding.before = wait
    for row in rows.all():
        of[row.browser].loop.open(_held(row))
    assert reached.wait(60)
    session = GenerationSession.objects.get(pk=key)
    endings.write_down(session)
    assert recovery.rebuild(session, "the store was started anew")
    go_on.set()
    for row in rows.all():
        of[row.browser].loop.open(_held(row))
    told = list(serving.listen(key))
    assert [each.pick.token for each in told if isinstance(each, TokenWritten)] == right
    again = GenerationSession.objects.get(pk=key).recoveries
    assert [each.how for each in again.all()] == ["recompute", "recompute"]


def test_a_stride_that_the_store_did_not_hear_of_is_asked_again(
    model: OnnxModel, right: list[int]
) -> None:
    publish("a", memory_limit_mb=4000.0)
    key = serving.start(model, Asked(PROMPT, TOKENS, ignore_end=True, shards=1), "")
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    first = _held(rows.get(session__pk=key))
    worker = cast("BrowserWorker", SimpleNamespace(id="a", holding=None))

    def compute(page: Page, held: HeldStage, cursor: str) -> Call:
        ((entry, fields), *_) = streams.entries(held.key, f"({cursor}")
        held.came(entry, fields[streams.FRAME])
        return held.given(worker, page.step(held.ask()))

    page = Page()
    for _ in range(8):
        call = compute(page, first, first.cursor)
        first.passed(passed_on(call), call)
    row = rows.get(session__pk=key)
    GenerationStage.objects.filter(pk=row.pk).update(epoch=2)
    streams.shut_out(key, [2])
    ahead = streams.last_numbers(key, 1)[0]
    held = _held(rows.get(session__pk=key))
    held.catch_up = strides.CatchUp(len(PROMPT), ahead)
    page = Page()
    call = compute(page, held, "0-0")
    held.passed(passed_on(call), call)
    call = compute(page, held, held.cursor)
    assert held.next is not None and held.next.stride is not None
    again = held.given(worker, page.step(held.ask()))
    assert again == call
    held.passed(passed_on(again), again)
    assert held.writer is not None and held.writer.written == right[: len(held.writer.written)]
    assert len(held.writer.written) > 3
