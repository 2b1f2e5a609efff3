"""A text that fails in the same place wherever it is computed ends, instead of going round for ever.

Store, ledger and decode loops are webpool's; in place of pages native onnxruntime computes.
"""

from __future__ import annotations

from typing import Any

import pytest

from browsers.bridge import Refusal, Reply
from browsers.core.failures import Category
from inference.core.generation.asked import Asked, Ended, Paused, Resumed, TokenWritten
from inference.core.generation.sampled import Sampling
from inference.generation import serving
from inference.generation.opening import _held
from inference.generation.watch import Watcher
from inference.models import GenerationSession, GenerationStage, OnnxModel
from tests.support.loops import PROMPT, TOKENS, Browser, until

pytestmark = pytest.mark.usefixtures("clean")


def told(key: str, browsers: tuple[Browser, ...]) -> list[Any]:
    """All that a listener hears, while each browser opens whatever it is given."""
    by_name = {browser.id: browser for browser in browsers}
    rows = GenerationStage.objects.select_related("plan_step", "session", "session__model")
    watcher = Watcher()

    def ended() -> bool:
        row = rows.get(session__pk=key)
        if row.browser and not row.opened_by:
            GenerationStage.objects.filter(pk=row.pk).update(opened_by="test")
            by_name[row.browser].loop.open(_held(row))
        watcher.turn()
        return GenerationSession.objects.get(pk=key).state == "ended"

    until(ended, 60)
    return list(serving.listen(key))


def test_what_cannot_be_drawn_in_two_browsers_is_tried_in_no_third(model: OnnxModel) -> None:
    """A positive logit that is divided by this is infinite; no door lets it in."""
    browsers = (Browser("a"), Browser("b"))
    sampling = Sampling(repetition_penalty=1e-300)
    key = serving.start(
        model, Asked(PROMPT, TOKENS, sampling, shards=1, browsers=("a", "b"), speculation=False), ""
    )
    events = told(key, browsers)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert (ended.category, ended.tokens) == (Category.REFUSED, 0)
    assert ended.error == (
        "expected logits that are numbers, got NaN, infinity or none at all: in "
        f"{GenerationSession.objects.get(pk=key).recoveries.get().lost_by} and in "
        f"{GenerationSession.objects.get(pk=key).stages.get().browser} alike"
    )
    assert [type(event) for event in events] == [Paused, Ended], "it did not go on in the second"


def test_an_error_of_ours_in_the_same_place_everywhere_ends_it(model: OnnxModel) -> None:
    browsers = (Browser("a"), Browser("b"))
    for browser in browsers:

        def without_sum(reply: Reply | Refusal, browser: Browser = browser) -> Reply | Refusal:
            late = browser.decoding.at - len(PROMPT) >= 3
            return ({}, reply[1]) if late and isinstance(reply, tuple) else reply

        browser.decoding.after = without_sum
    asked = Asked(PROMPT, TOKENS, ignore_end=True, shards=1, browsers=("a", "b"), speculation=False)
    key = serving.start(model, asked, "")
    events = told(key, browsers)
    ended = events[-1]
    assert isinstance(ended, Ended)
    assert ended.category == Category.INTERNAL
    assert ended.error == "stage 0 was given on 8 times and went on nowhere: KeyError: 'log_sum'"
    assert sum(isinstance(event, TokenWritten) for event in events) == ended.tokens == 4
    assert not any(isinstance(event, Resumed) for event in events)
